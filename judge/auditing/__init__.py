"""How far a judge can be trusted, and for which difference."""
