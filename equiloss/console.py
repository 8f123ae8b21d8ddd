"""What the programs print: data on stdout, messages and progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from equiloss.files import json_text
from equiloss.redaction import CONTROL, scrub, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def _console(**options: Any) -> Console:
    """A console that shows control characters of texts as escapes, and no secret."""
    from rich.console import Console

    class VisibleConsole(Console):
        """See `equiloss.redaction.visible`."""

        @override
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(visible(part) if isinstance(part, str) else part for part in objects), **options)

    return VisibleConsole(highlight=False, **options)


@cache
def err() -> Console:
    """The console for messages and progress (stderr). Honours NO_COLOR."""
    return _console(stderr=True, soft_wrap=True)


@cache
def out() -> Console:
    """The console for tables (stdout); plain and unwrapped when it is not a terminal."""
    return _console(width=None if sys.stdout.isatty() else 200)


def say(*messages: str) -> None:
    """Lines for the person on stderr. Square brackets stay text: data is never markup."""
    for message in messages:
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


def write(text: str) -> None:
    """A text of data on stdout, its control characters shown, not sent: a terminal may be behind any pipe."""
    sys.stdout.write(visible(text) + "\n")


def emit_json(document: Any) -> None:
    """Print one JSON document on stdout: what `--json` promises."""
    text = json_text(document, indent=2)
    sys.stdout.write(CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", scrub(text)) + "\n")


def emit_table(table: Table) -> None:
    """Print a rich table on stdout."""
    out().print(table)


def table(
    title: str, align: str, headings: Iterable[str], rows: Iterable[Iterable[str]], caption: str | None = None
) -> Table:
    """A table for `emit_table`. `align` has a letter a column: l left, w left and never broken, r right.

    Cells stay text: data is never markup. Raises: ValueError when a row or the headings are not of that many cells.
    """
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    shown = Table(
        title=escape(visible(title)),
        title_justify="left",
        caption=caption and escape(visible(caption)),
        caption_justify="left",
    )
    for letter, heading in zip(align, headings, strict=True):
        shown.add_column(
            Text(visible(heading)), justify="right" if letter == "r" else "left", no_wrap=letter == "w", overflow="fold"
        )
    for row in rows:
        shown.add_row(*(Text(visible(cell)) for _, cell in zip(align, row, strict=True)))
    return shown
