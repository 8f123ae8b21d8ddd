"""What a diagnosis reads: answers, verdicts, run records, base models' evaluations and probes, found by name."""

from __future__ import annotations

import difflib
import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from equiloss import commands
from equiloss.errors import InputError
from equiloss.loss_comparison import compare
from equiloss.records import evaluation
from equiloss.records import probe as probes
from equiloss.records.diagnosis import Side
from equiloss.records.evaluation import Evaluation
from equiloss.records.probe import ProbeRecord
from equiloss.statistics.bootstrap import Floats
from equiloss.statistics.gap import Gap
from judge.data.reference import agreement
from judge.data.scores import Scores, choose_panel, scale_of
from judge.data.verdicts import Judged, Panel, kind_of, load_judged

_RUN = re.compile(r"^(?P<name>.+?)\.jsonl?$")


@dataclass(frozen=True)
class Base:
    """A base model as its runs' records describe it, and the files that describe it further."""

    sha256: str | None = None
    path: str | None = None
    config: Mapping[str, Any] | None = None
    run: Mapping[str, Any] | None = None
    evaluations: tuple[Evaluation, ...] = ()
    probe: ProbeRecord | None = None
    probe_path: Path | None = None


@dataclass(frozen=True)
class Arm:
    """One side of the comparison: its runs, one per fine-tuning seed, and its base model."""

    name: str
    runs: tuple[Judged, ...]
    base: Base
    several_bases: bool = False

    @property
    def record(self) -> Mapping[str, Any] | None:
        """The first run's record, if there is one."""
        return next((run.run for run in self.runs if run.run is not None), None)

    @property
    def records(self) -> list[Mapping[str, Any]]:
        """All run records that were found."""
        return [run.run for run in self.runs if run.run is not None]


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
        return tuple(one for one in self.a.runs[0].responses if one in of_b)

    @cached_property
    def reference(self) -> Gap | None:
        """The gap in agreement with the reference answer, from 0 to 1, on the same items; None without references."""
        arms = [np.array([[self._agreement(run, one) for one in self.ids] for run in arm.runs]) for arm in self.arms]
        if not self.ids or any(np.isnan(one).all() for one in arms):
            return None
        return Gap(arms[0], arms[1], self.ids, self.categories, "agreement with the reference, 0 to 1")

    @cached_property
    def categories(self) -> tuple[str | None, ...]:
        """The items' categories, in the order of `ids`."""
        return tuple(self._item(one, "category") for one in self.ids)

    def _item(self, one: str, field: str) -> Any:
        found = next((run.responses[one] for arm in self.arms for run in arm.runs if one in run.responses), None)
        return getattr(found, field) if found else None

    def texts(self, one: str) -> tuple[str, str]:
        """What an item asks (instruction and input) and its reference answer."""
        return f"{self._item(one, 'instruction') or ''}\n{self._item(one, 'input') or ''}", str(
            self._item(one, "reference") or ""
        )

    def asked(self, one: str) -> tuple[str, str]:
        """An item's instruction and input."""
        return str(self._item(one, "instruction") or ""), str(self._item(one, "input") or "")

    @cached_property
    def outputs_a(self) -> list[list[str | None]]:
        """A's answers: a row per run, an entry per item."""
        return self.outputs(self.a)

    @cached_property
    def outputs_b(self) -> list[list[str | None]]:
        """B's answers."""
        return self.outputs(self.b)

    def outputs(self, arm: Arm) -> list[list[str | None]]:
        """The arm's answers: a row per run, an entry per item; None where there is none."""
        return [[run.responses[one].output if one in run.responses else None for one in self.ids] for run in arm.runs]

    def _agreement(self, run: Judged, one: str) -> float:
        response = run.responses.get(one)
        _, reference = self.texts(one)
        return agreement(response.output, reference) if response and reference.strip() else float("nan")

    def side(self, arm: Arm) -> Side:
        """The arm as the document describes it."""
        gap = self.gap
        values: Floats | None = None if gap is None else (gap.a if arm is self.a else gap.b)
        files = [path for run in arm.runs for path in run.files]
        more = [one.path for one in arm.base.evaluations if one.path]
        more += [arm.base.probe_path] if arm.base.probe_path else []
        return Side(
            name=arm.name,
            generators=tuple(run.generator for run in arm.runs),
            seeds=len(arm.runs),
            items=len(self.ids),
            mean=None if values is None or np.isnan(values).all() else float(np.nanmean(values)),
            base_path=arm.base.path,
            base_sha256=arm.base.sha256,
            files=tuple(str(path) for path in [*files, *more]),
        )


def read_case(
    a: str,
    b: str,
    results_dir: Path = Path("results"),
    rubric: str | None = None,
    judge: str | None = None,
    verdicts_dir: Path | None = None,
) -> Case:
    """Find and read everything about A and B; each is a response file, a verdict file, or a run's name.

    A run's name stands for NAME.jsonl, or for all its seeds NAME.s1.jsonl, NAME.s2.jsonl, ...
    `verdicts_dir`: where `judge score -o` put the verdicts, where they are not beside the answers.
    Raises: InputError when a file or name is unknown, a file is broken, or several rubrics or judges remain.
    """
    arms = [arm_of(load_judged(with_verdicts(find_runs(target, results_dir), verdicts_dir))) for target in (a, b)]
    if [run.files for run in arms[0].runs] == [run.files for run in arms[1].runs]:
        raise InputError(f"A and B are the same files ({a})", "name two different runs")
    return case_of(arms[0], arms[1], rubric, judge)


