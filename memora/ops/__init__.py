"""What an operator needs: check and rebuild."""
