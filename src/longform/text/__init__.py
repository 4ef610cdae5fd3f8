"""Text to segments: the one preprocessing path, shared by training and serving."""
