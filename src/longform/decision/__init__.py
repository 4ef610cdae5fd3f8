"""From logits to what we dare to say."""
