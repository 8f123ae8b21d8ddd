import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from equiloss import cli
from equiloss.cli import JsonFlag, Sets, positive
from equiloss.errors import BudgetError, EquilossError, IncompleteError, InputError


@dataclass
class Module:
    commands: typer.Typer


class GateError(EquilossError):
    exit_code = 5


def raising(error: BaseException) -> typer.Typer:
    commands = typer.Typer()

    @commands.command()
    def act() -> None:
        raise error

    return cli.program("A program.", Module(commands))


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (EquilossError("it broke", "try again"), 1, "error: it broke. try again\n"),
        (InputError("a.json: not JSON.", "mend it"), 2, "error: a.json: not JSON. mend it\n"),
        (IncompleteError("half done"), 3, "error: half done\n"),
        (
            OSError(30, "Read-only file system"),
            3,
            "error: Read-only file system. make it writable; the same command then goes on\n",
        ),
        (BudgetError("stopped at $1"), 4, "error: stopped at $1\n"),
        (GateError("A is worse"), 5, "error: A is worse\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (typer.Abort(), 130, "error: interrupted\n"),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "error: x: No such file or directory\n"),
        (
            OSError(36, "File name too long", "x" * 5000),
            2,
            f"error: {'x' * 60}…: File name too long. name another, or mend the record that names it\n",
        ),
        (BrokenPipeError(), 0, ""),
        (InputError("two\nlines  here"), 2, "error: two lines here\n"),
        (
            ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"),
            2,
            "error: this needs torch, which is not installed. in a checkout of equiloss: pip install '.[train]'\n",
        ),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(error, code, line, monkeypatch, capfd):
    monkeypatch.setattr("sys.argv", ["prog", "act"])
    with pytest.raises(SystemExit) as stop:
        cli.run(raising(error), "prog")
    captured = capfd.readouterr()
    assert (stop.value.code, captured.err.lstrip("\n"), captured.out) == (code, line, "")


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("sys.argv", ["prog", "act"])
    with pytest.raises(ZeroDivisionError):
        cli.run(raising(ZeroDivisionError()), "prog")


@pytest.fixture
def given(monkeypatch, capsys):
    """Run a program with one command of the shared options: what it was given, or its exit code and what it said."""
    commands = typer.Typer()
    values: list[object] = []

    @commands.command()
    def act(
        *, rate: Annotated[float | None, typer.Option(callback=positive)] = None, sets: Sets, as_json: JsonFlag = False
    ) -> None:
        values.append((rate, sets, as_json))

    def run(*arguments: str) -> object:
        monkeypatch.setattr("sys.argv", ["prog", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.run(cli.program("A program.", Module(commands)), "prog")
        captured = capsys.readouterr()
        return values.pop() if values else (stop.value.code, captured.out + captured.err)

    return run


def test_shared_options(given):
    assert given("act") == (None, [], False)
    assert given("act", "--rate", "0.5", "--set", "a=1", "--set", "b=2", "--json") == (0.5, ["a=1", "b=2"], True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "Missing command. `prog --help` shows the usage"),
        ("ac", "No such command 'ac'. Did you mean 'act'? `prog --help` shows the usage"),
        ("act x", "Got unexpected extra argument(s) (x). `prog act --help` shows the usage"),
        ("act --nosuch", "No such option: --nosuch. `prog act --help` shows the usage"),
        ("act --rate", "Option '--rate' requires an argument. `prog --help` shows the usage"),
        ("act --rate 0", "Invalid value for '--rate': must be greater than 0. `prog act --help` shows the usage"),
    ],
)
def test_a_mistake_in_the_usage_is_one_line_that_names_the_command(given, arguments, message):
    assert given(*arguments.split()) == (2, f"error: {message}\n")


def test_version_and_help(given):
    code, text = given("--version")
    assert (code, text.startswith("prog, version ")) == (0, True)
    assert given("-h") == given("--help")
    assert given("act", "-h")[1].startswith("Usage: prog act [OPTIONS]")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell):
    def asked(instruction: str, **variables: str) -> str:
        environment = {"_JUDGE_COMPLETE": f"{instruction}_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        return subprocess.run(
            [sys.executable, "-m", "judge"], env={**environment, **variables}, capture_output=True, text=True
        ).stdout

    def completions(words: str) -> str:
        place = str(len(words.split()) - 1)
        return asked("complete", COMP_WORDS=words, COMP_CWORD=place, _TYPER_COMPLETE_ARGS=words)

    assert "_JUDGE_COMPLETE=complete_" + shell in asked("source")
    assert "score" in completions("judge sco")
    assert "--max-usd" in completions("judge score --max")
    assert "pointwise" in completions("judge score --layout p")
