"""The clauses of `VectorContract`, by subject."""
