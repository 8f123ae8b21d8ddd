"""A case from files: runs found by name, with what lies beside them and beside their base models."""

from __future__ import annotations

import difflib
import glob
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equiloss import commands
from equiloss.errors import InputError
from equiloss.records import evaluation, probe
from equiloss.records.evaluation import Evaluation
from equiloss.records.ift_run import RunBase
from judge.data.anchors import pooled
from judge.data.scores import Scores, choose_panel, scale_of
from judge.data.verdicts import Judged, kind_of, load_judged
from judge.diagnose.case import Arm, Base, Case
from judge.diagnose.differences import disagreement


def read_case(
    a: str,
    b: str,
    results_dir: Path = Path("results"),
    rubric: str | None = None,
    judge: str | None = None,
    verdicts_dir: Path | None = None,
    evidence: Sequence[Path] = (),
    criterion: str | None = None,
) -> Case:
    """Find and read everything about A and B; each is a response file, a verdict file, or a run's name.

    A run's name stands for NAME.jsonl, or for all its seeds NAME.s1.jsonl, NAME.s2.jsonl, ...
    `verdicts_dir`: where `judge score -o` put the verdicts, where they are not beside the answers. `evidence`: judgings
    that are taken as one (see `judge.data.anchors`). `criterion`: the one of the rubric that is meant; None: the whole.
    Raises: InputError when a file or name is unknown, a file is broken, or several rubrics or judges remain.
    """
    sides = [load_judged(with_verdicts(find_runs(target, results_dir), verdicts_dir)) for target in (a, b)]
    runs = pooled([*sides[0], *sides[1]], evidence)
    arms = [arm_of(runs[: len(sides[0])]), arm_of(runs[len(sides[0]) :])]
    if [run.files for run in arms[0].runs] == [run.files for run in arms[1].runs]:
        raise InputError(f"A and B are the same files ({a})", "name two different runs")
    for arm in arms:
        if found := disagreement(arm):
            raise InputError(f"{arm.name}: {found}", "seeds of one side have one recipe: name those that do")
    return case_of(arms[0], arms[1], rubric, judge, criterion)


def case_of(a: Arm, b: Arm, rubric: str | None = None, judge: str | None = None, criterion: str | None = None) -> Case:
    """The case of two arms that have been read.

    Raises: InputError when several rubrics or judges remain, or no item was judged for both.
    """
    runs = [*a.runs, *b.runs]
    if not all(run.panels() for run in runs):
        return Case(a, b, None, None)
    panel = choose_panel(runs, rubric, judge)
    scores, left_out = _common(Scores.of(runs, panel, criterion), (a, b))
    if silent := next((run for run, row in zip(runs, scores.by_item(), strict=True) if np.isnan(row).all()), None):
        raise InputError(
            f"{silent.generator}: {panel} gave it no score on the items that were judged for all",
            "judge again, with --retry-failures",
        )
    notes = [*scores.warnings]
    if left_out:
        notes.append(f"{left_out} items that only one side answered are left out")
    return Case(a, b, panel, scores, scale_of(runs, panel), tuple(notes))


def _common(scores: Scores, arms: Sequence[Arm]) -> tuple[Scores, int]:
    """The scores of the items that the judge was asked about for every run, and how many others there are."""
    keep: NDArray[np.bool_] = np.asarray(scores.asked.all(axis=0))
    if not keep.any():
        raise InputError(
            f"{arms[0].name} and {arms[1].name} have no judged item in common", "fine-tune and judge on the same items"
        )
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
    paths = list(files)
    for path in files if folder is not None else ():
        own = sorted(folder.glob(f"{glob.escape(path.stem)}.*.jsonl")) if folder else []
        own = [one for one in own if one.stat().st_size and kind_of(one) in ("verdicts", "failures")]
        if not own:
            score = commands.judge_score([path], output=folder)
            raise InputError(f"{folder}: holds no verdicts on {path}", f"run `{score}`")
        paths += own
    return paths


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
    of_name = re.compile(rf"{re.escape(path.name)}\.s(\d+)\.jsonl")
    seeds = {int(match[1]): one for one in folder.glob("*.jsonl") if (match := of_name.fullmatch(one.name))}
    if seeds:
        return [seeds[seed] for seed in sorted(seeds)]
    single = folder / f"{path.name}.jsonl"
    if single.is_file():
        return [single]
    known = sorted(one.name.removesuffix(".run.json") for one in folder.glob("*.run.json"))
    close = difflib.get_close_matches(path.name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"name a results file, or a run in {folder}/"
    raise InputError(f"no file or run named {target!r}", hint)


def arm_of(runs: Sequence[Judged]) -> Arm:
    """One side from its runs: seeds of one model, with the base model that their records name."""
    name = runs[0].model if len(runs) > 1 else runs[0].generator
    arm = Arm(name, tuple(runs), Base())
    if arm.record is None:
        return arm
    return replace(arm, base=find_base(arm.record.base, arm.folder or Path(".")))


def find_base(record: RunBase, folder: Path) -> Base:
    """The base model of a run's record, with the evaluations and the probe beside its checkpoint."""
    evaluations: list[Evaluation] = []
    probed = None
    for checkpoint in places_of(record, folder):
        evaluations = evaluations or evaluation.find(checkpoint, record.sha256)
        probed = probed or probe.find(checkpoint, record.sha256)
    return Base(record, tuple(evaluations), *(probed or (None, None)))


def places_of(record: RunBase, folder: Path) -> list[Path]:
    """Where the checkpoint of a record may lie: as named, or from the results' folder or the one above."""
    if not record.path:
        return []
    named = Path(record.path)
    return [named] if named.is_absolute() else [named, folder / named, folder.parent / named]
