"""Answers of fine-tuned models, and what can be said of them without a judge."""
