"""Files of any kind to numbered rows, and rows to documents. `data/readers.py` is the door."""
