"""A person rates a blind sample of answers in the terminal; every rating is kept at once, so it can be broken off."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ift.records import Response
from judge.results import Judged
from pretrain.errors import InputError
from pretrain.runs import append_jsonl, read_jsonl

LABEL_SCHEMA = "equiloss.label.v1"


class Label(BaseModel):
    """A person's rating of an answer. `round` is 0 for the first, 1 where the same answer was rated again."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, serialize_by_alias=True)

    id: str
    generator: str
    value: float
    round: int = 0
    rater: str = ""
    schema_: str = Field(default=LABEL_SCHEMA, alias="schema")


def read_labels(path: Path) -> list[Label]:
    """Read a labels file.

    Raises: InputError when it is missing, empty or broken, with the line.
    """
    found: list[Label] = []
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            found.append(Label.model_validate(row))
        except ValidationError as error:
            raise InputError(f"{path}: line {number}: {error.errors()[0]['msg']}", "delete that line") from None
    return found


def sample(judged: Sequence[Judged], n: int, retest: float = 0.2, seed: int = 0) -> list[tuple[Response, int]]:
    """Answers to rate in a random order, then a share of them again: (answer, round). The same for the same seed.

    Raises: InputError when there are no answers.
    """
    answers = [one for run in judged for one in run.responses.values()]
    if not answers:
        raise InputError("no answers to rate", "name result files")
    rng = random.Random(f"label:{seed}")
    first = rng.sample(answers, min(n, len(answers)))
    again = rng.sample(first, round(retest * len(first)))
    return [(one, 0) for one in first] + [(one, 1) for one in again]


def rate(
    tasks: Sequence[tuple[Response, int]],
    path: Path,
    ask: Callable[[Response, int, int], float | None],
    rater: str = "",
) -> int:
    """Ask for a rating of every task that `path` does not hold yet, until `ask` returns None; returns how many came.

    `ask` gets the answer, its place and the number of tasks; it must not show who wrote the answer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held = read_labels(path) if path.exists() and path.stat().st_size else []
    done = {(one.generator, one.id, one.round) for one in held if one.rater == rater}
    count = 0
    for place, (response, again) in enumerate(tasks, start=1):
        if (response.generator, response.id, again) in done:
            continue
        value = ask(response, place, len(tasks))
        if value is None:
            break
        row = {"id": response.id, "generator": response.generator, "value": value, "round": again, "rater": rater}
        append_jsonl(path, Label.model_validate(row).model_dump(by_alias=True))
        count += 1
    return count
