"""How often the diagnosis is right about pairs whose cause is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, computed_field

from equiloss import templates
from equiloss.errors import IncompleteError
from equiloss.files import write_json, write_text
from equiloss.provenance import provenance
from equiloss.records.diagnosis import Diagnosis
from equiloss.records.file_record import FileRecord, read
from equiloss.records.provenance import Provenance
from equiloss.statistics.estimate import Estimate
from study.zoo.pairs import CHANCE, Pair

FORMAT = "equiloss.zoo.v1"
OPEN = "cannot tell"
NAMES = {
    **dict.fromkeys(("within-margin", "underpowered", "chance-of-pretraining"), CHANCE),
    **{kind: kind for kind in ("premise-false", "unrecorded-difference")},
}
"""What a verdict without a cause counts as: no gap that is told, or chance; or a claim that can be wrong."""


class PairOutcome(FileRecord):
    """What became of one pair with one seed. `named` is None where it could not be made or diagnosed."""

    pair: str
    seed: int
    cause: str
    named: str | None = None
    candidates: tuple[str, ...] = ()
    gap: Estimate | None = None
    premise: str | None = None
    share: Estimate | None = None
    sentence: str = ""

    @computed_field
    @property
    def right(self) -> bool:
        """Whether the diagnosis named the planted cause (for a null pair: claimed nothing)."""
        return self.named == self.cause


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


class PairCount(FileRecord):
    """A pair, and how many of its runs were diagnosed rightly."""

    name: str
    cause: str
    description: str
    right: int
    of: int


class ZooCount(FileRecord):
    """What `study zoo --json` prints.

    `accuracy` counts pairs with a cause, by its name; `false_alarms` the null pairs for which a cause is named.
    `confusion` is cause → named → count. Runs that could not be made are listed, and in no count.
    """

    format: str = FORMAT
    accuracy: Proportion
    false_alarms: Proportion
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
    diagnosis = read(Diagnosis, path, "delete it; the same command makes it again")
    verdict = diagnosis.verdict
    return PairOutcome(
        pair=pair.name,
        seed=seed,
        cause=pair.head.cause,
        named=verdict.cause if verdict.kind == "cause" else NAMES.get(verdict.kind, OPEN),
        candidates=tuple(cause.id for cause in diagnosis.causes if cause.status in ("named", "supported")),
        gap=diagnosis.gap,
        premise=diagnosis.level(0).status,
        share=verdict.share,
        sentence=verdict.sentence,
    )


def count(pairs: Sequence[Pair], outcomes: Sequence[PairOutcome]) -> ZooCount:
    """Count the outcomes of pairs."""
    import pandas as pd

    runs = pd.DataFrame([run.model_dump(include={"pair", "cause", "named", "right"}) for run in outcomes])
    runs = runs[runs["named"].notna()]
    null = runs["cause"] == CHANCE
    alarms = ~runs["named"].isin([CHANCE, OPEN])
    counts = runs.groupby("pair")["right"].agg(right="sum", of="count")
    heads = pd.DataFrame(
        [{"name": pair.name, "cause": pair.head.cause, "description": pair.head.description} for pair in pairs]
    )
    return ZooCount(
        accuracy=Proportion.exact(int(runs["right"][~null].sum()), int((~null).sum())),
        false_alarms=Proportion.exact(int(alarms[null].sum()), int(null.sum())),
        confusion={
            str(cause): {str(named): int(times) for named, times in rows.value_counts(sort=False).items()}
            for cause, rows in runs.groupby("cause", sort=False)["named"]
        },
        pairs=tuple(map(PairCount.model_validate, heads.join(counts, on="name").fillna(0).to_dict("records"))),
        runs=tuple(outcomes),
    )
