"""How often the diagnosis is right about pairs whose cause is known.

What is counted (`COUNTS`) is of pairs in worlds; beside it stands how many kinds of pairs are free of the fault (or
right) in every world they were made in, since pairs of one kind in several worlds are less than independent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, computed_field

from equiloss import templates
from equiloss.errors import IncompleteError, InputError
from equiloss.files import write_json, write_text
from equiloss.provenance import provenance
from equiloss.records.diagnosis import Contribution, Diagnosis
from equiloss.records.file_record import FileRecord, read
from equiloss.records.provenance import Provenance
from equiloss.statistics.estimate import Estimate
from study.zoo.pairs import CHANCE, Pair

FORMAT = "equiloss.zoo.v1"
OPEN = "cannot tell"
NAMELESS = ("unlisted", "one-seed")
"""Kinds of pairs with a gap of which no cause should be named."""
Z = 1.959964
NAMES = {
    **dict.fromkeys(("within-margin", "underpowered", "chance-of-pretraining"), CHANCE),
    **{kind: kind for kind in ("premise-false", "unrecorded-difference")},
}
"""What a verdict without a cause counts as: no gap that is told, or chance; or a claim that can be wrong."""


COUNTS = {
    "single": "single causes, some beside a decoy, that were named",
    "both": "pairs of two causes with both listed",
    "third": "pairs of two causes with a wrong one listed",
    "wrong": "pairs with a real gap and a wrong cause named",
    "unlisted": "pairs with an unlisted cause and a cause named",
    "one-seed": "pairs of one seed and a cause named",
    "null": "null pairs and a cause named",
    "answers": "false alarms of question 1 (these answers)",
    "bases": "false alarms of question 2 (these base models)",
    "recipes": "false alarms of question 3 (these recipes)",
    "points": "contributions whose interval holds the planted points",
}
"""What is counted, in words."""


class PlantedFactor(FileRecord):
    """What reruns of all combinations of the factors say that one makes of the gap, and their standard error.

    Of a factor that is about some items `points` are those on them, and `everywhere` all that it makes.
    """

    cause: str
    points: float
    standard_error: float | None = None
    everywhere: float | None = None


class PlantedPoints(FileRecord):
    """planted.json, which `plant.py points` writes."""

    factors: tuple[PlantedFactor, ...]


class PairOutcome(FileRecord):
    """What became of one pair with one seed. `named` is None where it could not be made or diagnosed.

    `listed`: all causes that the verdict names; `checks`: for each of `COUNTS` that asks something of such a pair, how
    often it is so (of how often it could be).
    """

    pair: str
    seed: int
    cause: str
    kind: str = "single"
    listed: tuple[str, ...] = ()
    checks: dict[str, tuple[int, int]] = Field(default_factory=dict)
    named: str | None = None
    candidates: tuple[str, ...] = ()
    gap: Estimate | None = None
    premise: str | None = None
    share: Estimate | None = None
    sentence: str = ""

    @computed_field
    @property
    def right(self) -> bool:
        """Whether it named the planted cause (of two: both and no third; where none can be named: claimed none)."""
        if self.kind == "two" and self.named is not None:
            return (self.checks["both"], self.checks["third"]) == ((1, 1), (0, 1))
        return self.named == self.cause or (self.kind in NAMELESS and self.named is not None and not self.listed)


class Proportion(FileRecord):
    """`count` of `of`, with an exact 95 % interval (Clopper and Pearson, Biometrika 26, 1934); None of nothing."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0
    of: int = 0

    @classmethod
    def exact(cls, count: int, of: int) -> Proportion:
        """The proportion and its interval."""
        from scipy.stats import binomtest

        if of == 0:
            return cls()
        interval = binomtest(count, of).proportion_ci(method="exact")
        return cls(value=count / of, low=float(interval.low), high=float(interval.high), count=count, of=of)


class Counted(FileRecord):
    """One of `COUNTS`: how often it is so over pairs in worlds, and in how many kinds of pairs it is always so."""

    name: str
    says: str
    rate: Proportion
    pairs: Proportion


