"""Pure decisions: no I/O, no await, no third party but pydantic and numpy."""
