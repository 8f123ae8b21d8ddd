"""Per-document losses of base models."""
