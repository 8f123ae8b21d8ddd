"""A person rates a blind sample of answers; every rating is kept at once, so it can be broken off."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pydantic import Field

from equiloss.errors import InputError
from equiloss.files import append_jsonl, read_jsonl
from equiloss.numerals import plain
from equiloss.records.file_record import FileRecord, parse
from equiloss.records.response import Response
from equiloss.records.verdict import pair_id
from judge.data.verdicts import Judged
from judge.rubrics import Rubric, Scale

LABEL_SCHEMA = "equiloss.label.v1"
Key = tuple[str, str]  # generator, item or comparison


class Label(FileRecord):
    """A person's rating of an answer. `round` is 0 for the first, 1 where the same answer was rated again.

    `rubric`, `low` and `high` say by what and on which scale; `against` whose answer it was compared with, if it was: 1
    is then better, 0.5 a tie. A later line for the same answer, round and rater replaces an earlier one.
    """

    id: str
    generator: str
    value: float
    round: int = 0
    rater: str = ""
    rubric: str = ""
    low: float | None = None
    high: float | None = None
    against: str = ""
    schema_: str = Field(default=LABEL_SCHEMA, alias="schema")

    @property
    def key(self) -> Key:
        """What was rated: a model's answer to an item, or that answer beside another's."""
        return self.generator, pair_id(self.id, (self.generator, self.against)) if self.against else self.id


@dataclass(frozen=True)
class Task:
    """An answer to rate, in a round: 0, or 1 where it is rated again."""

    response: Response
    round: int


class LabellingSession:
    """A sample of answers, and the ratings that a person gave so far by a rubric."""

    def __init__(self, tasks: Sequence[Task], path: Path, rubric: Rubric, rater: str = "") -> None:
        """Raises: InputError for a rubric that asks for a preference, or where the file holds something else."""
        if rubric.front.output.type == "preference":
            raise InputError(
                f"rubric {rubric.name!r} asks which of two is better; answers are rated one by one",
                "rate by a rubric that gives scores",
            )
        self.tasks, self.path, self.rubric, self.rater = list(tasks), path, rubric, rater
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = read_labels(path) if path.exists() and path.stat().st_size else []
        if other := next((label.rubric for label in labels if label.rubric not in ("", rubric.name)), None):
            raise InputError(f"{path}: holds ratings by rubric {other!r}", "name another file with -o")
        self._given = {
            (label.generator, label.id, label.round): label.value for label in labels if label.rater == rater
        }

    @property
    def done(self) -> int:
        """How many of the tasks are rated."""
        return sum(self.value(place) is not None for place in range(len(self.tasks)))

    def reference(self, response: Response) -> str:
        """The reference of an answer, where the rubric shows it."""
        return response.reference if self.rubric.front.reference != "none" else ""

    def value(self, place: int) -> float | None:
        """The rating of a task; None when it has none yet."""
        task = self.tasks[place]
        return self._given.get((task.response.generator, task.response.id, task.round))

    def next(self) -> int | None:
        """The place of the first task without a rating; None when all are rated."""
        return next((place for place in range(len(self.tasks)) if self.value(place) is None), None)

    def read(self, text: str) -> float | None:
        """The score that a person typed; None when it is not on the scale."""
        try:
            value = float(text.replace(",", "."))
        except ValueError:
            return None
        return value if self.rubric.front.scale.holds(value) else None

    def rate(self, place: int, value: float) -> None:
        """Keep a rating, on disk before anything else happens."""
        task, scale = self.tasks[place], self.rubric.front.scale
        label = Label(
            id=task.response.id,
            generator=task.response.generator,
            value=value,
            round=task.round,
            rater=self.rater,
            rubric=self.rubric.name,
            low=scale.min,
            high=scale.max,
        )
        append_jsonl(self.path, label.model_dump(by_alias=True))
        self._given[label.generator, label.id, label.round] = value


def scale_words(scale: Scale) -> str:
    """A scale in words: "0 to 100", or "0 to 100 in steps of 5"."""
    return f"{scale.min:g} to {scale.max:g}" + ("" if scale.step == 1 else f" in steps of {scale.step:g}")


def read_labels(path: Path) -> list[Label]:
    """Read a labels file; of several lines for one answer, round and rater the last counts.

    Raises: InputError when it is missing, empty or broken, with the line.
    """
    rows = enumerate(read_jsonl(path), start=1)
    labels = [parse(Label, row, f"{path}: line {number}", "delete that line") for number, row in rows]
    return list({(label.key, label.round, label.rater): label for label in labels}.values())


def sample(judged: Sequence[Judged], n: int, retest: float = 0.2, seed: int = 0) -> list[Task]:
    """Answers to rate in a random order, then a share of them again. The same for the same seed.

    Raises: InputError when there are no answers.
    """
    answers = [response for run in judged for response in run.responses.values()]
    if not answers:
        raise InputError("no answers to rate", "name result files")
    rng = random.Random(f"label:{seed}")
    first = rng.sample(answers, min(n, len(answers)))
    again = rng.sample(first, round(retest * len(first)))
    return [Task(response, 0) for response in first] + [Task(response, 1) for response in again]


def rate(session: LabellingSession, ask: Callable[[Response, int, int], float | None]) -> int:
    """Ask for a rating of every task that has none, until `ask` returns None; returns how many came.

    `ask` gets the answer, its place from 1 and the number of tasks; it must not show who wrote the answer.
    """
    before = session.done
    while (place := session.next()) is not None:
        value = ask(session.tasks[place].response, place + 1, len(session.tasks))
        if value is None:
            break
        session.rate(place, value)
    return session.done - before


def first_ratings(labels: Sequence[Label]) -> dict[Key, float]:
    """Every answer's first rating, the mean over raters."""
    ratings: dict[Key, list[float]] = {}
    for label in labels:
        if label.round == 0:
            ratings.setdefault(label.key, []).append(label.value)
    return {key: fmean(values) for key, values in ratings.items()}


