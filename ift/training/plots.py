"""The curve of a fine-tuning run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equiloss.files import atomic


def plot_curve(record: dict[str, Any], path: Path) -> None:
    """Training and validation loss over the epochs, the selected one marked, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs: list[dict[str, Any]] = record["epochs"]
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    numbers = [one["epoch"] for one in epochs]
    middles = [one - 0.5 for one in numbers]  # a training loss is the mean over its epoch, while the weights change
    axes.plot(middles, [one["train_loss"] for one in epochs], "o-", markersize=3, label="training, during the epoch")
    base = record["base_validation_loss"]
    if base is not None:
        losses = [one["validation_loss"] for one in epochs]
        axes.plot([0, *numbers], [base, *losses], "o-", markersize=3, label="validation, after the epoch")
        axes.plot(
            record["selected_epoch"],
            record["selected_validation_loss"],
            "o",
            markersize=10,
            fillstyle="none",
            label=f"selected: epoch {record['selected_epoch']}, {record['selected_validation_loss']:.4f}",
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss, nats per token with loss")
    axes.set_title(record["name"])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(path, "wb") as f:
        figure.savefig(f, format="png", dpi=120)
