"""The study of a real base model: its plan, and what it begins with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STUDIES = Path(__file__).resolve().parents[2] / "studies" / "real"
ITEMS = [{"instruction": f"Say {word}.", "input": "", "output": word} for word in ("ant", "bee", "cat", "dog")]


def prepare(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(STUDIES / "prepare.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_its_plan_has_a_fine_tuning_for_each_seed(tmp_path: Path, program: Callable[..., Any]) -> None:
    items = tmp_path / "items.json"
    items.write_text(json.dumps(ITEMS))
    sets = ["--set", f"items={items}", "--set", "count=60", "--set", "seeds=[1,2]", "--set", "judge=--judge x@y"]
    outcome = program("study", "run", STUDIES / "smollm2.toml", "-o", tmp_path / "real", *sets, "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    commands = {cell["name"]: cell["command"] for cell in json.loads(outcome.out)["cells"]}
    assert list(commands) == ["base", "items", "tune-1", "tune-2", "judge", "compare"]
    assert f"items {items} --count 60" in commands["items"]
    assert "--judge x@y" in commands["judge"]
    missing = program("study", "run", STUDIES / "smollm2.toml", "--set", "items=nowhere.json", "--dry-run")
    assert (missing.code, "nowhere.json" in missing.err) == (2, True)


def test_a_base_becomes_a_directory_and_some_items_a_file(tmp_path: Path, make_foreign: Callable[..., Path]) -> None:
    torch = pytest.importorskip("torch")
    from pretrain.model import huggingface

    source = make_foreign("llama", bos=True)
    (tmp_path / "all.json").write_text(json.dumps(ITEMS))
    assert prepare("base", source, "-o", tmp_path / "base").returncode == 0
    assert prepare("items", tmp_path / "all.json", "--count", 2, "-o", tmp_path / "few.json").returncode == 0
    first, again = huggingface.load(source), huggingface.load(tmp_path / "base")
    ids = torch.arange(9)[None]
    assert torch.equal(first.model(ids), again.model(ids))
    assert [one["output"] for one in json.loads((tmp_path / "few.json").read_text())] == ["ant", "bee"]
    refused = prepare("base", tmp_path / "none", "-o", tmp_path / "x")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