def _votes(labels: Sequence[Label]) -> dict[Key, list[float]]:
    """The first ratings of every comparison, as that one sees it whose name comes first."""
    votes: dict[Key, list[float]] = {}
    for label in labels:
        if label.round == 0 and label.generator < label.against:
            votes.setdefault(label.key, []).append(label.value)
    return votes


def majorities(labels: Sequence[Label]) -> dict[Key, float]:
    """What most raters say of each comparison; those without one outcome that is the commonest are left out."""
    counts = {key: Counter(votes).most_common(2) for key, votes in _votes(labels).items()}
    return {key: most[0][0] for key, most in counts.items() if len({n for _, n in most}) == len(most)}


def two_raters(labels: Sequence[Label]) -> list[tuple[float, float]]:
    """Two people's ratings of every comparison that several rated."""
    return [(votes[0], votes[1]) for votes in _votes(labels).values() if len(votes) > 1]


def retests(labels: Sequence[Label]) -> list[tuple[float, float]]:
    """First and second rating of every answer that a person rated twice."""
    first, again = (
        {(label.rater, label.key): label.value for label in labels if label.round == round} for round in (0, 1)
    )
    return [(first[key], value) for key, value in again.items() if key in first]


def fitting(labels: Sequence[Label], rubric: str, scale: tuple[float, float]) -> list[Label]:
    """The labels by a rubric, on its scale.

    Raises: InputError when there are labels but none by this rubric, or on another scale.
    """
    mine = [label for label in labels if label.rubric in ("", rubric)]
    if labels and not mine:
        others = ", ".join(sorted({label.rubric for label in labels}))
        raise InputError(f"the labels are by rubric {others}, not {rubric}", "choose with --rubric, or label again")
    low = min((label.value if label.low is None else label.low for label in mine), default=scale[0])
    high = max((label.value if label.high is None else label.high for label in mine), default=scale[1])
    alike = scale[0] <= low and high <= scale[1]
    wider = low <= scale[0] and scale[1] <= high  # of scores given alone
    if not (alike or (wider and all(label.rubric == rubric for label in mine))):
        raise InputError(
            f"the labels are not on the rubric's scale from {plain(scale[0])} to {plain(scale[1])}",
            "label again, by the rubric",
        )
    return mine
