"""Comparing models by their verdicts: means, paired differences, rankings."""
