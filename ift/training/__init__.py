"""Fine-tuning a base model and recording the run."""
