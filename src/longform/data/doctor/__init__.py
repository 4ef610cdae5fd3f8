"""What is wrong or risky in a data file, found before training is hurt by it."""
