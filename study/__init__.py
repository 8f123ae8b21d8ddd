"""Whole experiments: many runs of the three programs, counterfactual runs, pairs with a known cause."""
