import click
import pytest

from equiloss import console
from equiloss.errors import BudgetError, EquilossError, IncompleteError, InputError


def program_raising(error: BaseException) -> click.Command:
    @click.command()
    def program() -> None:
        raise error

    return program


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (EquilossError("it broke", "try again"), 1, "error: it broke. try again\n"),
        (InputError("a.json: not JSON.", "mend it"), 2, "error: a.json: not JSON. mend it\n"),
        (IncompleteError("half done"), 3, "error: half done\n"),
        (BudgetError("stopped at $1"), 4, "error: stopped at $1\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "error: x: No such file or directory\n"),
        (click.UsageError("no such option"), 2, "error: no such option. `prog --help` shows the usage\n"),
        (InputError("two\nlines  here"), 2, "error: two lines here\n"),
        (
            ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"),
            2,
            "error: this needs torch. pip install 'equiloss[train]'\n",
        ),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(error, code, line, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["prog"])
    with pytest.raises(SystemExit) as stop:
        console.run(program_raising(error), "prog")
    captured = capsys.readouterr()
    assert (stop.value.code, captured.err.lstrip("\n"), captured.out) == (code, line, "")


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("sys.argv", ["prog"])
    with pytest.raises(ZeroDivisionError):
        console.run(program_raising(ZeroDivisionError()), "prog")


def test_json_on_stdout_refuses_nan(capsys):
    console.emit_json({"ä": 1})
    assert capsys.readouterr().out == '{\n  "ä": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        console.emit_json({"x": float("nan")})


def test_messages_are_never_markup(capsys):
    console.say("[red]kept[/red]")
    assert "[red]kept[/red]" in capsys.readouterr().err
