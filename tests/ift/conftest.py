"""A base model and instruction data small enough to fine-tune in a second."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

WORDS = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay")


def write_items(path: Path, count: int = 60) -> Path:
    """Alpaca items: repeat or reverse a few words."""
    items = []
    for number in range(count):
        chosen = [WORDS[(number * 3 + i * (1 + number // 10)) % 10] for i in range(1 + number % 3)] + [str(number)]
        copy = number % 2 == 0
        items.append(
            {
                "instruction": "Repeat the words." if copy else f"Reverse {' '.join(chosen)}.",
                "input": " ".join(chosen) if copy else "",
                "output": " ".join(chosen if copy else chosen[::-1]),
                "category": "copy" if copy else "reverse",
            }
        )
    path.write_text(json.dumps(items))
    return path


def with_two_processes(arguments: list[str], directory: Path) -> str:
    """`ift` with these arguments under torchrun; what it prints."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ift"]
    done = subprocess.run([*launch, *arguments], cwd=directory, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def items(tmp_path: Path) -> Path:
    return write_items(tmp_path / "items.json")


MakeBase = Callable[..., Path]


@pytest.fixture
def make_base(tmp_path: Path) -> MakeBase:
    """Writes an untrained checkpoint; shape and run record can be given."""

    def make(name: str = "base", run: dict[str, object] | None = None, **shape: int | bool) -> Path:
        from equiloss import tokenizer
        from equiloss.records.base_run import CheckpointRun
        from pretrain.config import ModelConfig
        from pretrain.model import checkpoint
        from pretrain.model.decoder import GPT

        encoding = tokenizer.train_bpe([f"{word} Repeat Reverse words" for word in WORDS] * 5, 280)
        fields = {"n_layer": 2, "n_head": 2, "n_embd": 32, "context": 128, **shape}
        model = GPT(ModelConfig(vocab_size=encoding.n_vocab, **fields), seed=1)
        path = tmp_path / name / "checkpoint.pt"
        checkpoint.save(path, model, tokenizer.to_record(encoding), CheckpointRun.model_validate(run or {}))
        return path

    return make


@pytest.fixture
def base(make_base: MakeBase) -> Path:
    return make_base()
