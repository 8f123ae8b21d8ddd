"""What made a file of answers: results/NAME.run.json of `ift run` (a fine-tuning) and of `ift respond` (answers alone).

A file holds the fields that its writer set, so models have defaults for what older and foreign files lack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, cast

from pydantic import Field, JsonValue, field_validator

from equiloss.errors import InputError
from equiloss.files import read_json, write_json
from equiloss.records.base_run import CheckpointRun
from equiloss.records.file_record import FileRecord, parse
from equiloss.records.provenance import Provenance

RUN_FORMAT = "equiloss.ift-run.v1"
RESPOND_FORMAT = "equiloss.ift-respond.v1"
HINT = "write it again with `ift run` or `ift respond`"

Settings = dict[str, JsonValue]
"""Chosen values by field name, nested where a table of a configuration is."""


class RunBase(FileRecord):
    """The base model: its checkpoint, the model's shape, and the record of its pretraining run."""

    path: str | None = None
    sha256: str | None = None
    config: Settings | None = None
    run: CheckpointRun | None = None
    tokenizer_sha256: str | None = None


class TooLong(FileRecord):
    """An item with more tokens than the context holds, and what was done with it ("dropped" or "truncated")."""

    id: str = ""
    tokens: int | None = None
    action: str = ""


class NearDuplicate(FileRecord):
    """A test item and the training item most like it, by the Jaccard similarity of their words' 3-grams."""

    id: str
    train_id: str
    similarity: float


class OverlapShare(FileRecord):
    """How many test items were found elsewhere, their share of all test items, and the ids of (the first of) them."""

    items: int = 0
    share: float = 0.0
    ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, ids: Sequence[str], total: int, shown: int | None = None, **more: object) -> Self:
        """So many of `total` test items, with the first `shown` ids (all where None), and what else is known."""
        share = len(ids) / total if total else 0.0
        return cls.model_validate({"items": len(ids), "share": share, "ids": ids[:shown], **more})


class NearOverlap(OverlapShare):
    """Test items that nearly repeat a training item: the similarity from which they count, and the first pairs."""

    threshold: float | None = None
    pairs: tuple[NearDuplicate, ...] = ()


class CorpusOverlap(OverlapShare):
    """Test items that stand in the pretraining text: a run of how many words counts, and which shards were searched."""

    words: int | None = None
    shards: str = ""


class Overlap(FileRecord):
    """Test items that training has seen; `corpus` is None where the pretraining text was not searched."""

    exact: OverlapShare | None = None
    near: NearOverlap | None = None
    corpus: CorpusOverlap | None = None


class RunData(FileRecord):
    """The instruction data. `items`, `split` and `too_long` are by part: train, validation, test.

    `skip_bad`: items that could not be read, or had no answer, were left out.
    """

    source: str | None = None
    sha256: str | None = None
    items: dict[str, int] = Field(default_factory=dict)
    split: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    too_long: dict[str, tuple[TooLong, ...]] = Field(default_factory=dict)
    overlap: Overlap | None = None
    skip_bad: bool = False


class RunTemplate(FileRecord):
    """The prompt template."""

    name: str | None = None
    sha256: str | None = None
    text: str | None = None


class RunSeeds(FileRecord):
    """The named seeds. They do not control rounding, where the number of threads or devices differs."""

    order: int | None = None
    dropout: int | None = None
    noise: int | None = None
    split: int | None = None
    decoding: int | None = None


class AnswerStatistics(FileRecord):
    """What can be said of answers without a judge (`ift.generation.metrics` says how each is measured)."""

    items: int = 0
    finish_reason: dict[str, int] = Field(default_factory=dict)
    empty: int = 0
    tokens_mean: float | None = None
    tokens_median: float | None = None
    tokens_max: int | None = None
    distinct_2: float | None = None
    with_reference: int = 0
    exact_match: float | None = None
    chrf: float | None = None
    rouge_l: float | None = None


