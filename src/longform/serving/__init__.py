"""The classifier service: HTTP, metrics and the page."""
