"""What the fuzzer has found: each of these files ended in a traceback or left something behind."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from equiloss.errors import InputError  # noqa: E402
from judge.scoring.ledger import Ledger  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "golden"
Program = Callable[..., Any]
PAIR = ("results/gentle.s1.jsonl", "results/brisk.s1.jsonl")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The golden files, as the working directory."""
    shutil.copytree(GOLDEN, tmp_path / "g")
    monkeypatch.chdir(tmp_path / "g")
    return tmp_path / "g"


def refused(outcome: Any, words: str) -> None:
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.err
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE replies",
        "DROP TABLE outcomes",
        "ALTER TABLE replies RENAME COLUMN judge TO x",
        "UPDATE replies SET cost_usd = 9e999",
        "UPDATE replies SET cost_usd = 'x'",
        "UPDATE replies SET prompt_tokens = 'many'",
        "UPDATE replies SET completion_tokens = -5",
        "UPDATE replies SET judge = x'fffe'",
        "UPDATE replies SET sent = '[', text = x'fffe'",
        "UPDATE outcomes SET verdict = '[1]', failure = '3'",
    ],
)
def test_a_damaged_ledger(damage: str, here: Path, program: Program) -> None:
    with Ledger(here / "l.sqlite"):
        pass
    with sqlite3.connect(here / "l.sqlite") as db:
        row = "(1, 's', '2026', 'j', 'u', 'j', 'r', 'i', 0, 't', NULL, 'stop', '{}', 1, 1, 0, 0.5)"
        db.execute(f"INSERT INTO replies VALUES {row}")
        db.execute("INSERT INTO outcomes VALUES ('s', 1, NULL, '{}', 1)")
        db.execute(damage)
    db.close()
    for line in ("show l.sqlite", "export l.sqlite -o x.jsonl"):
        outcome = program("judge", "ledger", *line.split())
        assert outcome.code in (0, 2)
        assert "Traceback" not in outcome.err
    with Ledger(here / "l.sqlite") as ledger, pytest.raises(InputError, match=r"not a ledger|not JSON"):
        print(ledger.totals(), [*ledger.rows()], ledger.entry("s"), ledger.drafts("s"))


def test_a_seed_that_has_failures_alone(here: Path, program: Program) -> None:
    (here / "results" / "brisk.s2.correctness.sim.jsonl").write_text("")
    refused(program("judge", "diagnose", "gentle", "brisk", "--results", "results"), "gave it no score")


def test_a_step_that_no_run_makes(here: Path, program: Program) -> None:
    path = here / "runs" / "base" / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**row, "step": 0} if "loss" in row else row) + "\n" for row in rows))
    refused(program("pretrain", "compare", "runs/base", "-o", "x.html"), "step")


def test_a_start_that_cannot_be_read_leaves_no_run_behind(here: Path, program: Program) -> None:
    (here / "start.pt").write_bytes(b"x")
    line = "run runs/base/config.toml --data data/world --name new -o out --set train.start=start.pt"
    refused(program("pretrain", *line.split()), "start.pt")
    assert [path.name for path in (here / "out").rglob("*") if path.is_file() and path.name != ".lock"] == []


@pytest.mark.parametrize("value", [None, 3, "x", [[1.0]]])
def test_a_nanogpt_checkpoint_of_something_else_than_tensors(value: object, here: Path, program: Program) -> None:
    shape = {"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 16, "bias": False, "vocab_size": 280}
    names = ("transformer.wte.weight", "transformer.wpe.weight", "lm_head.weight")
    torch.save({"model": dict.fromkeys(names, value), "model_args": shape}, here / "nano.pt")
    line = "import nano.pt -o x.pt --tokenizer data/world/tokenizer.json"
    refused(program("pretrain", *line.split()), "nano.pt")


@pytest.mark.parametrize(
    "vocabulary",
    [{"a": 0, "b": "1"}, {"a": None, "b": []}, [1, 2], {"<|endoftext|>": {}}],
    ids=lambda value: str(value)[:20],
)
def test_a_tokenizer_whose_ids_are_no_numbers(vocabulary: object, here: Path, program: Program) -> None:
    (here / "t").mkdir()
    (here / "t" / "vocab.json").write_text(json.dumps(vocabulary))
    (here / "text.txt").write_text("some text")
    refused(program("pretrain", "data", "text.txt", "-o", "d", "--tokenizer", "t", "--workers", "1"), "t")


@pytest.mark.parametrize("eos", [["x"], {"a": 1}, "x", [None]], ids=str)
def test_a_generation_config_without_ids(eos: object, here: Path, program: Program) -> None:
    pytest.importorskip("transformers")
    assert program("pretrain", "export", "runs/base/checkpoint.pt", "hf").code == 0
    path = here / "hf" / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": eos}))
    (here / "items.json").write_text(json.dumps([{"instruction": "a", "output": "b"}] * 3))
    line = "respond --model hf --data items.json --name new -o out --max-new-tokens 1"
    refused(program("ift", *line.split()), "hf")


def test_a_table_with_a_price_beyond_all_numbers(here: Path, program: Program) -> None:
    assert program("judge", "exchange", *PAIR, "--to", "csv", "-o", "t.csv").code == 0
    lines = (here / "t.csv").read_text().splitlines()
    lines[1] = lines[1].rpartition(",")[0] + ",inf"
    (here / "t.csv").write_text("\n".join(lines) + "\n")
    outcome = program("judge", "exchange", "t.csv", "--from", "csv", "-o", "back")
    refused(outcome, "item 1")
    assert not (here / "back").exists()


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_a_run_configuration_with_what_is_no_number(value: str, here: Path, program: Program) -> None:
    path = here / "runs" / "base" / "config.toml"
    path.write_text(
        path.read_text().replace("[train]\n", f"[train]\nlr = {value}\n", 1).replace("\nlr = 0", "\n# lr = 0")
    )
    refused(program("pretrain", "compare", "runs/base", "-o", "x.html"), "is no number")


@pytest.mark.parametrize("change", [{"step": 2}, {"loss": 1e200}, {"loss": True}], ids=str)
def test_metrics_that_no_run_writes(change: dict[str, object], here: Path, program: Program) -> None:
    path = here / "runs" / "base" / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    last = max(number for number, row in enumerate(rows) if "loss" in row)
    rows[last] |= change
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused(program("pretrain", "compare", "runs/base", "-o", "x.html"), f"line {last + 1}")


@pytest.mark.parametrize("change", [{"repeat": True}, {"cost_usd": -1}, {"usage": {"prompt_tokens": True}}], ids=str)
def test_verdicts_with_flags_for_numbers(change: dict[str, object], here: Path, program: Program) -> None:
    path = here / "results" / "gentle.s1.correctness.sim.jsonl"
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps(json.loads(first) | change) + "\n" + "".join(rest))
    refused(program("judge", "compare", *PAIR), "line 1")
