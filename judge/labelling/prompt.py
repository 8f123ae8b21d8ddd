"""Shows an answer in the terminal without its author and asks for a score."""

from __future__ import annotations

from collections.abc import Callable

import click

from ift.records import Response


def prompt(low: float, high: float) -> Callable[[Response, int, int], float | None]:
    """A function that shows an answer and reads its score from `low` to `high`; None when the person stops."""

    def ask(response: Response, place: int, total: int) -> float | None:
        click.echo(f"\n--- {place} of {total} ---\n{response.instruction}", err=True)
        for name, text in (("input", response.input), ("reference", response.reference), ("answer", response.output)):
            if text or name == "answer":
                click.echo(f"\n[{name}]\n{text or '(empty)'}", err=True)
        while True:
            try:
                reply = click.prompt(f"\nscore {low:g} to {high:g}, q stops", err=True)
            except click.Abort:
                return None
            if str(reply).strip().lower() == "q":
                return None
            try:
                value = float(reply)
            except ValueError:
                value = float("nan")
            if low <= value <= high:
                return value
            click.echo(f"a number from {low:g} to {high:g}, please", err=True)

    return ask
