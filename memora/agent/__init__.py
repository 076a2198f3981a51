"""The facade `Memora` and its flows."""
