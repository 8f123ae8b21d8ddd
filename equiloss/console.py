"""What the programs print: data on stdout, messages and progress on stderr, errors on one line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

import click

from equiloss.errors import EquilossError
from equiloss.files import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

INTERRUPTED = 130

# Which extra of the distribution brings a library that a command imports when it runs.
EXTRAS = {
    "torch": "train",
    "safetensors": "train",
    "tokenizers": "train",
    "matplotlib": "train",
    "pyarrow": "train",
    "datasets": "hub",
    "huggingface_hub": "hub",
}


@cache
def err() -> Console:
    """The console for messages and progress (stderr). Honours NO_COLOR."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False)


@cache
def out() -> Console:
    """The console for tables (stdout); plain and unwrapped when it is not a terminal."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 200
    return Console(highlight=False, width=width)


def say(message: str) -> None:
    """One line for the person on stderr. Square brackets stay text: data is never markup."""
    err().print(message, markup=False)


def warn(message: str) -> None:
    """A warning on stderr that the person should act on."""
    err().print(f"warning: {message}", markup=False, style="yellow")


def read_line(prompt: str = "> ") -> str | None:
    """A line from stdin, None at its end; the prompt goes to stderr and only on a terminal."""
    if sys.stdin.isatty():
        sys.stderr.write(prompt)
        sys.stderr.flush()
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else None


def emit_json(document: Any) -> None:
    """Print one JSON document on stdout: what `--json` promises."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False, default=plain) + "\n")


def emit_table(table: Table) -> None:
    """Print a rich table on stdout."""
    out().print(table)


def run(command: click.Command, name: str) -> NoReturn:
    """Run a program and turn whatever happens into the documented exit code.

    0 done; 1 failed; 2 usage or bad input; 3 incomplete, resumable by the same command; 4 stopped at the budget;
    130 interrupted. Set EQUILOSS_TRACEBACK=1 to see the traceback of an expected error.
    """
    try:
        command.main(prog_name=name, standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), f"`{name} --help` shows the usage", code=2)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", code=INTERRUPTED)
    except EquilossError as error:
        if os.environ.get("EQUILOSS_TRACEBACK"):
            raise
        _fail(str(error), code=error.exit_code)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        _fail(f"this needs {library}", f"pip install 'equiloss[{EXTRAS[library]}]'", code=2)
    except BrokenPipeError:
        # The reader of stdout went away (`| head`): not an error. Keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if os.environ.get("EQUILOSS_TRACEBACK"):
            raise
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", code=1)
    sys.exit(0)


def _fail(message: str, hint: str = "", *, code: int) -> NoReturn:
    text = " ".join(message.split()).rstrip(".")
    sys.stderr.write(f"error: {text}{'. ' + hint if hint else ''}\n")
    sys.exit(code)


def option_set(function: Callable[..., Any]) -> Callable[..., Any]:
    """The `--set section.key=value` option that every program with a TOML config takes."""
    return click.option(
        "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a config field, e.g. --set train.lr=0.001."
    )(function)


def option_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """The `--json` option: one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(function)
