"""Shows an answer in the terminal without its author and asks for a score."""

from __future__ import annotations

from collections.abc import Callable

import typer

from equiloss.records.response import Response
from judge.labelling.label import Ruler


def prompt(ruler: Ruler) -> Callable[[Response, int, int], float | None]:
    """A function that shows an answer and reads its score on the ruler's scale; None when the person stops."""
    typer.echo(f"{ruler.description}", err=True)
    for name, description in ruler.criteria:
        typer.echo(f"  {name}: {description}", err=True)

    def ask(response: Response, place: int, total: int) -> float | None:
        typer.echo(f"\n--- {place} of {total} ---\n{response.instruction}", err=True)
        reference = response.reference if ruler.reference else ""
        for name, text in (("input", response.input), ("reference", reference), ("answer", response.output)):
            if text or name == "answer":
                typer.echo(f"\n[{name}]\n{text or '(empty)'}", err=True)
        while True:
            try:
                reply = str(typer.prompt(f"\nscore {ruler.words}, q stops", err=True))
            except typer.Abort:
                return None
            if reply.strip().lower() == "q":
                return None
            if (value := ruler.read(reply)) is not None:
                return value
            typer.echo(f"a score from {ruler.words}, please", err=True)

    return ask
