"""`pretrain sample` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from equiloss import tokenizer
from equiloss.errors import InputError
from equiloss.records.base_run import CheckpointRun
from pretrain.cli.main import program
from pretrain.config import ModelConfig
from pretrain.model import checkpoint
from pretrain.model.decoder import GPT


@pytest.fixture
def model(tmp_path: Path) -> Path:
    encoding = tokenizer.train_bpe(["my fellow citizens, we are here"] * 5, 280)
    config = ModelConfig(n_layer=1, n_head=2, n_embd=16, context=32, vocab_size=encoding.n_vocab)
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, GPT(config, seed=4), tokenizer.to_record(encoding), CheckpointRun())
    return path


def test_text_on_stdout_is_prompt_and_continuation(model: Path) -> None:
    result = CliRunner().invoke(program, ["sample", str(model), "my fellow", "--max-new-tokens", "5"])
    assert result.exit_code == 0
    assert result.stdout.startswith("my fellow")
    assert len(result.stdout) > len("my fellow\n")


def test_samples_are_repeatable_and_differ_from_each_other(model: Path) -> None:
    command = ["sample", str(model), "my", "-n", "3", "--temperature", "1", "--max-new-tokens", "8", "--json"]
    first, again = (json.loads(CliRunner().invoke(program, command).stdout) for _ in range(2))
    assert first == again
    assert len({one["text"] for one in first["samples"]}) == 3
    other = json.loads(CliRunner().invoke(program, [*command, "--seed", "1"]).stdout)
    assert other["samples"] != first["samples"]


def test_no_prompt_is_the_start_of_a_document(model: Path) -> None:
    document = json.loads(CliRunner().invoke(program, ["sample", str(model), "--json"]).stdout)
    assert document["samples"][0]["n_tokens"] >= 0


def test_a_prompt_that_fills_the_context_is_refused(model: Path) -> None:
    result = CliRunner().invoke(program, ["sample", str(model), "x y " * 40])
    assert isinstance(result.exception, InputError)
    assert "fill the model's context of 32" in str(result.exception)
