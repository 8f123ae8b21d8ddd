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
from typing import Literal, TypeAlias

from scipy import stats

from equiloss.config import flatten, read_toml
from equiloss.errors import InputError
from equiloss.files import sha256_file
from equiloss.provenance import provenance
from equiloss.records.evaluation import EvaluationRecord
from equiloss.records.file_record import read
from equiloss.statistics.estimate import Estimate, student
from equiloss.statistics.multiplicity import holm
from pretrain.config import FREE_FIELDS
from pretrain.training.page import SEEDS, data_of

FORMAT = "equiloss.effects.v1"
LEVEL = 0.95
POWER = 0.8

Config: TypeAlias = Mapping[str, object]
Decision = Literal["better", "worse", "in the noise", "one seed: cannot tell"]


@dataclass(frozen=True)
class Measured:
    """One run's loss on the test documents (nats per token), and its configuration without seeds (dotted keys)."""

    run: str
    arm: str
    loss_nats: float
    config: Config
    seen_documents: int = 0
    """How many of the test documents stand in its training text, as far as that is known."""


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
    verdict: Decision
    changed: Config
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
    contaminated: Mapping[str, int]
    """The arms whose training text holds test documents, with how many at most in one run."""


def load(paths: Sequence[Path]) -> tuple[list[Measured], str, int]:
    """Read evaluations that `pretrain eval` wrote: the runs, the split, and its size in tokens.

    A directory stands for the evaluations in it. A run NAME-SEED belongs to the arm NAME; its config.toml is read
    beside its checkpoint. Raises: InputError when evaluations are not of the same data and split, a run is there
    twice, or the runs of an arm differ in more than seeds.
    """
    runs: dict[str, Measured] = {}
    kinds: dict[tuple[str, str, int], Path] = {}
    for path in files(paths):
        record = read(EvaluationRecord, path, "name .eval.json files that `pretrain eval` wrote")
        kinds.setdefault((record.data.sha256, record.data.split, record.data.tokens), path)
        name = record.checkpoint.name
        if name in runs:
            raise InputError(f"the run {name} is there twice", "name one evaluation of each run")
        config = _config(Path(record.checkpoint.path).parent / "config.toml")
        seen = record.checkpoint.seen_documents or 0
        runs[name] = run = Measured(name, arm_of(name), record.loss_nats.value, config, seen)
        first = next(other for other in runs.values() if other.arm == run.arm)
        if keys := sorted(changed(first.config, config)):
            raise InputError(
                f"{first.run} and {name} differ in {', '.join(keys)}, not in seeds alone",
                "give runs of different arms names that differ before -SEED",
            )
    if len(kinds) > 1:
        one, other = list(kinds.values())[:2]
        raise InputError(f"{one} and {other} are not of the same test documents", "evaluate all runs on one split")
    _, split, tokens = next(iter(kinds), ("", "", 0))
    return list(runs.values()), split, tokens


def files(paths: Sequence[Path]) -> list[Path]:
    """The evaluations that are named, and those in directories that are named."""
    return [file for path in paths for file in (sorted(path.glob("*.eval.json")) if path.is_dir() else [path])]


def arm_of(run: str) -> str:
    """The arm of a run that is called ARM-SEED."""
    return re.sub(r"[-_.](seed)?\d+$", "", run)


def changed(before: Config, after: Config) -> Config:
    """The fields in which two configurations differ, with the second's values."""
    return {key: after.get(key) for key in {**before, **after} if after.get(key) != before.get(key)}


def _config(path: Path) -> Config:
    if not path.is_file():
        raise InputError(f"{path}: the run's configuration is not there", "run this where the evaluations were made")
    fields = flatten(read_toml(path)) | {"data": data_of(path)}
    return {key: value for key, value in fields.items() if key not in SEEDS | FREE_FIELDS}


def compare(runs: Sequence[Measured], baseline: str, split: str = "test", tokens: int = 0) -> Effects:
    """Every arm against `baseline`, the lowest loss first.

    Raises: InputError when there is no such arm, or no other.
    """
    arms: dict[str, list[Measured]] = {}
    for run in runs:
        arms.setdefault(run.arm, []).append(run)
    if baseline not in arms:
        raise InputError(f"no run belongs to the baseline {baseline!r}", f"the arms are: {', '.join(arms)}")
    if len(arms) == 1:
        raise InputError("there is nothing but the baseline", "name evaluations of other arms too")
    losses = {arm: [run.loss_nats for run in members] for arm, members in arms.items()}
    base = losses.pop(baseline)
    tests = {arm: welch(values, base) for arm, values in losses.items()}
    adjusted = holm([difference.p for difference, _ in tests.values()])
    effects = [
        Effect(
            arm=arm,
            seeds=len(losses[arm]),
            mean_nats=statistics.fmean(losses[arm]),
            sd_nats=_sd(losses[arm]),
            effect_nats=difference.value,
            low_nats=difference.low,
            high_nats=difference.high,
            p=difference.p,
            p_holm=p_holm,
            detectable_nats=detectable,
            verdict=_verdict(difference.value, p_holm),
            changed=changed(arms[baseline][0].config, arms[arm][0].config),
        )
        for (arm, (difference, detectable)), p_holm in zip(tests.items(), adjusted, strict=True)
    ]
    effects.sort(key=lambda effect: effect.effect_nats)
    seen = {arm: max(run.seen_documents for run in members) for arm, members in arms.items()}
    contaminated = {arm: n for arm, n in seen.items() if n}
    return Effects(baseline, len(base), statistics.fmean(base), _sd(base), split, tokens, tuple(effects), contaminated)


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


def welch(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> tuple[Estimate, float | None]:
    """Welch's t-test of mean(first) - mean(second), and the true difference that it would have seen with `POWER`.

    Without an interval when a side has fewer than two values.
    """
    difference = statistics.fmean(first) - statistics.fmean(second)
    if min(len(first), len(second)) < 2:
        return Estimate(value=difference, note="one seed on a side"), None
    if not any(statistics.variance(values) for values in (first, second)):
        return student(difference, 0.0, 1, confidence=level), 0.0
    test = stats.ttest_ind(first, second, equal_var=False)
    low, high = map(float, test.confidence_interval(level))
    t = stats.t(test.df)
    detectable = (high - low) / 2 * (1 + float(t.ppf(POWER)) / float(t.ppf((1 + level) / 2)))
    return Estimate(value=difference, low=low, high=high, confidence=level, p=float(test.pvalue)), detectable


def _verdict(difference: float, p_holm: float | None) -> Decision:
    if p_holm is None:
        return "one seed: cannot tell"
    if p_holm > 1 - LEVEL:
        return "in the noise"
    return "better" if difference < 0 else "worse"


def _sd(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
