import json

import pytest

from equiloss import console
from equiloss.errors import InputError
from equiloss.progress import ProgressBar


def test_json_on_stdout_refuses_nan(capsys):
    console.emit_json({"ä": 1})
    assert capsys.readouterr().out == '{\n  "ä": 1\n}\n'
    with pytest.raises(InputError, match="comes out infinite, or as no number"):
        console.emit_json({"x": float("nan")})


def test_messages_are_never_markup(capsys):
    console.say("[red]kept[/red]")
    assert "[red]kept[/red]" in capsys.readouterr().err


def test_the_cells_of_a_table_are_text(capsys):
    console.emit_table(console.table("t [x]", "lr", ["[b]", "n"], [["[red]", "1"], ["a", "12"]], "[/c]"))
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("t [x]", "[b]", "[red]", "[/c]", "│  1 │"))
    with pytest.raises(ValueError, match="shorter"):
        console.table("", "lr", ["a", "b"], [["1"]])


ODD = "\x1b]0;title\x07 \x9b2J \u202e sk-planted"


def test_control_characters_and_secrets_reach_no_terminal(capsys, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-planted")
    console.say(ODD)
    console.warn(ODD)
    console.out().print(ODD, markup=False)
    console.write(ODD)
    console.emit_table(console.table(ODD, "l", [ODD], [[ODD]], ODD))
    console.emit_json({ODD: ODD})
    with ProgressBar(ODD, 3) as bar:
        bar.line(ODD)
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert "title" in text
        assert not any(character in text for character in ("\x1b", "\x07", "\x9b", "\u202e", "planted"))
    console.emit_json({"x": ODD.removesuffix("sk-planted")})
    assert json.loads(capsys.readouterr().out) == {"x": ODD.removesuffix("sk-planted")}
