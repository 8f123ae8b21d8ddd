"""Answers and scores to and from other tools' files."""
