"""Counterfactual runs: one factor made equal, run and judged again."""
