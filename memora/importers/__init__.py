"""Files of other systems as conversations for an import; one module per format."""
