"""How often the intervals of equiloss/statistics hold the truth, on scores such as judges give.

    python benchmarks/coverage.py --draws 2000 -o coverage.md
    python benchmarks/coverage.py --draws 2500 --only prediction

Scores are whole points from 0 to 100 with lumps at both ends: a latent normal value (item, model x item, base run,
fine-tuning seed, seed x item), cut off and rounded. True values are closed forms, or of a very large sample where
there is none (length, Bradley-Terry). A cell is the coverage over four settings together, 110 and 805 items at means
of 14 and 60, and in brackets that of the worst one; with 500 draws a setting their standard errors are 0.5 and 1 %.
With one run a side the interval is over items alone and the truth that of these runs.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != HERE]

import numpy as np  # noqa: E402
from scipy.optimize import brentq  # noqa: E402
from scipy.special import ndtr  # noqa: E402

from equiloss.statistics import length_adjustment, prediction_powered  # noqa: E402
from equiloss.statistics.components import MeanSquare, total  # noqa: E402
from equiloss.statistics.contributions import parts  # noqa: E402
from equiloss.statistics.crossed import Crossed  # noqa: E402
from equiloss.statistics.estimate import Interval  # noqa: E402
from equiloss.statistics.nested import SideScores, nested_gap, nested_mean  # noqa: E402
from judge.comparison import ranking  # noqa: E402

ITEM, MODEL_ITEM, CELL = 25.0, 8.0, 15.0
DESIGNS = ((1, 1), (2, 2), (3, 3), (5, 5), (1, 3), (5, 2))
GAP = 3.0


@dataclass(frozen=True)
class Setting:
    """One simulated situation: runs of A and B (of each base run), what varies, and what is missing."""

    runs: tuple[int, int]
    items: int
    mean: float
    seed_sd: tuple[float, float] = (2.0, 2.0)
    base_sd: float = 0.0
    bases: int = 1
    cluster: int = 1
    missing: str = ""

    def latent(self, side: int) -> tuple[float, float]:
        """Mean and SD of a side's latent values, so that its scores have the wanted mean."""
        sd = math.sqrt(ITEM**2 + MODEL_ITEM**2 + CELL**2 + self.seed_sd[side] ** 2 + self.base_sd**2)
        return latent_mean(self.mean + (GAP / 2, -GAP / 2)[side], sd), sd


def expected(mean: np.ndarray | float, sd: float) -> np.ndarray:
    """The mean score of latent normal values, cut off at 0 and 100 and rounded: the sum of P(score >= k)."""
    return ndtr((np.asarray(mean)[..., None] - (np.arange(1, 101) - 0.5)) / sd).sum(axis=-1)


@cache
def latent_mean(mean: float, sd: float) -> float:
    return float(brentq(lambda value: float(expected(value, sd)) - mean, -300, 300))


