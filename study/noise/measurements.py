"""Runs with their scores, as the ledger takes them: from judged result files, or from a table of judgings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from equiloss.config import flatten
from equiloss.errors import InputError
from equiloss.records.ift_run import IftRun
from equiloss.statistics.bootstrap import Floats
from judge.data.judgings import read_judgings
from judge.data.scores import Scores, choose_panel
from judge.data.verdicts import Judged, load_judged
from pretrain.config import FREE_FIELDS
from pretrain.training.page import SEEDS


@dataclass(frozen=True)
class ScoredRun:
    """One fine-tuning: the recipe, data draw and base run that it comes from, and its scores (I, R), NaN where none.

    With `of_means` the scores are means over all items, (1, R). What it took, where the records tell it.
    """

    name: str
    recipe: str
    data: str
    base: str
    scores: Floats
    of_means: bool = False
    pretraining_s: float | None = None
    fine_tuning_s: float | None = None
    verdict_usd: float | None = None


def from_results(paths: Sequence[Path]) -> list[ScoredRun]:
    """The judged runs of result files and of directories of them. Raises: InputError for unjudged or unlike files."""
    files = [file for path in paths for file in (_answers(path) if path.is_dir() else [path])]
    judged = load_judged(files)
    if not judged:
        raise InputError(f"no results in {', '.join(map(str, paths))}", "name judged result files, or their directory")
    panel = choose_panel(judged)
    scores = Scores.of(judged, panel)
    return [
        _run(run, scores.values[index], _mean(verdict.cost_usd for verdict in run.verdicts_of(panel)))
        for index, run in enumerate(judged)
    ]


def from_table(path: Path) -> list[ScoredRun]:
    """Runs of a table of models x judgings (`judge.data.judgings`), a row a run; without `recipe` each has its own.

    Raises: InputError where the table is none.
    """
    return [
        ScoredRun(row.model, row.recipe, row.data, row.base, row.scores[None], of_means=True)
        for row in read_judgings(path)
    ]


def _answers(directory: Path) -> list[Path]:
    return sorted(
        record.with_name(record.name.removesuffix(".run.json") + ".jsonl") for record in directory.glob("*.run.json")
    )


def _run(run: Judged, scores: Floats, usd: float | None) -> ScoredRun:
    """A judged run with its recipe: all that its base and its fine-tuning were made with, but the seeds."""
    record = run.run
    if record is None:
        return ScoredRun(run.generator, run.model, "", run.model, scores, verdict_usd=usd)
    base = record.base.run
    config = flatten(dict(base.config or {})) if base else {}
    source = base.data.source.model_dump(mode="json") if base and base.data and base.data.source else None
    kept = {key: value for key, value in config.items() if key not in SEEDS | FREE_FIELDS}
    recipe = [kept, source, record.recipe, record.data.sha256]
    environment = record.environment if isinstance(record, IftRun) else None
    return ScoredRun(
        name=run.generator,
        recipe=json.dumps(recipe, sort_keys=True, default=str),
        data=(base.data.sha256 or "") if base and base.data else "",
        base=record.base.sha256 or run.model,
        scores=scores,
        pretraining_s=base.elapsed_s if base else None,
        fine_tuning_s=environment.wall_s if environment else None,
        verdict_usd=usd,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
