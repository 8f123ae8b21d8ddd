"""What the programs print: data on stdout, messages and progress on stderr."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from equiloss.files import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


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
