"""A trained model to files that a runtime loads, with proof that they are equal."""
