"""How far three judges of the same pairs can be trusted: a crowd, GPT-3.5 and GPT-4 on the answers of some 60 models.

    python benchmarks/trust.py DIRECTORY --draws 1000

DIRECTORY holds the files of dustalov/llmfao: crowd-comparisons.csv, gpt3-crowd-comparisons.csv and
gpt4-crowd-comparisons.csv, results.jsonl and prompts.jsonl. docs/trust.md has what it printed, and what was predicted.
Exit code 5 where a threshold that was set before is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != HERE]

import numpy as np  # noqa: E402
from scipy import stats  # noqa: E402

from equiloss.statistics import prediction_powered  # noqa: E402
from equiloss.statistics.bootstrap import Floats  # noqa: E402
from judge.auditing.audit import audit  # noqa: E402
from judge.data.scores import Scores  # noqa: E402
from judge.data.verdicts import Judged, Panel, load_judged  # noqa: E402
from judge.exchange.exchange import read_as  # noqa: E402
from judge.labelling.label import Label, read_labels  # noqa: E402

CROWD = "crowd-comparisons"
JUDGES = ("gpt3-crowd-comparisons", "gpt4-crowd-comparisons")
LABELLED = 0.1
COVERAGE = (0.92, 0.98)  # of intervals that are to hold the crowd's value in 95 % of draws


class Draws(NamedTuple):
    """What random draws of labels make of a judge's win rates, over all models and draws.

    coverage, width: of the corrected intervals; labels_coverage, labels_width: of those by the labels alone; narrower:
    how often the corrected one is. Errors are root mean squares against the crowd's win rate: the judge's own, the
    corrected, and the labels' alone. skipped: models with too few labels in a draw, as a share.
    """

    coverage: float
    labels_coverage: float
    width: float
    labels_width: float
    narrower: float
    judge_error: float
    corrected_error: float
    labels_error: float
    skipped: float


def main() -> int:
    """Measure, print, and say whether the thresholds hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    names = ("prompts.jsonl", "results.jsonl", *(f"{name}.csv" for name in (CROWD, *JUDGES)))
    with TemporaryDirectory() as folder:
        out = Path(folder)
        read_as("pairs", [args.directory / name for name in names]).write(out)
        labels = read_labels(out / "labels.jsonl")
        judged = load_judged(sorted(out.glob("*.jsonl")))
    found: dict[str, object] = {"people_same": people_same(labels), "models": len(judged)}
    held = True
    rates = {name: win_rates(judged, name) for name in (CROWD, *JUDGES)}
    for name in (CROWD, *JUDGES):
        report = audit(judged, judge=name, rubric="pairs", labels=labels)
        found[name] = {
            "verdicts": report.n_verdicts,
            "agreement": [one.model_dump(mode="json", by_alias=True) for one in report.agreement],
            "position": report.position and [report.position.as_given, report.position.as_given_interval],
            "length": report.length and [report.length.as_given, report.length.as_given_interval],
            "rank_correlation": float(stats.spearmanr(rates[CROWD], rates[name]).statistic),
            "mean_distance": float(np.abs(rates[CROWD] - rates[name]).mean()),
        }
    for name in JUDGES:
        drawn = draws(judged, name, args.draws, args.seed)
        alone = draws(judged, name, args.draws, args.seed, by_prompt=False)
        found[name + ":draws"] = drawn._asdict()
        found[name + ":draws of independent comparisons"] = alone._asdict()
        held &= COVERAGE[0] <= drawn.coverage <= COVERAGE[1] and drawn.width < drawn.labels_width
    print(json.dumps({**found, "held": held}, indent=1))
    return 0 if held else 5


def people_same(labels: Sequence[Label]) -> float:
    """How often two people say the same of a comparison, with a tie as a third outcome: over all pairs of votes."""
    votes: dict[object, list[float]] = {}
    for label in labels:
        if label.generator < label.against:
            votes.setdefault(label.key, []).append(label.value)
    pairs = [one == other for given in votes.values() for one, other in combinations(given, 2)]
    return float(np.mean(pairs))


def by_comparison(judged: Sequence[Judged], judge: str) -> tuple[Scores, Floats]:
    """A judge's scores of every model in every comparison (G, I): NaN where it took no part."""
    scores = Scores.of(judged, Panel("pairs", judge), by_pair=True)
    return scores, scores.by_item()


def win_rates(judged: Sequence[Judged], judge: str) -> Floats:
    """Every model's mean over its comparisons, (G,)."""
    return np.nanmean(by_comparison(judged, judge)[1], axis=1)


def draws(judged: Sequence[Judged], judge: str, n: int, seed: int, *, by_prompt: bool = True) -> Draws:
    """Label a random tenth of all comparisons by the crowd, again and again, and correct every model's win rate.

    by_prompt: comparisons of one prompt go together, as `judge compare` takes them; else each is taken by itself.
    """
    scores, given = by_comparison(judged, judge)
    crowd_scores, crowd = by_comparison(judged, CROWD)
    place = {id: index for index, id in enumerate(crowd_scores.ids)}
    crowd = crowd[:, [place[id] for id in scores.ids]]
    truth, judges = np.nanmean(crowd, axis=1), np.nanmean(given, axis=1)
    clusters = np.unique(scores.items, return_inverse=True)[1].astype(np.intp) if by_prompt else None
    rng = np.random.default_rng(seed)
    rows: list[tuple[float, ...]] = []
    size = round(LABELLED * len(scores.ids))
    for _ in range(n):
        chosen = np.zeros(len(scores.ids), dtype=np.bool_)
        chosen[rng.choice(len(chosen), size, replace=False)] = True
        both = [(scored, np.where(chosen, voted, np.nan)) for scored, voted in zip(given, crowd, strict=True)]
        weight = prediction_powered.common_weight(both)
        for (scored, human), true, judged_as in zip(both, truth.tolist(), judges.tolist(), strict=True):
            corrected, alone = (
                prediction_powered.mean(scored, human, clusters=clusters, weight=one) for one in (weight, 0.0)
            )
            if corrected is None or alone is None:
                continue
            (low, high), (least, most) = corrected.interval, alone.interval
            held = (low <= true <= high, least <= true <= most)
            errors = ((judged_as - true) ** 2, (corrected.mean - true) ** 2, (alone.mean - true) ** 2)
            rows.append((*held, high - low, most - least, high - low < most - least, *errors))
    means = np.mean(rows, axis=0)
    means[5:] = np.sqrt(means[5:])
    return Draws(*means.tolist(), skipped=1 - len(rows) / (n * len(given)))


if __name__ == "__main__":
    raise SystemExit(main())
