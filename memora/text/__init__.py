"""Language-aware text: words and stems, without I/O."""
