"""Pictures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equiloss.files import atomic


def plot_loss(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """Training loss (mean and range of each interval) and validation loss over the steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = [row for row in rows if row.get("loss") is not None]
    validation = [row for row in rows if row.get("validation_loss") is not None]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps = [row["step"] for row in train]
    axes.fill_between(steps, [r["loss_min"] for r in train], [r["loss_max"] for r in train], alpha=0.2, linewidth=0)
    axes.plot(steps, [row["loss"] for row in train], linewidth=1.2, label="training")
    if validation:
        marks = [row["step"] for row in validation]
        axes.plot(marks, [row["validation_loss"] for row in validation], "o-", markersize=3, label="validation")
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats per token")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(path, "wb") as f:
        figure.savefig(f, format="png", dpi=120, metadata={"Software": "equiloss"})
