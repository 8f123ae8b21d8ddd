"""Result files in other tools' formats."""

import csv
import json

import pytest
from click.testing import CliRunner

from ift.records import read_responses
from judge import exchange, results
from judge.cli import program
from pretrain.errors import InputError


def test_a_table_has_a_row_for_every_verdict_and_for_every_answer_without_one(write_run, tmp_path):
    outputs = ["one, two", 'say "x"\nnext', "three"]
    judged = results.load([write_run("a", [[1.0, 2.5, None]], outputs=outputs), write_run("b", [[4.0, 5.0, 6.0]])])
    assert exchange.export(judged, "csv", tmp_path / "t.csv") == 6
    with (tmp_path / "t.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    assert [row["value"] for row in rows] == ["1.0", "2.5", "", "4.0", "5.0", "6.0"]
    assert [row["output"] for row in rows[:3]] == outputs
    parquet = pytest.importorskip("pyarrow.parquet")
    exchange.export(judged, "parquet", tmp_path / "t.parquet")
    assert parquet.read_table(tmp_path / "t.parquet").column("value").to_pylist() == [1.0, 2.5, None, 4.0, 5.0, 6.0]


@pytest.mark.parametrize("kind", ["alpaca-eval", "diary"])
def test_answers_come_back_as_they_were(kind, write_run, tmp_path):
    a = write_run("a", [[1.0, 2.0]], categories=["x", "y"])
    out = tmp_path / "out" / "a.json"
    result = CliRunner().invoke(program, ["exchange", str(a), "--to", kind, "-o", str(out)])
    assert result.exit_code == 0, result.output
    before, after = read_responses(a), read_responses(out)
    assert [one.output for one in after] == [one.output for one in before]
    assert [one.id for one in after] == [one.id for one in before]
    assert json.loads(out.read_text())[0]["instruction"] == "Question 0?"


def test_one_run_at_a_time_where_the_format_holds_one(write_run, tmp_path):
    judged = results.load([write_run("a", [[1.0]]), write_run("b", [[1.0]])])
    with pytest.raises(InputError, match="one run"):
        exchange.export(judged, "diary", tmp_path / "x.json")
