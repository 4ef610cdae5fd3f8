"""Files to documents: readers, label names, splits and the synthetic corpus of the demo."""
