"""`pretrain world`: the instructions of a world as a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pretrain.data.shards import Shards
from pretrain.data.world import documents, instructions

Program = Callable[..., Any]


def test_instructions_are_written_as_a_json_list(program: Program, tmp_path: Path) -> None:
    done = program("pretrain", "world", "tiny", "-o", tmp_path / "items.json")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "items.json").read_text(encoding="utf-8")) == instructions("tiny")
    assert "48 items" in done.err


@pytest.mark.parametrize("name", ["nowhere", "tiny?people=0", "tiny?peple=3"])
def test_a_world_that_cannot_be_is_one_line_and_code_2(program: Program, tmp_path: Path, name: str) -> None:
    done = program("pretrain", "world", name, "-o", tmp_path / "items.json")
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_shards_keep_the_worlds_splits_domains_and_repeats(program: Program, tmp_path: Path) -> None:
    name = "tiny?biographies=1"
    done = program("pretrain", "data", f"world:{name}", "-o", tmp_path / "data", "--train-tokenizer", "400")
    assert done.code == 0, done.err
    shards = Shards.open(tmp_path / "data")
    wanted = list(documents(name))
    for split in ("train", "validation", "test"):
        assert len(shards.split(split).starts) == sum(d.split == split for d in wanted)
    assert set(shards.record.domains) == {d.domain for d in wanted}
