"""Base models: text to token shards, training, evaluation, export and import."""
