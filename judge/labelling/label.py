"""A person rates a blind sample of answers; every rating is kept at once, so it can be broken off."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from equiloss.errors import InputError
from equiloss.files import append_jsonl, read_jsonl
from equiloss.records.response import Response
from judge.data.verdicts import Judged
from judge.rubrics import Rubric

LABEL_SCHEMA = "equiloss.label.v1"
Key = tuple[str, str]  # generator, item


class Label(BaseModel):
    """A person's rating of an answer. `round` is 0 for the first, 1 where the same answer was rated again.

    `rubric`, `low` and `high` say by what and on which scale; a later line for the same answer, round and rater
    replaces an earlier one.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, serialize_by_alias=True)

    id: str
    generator: str
    value: float
    round: int = 0
    rater: str = ""
    rubric: str = ""
    low: float | None = None
    high: float | None = None
    schema_: str = Field(default=LABEL_SCHEMA, alias="schema")


@dataclass(frozen=True)
class Ruler:
    """What a person rates by: the rubric's scale and words, and whether the reference is shown."""

    rubric: str
    description: str
    criteria: tuple[tuple[str, str], ...]
    values: tuple[float, ...]
    reference: bool

    @classmethod
    def of(cls, rubric: Rubric) -> Ruler:
        """The ruler of a rubric that gives scores.

        Raises: InputError for a rubric that asks for a preference.
        """
        front = rubric.front
        if front.output.type == "preference":
            raise InputError(
                f"rubric {rubric.name!r} asks which of two is better; answers are rated one by one",
                "rate by a rubric that gives scores",
            )
        words = tuple((one.name, one.description) for one in front.criteria)
        values = tuple(float(one) for one in front.scale.values)
        return cls(rubric.name, front.description, words, values, front.reference != "none")

    @property
    def low(self) -> float:
        """The least score."""
        return self.values[0]

    @property
    def high(self) -> float:
        """The greatest score."""
        return self.values[-1]

    def read(self, text: str) -> float | None:
        """The score that a person typed; None when it is not on the scale."""
        try:
            value = float(text.replace(",", "."))
        except ValueError:
            return None
        return value if any(abs(value - one) < 1e-9 for one in self.values) else None

    @property
    def words(self) -> str:
        """The scale in words: "0 to 100", or "0 to 100 in steps of 5"."""
        step = self.values[1] - self.values[0]
        return f"{self.low:g} to {self.high:g}" + ("" if step == 1 else f" in steps of {step:g}")


@dataclass(frozen=True)
class Task:
    """An answer to rate, in a round: 0, or 1 where it is rated again."""

    response: Response
    round: int


class LabellingSession:
    """A sample of answers, and the ratings that a person gave so far."""

    def __init__(self, tasks: Sequence[Task], path: Path, ruler: Ruler, rater: str = "") -> None:
        """Raises: InputError when the file holds something else, or ratings by another rubric."""
        self.tasks, self.path, self.ruler, self.rater = list(tasks), path, ruler, rater
        path.parent.mkdir(parents=True, exist_ok=True)
        held = read_labels(path) if path.exists() and path.stat().st_size else []
        if other := next((one.rubric for one in held if one.rubric and one.rubric != ruler.rubric), None):
            raise InputError(f"{path}: holds ratings by rubric {other!r}", "name another file with -o")
        self._given = {(one.generator, one.id, one.round): one.value for one in held if one.rater == rater}

    @property
    def done(self) -> int:
        """How many of the tasks are rated."""
        return sum(self.value(place) is not None for place in range(len(self.tasks)))

    def value(self, place: int) -> float | None:
        """The rating of a task; None when it has none yet."""
        task = self.tasks[place]
        return self._given.get((task.response.generator, task.response.id, task.round))

    def next(self) -> int | None:
        """The place of the first task without a rating; None when all are rated."""
        return next((place for place in range(len(self.tasks)) if self.value(place) is None), None)

    def rate(self, place: int, value: float) -> None:
        """Keep a rating, on disk before anything else happens."""
        task = self.tasks[place]
        label = Label(
            id=task.response.id,
            generator=task.response.generator,
            value=value,
            round=task.round,
            rater=self.rater,
            rubric=self.ruler.rubric,
            low=self.ruler.low,
            high=self.ruler.high,
        )  # pyright: ignore[reportCallIssue]
        append_jsonl(self.path, label.model_dump(by_alias=True))
        self._given[label.generator, label.id, label.round] = value


