"""The `ift` program."""
