"""What interventions on training do to the loss: each arm's mean over seeds against the baseline's, and seed noise.

Every run is one draw: its seed moved initialisation, data order and dropout, and all are measured on the same test
documents. The difference of two arms' means has the interval of Welch's t-test (unequal variances; Welch,
Biometrika 34, 1947; degrees of freedom after Satterthwaite, Biometrics Bulletin 2, 1946); p-values are adjusted for the
number of arms by Holm's method (Scandinavian Journal of Statistics 6, 1979).
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from scipy import stats

from equiloss.config import flatten, read_toml
from equiloss.errors import InputError
from equiloss.files import sha256_file
from equiloss.provenance import provenance
from equiloss.records.evaluation import EvaluationRecord
from equiloss.records.file_record import read
from equiloss.statistics.multiplicity import holm
from pretrain.config import FREE_FIELDS
from pretrain.training.page import SEEDS

FORMAT = "equiloss.effects.v1"
LEVEL = 0.95
POWER = 0.8

Verdict = Literal["better", "worse", "in the noise", "one seed: cannot tell"]


@dataclass(frozen=True)
class Measured:
    """One run's loss on the test documents (nats per token), and its configuration without seeds (dotted keys)."""

    run: str
    arm: str
    loss_nats: float
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Effect:
    """An arm against the baseline. Negative: the loss is lower. None where too few seeds give no interval."""

    arm: str
    seeds: int
    mean_nats: float
    sd_nats: float | None
    effect_nats: float
    low_nats: float | None
    high_nats: float | None
    p: float | None
    p_holm: float | None
    detectable_nats: float | None
    """The smallest true effect that so many seeds would have shown with a power of 80 %."""
    verdict: Verdict
    changed: Mapping[str, Any]
    """The fields in which the arm differs from the baseline, with its values."""


@dataclass(frozen=True)
class Effects:
    """The baseline and all arms, the lowest loss first."""

    baseline: str
    seeds: int
    mean_nats: float
    sd_nats: float | None
    split: str
    tokens: int
    effects: tuple[Effect, ...]


def load(paths: Sequence[Path]) -> tuple[list[Measured], str, int]:
    """Read evaluations that `pretrain eval` wrote: the runs, the split, and its size in tokens.

    A directory stands for the evaluations in it. A run NAME-SEED belongs to the arm NAME; its config.toml is read
    beside its checkpoint. Raises: InputError when evaluations are not of the same data and split, a run is there
    twice, or the runs of an arm differ in more than seeds.
    """
    found: list[Measured] = []
    kinds: dict[tuple[Any, ...], Path] = {}
    split, tokens = "", 0
    for path in files(paths):
        record = read(EvaluationRecord, path, "name .eval.json files that `pretrain eval` wrote")
        split, tokens = record.data.split, record.data.tokens
        kinds.setdefault((record.data.sha256, split, tokens), path)
        name = record.checkpoint.name
        config = _config(Path(record.checkpoint.path).parent / "config.toml")
        found.append(Measured(name, arm_of(name), record.loss_nats.value, config))
    if len(kinds) > 1:
        first, second = list(kinds.values())[:2]
        raise InputError(f"{first} and {second} are not of the same test documents", "evaluate all runs on one split")
    _check(found)
    return found, split, tokens


def files(paths: Sequence[Path]) -> list[Path]:
    """The evaluations that are named, and those in directories that are named."""
    return [file for path in paths for file in (sorted(path.glob("*.eval.json")) if path.is_dir() else [path])]


def arm_of(run: str) -> str:
    """The arm of a run that is called ARM-SEED."""
    return re.sub(r"[-_.](seed)?\d+$", "", run)


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: the run's configuration is not there", "run this where the evaluations were made")
    return {key: value for key, value in flatten(read_toml(path)).items() if key not in SEEDS | FREE_FIELDS}