def read_labels(path: Path) -> list[Label]:
    """Read a labels file; of several lines for one answer, round and rater the last counts.

    Raises: InputError when it is missing, empty or broken, with the line.
    """
    found: dict[tuple[str, str, int, str], Label] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            label = Label.model_validate(row)
        except ValidationError as error:
            raise InputError(f"{path}: line {number}: {error.errors()[0]['msg']}", "delete that line") from None
        found[label.generator, label.id, label.round, label.rater] = label
    return list(found.values())


def sample(judged: Sequence[Judged], n: int, retest: float = 0.2, seed: int = 0) -> list[Task]:
    """Answers to rate in a random order, then a share of them again. The same for the same seed.

    Raises: InputError when there are no answers.
    """
    answers = [one for run in judged for one in run.responses.values()]
    if not answers:
        raise InputError("no answers to rate", "name result files")
    rng = random.Random(f"label:{seed}")
    first = rng.sample(answers, min(n, len(answers)))
    again = rng.sample(first, round(retest * len(first)))
    return [Task(one, 0) for one in first] + [Task(one, 1) for one in again]


def rate(session: LabellingSession, ask: Callable[[Response, int, int], float | None]) -> int:
    """Ask for a rating of every task that has none, until `ask` returns None; returns how many came.

    `ask` gets the answer, its place from 1 and the number of tasks; it must not show who wrote the answer.
    """
    count = 0
    while (place := session.next()) is not None:
        value = ask(session.tasks[place].response, place + 1, len(session.tasks))
        if value is None:
            break
        session.rate(place, value)
        count += 1
    return count


def first_ratings(labels: Sequence[Label]) -> dict[Key, float]:
    """Every answer's first rating, the mean over raters."""
    found: dict[Key, list[float]] = {}
    for one in labels:
        if one.round == 0:
            found.setdefault((one.generator, one.id), []).append(one.value)
    return {key: sum(values) / len(values) for key, values in found.items()}


def retests(labels: Sequence[Label]) -> list[tuple[float, float]]:
    """First and second rating of every answer that a person rated twice."""
    first = {(one.rater, one.generator, one.id): one.value for one in labels if one.round == 0}
    again = {(one.rater, one.generator, one.id): one.value for one in labels if one.round == 1}
    return [(first[key], value) for key, value in again.items() if key in first]


def fitting(labels: Sequence[Label], rubric: str, scale: tuple[float, float]) -> list[Label]:
    """The labels by a rubric, on its scale.

    Raises: InputError when there are labels but none by this rubric, or on another scale.
    """
    mine = [one for one in labels if one.rubric in ("", rubric)]
    if labels and not mine:
        others = ", ".join(sorted({one.rubric for one in labels}))
        raise InputError(f"the labels are by rubric {others}, not {rubric}", "choose with --rubric, or label again")
    low = min((one.value if one.low is None else one.low for one in mine), default=scale[0])
    high = max((one.value if one.high is None else one.high for one in mine), default=scale[1])
    alike = scale[0] <= low and high <= scale[1]
    wider = all(one.rubric == rubric for one in mine) and low <= scale[0] and scale[1] <= high  # of scores given alone
    if not (alike or wider):
        raise InputError(
            f"the labels are not on the rubric's scale from {scale[0]:g} to {scale[1]:g}", "label again, by the rubric"
        )
    return mine
