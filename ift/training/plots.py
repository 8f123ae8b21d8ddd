"""The curve of a fine-tuning run as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equiloss.numerals import number
from equiloss.records.ift_run import IftRun
from pretrain.training.plots import picture


def plot_curve(record: IftRun, path: Path) -> None:
    """Training and validation loss over the epochs, the selected one marked, as a PNG."""
    numbers = [one.epoch for one in record.epochs]
    middles = [one - 0.5 for one in numbers]  # a training loss is the mean over its epoch, while the weights change
    with picture(path, record.name, "epoch", "loss, nats per token with loss") as axes:
        axes.locator_params(axis="x", integer=True)
        losses = np.array([one.train_loss for one in record.epochs], dtype=np.float64)
        axes.plot(middles, losses, "o-", markersize=3, label="training, during the epoch")
        if record.base_validation_loss is not None and (selected := record.selected_epoch) is not None:
            of_epochs = [record.base_validation_loss, *(one.validation_loss for one in record.epochs)]
            losses = np.array(of_epochs, dtype=np.float64)
            axes.plot([0, *numbers], losses, "o-", markersize=3, label="validation, after the epoch")
            label = f"selected: epoch {selected}, {number(losses[selected], 4)}"
            axes.plot([selected], [losses[selected]], "o", markersize=10, fillstyle="none", label=label)
