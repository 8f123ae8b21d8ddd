"""Causes that a diagnosis can name, and the tests that they share."""
