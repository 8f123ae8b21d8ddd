"""Instruction fine-tuning: data, templates, training, and the answers to be judged."""
