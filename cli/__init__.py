"""The `taskpacks` command."""
