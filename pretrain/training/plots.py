"""Pictures of a run."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from equiloss.files import atomic
from equiloss.records.metrics import TrainingMetrics, ValidationMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@contextmanager
def picture(path: Path, title: str, x: str, y: str) -> Generator[Axes]:
    """Axes to draw on, which are written as a PNG with a title, the axes' labels and a legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    yield axes
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(path, "wb") as f:
        figure.savefig(f, format="png", dpi=120, metadata={"Software": "equiloss"})


def plot_loss(
    train: Sequence[TrainingMetrics], validation: Sequence[ValidationMetrics], path: Path, title: str
) -> None:
    """Training loss (mean and range of each interval) and validation loss over the steps, as a PNG."""
    steps = [row.step for row in train]
    losses = [(row.step, row.validation_loss) for row in validation if row.validation_loss is not None]
    with picture(path, title, "step", "loss, nats per token") as axes:
        low, high = [row.loss_min for row in train], [row.loss_max for row in train]
        axes.fill_between(steps, low, high, alpha=0.2, linewidth=0)
        axes.plot(steps, [row.loss for row in train], linewidth=1.2, label="training")
        if losses:
            axes.plot(*zip(*losses, strict=True), "o-", markersize=3, label="validation")
