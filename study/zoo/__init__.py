"""Pairs of models whose difference is planted."""