def case_of(a: Arm, b: Arm, rubric: str | None = None, judge: str | None = None) -> Case:
    """The case of two arms that have been read.

    Raises: InputError when several rubrics or judges remain, or no item was judged for both.
    """
    runs = [*a.runs, *b.runs]
    notes: list[str] = []
    panel, scores, scale = None, None, (0.0, 1.0)
    if all(run.panels() for run in runs):
        panel = choose_panel(runs, rubric, judge)
        scores = Scores.of(runs, panel)
        scale = scale_of(runs, panel)
        scores, left_out = _common(scores, (a, b))
        notes += scores.warnings
        if left_out:
            notes.append(f"{left_out} items that only one side answered are left out")
    return Case(a, b, panel, scores, scale, tuple(notes))


def _common(scores: Scores, arms: Sequence[Arm]) -> tuple[Scores, int]:
    """The scores of the items that the judge was asked about for every run."""
    keep: NDArray[np.bool_] = np.asarray(scores.asked.all(axis=0))
    if not keep.any():
        raise InputError(
            f"{arms[0].name} and {arms[1].name} have no judged item in common", "fine-tune and judge on the same items"
        )
    if keep.all():
        return scores, 0
    kept = replace(
        scores,
        ids=tuple(compress(scores.ids, keep)),
        values=scores.values[:, keep],
        asked=scores.asked[:, keep],
        categories=tuple(compress(scores.categories, keep)),
    )
    return kept, int((~keep).sum())


def with_verdicts(files: Sequence[Path], folder: Path | None) -> list[Path]:
    """Result files, and in `folder` the verdicts on them, failed ones too.

    Raises: InputError when the folder holds none for a file.
    """
    found = list(files)
    for path in files if folder is not None else ():
        own = sorted(folder.glob(f"{glob.escape(path.stem)}.*.jsonl")) if folder else []
        own = [one for one in own if one.stat().st_size and kind_of(one) in ("verdicts", "failures")]
        if not own:
            score = commands.judge_score([path], output=folder)
            raise InputError(f"{folder}: holds no verdicts on {path}", f"run `{score}`")
        found += own
    return found


def find_runs(target: str, results_dir: Path) -> list[Path]:
    """The files that a target names: itself, or a run's answers in `results_dir`, all seeds of it.

    Raises: InputError when there is none, naming the nearest run.
    """
    path = Path(target)
    if path.is_file():
        return [path]
    if path.suffix in (".jsonl", ".json"):
        raise InputError(f"{target}: no such file", "check the path")
    folder = path.parent if path.parent != Path(".") else results_dir
    of_name = re.compile(rf"^{re.escape(path.name)}\.s(\d+)\.jsonl$")
    seeds = [one for one in folder.glob("*.jsonl") if of_name.match(one.name)] if folder.is_dir() else []
    if seeds:
        return sorted(seeds, key=lambda one: int(cast("re.Match[str]", of_name.match(one.name))[1]))
    single = folder / f"{path.name}.jsonl"
    if single.is_file():
        return [single]
    known = sorted({one.name.removesuffix(".run.json") for one in folder.glob("*.run.json")}) if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"name a results file, or a run in {folder}/"
    raise InputError(f"no file or run named {target!r}", hint)


def arm_of(runs: Sequence[Judged]) -> Arm:
    """One side from its runs: seeds of one model, with the base model that their records name."""
    name = runs[0].model if len(runs) > 1 else runs[0].generator
    records = [run.run for run in runs if run.run is not None]
    shas = {_base(record).get("sha256") for record in records}
    folder = next((run.path.parent for run in runs if run.path), Path("."))
    base = find_base(records[0], folder) if records else Base()
    return Arm(name, tuple(runs), base, several_bases=len(shas) > 1)


def _base(record: Mapping[str, Any]) -> Mapping[str, Any]:
    base = record.get("base")
    return cast("Mapping[str, Any]", base) if isinstance(base, dict) else {}


def find_base(record: Mapping[str, Any], folder: Path) -> Base:
    """The base model of a run's record, with the evaluation and probes beside its checkpoint where they are there."""
    base = _base(record)
    path = cast("str | None", base.get("path"))
    sha = cast("str | None", base.get("sha256"))
    run = base.get("run")
    probed = None
    evaluations: list[Evaluation] = []
    for checkpoint in _places(path, folder):
        evaluations = evaluations or evaluation.find(checkpoint, sha)
        probed = probed or probes.find(checkpoint, sha)
    return Base(
        sha256=sha,
        path=path,
        config=cast("dict[str, Any] | None", base.get("config")),
        run=cast("dict[str, Any]", run) if isinstance(run, dict) else None,
        evaluations=tuple(evaluations),
        probe=probed[0] if probed else None,
        probe_path=probed[1] if probed else None,
    )


def _places(path: str | None, folder: Path) -> list[Path]:
    """Where a checkpoint named in a record may lie: as named, or from the results' folder or the one above."""
    if not path:
        return []
    named = Path(path)
    return [named] if named.is_absolute() else [named, folder / named, folder.parent / named]


def comparable(case: Case) -> tuple[Evaluation, Evaluation]:
    """The first evaluations of A's and B's base that are of the same documents; the test split's before others.

    Raises: InputError when none are, saying why of the last pair.
    """
    pairs = [(a, b) for a in case.a.base.evaluations for b in case.b.base.evaluations]
    pairs.sort(key=lambda pair: pair[0].record.data.split != "test")
    failed = InputError("a base model was not evaluated", "run `pretrain eval`")
    for first, second in pairs:
        try:
            compare(first, second)
        except InputError as error:
            failed = error
        else:
            return first, second
    raise failed
