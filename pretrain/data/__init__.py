"""Text to token shards: corpora, worlds, tokenizing, and the order in which a run reads them."""
