"""Column names of other people's data: recognised and said, or refused by name, never read as empty."""

import json
from pathlib import Path
from typing import Any

import pytest

from equiloss.errors import InputError
from ift.data.formats import example, read_examples


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "Sum.", "context": "1, 2", "response": "3"}, ("Sum.", "1, 2", "3")),
        ({"question": "1 + 2?", "answer": "3"}, ("1 + 2?", "", "3")),
        ({"prompt": "1 + 2 =", "completion": "3"}, ("1 + 2 =", "", "3")),
        ({"instruction": "Sum.", "input": None, "output": "3"}, ("Sum.", "", "3")),
    ],
)
def test_the_usual_names_are_read(row: dict[str, Any], expected: tuple[str, str, str]) -> None:
    read = example(row, "x")
    assert (read.instruction, read.input, read.reference) == expected


def test_a_system_prompt_is_read_under_either_name() -> None:
    for name in ("system", "system_prompt"):
        assert example({"question": "1 + 2?", "response": "3", name: "Be brief."}, "x").system == "Be brief."


def test_what_was_read_as_what_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dolly.jsonl"
    path.write_text(json.dumps({"instruction": "Sum.", "context": "1, 2", "response": "3"}) + "\n")
    read_examples(str(path))
    assert "reading context as input, response as output" in " ".join(capsys.readouterr().err.split())


def test_an_unknown_column_in_place_of_the_output_is_named() -> None:
    with pytest.raises(InputError, match="x has no output, but chosen, rejected"):
        example({"instruction": "Sum.", "chosen": "3", "rejected": "4"}, "x")


@pytest.mark.parametrize("turn", [["1 + 1?", "2"], {"instruction": "1 + 1?", "input": "", "response": "2"}])
def test_earlier_turns_are_kept(turn: Any) -> None:
    read = example({"instruction": "And 3?", "output": "5", "history": [turn]}, "x")
    assert [(one.instruction, one.response) for one in read.history] == [("1 + 1?", "2")]
    assert read.id != example({"instruction": "And 3?", "output": "5"}, "x").id


@pytest.mark.parametrize("history", ["text", [["alone"]], [5]])
def test_a_history_that_is_none_is_refused(history: Any) -> None:
    with pytest.raises(InputError, match="x: history"):
        example({"instruction": "And 3?", "output": "5", "history": history}, "x")
