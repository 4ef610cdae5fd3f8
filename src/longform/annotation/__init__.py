"""What to label next, and in which passages to look for it: tasks for annotators."""
