"""Prompt texts, and the functions that render them into chat messages."""
