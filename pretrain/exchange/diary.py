"""The training diary's runs: model.json, train.json, meta.json, and what they say about how a model was trained.

The layouts are those of gpjt/ddp-base-model-from-scratch (PyTorch) and gpjt/jax-gpt2-from-scratch (Flax NNX): a run's
directory with model.json and train.json, and checkpoints/{best,latest,...}/ with model.safetensors and meta.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import Field

from equiloss import files
from equiloss.errors import InputError
from equiloss.records.base_run import CheckpointRun, TrainingData
from equiloss.records.file_record import FileRecord, Number, parse
from equiloss.records.ift_run import Settings
from equiloss.records.token_data import TextSource
from pretrain.config import ModelConfig

CODE_DEFAULT = "code default"
"""What a field has that the files leave to the training script of their day: the value is not known here."""
HINT = "known: a directory with model.json and model.safetensors, or checkpoints/best in it"
REFUSED = {
    "moe": ("a mixture of experts", (".experts.", ".router.")),
    "lore": ("a model with a low-rank vocabulary (lore)", (".lore", "lore.", "low_rank")),
}
"""Fields of model.json that make another architecture, its name, and what its tensors' names hold."""
MOST_DEVICES = 64


class TrainJson(FileRecord):
    """train.json: what a run sets; all else is the script's."""

    microbatch_size: int | None = Field(default=None, ge=1)
    minibatch_size: int | None = Field(default=None, ge=1)
    """The older name of the same."""
    gradient_accumulation_steps: int | None = Field(default=None, ge=1)
    min_train_tokens: int | None = None
    epochs: int | None = None
    start_train_token: int | None = None
    learning_rate: Number | None = None
    schedule_learning_rate: bool | None = None
    warmup_period_percent: Number | None = None
    weight_decay: Number | None = None
    clipping_max_norm: Number | None = None
    use_amp: bool | None = None
    seed: int | None = None
    dataset: str | None = None

    @property
    def sequences(self) -> int | None:
        """Sequences per micro-batch."""
        return self.microbatch_size or self.minibatch_size


class MetaJson(FileRecord):
    """meta.json beside a checkpoint: where the run stood. Losses are in nats per token, over batches."""

    global_step: int | None = None
    train_loss: float | None = None
    avg_train_loss: float | None = None
    val_loss: float | None = None
    learning_rate: float | None = None


def find(source: Path) -> tuple[Path, Path]:
    """model.safetensors and model.json, which lie together, or the latter in the run's directory above.

    Raises: InputError when there is no such pair.
    """
    folders = (".", "checkpoints/best", "best", "checkpoints/latest", "latest")
    candidates = [source] if source.is_file() else [source / folder for folder in folders]
    for place in candidates:
        weights = place if place.is_file() else place / "model.safetensors"
        if weights.is_file() and weights.suffix == ".safetensors":
            if shape := _above(weights, "model.json"):
                return weights, shape
            raise InputError(f"{weights}: no model.json beside it or above it", "the model's shape is in that file")
    raise InputError(f"{source}: no model that can be read", HINT)


def check(settings: Mapping[str, object], names: Iterable[str], path: Path) -> None:
    """Refuse by name the models of the diary that are no GPT-2. Raises: InputError."""
    names = list(names)
    for key, (kind, parts) in REFUSED.items():
        if settings.get(key) or any(part in name for name in names for part in parts):
            raise InputError(f"{path}: {kind}", "only dense models with a whole vocabulary can be imported")


def training(weights: Path, config: ModelConfig) -> CheckpointRun:
    """What the files beside a checkpoint say about its training, as far as they say it.

    `config` is written in: fields of train.json by this project's names, those that it leaves to the script as
    "code default". The number of devices is worked out from the steps where the last checkpoint lies there too.
    Raises: InputError for a file that is not of the layout.
    """
    recipe_path, meta_path = _above(weights, "train.json"), weights.parent / "meta.json"
    meta = _meta(meta_path) if meta_path.is_file() else MetaJson()
    known: dict[str, object] = {
        "train_loss": meta.avg_train_loss if meta.train_loss is None else meta.train_loss,
        "validation_loss": meta.val_loss,
        "steps": None if meta.global_step is None else meta.global_step + 1,
        "last_lr": meta.learning_rate,
        "notes": ["no train.json beside it or above it: how it was trained is not recorded"],
    }
    if recipe_path is not None:
        recipe = parse(TrainJson, files.read_json(recipe_path), str(recipe_path), HINT)
        devices = _devices(recipe, config.context, weights)
        settings = _settings(recipe, devices) | {"backend": "jax" if config.norm == "std" else "torch"}
        left = [key for key, value in settings.items() if value == CODE_DEFAULT]
        notes = [f"left to the training script by {recipe_path.name}: {', '.join(left)}"] if left else []
        if devices:
            notes.append(f"{devices} device{'s' * (devices > 1)}, worked out from tokens and steps")
        known |= {"config": {"model": config.model_dump(), "train": settings}, "notes": notes, "processes": devices}
        if recipe.dataset:
            known["data"] = TrainingData(source=TextSource(name=recipe.dataset, tokens=True))
    return CheckpointRun.model_validate({key: value for key, value in known.items() if value is not None})


def _settings(recipe: TrainJson, devices: int | None) -> Settings:
    """train.json in the names of `pretrain.config.TrainConfig`."""
    accumulated = (recipe.gradient_accumulation_steps or 1) * devices if devices else recipe.gradient_accumulation_steps
    scheduled, warmup, amp = recipe.schedule_learning_rate, recipe.warmup_period_percent, recipe.use_amp
    written: Settings = {
        "tokens": recipe.min_train_tokens,
        "epochs": recipe.epochs,
        "start_train_token": recipe.start_train_token,
        "batch_size": recipe.sequences,
        "accumulate": accumulated,
        "lr": recipe.learning_rate,
        "schedule": None if scheduled is None else "cosine" if scheduled else "constant",
        "warmup": None if warmup is None else warmup / 100,
        "weight_decay": recipe.weight_decay,
        "clip_norm": recipe.clipping_max_norm,
        "precision": None if amp is None else "fp16" if amp else "fp32",
        "seed": recipe.seed,
    }
    return {key: CODE_DEFAULT if value is None else value for key, value in written.items()}


def _devices(recipe: TrainJson, context: int, weights: Path) -> int | None:
    """How many devices make the recipe's tokens the steps of the last checkpoint; None where none or several do."""
    latest = _above(weights, "checkpoints/latest/meta.json")
    if latest is None or not recipe.sequences or (recipe.min_train_tokens or 0) < 1:
        return None
    last, tokens = _meta(latest).global_step, recipe.min_train_tokens or 0
    fitting: list[int] = []
    for devices in range(1, MOST_DEVICES + 1):
        step = recipe.sequences * (recipe.gradient_accumulation_steps or 1) * context * devices
        # The scripts of other days take one step more where the tokens come out even.
        steps = {(recipe.epochs or 1) * count for count in (-(-tokens // step), tokens // step + 1)}
        if last is not None and last + 1 in steps:
            fitting.append(devices)
    return fitting[0] if len(fitting) == 1 else None


def _meta(path: Path) -> MetaJson:
    return parse(MetaJson, files.read_json(path), str(path), HINT)


def _above(weights: Path, name: str) -> Path | None:
    """A file beside the weights, or in up to three directories above: checkpoints/ and the run's own."""
    folders = (weights.parent, *weights.absolute().parents[1:4])
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
