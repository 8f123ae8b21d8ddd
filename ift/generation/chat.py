"""`ift chat`: try a model by hand."""

from __future__ import annotations

from collections.abc import Callable

from equiloss.records.response import Example, Turn, conversation_id
from ift.generation.answerer import Answerer

HELP = "Type an instruction; an empty line or Ctrl-D ends, /new forgets what was said."


def chat(
    answerer: Answerer, read: Callable[[], str | None], write: Callable[[str], None], seed: int, history: bool
) -> int:
    """Answer line after line until `read` gives None or an empty line; how many were answered.

    With `history` the model sees the earlier turns, which helps only where it was trained on conversations.
    """
    turns: list[Turn] = []
    count = 0
    while True:
        line = read()
        if line is None or not line.strip():
            return count
        if line.strip() == "/new":
            turns.clear()
            continue
        earlier = tuple(turns) if history else ()
        example = Example(id=conversation_id(line, "", earlier, ""), instruction=line, history=earlier)
        fitting, _ = answerer.answerable([example])
        if not fitting:
            write("(too long for the model's context; /new forgets what was said)")
            continue
        (answer,) = answerer.answer(fitting, "chat", seed + count)
        write(answer.output)
        turns.append(Turn(instruction=line, response=answer.output))
        count += 1
