"""Looking at runs: the page that a run leaves, and several runs laid over each other."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equiloss.config import flatten, read_toml
from equiloss.errors import InputError
from equiloss.files import json_text, read_text, write_text
from equiloss.records.file_record import FileRecord
from equiloss.records.metrics import SampledText, TrainingMetrics, ValidationMetrics, read_metrics, read_samples
from equiloss.templates import report_page
from pretrain.config import FREE_FIELDS

INTERVALS = 400
"""A curve is drawn with at most so many points; more steps are put together, with minimum, mean and maximum."""
SEEDS = frozenset({"train.seed", "train.init_seed", "train.order_seed", "train.dropout_seed"})


class RunSummary(FileRecord):
    """A run in a few numbers, None where nothing was logged. `train_loss`: the mean of the last tenth."""

    run: str
    finished: bool
    steps: int
    tokens: int
    train_loss: float | None
    validation_loss: float | None
    best_validation_loss: float | None
    best_step: int | None
    clipped: float | None
    skipped_steps: int
    tokens_per_s: float | None
    elapsed_s: float


@dataclass(frozen=True)
class LoggedRun:
    """What a run's directory says: its resolved configuration (dotted keys), its metrics, its samples."""

    name: str
    directory: Path
    config: Mapping[str, object]
    train: Sequence[TrainingMetrics]
    validation: Sequence[ValidationMetrics]
    samples: Sequence[SampledText]

    def summary(self, label: str) -> RunSummary:
        """The run's numbers under this name."""
        last = self.train[-1] if self.train else None
        losses = [(row.validation_loss, row.step) for row in self.validation if row.validation_loss is not None]
        best, best_step = min(losses, default=(None, None))
        end = [row.loss for row in self.train if last and row.step > 0.9 * last.step]
        return RunSummary(
            run=label,
            finished=(self.directory / "checkpoint.pt").exists(),
            steps=last.step if last else 0,
            tokens=last.tokens if last else 0,
            train_loss=statistics.fmean(end) if end else None,
            validation_loss=losses[-1][0] if losses else None,
            best_validation_loss=best,
            best_step=best_step,
            clipped=statistics.fmean(row.clipped for row in self.train) if self.train else None,
            skipped_steps=last.skipped if last else 0,
            tokens_per_s=statistics.median(row.tokens_per_s for row in self.train) if self.train else None,
            elapsed_s=last.elapsed_s if last else 0.0,
        )


def load(directory: Path) -> LoggedRun:
    """Read a run, finished or under way.

    Raises: InputError when there is none in the directory.
    """
    metrics, config = directory / "metrics.jsonl", directory / "config.toml"
    if not metrics.is_file() or not config.is_file():
        raise InputError(f"{directory}: no run of `pretrain run` is there", "name a directory such as runs/NAME")
    train, validation = read_metrics(metrics)
    return LoggedRun(
        name=directory.resolve().name,
        directory=directory,
        config=flatten(read_toml(config)) | {"data": data_of(config)},
        train=train,
        validation=validation,
        samples=read_samples(directory / "samples.jsonl"),
    )


def data_of(config: Path) -> str | None:
    """The hash of the data that a run read, as its config.toml notes it; None where that says nothing."""
    noted = re.search(r"^# data: .* \(sha256 (\w{12})\w*\)$", read_text(config), re.MULTILINE)
    return noted and f"sha256 {noted[1]}"


def write(directory: Path) -> Path:
    """Write a run's report.html; returns its path."""
    run = load(directory)
    path = directory / "report.html"
    write_text(path, page([run], run.name))
    return path


def compare(runs: Sequence[LoggedRun], path: Path) -> None:
    """Write a page with the curves of several runs over each other, and the fields in which they differ."""
    write_text(path, page(runs, f"{len(runs)} runs"))


def labels(runs: Sequence[LoggedRun]) -> list[str]:
    """The runs' names, with as much of the path in front as tells them apart.

    Raises: InputError when a run is named twice.
    """
    paths = [run.directory.resolve().parts for run in runs]
    if len(set(paths)) < len(paths):
        raise InputError("a run is named twice", "name each run once")
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return ["/".join(parts) for parts in paths]


def differing(runs: Sequence[LoggedRun]) -> dict[str, list[object]]:
    """The fields in which runs differ, with each run's value; seeds that only follow train.seed are left out."""
    derived = {key for key in SEEDS if all(run.config.get(key) == run.config.get("train.seed") for run in runs)}
    keys = dict.fromkeys(key for run in runs for key in run.config if key == "train.seed" or key not in derived)
    rows = {key: [run.config.get(key) for run in runs] for key in keys}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def page(runs: Sequence[LoggedRun], title: str) -> str:
    """The HTML page: self-contained, nothing of it taken from anywhere when it is opened."""
    groups: dict[str, int] = {}
    entries: list[dict[str, object]] = []
    for run, label in zip(runs, labels(runs), strict=True):
        recipe = {key: value for key, value in run.config.items() if key not in SEEDS | FREE_FIELDS}
        group = groups.setdefault(json.dumps(recipe, sort_keys=True, default=str), len(groups))
        entries.append(
            {
                "name": label,
                "group": group,
                "train": [point.model_dump(exclude={"skipped", "tokens", "epoch"}) for point in thinned(run.train)],
                "validation": [
                    {"step": row.step, "loss": row.validation_loss}
                    for row in run.validation
                    if row.validation_loss is not None
                ],
                "samples": run.samples,
                "summary": run.summary(label),
                "tokens_per_step": run.train[-1].tokens / run.train[-1].step if run.train else None,
                "config": run.config,
            }
        )
    document = {"title": title, "runs": entries, "differences": differing(runs) if len(runs) > 1 else {}}
    # In a script element only "</" and "<!--" could end or change it: no "<" is left.
    embedded = json_text(document).replace("<", "\\u003c")
    return report_page("run.html", title=title, data=embedded)


def thinned(rows: Sequence[TrainingMetrics], intervals: int = INTERVALS) -> list[TrainingMetrics]:
    """Metrics put together into at most `intervals` points: means weighted by steps, the extremes of the loss kept."""
    size = math.ceil(len(rows) / intervals) or 1
    points: list[TrainingMetrics] = []
    before = 0
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        steps = np.diff([before, *(row.step for row in part)])
        before = part[-1].step
        means = {
            name: _mean([getattr(row, name) for row in part], steps)
            for name in ("loss", "grad_norm", "clipped", "tokens_per_s")
        }
        extremes = {"loss_min": min(row.loss_min for row in part), "loss_max": max(row.loss_max for row in part)}
        points.append(part[-1].model_copy(update=means | extremes))
    return points


def _mean(values: Sequence[float | None], weights: np.ndarray) -> float | None:
    known = np.array([value is not None for value in values])
    return float(np.average(np.array(values, float)[known], weights=weights[known])) if known.any() else None
