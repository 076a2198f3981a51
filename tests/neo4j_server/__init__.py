"""A Neo4j Community server of the tests' own."""
