"""Models for Ascend NPUs: what the compiler takes is checked first, then it is run and read."""