class Draw:
    """One drawn sample: latent values and scores of both sides, clusters, and its units' truth."""

    def __init__(self, setting: Setting, rng: np.random.Generator, shift: Sequence[np.ndarray | float] = (0.0, 0.0)):
        self.setting, self.rng = setting, rng
        groups = -(-setting.items // setting.cluster)
        numbers = np.repeat(np.arange(groups), setting.cluster)[: setting.items]
        self.clusters = numbers.astype(np.intp) if setting.cluster > 1 else None

        def effect(sd: float, rows: int = 1) -> np.ndarray:
            own = 0.4 if setting.cluster > 1 else 1.0
            shared = rng.normal(0, sd * math.sqrt(1 - own), (rows, groups))[:, numbers]
            return shared + rng.normal(0, sd * math.sqrt(own), (rows, setting.items))

        items = effect(ITEM)
        self.scores, self.given = [], []
        for side, runs in enumerate(setting.runs):
            count, (mean, sd) = runs * setting.bases, setting.latent(side)
            units = rng.normal(0, setting.seed_sd[side], count) + np.repeat(
                rng.normal(0, setting.base_sd, setting.bases), runs
            )
            latent = mean + items + effect(MODEL_ITEM) + units[:, None] + effect(CELL, count) + shift[side]
            scores = np.clip(np.round(latent), 0, 100)
            if setting.missing == "at random":
                scores[rng.random(scores.shape) < 0.1] = np.nan
            elif setting.missing:  # a tenth: a fifth of the lower half of the answers, or of the harder half of items
                low = latent < np.median(latent) if setting.missing == "low answers" else items < 0
                scores[(rng.random(scores.shape) < 0.2) & low] = np.nan
            self.scores.append(scores)
            within = math.sqrt(sd**2 - setting.seed_sd[side] ** 2 - setting.base_sd**2)
            self.given.append(float(expected(mean + units, within).mean()))

    @property
    def sides(self) -> tuple[SideScores, SideScores]:
        names = [
            tuple((side, base) for base in range(self.setting.bases) for _ in range(runs))
            if self.setting.bases > 1
            else ()
            for side, runs in enumerate(self.setting.runs)
        ]
        a, b = (SideScores(scores[:, :, None], base) for scores, base in zip(self.scores, names, strict=True))
        return a, b


Trial = tuple[Interval, float]


def gap(setting: Setting, rng: np.random.Generator) -> Iterator[Trial]:
    draw = Draw(setting, rng)
    split = nested_gap(*draw.sides, draw.clusters)
    assert split is not None
    yield split.best.interval(), GAP if split.bases or split.recipes else draw.given[0] - draw.given[1]


def model_mean(setting: Setting, rng: np.random.Generator) -> Iterator[Trial]:
    draw = Draw(setting, rng)
    over = nested_mean(draw.sides[0], draw.clusters)
    assert over is not None
    crossed: Crossed = over[1] or over[0]
    yield crossed.interval(), setting.mean + GAP / 2 if over[1] else draw.given[0]


def at_equal_length(setting: Setting, rng: np.random.Generator) -> Iterator[Trial]:
    """Answers of A are longer; six points go with a standard deviation of length, so little is cut off at mean 60."""
    longer = rng.normal(0.7, 1, setting.items)
    draw = Draw(setting, rng, (6 * np.tanh(longer), 0.0))
    found = length_adjustment.adjusted(*draw.sides, longer, draw.clusters)
    assert found is not None
    yield found.interval, length_truth(replace(setting, items=1))


@cache
def length_truth(setting: Setting) -> float:
    longer = np.random.default_rng(0).normal(0.7, 1, 400_000)
    (mean_a, sd_a), (mean_b, sd_b) = setting.latent(0), setting.latent(1)
    scores = expected(mean_a + 6 * np.tanh(longer[:, None]), sd_a)[:, 0] - expected(mean_b, sd_b)
    x = np.column_stack([np.ones(len(longer)), np.tanh(longer / longer.std())])
    return float(np.linalg.lstsq(x, scores, rcond=None)[0][0])


def human_gap(setting: Setting, rng: np.random.Generator) -> Iterator[Trial]:
    """Forty labels a side, drawn at random; the judge errs by 8 points, and is 4 points kinder to B."""
    draw, people = Draw(setting, rng), []
    for side, truth in enumerate(draw.scores):
        judge = truth + 4 * side + rng.normal(0, 8, truth.shape)
        labels = np.full(truth.size, np.nan)
        chosen = rng.choice(truth.size, 40, replace=False)
        labels[chosen] = truth.ravel()[chosen]
        people.append(prediction_powered.mean(judge, labels.reshape(truth.shape), clusters=draw.clusters))
    found = prediction_powered.gap(people[0], people[1], clusters=draw.clusters)
    yield found.interval, GAP if max(setting.runs) > 1 else draw.given[0] - draw.given[1]


def bradley_terry(setting: Setting, rng: np.random.Generator) -> Iterator[Trial]:
    """Three models, A twice as a model of its own and B: the strength of B, with the runs as a sample."""
    draw, other = Draw(setting, rng), Draw(replace(setting, cluster=1), rng)
    third = np.clip(np.round(other.scores[0]), 0, 100)
    runs = [draw.scores[0], draw.scores[1], third]
    found = ranking.strength_intervals(ranking.run_outcomes(runs), runs, draw.clusters)[1]
    assert found is not None
    yield found.interval, strength_truth(replace(setting, items=400_000, runs=(1, 1), cluster=1))


@cache
def strength_truth(setting: Setting) -> float:
    """Of chances to win in a sample so large that its runs are one answer each."""
    rng = np.random.default_rng(1)
    won = np.zeros((3, 3))
    n = setting.items
    items, other = rng.normal(0, ITEM, n), rng.normal(0, ITEM, n)
    scores = []
    for side, item in ((0, items), (1, items), (0, other)):
        mean, sd = setting.latent(side)
        scores.append(np.clip(np.round(mean + item + rng.normal(0, math.sqrt(sd**2 - ITEM**2), n)), 0, 100))
    for a, b in product(range(3), range(3)):
        if a != b:
            won[a, b] = ((np.sign(scores[a] - scores[b]) + 1) / 2).mean()
    return float(ranking.strengths(won)[1])


def contribution(setting: Setting, rng: np.random.Generator) -> Iterator[Trial]:
    """Two kinds of items, 40 and 25 % of them: A is 15 points better on the one, 10 worse on the other (latent)."""
    pattern = (rng.random((setting.items, 2)) < (0.4, 0.25)).astype(float)
    draw = Draw(setting, rng, (pattern @ np.array([15.0, -10.0]), 0.0))
    sides = draw.sides
    kept = np.ones(setting.items, dtype=np.bool_)
    found = parts([*sides[0].strata(kept), *sides[1].strata(kept, -1.0, 1)], pattern, draw.clusters)
    assert found is not None
    for crossed, truth in zip((*found.parts, found.rest), parts_truth(replace(setting, items=1)), strict=True):
        yield crossed.interval(), truth


@cache
def parts_truth(setting: Setting) -> tuple[float, float, float]:
    (mean_a, sd_a), (mean_b, sd_b) = setting.latent(0), setting.latent(1)
    kinds = np.array(list(product((0.0, 1.0), repeat=2)))
    chance = np.prod(np.where(kinds == 1, (0.4, 0.25), (0.6, 0.75)), axis=1)
    gaps = expected(mean_a + kinds @ np.array([15.0, -10.0]), sd_a) - expected(mean_b, sd_b)
    x = np.column_stack([kinds, np.ones(4)])
    beta = np.linalg.solve(x.T @ (x * chance[:, None]), x.T @ (gaps * chance))
    return float(0.4 * beta[0]), float(0.25 * beta[1]), float(beta[2])


def run_variance(setting: Setting, rng: np.random.Generator) -> Iterator[Trial]:
    """What runs of one recipe vary by: base run + seed + seed x item, from six base runs of the design's runs each."""
    if min(setting.runs) < 2:
        return
    draw = Draw(replace(setting, bases=6), rng)
    means = draw.scores[0].mean(axis=1).reshape(6, -1)
    runs = means.shape[1]
    squares = [
        MeanSquare(runs * float(means.mean(axis=1).var(ddof=1)), 5, 1 / runs),
        MeanSquare(float(means.var(axis=1, ddof=1).mean()), 6 * (runs - 1), 1 - 1 / runs),
    ]
    yield total(squares).interval, variance_truth(setting)


@cache
def variance_truth(setting: Setting) -> float:
    """Of the runs' means: of what is expected of a run, and of seed x item around it, over that many items."""
    (mean, sd), rng = setting.latent(0), np.random.default_rng(2)
    unit_sd = math.hypot(setting.seed_sd[0], setting.base_sd)
    within = math.sqrt(sd**2 - unit_sd**2)
    between = float(expected(mean + rng.normal(0, unit_sd, 20_000), within).var()) if unit_sd else 0.0
    items = mean + rng.normal(0, math.hypot(ITEM, MODEL_ITEM), 200_000)
    cells = np.clip(np.round(items[:, None] + rng.normal(0, CELL, (len(items), 2))), 0, 100)
    return between + float(((cells[:, 0] - cells[:, 1]) ** 2).mean() / 2) / setting.items


BASES = {"bases": 2}
ROWS: tuple[tuple[str, Callable[[Setting, np.random.Generator], Iterator[Trial]], dict[str, object]], ...] = (
    ("gap", gap, {}),
    ("gap, seed SD 1 and 4", gap, {"seed_sd": (1.0, 4.0)}),
    ("gap, items in clusters of 3", gap, {"cluster": 3}),
    ("gap, 10 % missing at random", gap, {"missing": "at random"}),
    ("gap, 10 % missing, hard items", gap, {"missing": "hard items"}),
    ("gap, 10 % missing, low answers", gap, {"missing": "low answers"}),
    ("gap of recipes, 2 base runs a side, base SD 0", gap, {**BASES, "base_sd": 0.0}),
    ("gap of recipes, 2 base runs a side, base SD 3", gap, {**BASES, "base_sd": 3.0}),
    ("gap of recipes, 3 base runs a side, base SD 6", gap, {"bases": 3, "base_sd": 6.0}),
    ("model mean", model_mean, {}),
    ("model mean, clusters of 3", model_mean, {"cluster": 3}),
    ("gap at equal length", at_equal_length, {}),
    ("gap at equal length, clusters of 3", at_equal_length, {"cluster": 3}),
    ("prediction-powered gap, 40 labels a side", human_gap, {}),
    ("Bradley–Terry strength", bradley_terry, {}),
    ("contributions (two kinds and rest)", contribution, {}),
    ("variance between runs of a recipe, 6 base runs", run_variance, {"base_sd": 3.0}),
)


def coverage(
    trial: Callable[[Setting, np.random.Generator], Iterator[Trial]], setting: Setting, draws: int, seed: int
) -> float:
    """The share of intervals that hold the true value; NaN where the design gives none."""
    rng = np.random.default_rng(seed)
    held = [low <= truth <= high for _ in range(draws) for (low, high), truth in trial(setting, rng)]
    return float(np.mean(held)) if held else math.nan


def row(index: int, draws: int, designs: Sequence[tuple[int, int]] = DESIGNS) -> list[list[float]]:
    """Coverage by design, of each of the four settings of items and mean."""
    _, trial, changes = ROWS[index]
    cells: list[list[float]] = []
    for number, runs in enumerate(designs):
        fixed = (
            {"seed_sd": (0.0, 0.0)}
            if runs == (1, 1) and trial in (at_equal_length, bradley_terry, contribution)
            else {}
        )
        settings = (Setting(runs, items, mean) for items, mean in product((110, 805), (14.0, 60.0)))
        seeds = range(1000 * index + 10 * number, 1000 * index + 10 * number + 4)
        cells.append(
            [
                coverage(trial, replace(one, **changes, **fixed), draws, seed)
                for one, seed in zip(settings, seeds, strict=True)
            ]
        )
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="rows whose name begins so")
    parser.add_argument("-o", "--output", type=Path, help="write the table here too")
    args = parser.parse_args()
    lines = [
        "| interval (nominal 95 %) | " + " | ".join(f"{a} v {b}" for a, b in DESIGNS) + " |",
        "| --- |" + " --- |" * len(DESIGNS),
    ]
    chosen = [index for index, (name, _, _) in enumerate(ROWS) if name.startswith(args.only)]
    with ProcessPoolExecutor(args.jobs) as pool:
        for index, cells in zip(chosen, pool.map(row, chosen, [args.draws] * len(chosen)), strict=True):
            name = ROWS[index][0]
            text = (
                f"{100 * np.mean(cell):.1f} ({100 * min(cell):.1f})" if cell[0] == cell[0] else "–" for cell in cells
            )
            lines.append(f"| {name} | " + " | ".join(text) + " |")
            print(lines[-1], flush=True)
    if args.output:
        args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