class Epoch(FileRecord):
    """One pass over the training items. Losses in nats per token that carries loss.

    `train_loss` is the mean over the epoch, while the weights change; `grad_norm` the mean of the steps' gradient
    norms before clipping. `responses`: the file of the answers that its weights gave, with `answers` on them, where the
    recipe asked for those.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    clipped_share: float | None = None
    seconds: float | None = None
    responses: str | None = None
    answers: AnswerStatistics | None = None


class SweptRate(FileRecord):
    """A learning rate that was tried; the losses are None where it diverged."""

    lr: float
    epochs: tuple[Epoch, ...] = ()
    selected_epoch: int | None = None
    selected_validation_loss: float | None = None


class LrSweep(FileRecord):
    """A sweep of learning rates: what was picked, and whether that lies at the edge of what was tried."""

    picked: float | None = None
    at_edge: bool = False
    seed: int | None = None
    rates: tuple[SweptRate, ...] = ()


class PretrainingLoss(FileRecord):
    """Loss on a sample of the pretraining text, nats per token, before and after fine-tuning; None without a text."""

    tokens: int = 0
    before: float | None = None
    after: float | None = None


class WeightDistance(FileRecord):
    """How far the weights moved: the norm of the change over the norm of the base, in all and by parameter."""

    relative: float | None = None
    by_parameter: dict[str, float] = Field(default_factory=dict)


class RunFiles(FileRecord):
    """The answers' file and the model's directory, with hashes."""

    responses: str = ""
    responses_sha256: str | None = None
    model: str | None = None
    model_sha256: str | None = None


class RunEnvironment(FileRecord):
    """Where it ran and what it took: seconds, and joules of the processor where they can be counted."""

    device: str = ""
    processes: int = 1
    threads: int | None = None
    train_s: float | None = None
    answer_s: float | None = None
    wall_s: float | None = None
    energy_j: float | None = None


class AnsweringModel(FileRecord):
    """The model that `ift respond` let answer: a checkpoint with its own record, or one of Hugging Face."""

    kind: str = ""
    path: str | None = None
    sha256: str | None = None
    run: CheckpointRun | None = None
    name: str | None = None
    revision: str | None = None
    parameters: int | None = None


class RunRecord(FileRecord):
    """What a judge may know of the making of a file of answers, whichever command wrote it."""

    format: str
    name: str = ""
    fingerprint: str | None = None
    base: RunBase = RunBase()
    data: RunData = RunData()
    template: RunTemplate = RunTemplate()
    recipe: Settings = Field(default_factory=dict)
    decoding: Settings = Field(default_factory=dict)
    seed: int | None = None
    seeds: RunSeeds | None = None
    epochs: tuple[Epoch, ...] = ()
    selected_epoch: int | None = None
    selected_validation_loss: float | None = None
    recomputed_validation_loss: float | None = None
    lr_sweep: LrSweep | None = None
    answers: dict[str, AnswerStatistics] = Field(default_factory=dict)
    files: RunFiles = RunFiles()
    provenance: Provenance = Provenance()

    @field_validator("decoding")
    @classmethod
    def _numbers(cls, decoding: Settings) -> Settings:
        for name in ("temperature", "top_k", "top_p", "repetition_penalty", "max_new_tokens"):
            value = decoding.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise ValueError(f"{name} is {value!r:.40}, not a number")
        return decoding


class IftRun(RunRecord):
    """A fine-tuning: base, data, recipe, curve, selected epoch, seeds, environment, decoding, answers.

    `recipe_beside_base`: each field that pretraining had too, with both values; `base_validation_loss`: before the
    first step (and before noise); `stopped`: by "patience", or because all "epochs" were run.
    """

    format: str = RUN_FORMAT
    recipe_beside_base: dict[str, Settings] = Field(default_factory=dict)
    base_validation_loss: float | None = None
    stopped: str | None = None
    steps: int | None = None
    loss_tokens_per_epoch: int | None = None
    pretraining_loss: PretrainingLoss | None = None
    weight_distance: WeightDistance | None = None
    environment: RunEnvironment = RunEnvironment()


class IftRespond(RunRecord):
    """Answers of a model alone. `too_long`: items that got none, with the tokens of their prompts."""

    format: str = RESPOND_FORMAT
    model: AnsweringModel = AnsweringModel()
    too_long: dict[str, int] = Field(default_factory=dict)


def read_run(path: Path) -> IftRun | IftRespond:
    """Read a NAME.run.json; one that says no format is taken for a fine-tuning's.

    Raises: InputError when it is missing, broken, or something else.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: is not a run's record", HINT)
    fields = cast("dict[str, object]", document)
    kind = IftRespond if fields.get("format") == RESPOND_FORMAT else IftRun
    return parse(kind, {"format": RUN_FORMAT, **fields}, str(path), HINT)


def write_run(path: Path, record: RunRecord) -> None:
    """Write a NAME.run.json whole."""
    write_json(path, plain_run(record))


def plain_run(record: RunRecord, without: Mapping[str, set[str]] | None = None) -> dict[str, JsonValue]:
    """A record as plain data, `format` first: the fields that were set, but for some of some parts."""
    fields = record.model_dump(mode="json", exclude_unset=True, exclude=dict(without or {}))
    return {"format": record.format, **fields}
