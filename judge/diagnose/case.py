"""What a diagnosis looks at: two sides with their answers, verdicts, run records and base models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equiloss.errors import InputError
from equiloss.loss_comparison import compare
from equiloss.records.counterfactual import Tried
from equiloss.records.diagnosis import Side
from equiloss.records.evaluation import Evaluation
from equiloss.records.ift_run import IftRespond, IftRun, RunBase
from equiloss.records.noise import Spread
from equiloss.records.probe import ProbeRecord
from equiloss.records.response import Response
from equiloss.statistics.agreement import spearman
from equiloss.statistics.equivalence import MARGIN_NATS
from equiloss.statistics.gap import Gap
from judge.data.reference import agreement
from judge.data.scores import Scores
from judge.data.verdicts import Judged, Panel

PREDICTS = 0.5
"""The correlation from which agreement with the reference says something about a judge."""


@dataclass(frozen=True)
class Base:
    """A base model as its runs' records describe it, and the files that describe it further."""

    record: RunBase = field(default_factory=RunBase)
    evaluations: tuple[Evaluation, ...] = ()
    probe: ProbeRecord | None = None
    probe_path: Path | None = None

    @property
    def sha256(self) -> str | None:
        """The checkpoint's hash."""
        return self.record.sha256

    @property
    def path(self) -> str | None:
        """Where the checkpoint was when its runs were made."""
        return self.record.path


@dataclass(frozen=True)
class Arm:
    """One side of the comparison: its runs, one per fine-tuning seed, and its base model."""

    name: str
    runs: tuple[Judged, ...]
    base: Base

    @property
    def records(self) -> list[IftRun | IftRespond]:
        """All run records that were found."""
        return [run.run for run in self.runs if run.run is not None]

    @property
    def record(self) -> IftRun | IftRespond | None:
        """The first run's record, if there is one."""
        return next(iter(self.records), None)

    @property
    def bases(self) -> frozenset[str | None]:
        """The hashes of the base models that its runs started from, as far as they are known."""
        return frozenset(record.base.sha256 for record in self.records)

    @property
    def folder(self) -> Path | None:
        """Where the answers lie."""
        return next((run.path.parent for run in self.runs if run.path), None)


@dataclass(frozen=True)
class Options:
    """What a diagnosis is told beside the case: margins, what `study explain` tried, what a noise ledger says.

    `margin_points`: the smallest gap of interest; None: a twentieth of the scale.
    """

    margin_nats: float = MARGIN_NATS
    margin_points: float | None = None
    noise: Spread | None = None
    tried: tuple[Tried, ...] = ()