class PairCount(FileRecord):
    """A pair, and how many of its runs were diagnosed rightly."""

    name: str
    cause: str
    description: str
    right: int = 0
    of: int = 0


class ZooCount(FileRecord):
    """What `study zoo --json` prints.

    `accuracy` counts pairs with a cause, by its name; `false_alarms` the null pairs for which a cause is named.
    `confusion` is cause → named → count. Runs that could not be made are listed, and in no count.
    """

    format: str = FORMAT
    accuracy: Proportion
    false_alarms: Proportion
    counts: tuple[Counted, ...] = ()
    confusion: dict[str, dict[str, int]]
    pairs: tuple[PairCount, ...]
    runs: tuple[PairOutcome, ...]
    provenance: Provenance = Field(default_factory=provenance)

    @property
    def names(self) -> list[str]:
        """Every name given, planted causes first: the columns of the confusion."""
        others = {named for row in self.confusion.values() for named in row} - set(self.confusion)
        return [*self.confusion, *sorted(others)]

    def write(self, directory: Path) -> Path:
        """Write zoo.json and zoo.html; the page's path."""
        write_json(directory / "zoo.json", self.model_dump(mode="json"))
        write_text(directory / "zoo.html", templates.report_page("zoo.html", zoo=self))
        return directory / "zoo.html"

    def require_complete(self, directory: Path) -> None:
        """Raises: IncompleteError when a pair could not be made or diagnosed."""
        if missing := [f"{run.pair} (seed {run.seed})" for run in self.runs if run.named is None]:
            raise IncompleteError(
                f"{len(missing)} of {len(self.runs)} pairs could not be made or diagnosed: {', '.join(missing[:4])}",
                f"see {directory / 'logs'}; the same command runs what is left",
            )


def outcome(pair: Pair, seed: int, where: Path) -> PairOutcome:
    """What the diagnosis in the zoo's directory `where` says of a pair and seed.

    Raises: InputError when it is broken.
    """
    path = where / f"s{seed}" / pair.name / "diagnosis.json"
    if not path.exists():
        return PairOutcome(pair=pair.name, seed=seed, cause=pair.head.cause)
    again = "delete it; the same command makes it again"
    diagnosis = read(Diagnosis, path, again)
    verdict = diagnosis.verdict
    planted_path = path.with_name("planted.json")
    planted = read(PlantedPoints, planted_path, again).factors if planted_path.exists() else ()
    return PairOutcome(
        pair=pair.name,
        seed=seed,
        cause=pair.head.cause,
        kind=pair.kind,
        listed=verdict.causes,
        checks=checks(pair, diagnosis, planted),
        named=verdict.cause if verdict.kind == "cause" else NAMES.get(verdict.kind, OPEN),
        candidates=tuple(cause.id for cause in diagnosis.causes if cause.status in ("named", "supported")),
        gap=diagnosis.gap,
        premise=diagnosis.level(0).status,
        share=verdict.share,
        sentence=verdict.sentence,
    )


def checks(pair: Pair, diagnosis: Diagnosis, planted: Sequence[PlantedFactor]) -> dict[str, tuple[int, int]]:
    """For each of `COUNTS` that asks something of this pair: how often it is so, of how often it could be."""
    verdict, kind = diagnosis.verdict, pair.kind
    wrong = bool(set(verdict.causes) - {*pair.causes, *pair.head.entails})
    both = set(verdict.causes if diagnosis.better is not None else verdict.shows_as)  # two may cancel to no gap
    asked: dict[str, bool] = {}
    if pair.causes and kind in ("single", "decoy"):
        asked["single"] = verdict.cause == pair.head.cause or NAMES.get(verdict.kind) == pair.head.cause
    if kind == "two":
        asked |= {"both": set(pair.causes) <= both, "third": bool(both - set(pair.causes))}
    if kind != "null" and diagnosis.better is not None:
        asked["wrong"] = wrong
    if kind in ("null", "one-seed", "unlisted"):
        asked[kind] = bool(verdict.causes)
    for question in pair.head.null:
        if (answer := getattr(diagnosis.questions, question)) is not None:
            asked[question] = not answer.low <= 0.0 <= answer.high
    found = {name: (int(so), 1) for name, so in asked.items()}
    points = {one.cause: one for one in planted}
    held = [
        _holds(one, points[one.cause])
        for one in diagnosis.contributions
        if one.cause in points and one.status in ("named", "supported")
    ]
    return {**found, "points": (sum(held), len(held))} if held else found


