import pytest

from equiloss import console


def test_json_on_stdout_refuses_nan(capsys):
    console.emit_json({"ä": 1})
    assert capsys.readouterr().out == '{\n  "ä": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
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
