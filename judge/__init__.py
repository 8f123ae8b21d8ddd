"""Judging answers with a stronger model, and saying which differences are real. Imports no torch."""
