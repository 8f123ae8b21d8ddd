"""Looking at runs: the page that a run leaves, and several runs laid over each other."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from equiloss.config import flatten, read_toml
from equiloss.errors import InputError
from equiloss.files import read_jsonl, write_text
from equiloss.templates import environment, source
from pretrain.config import FREE_FIELDS

INTERVALS = 400
"""A curve is drawn with at most so many points; more steps are put together, with minimum, mean and maximum."""
SEEDS = frozenset({"train.seed", "train.init_seed", "train.order_seed", "train.dropout_seed"})
Row = dict[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """What a run's directory says: its settled configuration (dotted keys), its metrics, its samples."""

    name: str
    directory: Path
    config: dict[str, Any]
    train: list[Row]
    validation: list[Row]
    samples: list[Row]

    @property
    def finished(self) -> bool:
        """Whether the run has its checkpoint."""
        return (self.directory / "checkpoint.pt").exists()

    def summary(self) -> dict[str, Any]:
        """The run in a few numbers, None where nothing was logged. `train_loss`: the mean of the last tenth."""
        last = self.train[-1] if self.train else {}
        best = min(self.validation, key=lambda row: row["validation_loss"], default=None)
        end = [row for row in self.train if row["step"] > 0.9 * last["step"]]
        speeds = [row["tokens_per_s"] for row in self.train]
        return {
            "run": self.name,
            "finished": self.finished,
            "steps": last.get("step", 0),
            "tokens": last.get("tokens", 0),
            "train_loss": statistics.fmean(row["loss"] for row in end) if end else None,
            "validation_loss": self.validation[-1]["validation_loss"] if self.validation else None,
            "best_validation_loss": best["validation_loss"] if best else None,
            "best_step": best["step"] if best else None,
            "clipped": statistics.fmean(row["clipped"] for row in self.train) if self.train else None,
            "skipped_steps": last.get("skipped", 0),
            "tokens_per_s": statistics.median(speeds) if speeds else None,
            "elapsed_s": last.get("elapsed_s", 0.0),
        }


def load(directory: Path) -> RunFiles:
    """Read a run, finished or under way.

    Raises: InputError when there is none in the directory.
    """
    metrics, config = directory / "metrics.jsonl", directory / "config.toml"
    if not metrics.is_file() or not config.is_file():
        raise InputError(f"{directory}: no run of `pretrain run` is there", "name a directory such as runs/NAME")
    rows = [row for row in read_jsonl(metrics) if isinstance(row, dict)]
    samples = directory / "samples.jsonl"
    return RunFiles(
        name=directory.resolve().name,
        directory=directory,
        config=flatten(read_toml(config)),
        train=[row for row in rows if row.get("loss") is not None],
        validation=[row for row in rows if row.get("validation_loss") is not None],
        samples=read_jsonl(samples) if samples.is_file() else [],
    )


def write(directory: Path) -> Path:
    """Write a run's report.html; returns its path."""
    run = load(directory)
    path = directory / "report.html"
    write_text(path, page([run], run.name))
    return path


def compare(runs: Sequence[RunFiles], path: Path) -> None:
    """Write a page with the curves of several runs over each other, and the fields in which they differ."""
    write_text(path, page(runs, f"{len(runs)} runs"))


def labels(runs: Sequence[RunFiles]) -> list[str]:
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


def differing(runs: Sequence[RunFiles]) -> dict[str, list[Any]]:
    """The fields in which runs differ, with each run's value; seeds that only follow train.seed are left out."""
    derived = {key for key in SEEDS if all(run.config.get(key) == run.config.get("train.seed") for run in runs)}
    keys = dict.fromkeys(key for run in runs for key in run.config if key == "train.seed" or key not in derived)
    rows = {key: [run.config.get(key) for run in runs] for key in keys}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def page(runs: Sequence[RunFiles], title: str) -> str:
    """The HTML page: self-contained, nothing of it taken from anywhere when it is opened."""
    groups: dict[str, int] = {}
    entries: list[dict[str, Any]] = []
    for run, label in zip(runs, labels(runs), strict=True):
        recipe = {key: value for key, value in run.config.items() if key not in SEEDS | FREE_FIELDS}
        group = groups.setdefault(json.dumps(recipe, sort_keys=True, default=str), len(groups))
        entries.append(
            {
                "name": label,
                "group": group,
                "train": thinned(run.train),
                "validation": [
                    {"step": r["step"], "loss": r["validation_loss"]}
                    for r in run.validation
                    if math.isfinite(r["validation_loss"])
                ],
                "samples": run.samples,
                "summary": {**run.summary(), "run": label},
                "tokens_per_step": run.train[-1]["tokens"] / run.train[-1]["step"] if run.train else None,
                "config": run.config,
            }
        )
    document = {"title": title, "runs": entries, "differences": differing(runs) if len(runs) > 1 else {}}
    # In a script element only "</" and "<!--" could end or change it: no "<" is left.
    embedded = json.dumps(document, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return environment(autoescape=True).from_string(source("report", "run.html")).render(title=title, data=embedded)


def thinned(rows: Sequence[Row], intervals: int = INTERVALS) -> list[Row]:
    """Metrics put together into at most `intervals` points: means weighted by steps, the extremes of the loss kept."""
    size = math.ceil(len(rows) / intervals) if rows else 1
    points: list[Row] = []
    before = 0
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        ends = [before, *(row["step"] for row in part)]
        weights = [after - previous for previous, after in pairwise(ends)]
        before = part[-1]["step"]
        points.append(
            {
                "step": part[-1]["step"],
                "elapsed_s": part[-1]["elapsed_s"],
                "loss": _mean([row["loss"] for row in part], weights),
                "loss_min": min(row["loss_min"] for row in part),
                "loss_max": max(row["loss_max"] for row in part),
                "lr": part[-1]["lr"],
                "grad_norm": _mean([row["grad_norm"] for row in part], weights),
                "clipped": _mean([row["clipped"] for row in part], weights),
                "tokens_per_s": _mean([row["tokens_per_s"] for row in part], weights),
            }
        )
    return points


def _mean(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None
