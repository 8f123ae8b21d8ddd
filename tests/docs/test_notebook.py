"""The example of docs/notebook.md, run on the golden files, prints what the page shows; its tables name the columns."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from equiloss import frames

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/notebook.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "tests/golden")
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == PAGE.count("```python") > 3
    for code, shown in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        lines = [line.rstrip() for line in printed.getvalue().splitlines()]
        assert lines == shown.splitlines()


@pytest.mark.parametrize("name", ["responses", "verdicts", "runs", "evaluations", "losses"])
def test_the_columns_are_those_of_the_page(name: str) -> None:
    rows = re.findall(rf"^\| `{name}` \| (\w+) \| (.*) \|$", PAGE, re.MULTILINE)
    told = {column: dtype for dtype, columns in rows for column in re.findall(r"`(\w+)`", columns)}
    assert told == getattr(frames, name.upper())
