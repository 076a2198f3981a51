"""Data that crosses a boundary: records, plans, requests, answers."""
