"""Shows an answer in the terminal without its author and asks for a score."""

from __future__ import annotations

from collections.abc import Callable

import typer

from equiloss.records.response import Response
from equiloss.redaction import visible
from judge.labelling.label import LabellingSession, scale_words


def prompt(session: LabellingSession) -> Callable[[Response, int, int], float | None]:
    """A function that shows an answer and reads its score on the rubric's scale; None when the person stops."""

    def show(text: str) -> None:
        typer.echo(visible(text), err=True)

    front = session.rubric.front
    show(front.description)
    for criterion in front.criteria:
        show(f"  {criterion.name}: {criterion.description}")
    scale = scale_words(front.scale)

    def ask(response: Response, place: int, total: int) -> float | None:
        show(f"\n--- {place} of {total} ---\n{response.instruction}")
        texts = {"input": response.input, "reference": session.reference(response), "answer": response.output}
        for name, text in texts.items():
            if text or name == "answer":
                show(f"\n[{name}]\n{text or '(empty)'}")
        while True:
            try:
                reply = str(typer.prompt(f"\nscore {scale}, q stops", err=True))
            except typer.Abort:  # the end of the input, or Ctrl-C: what is said next begins a line
                typer.echo(err=True)
                return None
            if reply.strip().lower() == "q":
                return None
            if (value := session.read(reply)) is not None:
                return value
            typer.echo(f"a score from {scale}, please", err=True)

    return ask
