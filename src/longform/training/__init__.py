"""Documents to a trained model."""
