"""Small data for training tests: one text, tokenized once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from equiloss.records.token_data import TextSource
from equiloss.tokenizer import train_bpe
from pretrain.data.document import Document
from pretrain.data.shard_writer import write_shards


def text(seed: int, words: int) -> str:
    """Sentences with some structure to learn: subjects, verbs, numbers."""
    rng = random.Random(seed)
    names, verbs = ["Ada", "Ben", "Cleo", "Dan"], ["counts", "sees", "likes", "finds"]
    return " ".join(
        f"{rng.choice(names)} {rng.choice(verbs)} {rng.randrange(20)} {rng.choice(['cats', 'dogs', 'hens'])}."
        for _ in range(words // 4)
    )


@pytest.fixture(scope="session")
def shards_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of about 10,000 training tokens with a vocabulary of 300."""
    directory = tmp_path_factory.mktemp("data") / "shards"
    documents = [Document(text(0, 7000), "a", "train"), Document(text(1, 500), "a", "validation")]
    documents.append(Document(text(2, 500), "a", "test"))
    write_shards(documents, directory, train_bpe([text(0, 7000)], 300), source=TextSource(name="test"), workers=1)
    return directory
