"""The `judge` program."""