def _check(found: Sequence[Measured]) -> None:
    first: dict[str, Measured] = {}
    names: set[str] = set()
    for one in found:
        if one.run in names:
            raise InputError(f"the run {one.run} is there twice", "name one evaluation of each run")
        names.add(one.run)
        other = first.setdefault(one.arm, one)
        keys = sorted(key for key in {**one.config, **other.config} if one.config.get(key) != other.config.get(key))
        if keys:
            raise InputError(
                f"{other.run} and {one.run} differ in {', '.join(keys)}, not in seeds alone",
                "give runs of different arms names that differ before -SEED",
            )


def compare(found: Sequence[Measured], baseline: str, split: str = "test", tokens: int = 0) -> Effects:
    """Every arm against `baseline`, the lowest loss first.

    Raises: InputError when there is no such arm, or no other.
    """
    arms: dict[str, list[Measured]] = {}
    for one in found:
        arms.setdefault(one.arm, []).append(one)
    if baseline not in arms:
        raise InputError(f"no run belongs to the baseline {baseline!r}", f"the arms are: {', '.join(arms)}")
    base = arms.pop(baseline)
    if not arms:
        raise InputError("there is nothing but the baseline", "name evaluations of other arms too")
    losses = [one.loss_nats for one in base]
    rows = [(arm, ones, welch([one.loss_nats for one in ones], losses)) for arm, ones in arms.items()]
    adjusted = holm([test.p for _, _, test in rows])
    effects = [
        Effect(
            arm=arm,
            seeds=len(ones),
            mean_nats=statistics.fmean(one.loss_nats for one in ones),
            sd_nats=_sd([one.loss_nats for one in ones]),
            effect_nats=test.difference,
            low_nats=test.low,
            high_nats=test.high,
            p=test.p,
            p_holm=p_holm,
            detectable_nats=test.detectable,
            verdict=_verdict(test.difference, p_holm),
            changed={
                key: ones[0].config.get(key)
                for key in {**base[0].config, **ones[0].config}
                if ones[0].config.get(key) != base[0].config.get(key)
            },
        )
        for (arm, ones, test), p_holm in zip(rows, adjusted, strict=True)
    ]
    effects.sort(key=lambda effect: effect.effect_nats)
    return Effects(baseline, len(base), statistics.fmean(losses), _sd(losses), split, tokens, tuple(effects))


def effects_document(effects: Effects, runs: Sequence[Measured], paths: Sequence[Path]) -> dict[str, object]:
    """The document of `study effects --json`: the effects, every run's loss, and what was read."""
    return {
        "format": FORMAT,
        "level": LEVEL,
        **asdict(effects),
        "runs": [{"run": run.run, "arm": run.arm, "loss_nats": run.loss_nats} for run in runs],
        "inputs": {str(path): sha256_file(path) for path in files(paths)},
        "provenance": provenance(),
    }


@dataclass(frozen=True)
class Welch:
    """The difference of two means, its interval, its two-sided p, and what would have been seen with `POWER`."""

    difference: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    detectable: float | None = None


def welch(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> Welch:
    """Welch's t-test of mean(first) - mean(second); without an interval when a side has fewer than two values."""
    difference = statistics.fmean(first) - statistics.fmean(second)
    if len(first) < 2 or len(second) < 2:
        return Welch(difference)
    if not any(statistics.variance(values) for values in (first, second)):
        return Welch(difference, difference, difference, 1.0 if difference == 0 else 0.0, 0.0)
    test = stats.ttest_ind(first, second, equal_var=False)
    low, high = map(float, test.confidence_interval(level))
    t = stats.t(test.df)
    detectable = (high - low) / 2 * (1 + float(t.ppf(POWER)) / float(t.ppf((1 + level) / 2)))
    return Welch(difference, low, high, float(test.pvalue), detectable)


def _verdict(difference: float, p_holm: float | None) -> Verdict:
    if p_holm is None:
        return "one seed: cannot tell"
    if p_holm > 1 - LEVEL:
        return "in the noise"
    return "better" if difference < 0 else "worse"


def _sd(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
