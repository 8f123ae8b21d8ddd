"""What a base model and its training are made of, and the presets that ship with the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from equiloss.config import Config, apply_sets, read_toml, validate
from equiloss.errors import InputError


class ModelConfig(Config):
    """The shape of a GPT-2-style decoder. `vocab_size` None: that of the data's tokenizer."""

    n_layer: int = Field(default=12, ge=1, le=1024)
    n_head: int = Field(default=12, ge=1, le=4096)
    n_embd: int = Field(default=768, ge=1, le=1 << 20)
    context: int = Field(default=1024, ge=2, le=1 << 24)
    vocab_size: int | None = Field(default=None, ge=2, le=1 << 32)
    tie_weights: bool = True
    qkv_bias: bool = True
    out_bias: bool = True
    """Whether the output projection of attention has a bias."""
    norm: Literal["var", "std"] = "var"
    """What the 1e-5 of the layer norms is added to: the variance, as in torch; or its root, as in the diary's JAX."""
    init: Literal["gpt2", "torch", "flax"] = "gpt2"
    """Whose initialisation the run began with: GPT-2's, or the defaults of torch's or of Flax NNX's layers."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}: change one of them")
        return self


class TrainConfig(Config):
    """How a base model is trained. A step takes `batch_size` × `accumulate` sequences, on however many devices.

    Fields that are None ("none" in TOML) are resolved when the run starts; its config.toml has their values.
    """

    steps: int = Field(default=1000, ge=1, le=1 << 40)
    tokens: int | None = Field(default=None, ge=1, le=1 << 60)
    """Instead of `steps`: train on at least this many tokens."""
    batch_size: int = Field(default=16, ge=1, le=1 << 20)
    """Sequences per micro-batch."""
    accumulate: int = Field(default=1, ge=1, le=1 << 20)
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
    backend: Literal["torch", "jax"] = "torch"
    """Who computes the steps. jax (the extra of that name): the same arithmetic, compiled, on all devices that a
    process sees; dropout is drawn by random numbers of its own."""
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

    @model_validator(mode="after")
    def _steps_that_can_be_listed(self) -> Self:
        if (sequences := self.batch_size * self.accumulate) > 1 << 24:
            raise ValueError(f"batch_size x accumulate: {sequences:,} sequences a step are more than {1 << 24:,}")
        return self


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
