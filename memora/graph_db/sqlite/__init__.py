"""The graph in one SQLite file: the embedded default."""