def _holds(told: Contribution, planted: PlantedFactor) -> bool:
    """Whether the two differ by no more than both are uncertain."""
    assert told.points is not None
    half = 0.0 if told.low is None or told.high is None else (told.high - told.low) / 2
    return abs(told.points - planted.points) <= math.hypot(half, Z * (planted.standard_error or 0.0))


def _counted(name: str, says: str, outcomes: Sequence[PairOutcome]) -> Counted:
    asked = [(run.pair, *run.checks[name]) for run in outcomes if name in run.checks]
    so, of = sum(hits for _, hits, _ in asked), sum(most for _, _, most in asked)
    kinds = {pair for pair, _, _ in asked}
    always = sum(all(hits == most for pair, hits, most in asked if pair == kind) for kind in kinds)
    return Counted(name=name, says=says, rate=Proportion.exact(so, of), pairs=Proportion.exact(always, len(kinds)))


def count(pairs: Sequence[Pair], outcomes: Sequence[PairOutcome]) -> ZooCount:
    """Count the outcomes of pairs."""
    heads = [PairCount(name=pair.name, cause=pair.head.cause, description=pair.head.description) for pair in pairs]
    return _count(heads, outcomes)


def pool(files: Sequence[Path]) -> ZooCount:
    """Count together what several zoos counted, each a zoo.json: worlds that were made elsewhere, or at another time.

    A folder stands for all *.json in it. Raises: InputError for a file that is broken, a folder without one, or a pair
    in a world that stands in two of them.
    """
    counted: dict[Path, ZooCount] = {}
    for path in files:
        listed = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not listed:
            raise InputError(f"{path}: no *.json in it", "name the files that `study zoo` wrote, or a folder of them")
        counted |= {one: read(ZooCount, one, "`study zoo` writes it") for one in listed}
    seen: dict[tuple[str, int], Path] = {}
    for path, zoo in counted.items():
        for run in zoo.runs:
            if (first := seen.setdefault((run.pair, run.seed), path)) != path:
                raise InputError(f"{run.pair} (seed {run.seed}) is in {first} and in {path}", "count it once")
    heads = {pair.name: pair for zoo in counted.values() for pair in zoo.pairs}
    return _count([heads[name] for name in sorted(heads)], [run for zoo in counted.values() for run in zoo.runs])


def _count(heads: Sequence[PairCount], outcomes: Sequence[PairOutcome]) -> ZooCount:
    made = [run for run in outcomes if run.named is not None]
    null = [run for run in made if run.cause == CHANCE]
    planted = [run for run in made if run.cause != CHANCE and run.kind not in NAMELESS]
    right = {head.name: [run.right for run in made if run.pair == head.name] for head in heads}
    confusion: dict[str, Counter[str]] = {}
    for run in made:
        confusion.setdefault(run.cause, Counter())[str(run.named)] += 1
    return ZooCount(
        accuracy=Proportion.exact(sum(run.right for run in planted), len(planted)),
        false_alarms=Proportion.exact(sum(run.named not in (CHANCE, OPEN) for run in null), len(null)),
        counts=tuple(_counted(name, says, outcomes) for name, says in COUNTS.items()),
        confusion={cause: dict(named) for cause, named in confusion.items()},
        pairs=tuple(head.model_copy(update=_so(right[head.name])) for head in heads),
        runs=tuple(outcomes),
    )


def _so(found: Sequence[bool]) -> dict[str, int]:
    return {"right": sum(found), "of": len(found)}
