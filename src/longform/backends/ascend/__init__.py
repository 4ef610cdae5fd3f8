"""Ascend NPUs by pyACL, the Python interface of CANN: one card, its gears, its encoder."""
