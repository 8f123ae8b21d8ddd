"""The diagnosis of a gap: six levels of elimination, from the premise to the base model, and a verdict."""
