"""Pictures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equiloss.files import atomic
from equiloss.records.metrics import TrainingMetrics, ValidationMetrics


def plot_loss(
    train: Sequence[TrainingMetrics], validation: Sequence[ValidationMetrics], path: Path, title: str
) -> None:
    """Training loss (mean and range of each interval) and validation loss over the steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps = [row.step for row in train]
    axes.fill_between(steps, [row.loss_min for row in train], [row.loss_max for row in train], alpha=0.2, linewidth=0)
    axes.plot(steps, [row.loss for row in train], linewidth=1.2, label="training")
    losses = [(row.step, row.validation_loss) for row in validation if row.validation_loss is not None]
    if losses:
        axes.plot(*zip(*losses, strict=True), "o-", markersize=3, label="validation")
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats per token")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(path, "wb") as f:
        figure.savefig(f, format="png", dpi=120, metadata={"Software": "equiloss"})
