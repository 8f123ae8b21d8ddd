"""Estimates and their intervals: bootstrap, regression, equivalence, agreement, variance, multiplicity."""
