"""Configurations: TOML files and presets, overrides, and what a base model and its training are made of."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pretrain.errors import InputError
from pretrain.runs import read_text


class Config(BaseModel):
    """Base of every configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


C = TypeVar("C", bound=Config)


def validate(cls: type[C], data: dict[str, Any], where: str) -> C:
    """Build a config from plain data; `where` (a file or a flag) is named in the error.

    Raises: InputError naming the key, the nearest known key, and what the field takes.
    """
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        # A misspelt key also leaves its field missing: the unknown key is what to name.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _known_keys(cls, [str(part) for part in first["loc"][:-1]])
            raise InputError(f"{where}: unknown key {key!r}", _nearest(str(first["loc"][-1]), known)) from None
        given = "" if first["type"] == "missing" else f", not {first['input']!r}"
        message = first["msg"][0].lower() + first["msg"][1:]
        raise InputError(
            f"{where}: {key}: {message}{given}" if key else f"{where}: {message}", "mend that field"
        ) from None


def _known_keys(cls: type[BaseModel], path: Sequence[str]) -> list[str]:
    for part in path:
        if part.isdigit():
            continue  # an element of a list of tables
        field = cls.model_fields.get(part)
        inner = field.annotation if field else None
        inner = next(iter(get_args(inner)), inner)
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        cls = inner
    return list(cls.model_fields)


def _nearest(key: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; "none" stands for None, which TOML lacks.

    Raises: InputError when it is missing, empty or broken.
    """
    try:
        return _without_none(tomllib.loads(read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML: {error}", "mend the file") from None


def _without_none(data: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(cast("dict[str, Any]", value)) if isinstance(value, dict) else _none(value)
        for key, value in data.items()
    }


def _none(value: Any) -> Any:
    return None if isinstance(value, str) and value == "none" else value


def apply_sets(data: dict[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    """Apply `--set section.key=value` overrides to plain data; a value is read as TOML, else taken as a string.

    Raises: InputError for an override that is not KEY=VALUE.
    """
    result = _copy(data)
    for item in sets:
        key, equals, text = item.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise InputError(f"--set {item!r} is not KEY=VALUE", "write for example --set train.lr=0.001")
        try:
            value: Any = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        table = result
        for part in parts[:-1]:
            inner: Any = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise InputError(f"--set {item!r}: {part!r} is not a section", "check the key")
            table = cast("dict[str, Any]", inner)
        table[parts[-1]] = _none(value)
    return result


def _copy(data: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _copy(cast("dict[str, Any]", value)) if isinstance(value, dict) else value for key, value in data.items()
    }


def to_toml(data: dict[str, Any]) -> str:
    """A nested dict of plain values as TOML that `read_toml` reads back; a None is written as "none"."""
    scalars = {key: value for key, value in data.items() if not isinstance(value, dict)}
    lines = [f"{key} = {_toml_value(value)}" for key, value in scalars.items()]
    for key, value in data.items():
        if isinstance(value, dict):
            body = to_toml(cast("dict[str, Any]", value))
            lines += ["", f"[{key}]", body.rstrip("\n")]
    return "\n".join(lines).lstrip("\n") + "\n"


def _toml_value(value: Any) -> str:
    import json

    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(item) for item in cast("Sequence[Any]", value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


class ModelConfig(Config):
    """The shape of a GPT-2-style decoder. `vocab_size` None: that of the data's tokenizer."""

    n_layer: int = Field(default=12, ge=1)
    n_head: int = Field(default=12, ge=1)
    n_embd: int = Field(default=768, ge=1)
    context: int = Field(default=1024, ge=2)
    vocab_size: int | None = Field(default=None, ge=2)
    tie_weights: bool = True
    qkv_bias: bool = True
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)