@dataclass(frozen=True)
class Case:
    """Everything about A and B that the levels look at."""

    a: Arm
    b: Arm
    panel: Panel | None
    scores: Scores | None
    scale: tuple[float, float] = (0.0, 1.0)
    notes: tuple[str, ...] = ()

    @property
    def arms(self) -> tuple[Arm, Arm]:
        """A and B."""
        return self.a, self.b

    @cached_property
    def gap(self) -> Gap | None:
        """The gap in judge scores; None where the answers are not judged."""
        if self.scores is None:
            return None
        rows = self.scores.by_item()
        split = len(self.a.runs)
        low, high = self.scale
        bases = tuple(run.base for run in self.a.runs), tuple(run.base for run in self.b.runs)
        unit = f"points of {low:g} to {high:g}"
        return Gap(rows[:split], rows[split:], self.scores.ids, self.scores.categories, unit, bases)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The items: those that were judged, or those that both answered."""
        if self.scores is not None:
            return self.scores.ids
        of_b = set(self.b.runs[0].responses)
        return tuple(id for id in self.a.runs[0].responses if id in of_b)

    @cached_property
    def items(self) -> dict[str, Response]:
        """What each item asks, as the first answer to it states it; empty where nobody's answer is there."""
        runs = [run.responses for arm in self.arms for run in arm.runs]
        nothing = Response(id="", instruction="", output="", generator="")
        return {id: next((answers[id] for answers in runs if id in answers), nothing) for id in self.ids}

    def items_where(self, test: Callable[[Response], bool]) -> NDArray[np.bool_]:
        """For which items it is true (I,)."""
        return np.array([test(self.items[id]) for id in self.ids], dtype=np.bool_)

    @cached_property
    def reference(self) -> Gap | None:
        """The gap in agreement with the reference answer, from 0 to 1, on the same items; None without references."""
        arms = [np.array([[self._agreement(run, id) for id in self.ids] for run in arm.runs]) for arm in self.arms]
        if not self.ids or any(np.isnan(values).all() for values in arms):
            return None
        categories = tuple(self.items[id].category for id in self.ids)
        return Gap(arms[0], arms[1], self.ids, categories, "agreement with the reference, 0 to 1")

    def _agreement(self, run: Judged, id: str) -> float:
        response, reference = run.responses.get(id), self.items[id].reference
        return agreement(response.output, reference) if response and reference.strip() else float("nan")

    @cached_property
    def reference_correlation(self) -> float | None:
        """Spearman's correlation of scores and agreement with the reference within runs; None where they never vary."""
        if self.gap is None or self.reference is None:
            return None
        found: list[float] = []
        for scores, agreements in zip([*self.gap.a, *self.gap.b], [*self.reference.a, *self.reference.b], strict=True):
            correlation = spearman(scores, agreements)
            if correlation is not None:
                found.append(correlation)
        return float(np.mean(found)) if found else None

    @property
    def reference_predicts(self) -> bool:
        """Whether agreement with the reference predicts this judge on these items (correlation at least 0.5)."""
        return self.reference_correlation is not None and self.reference_correlation >= PREDICTS

    @cached_property
    def outputs(self) -> tuple[list[list[str | None]], list[list[str | None]]]:
        """A's answers and B's: a row per run, an entry per item; None where there is none."""
        a, b = (
            [[run.responses[id].output if id in run.responses else None for id in self.ids] for run in arm.runs]
            for arm in self.arms
        )
        return a, b

    @cached_property
    def same_answers(self) -> bool:
        """Whether all runs of A and B gave the same answer to every item."""
        rows = [*self.outputs[0], *self.outputs[1]]
        return bool(self.ids) and all(
            answers[0] is not None and len(set(answers)) == 1 for answers in zip(*rows, strict=True)
        )

    def side(self, arm: Arm) -> Side:
        """The arm as the document describes it."""
        values = None if self.gap is None else self.gap.a if arm is self.a else self.gap.b
        files = [path for run in arm.runs for path in run.files]
        files += [path for path in (*(one.path for one in arm.base.evaluations), arm.base.probe_path) if path]
        return Side(
            name=arm.name,
            generators=tuple(run.generator for run in arm.runs),
            seeds=len(arm.runs),
            items=len(self.ids),
            mean=None if values is None or np.isnan(values).all() else float(np.nanmean(values)),
            base_path=arm.base.path,
            base_sha256=arm.base.sha256,
            files=tuple(map(str, files)),
        )


def comparables(case: Case) -> list[tuple[Evaluation, Evaluation]]:
    """The evaluations of A's and B's base that are of the same documents, a pair a text; test splits before others.

    Raises: InputError when none are, saying why of the last pair.
    """
    pairs = [(a, b) for a in case.a.base.evaluations for b in case.b.base.evaluations]
    pairs.sort(key=lambda pair: pair[0].record.data.split != "test")
    failed = InputError("a base model was not evaluated", "run `pretrain eval`")
    fitting: dict[tuple[str, str], tuple[Evaluation, Evaluation]] = {}
    for first, second in pairs:
        try:
            compare(first, second)
        except InputError as error:
            failed = error
        else:
            fitting.setdefault((first.record.data.sha256, first.record.data.split), (first, second))
    if not fitting:
        raise failed
    splits = {pair[0].record.data.split for pair in fitting.values()}
    return [pair for pair in fitting.values() if pair[0].record.data.split == "test" or "test" not in splits]
