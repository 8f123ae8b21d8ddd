"""The noise ledger that `study noise` writes: what scores vary by, from which level, and what measuring costs.

`spread(ledger)` gives `judge compare --noise FILE`, and whatever else assumes a spread that its own seeds are too few
for, the SDs between fine-tunings of a base and between base runs of a recipe, with their degrees of freedom, as
`NestedGap.assumed_spread` takes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from equiloss.records.file_record import FileRecord, read
from equiloss.records.provenance import Provenance
from equiloss.statistics.estimate import Estimate

FORMAT = "equiloss.noise.v1"
HINT = "name a file that `study noise` wrote"

Level = Literal["data_draw", "pretraining_run", "fine_tuning_seed", "item", "seed_item", "judge_repeat"]


class NoiseComponent(FileRecord):
    """What scores vary by at one level: an SD in points, with its interval, on `df` degrees of freedom.

    Runs, seeds and data draws move a model's mean; `item` is what an item is worth more to one recipe than to another,
    `seed_item` what a run makes of an item, both of single scores; `judge_repeat` is of a single score too, or of a
    model's mean (`of_means`) where only means were at hand. `includes`: levels below that could not be told from it.
    `cost_s`, `cost_usd`: of one more (base run, fine-tuning, judged answer), from the records.
    """

    level: Level
    sd: Estimate
    df: float
    of_means: bool = False
    includes: tuple[Level, ...] = ()
    cost_s: float | None = None
    cost_usd: float | None = None


class Purchase(FileRecord):
    """One more of something on both sides of a contrast, and what it does to its 95 % half-width, in points."""

    what: Literal["base run", "fine-tuning seed", "item", "judge repeat"]
    half_width: float
    shrinks_by: float
    hours: float | None = None
    usd: float | None = None
    per_hour: float | None = None
    per_usd: float | None = None


class Allocation(FileRecord):
    """The design with the narrowest interval within a budget of hours: base runs a side, fine-tunings of each."""

    hours: float
    bases: int
    seeds: int
    half_width: float


class NoiseLedger(FileRecord):
    """What scores vary by, level by level (levels that did not vary are not there: `not_measured` says which and why).

    `two_runs_differ_by`: 95 % of pairs of runs of one recipe differ by less, in points. The contrast of `purchases` and
    `allocation` is of two recipes, measured as now: `bases` base runs a side, `seeds` fine-tunings of each, `items`,
    `repeats`.
    """

    format: str = FORMAT
    source: list[str] = Field(default_factory=list[str])
    components: list[NoiseComponent] = Field(default_factory=list[NoiseComponent])
    not_measured: dict[str, str] = Field(default_factory=dict)
    two_runs_differ_by: Estimate | None = None
    runs: int = 0
    recipes: int = 0
    bases: int = 1
    seeds: int = 1
    items: int | None = None
    repeats: int = 1
    half_width: float | None = None
    purchases: list[Purchase] = Field(default_factory=list[Purchase])
    allocation: list[Allocation] = Field(default_factory=list[Allocation])
    provenance: Provenance = Provenance()

    def component(self, level: Level) -> NoiseComponent | None:
        """The component of a level; None where it was not measured."""
        return next((row for row in self.components if row.level == level), None)


@dataclass(frozen=True)
class Spread:
    """SDs in points between fine-tunings of a base and between base runs of a recipe, and the latter two's df.

    None where the ledger does not have it. `base_sd` holds the fine-tuning seed too where `with_seeds`.
    """

    seed_sd: float | None
    base_sd: float | None
    seed_df: float = math.inf
    base_df: float = math.inf
    with_seeds: bool = False


def spread(ledger: NoiseLedger) -> Spread:
    """The spread to assume between seeds and between base runs (data draws taken together with base runs)."""
    seed = ledger.component("fine_tuning_seed")
    above = [row for level in ("pretraining_run", "data_draw") if (row := ledger.component(level)) is not None]
    base = math.hypot(*(row.sd.value for row in above)) if above else None
    inside = any("fine_tuning_seed" in row.includes for row in above)
    return Spread(
        seed.sd.value if seed else None,
        base,
        seed.df if seed else math.inf,
        min((row.df for row in above), default=math.inf),
        inside,
    )


def load(path: Path) -> NoiseLedger:
    """Read a ledger. Raises: InputError when it is none."""
    return read(NoiseLedger, path, HINT)
