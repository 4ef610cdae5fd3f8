"""Text in, predictions out."""
