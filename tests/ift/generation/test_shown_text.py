"""What data hold reaches a terminal as text: control characters are shown, not sent."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from ift.cli.main import program

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def test_escapes_in_answers_and_items_are_shown(tmp_path: Path) -> None:
    row = {"instruction": f"ask{ESCAPE}", "input": ESCAPE, "output": f"out{ESCAPE}", "category": ESCAPE}
    file = tmp_path / "a.json"
    file.write_text(json.dumps([row]), encoding="utf-8")
    for command in (["show", str(file)], ["preview", "--data", str(file)]):
        shown = CliRunner().invoke(program, command)
        assert shown.exit_code == 0, shown.exception
        assert "\x1b]0" not in shown.output
        assert "\x1b[2J" not in shown.output
        assert "\\x1b" in shown.output
