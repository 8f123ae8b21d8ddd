"""What a pretraining run writes while it goes on: lines of metrics.jsonl and of samples.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from equiloss.errors import InputError
from equiloss.files import read_jsonl
from equiloss.records.file_record import FileRecord, parse

HINT = "was it written by `pretrain run`?"


class TrainingMetrics(FileRecord):
    """The steps since the last such line: mean, least and greatest loss in nats per token, and how they went.

    `grad_norm` is the mean of those that were finite, `clipped` a share of the steps, `skipped` counts all steps so far
    whose gradients were not finite, `tokens` and `epoch` say how much of the data was seen.
    """

    step: int = Field(ge=1)
    loss: float
    loss_min: float
    loss_max: float
    lr: float
    grad_norm: float | None
    clipped: float
    skipped: int
    tokens: int
    epoch: float
    tokens_per_s: float
    elapsed_s: float


class ValidationMetrics(FileRecord):
    """The loss on the validation split after `step` steps, in nats per token; None where it was not finite."""

    step: int
    validation_loss: float | None
    validation_tokens: int


class SampledText(FileRecord):
    """What the model wrote after a beginning, at an evaluation."""

    step: int
    prompt: str
    text: str


def read_metrics(path: Path) -> tuple[list[TrainingMetrics], list[ValidationMetrics]]:
    """The lines of a metrics.jsonl by their kind, in their order.

    Raises: InputError when the file is missing, a line is neither, or steps do not go up.
    """
    train: list[TrainingMetrics] = []
    validation: list[ValidationMetrics] = []
    for number, row in enumerate(read_jsonl(path), start=1):
        where = f"{path}: line {number}"
        if isinstance(row, dict) and "validation_loss" in row:
            validation.append(parse(ValidationMetrics, row, where, HINT))
            rows = validation
        else:
            train.append(parse(TrainingMetrics, row, where, HINT))
            rows = train
        if len(rows) > 1 and rows[-1].step <= rows[-2].step:
            raise InputError(f"{where}: step {rows[-1].step} after step {rows[-2].step}", HINT)
    return train, validation


def read_samples(path: Path) -> Sequence[SampledText]:
    """The lines of a samples.jsonl; none where there is no such file, or where no text began any.

    Raises: InputError when a line is something else.
    """
    rows = read_jsonl(path) if path.is_file() and path.stat().st_size else []
    return [parse(SampledText, row, f"{path}: line {number}", HINT) for number, row in enumerate(rows, start=1)]
