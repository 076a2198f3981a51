"""The graph on a Neo4j server; the driver is imported when it is first used."""

from memora.graph_db.neo4j.interface import Neo4jGraphInterface

__all__ = ["Neo4jGraphInterface"]
