"""What made a checkpoint, as checkpoint.pt carries it in `run`, and state.json: where an unfinished run stands."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_serializer, field_validator

from equiloss import templates
from equiloss.console import warn
from equiloss.records.file_record import FileRecord, SparseRecord
from equiloss.records.provenance import Provenance
from equiloss.records.token_data import Source

Config = dict[str, dict[str, JsonValue]]
"""A run's whole configuration, nothing left open: `model` and `train` (see `pretrain.config.RunConfig`)."""


class TrainingData(SparseRecord):
    """The data of a run: where it lay, what it was made from, its hash, and fingerprints of the splits' token files."""

    directory: str = ""
    source: Source | None = None
    sha256: str | None = None
    train: str = ""
    validation: str = ""


class StartedFrom(SparseRecord):
    """The checkpoint whose weights a run began with, and the data of the run that had made those."""

    path: str | None = None
    sha256: str | None = None
    data: TrainingData | None = None


class ImportedFrom(FileRecord):
    """The files of another project that a checkpoint was read from."""

    path: str
    layout: str
    sha256: str


class FineTunedFrom(FileRecord):
    """The base model of a fine-tuning."""

    path: str
    sha256: str


class TemplateUsed(SparseRecord):
    """The instruction template of a fine-tuning. Files of earlier versions have not its text."""

    name: str
    sha256: str | None = None
    text: str | None = None

    def source(self) -> str:
        """The text that training saw; without it in the record that of the name, with a warning where it is another.

        Raises: InputError when there is no template of the name.
        """
        text = templates.source("ift", self.name) if self.text is None else self.text
        if self.sha256 not in (None, templates.sha256(text)):
            warn(f"the template {self.name} is not the one that the model was trained with, whose text is not recorded")
        return text


class CheckpointRun(SparseRecord):
    """The record of the run that made a checkpoint. Its writer sets the fields of its kind, and those alone are kept.

    Pretraining has no `kind`: its `step_of_weights` says which step's weights were kept. An import has `source` and
    `notes`; a fine-tuning has `base`, `template`, `recipe` and `selected_epoch`, and `data` is that of its base.
    """

    kind: str | None = None
    name: str = ""
    config: Config | None = None
    config_sha256: str | None = None
    data: TrainingData | None = None
    start: StartedFrom | None = None
    steps: int | None = None
    tokens: int | None = None
    step_of_weights: int | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    best_validation_loss: float | None = None
    skipped_steps: int = 0
    last_lr: float | None = None
    elapsed_s: float | None = None
    processes: int | None = None
    device: str | None = None
    source: ImportedFrom | None = None
    notes: list[str] = Field(default_factory=list)
    base: FineTunedFrom | None = None
    template: TemplateUsed | None = None
    recipe: dict[str, JsonValue] | None = None
    seed: int | None = None
    selected_epoch: int | None = None
    provenance: Provenance | None = None

    @property
    def train_settings(self) -> dict[str, JsonValue]:
        """The section `train` of the configuration; {} where none was recorded."""
        return (self.config or {}).get("train", {})


ROW = 4
"""Loss, gradient norm, clipped, skipped: what is kept of each step until a line of metrics is written."""


class RunProgress(BaseModel):
    """Where a run stands. What is random needs no place here: data order and dropout are functions of the step."""

    model_config = ConfigDict(extra="forbid")

    step: int = 0
    """Steps made."""
    skipped: int = 0
    """Steps whose gradients were not finite."""
    skipped_in_a_row: int = 0
    elapsed_s: float = 0.0
    metrics_bytes: int = 0
    """Length of metrics.jsonl; what is behind it is written again after resuming."""
    best_validation_loss: float | None = None
    best_step: int | None = None
    validation_loss: float | None = None
    loss_scale: float | None = None
    good_steps: int = 0
    interval: list[list[float]] = Field(default_factory=list[list[float]])
    """Of the steps since the last line of metrics.jsonl (see `ROW`)."""

    @field_validator("interval", mode="before")
    @classmethod
    def _infinite(cls, rows: Any) -> Any:
        try:
            listed = [[math.inf if value is None else value for value in row] for row in rows]
        except TypeError:
            raise ValueError("not a list of lists of numbers") from None
        if any(len(row) != ROW for row in listed):
            raise ValueError(f"not {ROW} numbers a step")
        return listed

    @field_serializer("interval")
    def _finite(self, rows: list[list[float]]) -> list[list[float | None]]:
        """As JSON, which has no infinity: the gradient norm of a skipped step is null there."""
        return [[value if math.isfinite(value) else None for value in row] for row in rows]


class TrainingState(FileRecord):
    """state.json beside the tensors of a state: where the run stood, and what it is the state of."""

    format: Literal["equiloss.state.v1"] = "equiloss.state.v1"
    progress: RunProgress
    config: Config
    data: TrainingData
    made: Provenance
