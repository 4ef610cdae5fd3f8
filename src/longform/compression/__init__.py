"""A model to a smaller model: fewer tokens, layers and heads, or weights that bear rounding."""