class TrainConfig(Config):
    """How a base model is trained. A step takes `batch_size` × `accumulate` sequences, on however many devices.

    Fields that are None ("none" in TOML) are settled when the run starts; its config.toml has the settled values.
    """

    steps: int = Field(default=1000, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    """Instead of `steps`: train on at least this many tokens."""
    batch_size: int = Field(default=16, ge=1)
    """Sequences per micro-batch."""
    accumulate: int = Field(default=1, ge=1)
    """Micro-batches per step; several devices share them, so a step is the same on one device as on eight."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: torch.optim.Muon for the matrices inside the blocks, AdamW for embeddings, head, norms and biases."""
    lr: float = Field(default=1e-3, gt=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Muon's."""
    weight_decay: float = Field(default=0.1, ge=0)
    decay_on: Literal["matrices", "everything"] = "matrices"
    """matrices: GPT-2's and GPT-3's way; everything: norms and biases too, as a bare AdamW(model.parameters()) does."""
    clip_norm: float | None = Field(default=1.0, gt=0)

    schedule: Literal["constant", "cosine", "linear", "wsd"] = "cosine"
    """After the warm-up: constant; cosine or linear down to `floor`; wsd: stable, then linear down to `floor`."""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps in which the learning rate rises linearly."""
    decay: float = Field(default=0.2, ge=0, le=1)
    """Share of the steps in which `wsd` goes down, at the end."""
    floor: float = Field(default=0.1, ge=0, le=1)
    """Where the learning rate ends, as a share of `lr`."""

    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the device multiplies matrices of this model faster in it, else fp32."""
    device: str = "auto"
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How several devices share the work: each holds the model (ddp), or a part of it (fsdp)."""
    compile: bool = False
    """torch.compile: costs about a minute at the start, pays in long runs."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None: what OMP_NUM_THREADS says, else one per core."""

    order: Literal["shuffled", "random", "sequential"] = "shuffled"
    """Windows of the data: each once per epoch in random order; anywhere, independently; or as they stand."""
    start: str | None = None
    """A checkpoint whose weights the run begins with instead of random ones: continued pretraining."""
    mask_induction: bool = False
    """Leave out of the loss what induction predicts: an intervention that keeps a model from learning to copy. Such
    tokens count as 0 in the logged training loss."""
    seed: int = 0
    init_seed: int | None = None
    order_seed: int | None = None
    dropout_seed: int | None = None

    log_every: int = Field(default=10, ge=1)
    eval_every: int | None = Field(default=None, ge=1)
    """Steps between losses on the validation split; None: a tenth of the run."""
    eval_tokens: int = Field(default=65536, ge=1)
    """How much of the validation split is used during the run, always the same part of it."""
    samples: int = Field(default=3, ge=0)
    """Beginnings of validation documents that the model goes on from at each evaluation."""
    tracker: Literal["tensorboard", "trackio"] | None = None
    """Who else gets the metrics; needs the extra of that name."""
    checkpoint: Literal["last", "best"] = "last"
    """Which weights checkpoint.pt holds: the last, or those with the lowest validation loss."""
    save_every: int | None = Field(default=None, ge=1)
    """Steps between states to resume from; None: by time alone."""
    save_minutes: float = Field(default=10.0, gt=0)
    keep: int = Field(default=2, ge=1)
    """How many states are kept."""
    max_skipped: int = Field(default=50, ge=1)
    """So many steps in a row with non-finite gradients stop the run."""


FREE_FIELDS = frozenset(
    f"train.{name}"
    for name in (
        *("device", "parallel", "threads", "compile", "save_every", "save_minutes", "keep"),
        *("samples", "tracker"),
    )
)
"""Fields that may differ when a run is resumed: they say where and how it is made and watched, not what it is."""


class RunConfig(Config):
    """A whole pretraining run."""

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step, over all micro-batches and devices."""
        return self.train.batch_size * self.train.accumulate * self.model.context


PRESETS = Path(__file__).resolve().parent / "presets"


def presets() -> list[str]:
    """The names of the run presets that ship with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_run_config(name_or_path: str, sets: Sequence[str] = ()) -> RunConfig:
    """A run's configuration from a TOML file or a preset's name, with `--set` overrides.

    `train.steps` given in `sets` wins over `train.tokens` of the file. Raises: InputError naming what is wrong.
    """
    path = Path(name_or_path)
    if not path.is_file():
        preset = PRESETS / f"{name_or_path}.toml"
        if path.suffix == ".toml" or path.parent != Path(".") or not preset.is_file():
            raise InputError(
                f"{name_or_path}: neither a TOML file nor a preset", f"the presets are: {', '.join(presets())}"
            )
        path = preset
    data = read_toml(path)
    keys = {item.partition("=")[0].strip() for item in sets}
    if "train.steps" in keys and "train.tokens" not in keys and isinstance(data.get("train"), dict):
        data["train"].pop("tokens", None)
    return validate(RunConfig, apply_sets(data, sets), f"{name_or_path}{' with --set' if sets else ''}")


def differences(old: Config, new: Config, ignore: Iterable[str] = ()) -> list[str]:
    """Fields in which two configurations differ, each as "train.lr: 0.001 → 0.002"."""
    first, second = flatten(old.model_dump()), flatten(new.model_dump())
    skip = set(ignore)
    return [
        f"{key}: {first.get(key)} → {second.get(key)}"
        for key in dict.fromkeys([*first, *second])
        if key not in skip and first.get(key) != second.get(key)
    ]


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dict as one level with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat.update(flatten(cast("dict[str, Any]", value), f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
