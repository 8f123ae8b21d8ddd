"""The `study` program."""
