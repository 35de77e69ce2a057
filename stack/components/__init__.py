"""What is deployed: one component a file, with the small functions that only it needs."""
