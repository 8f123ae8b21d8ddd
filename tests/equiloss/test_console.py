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
