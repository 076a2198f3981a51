"""memora: the memory engine for assistants and agents."""

__version__ = "0.4.0"
