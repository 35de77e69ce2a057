"""The components of a stack: one a file, with the small functions that only it needs."""
