"""Predictions and labels to figures and pictures."""
