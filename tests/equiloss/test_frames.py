"""Result files as frames: columns and types whatever the files hold, and every way to name them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from pydantic import BaseModel

from equiloss import frames
from equiloss.errors import InputError
from equiloss.records.frame import frame_of

GOLDEN = Path(__file__).parents[1] / "golden"
RESULTS = GOLDEN / "results"


@pytest.mark.parametrize(
    ("read", "where", "columns"),
    [
        (frames.responses, RESULTS, frames.RESPONSES),
        (frames.verdicts, RESULTS, frames.VERDICTS),
        (frames.runs, RESULTS, frames.RUNS),
        (frames.evaluations, GOLDEN / "runs/base", frames.EVALUATIONS),
    ],
)
def test_the_documented_columns_come_first_with_their_types(read, where, columns) -> None:
    frame = read(where)
    assert len(frame)
    assert list(frame)[: len(columns) + 1] == ["path", *columns]
    assert {name: str(frame[name].dtype) for name in columns} == columns
    assert set(frame["path"]) <= {str(path) for path in where.iterdir()}


def test_a_row_for_every_line_and_no_score_for_a_failure() -> None:
    answers, scores = frames.responses(RESULTS), frames.verdicts(RESULTS)
    lines = [json.loads(line) for path in RESULTS.glob("*.jsonl") for line in path.read_text().splitlines()]
    kinds = pd.Series([line.get("schema", "").split(".")[1:2] for line in lines]).str.join("").value_counts()
    assert (len(answers), len(scores)) == (kinds["response"], kinds["verdict"])
    assert kinds["failure"] > 0
    assert scores["value"].notna().all()


def test_files_patterns_and_several_of_them() -> None:
    first = frames.responses(RESULTS / "brisk.s1.jsonl")
    both = frames.responses(str(RESULTS / "brisk.s?.jsonl"))
    assert sorted(set(both["generator"])) == ["brisk.s1", "brisk.s2"]
    pd.testing.assert_frame_equal(first, both[both["generator"] == "brisk.s1"])
    again = frames.responses([RESULTS / "brisk.s1.jsonl", RESULTS / "brisk.s2.jsonl"])
    pd.testing.assert_frame_equal(again, both)


def test_the_losses_of_documents_make_the_evaluations_mean() -> None:
    losses = frames.losses(GOLDEN / "runs/base/world.test.eval.json")
    assert {name: str(losses[name].dtype) for name in losses} == frames.LOSSES
    [mean] = frames.evaluations(GOLDEN / "runs/base/world.test.eval.json")["loss_nats_value"]
    assert losses["nats"].sum() / losses["tokens"].sum() == pytest.approx(mean)


def test_fields_of_ones_own_are_columns_and_foreign_files_are_read(tmp_path: Path) -> None:
    row = {"instruction": "Say it.", "input": "", "output": "it", "model_response": "no", "mine": 1.5}
    (tmp_path / "a.json").write_text(json.dumps([row]))
    frame = frames.responses(tmp_path / "a.json")
    assert (frame.loc[0, "generator"], frame.loc[0, "reference"], frame.loc[0, "mine"]) == ("a", "it", 1.5)
    assert frame["seed"].isna().all()


@pytest.mark.parametrize("read", [frames.responses, frames.verdicts, frames.runs, frames.evaluations])
def test_what_is_not_there_is_said(read, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file of this kind"):
        read(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "x.json")


class Part(BaseModel):
    interval: tuple[float, float]
    counts: tuple[int, int] = (1, 2)


class Whole(BaseModel):
    name: str
    part: Part | None = None
    runs: list[str] = []
    others: list[Part] = []


class Document(BaseModel):
    title: str = ""
    rows: list[Whole] = []
    words: list[str] = []
    pairs: tuple[Part, ...] = ()


def test_parts_intervals_and_lists_of_records() -> None:
    rows = [Whole(name="a", part=Part(interval=(1.0, 2.0)), runs=["x", "y"]), Whole(name="b", others=[])]
    frame = frames.tables(Document(rows=rows))["rows"]
    assert list(frame) == ["name", "part_interval_low", "part_interval_high", "runs"]
    first, second = frame.to_dict("records")
    assert list(first.values()) == ["a", 1.0, 2.0, "x, y"]
    assert frame["part_interval_low"].isna().tolist() == [False, True]
    assert second["name"] == "b"
    assert set(frames.tables(Document())) == {"rows", "pairs"}
    assert list(frame_of([], {"x": "Int64"})) == ["x"]


def test_importing_it_imports_no_pandas() -> None:
    code = "import sys, equiloss.frames; print(sorted({'pandas', 'scipy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
