"""How likely each recorded field is to matter: the tables behind levels 4 and 5, with the reason for each weight.

A weight orders suspects before anything is measured; it never names a cause. Weights are this project's judgement,
from 0 to 1; `source` says what they rest on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import JsonValue

DIARY = 'the training diary "Writing an LLM from scratch" and its scripts'
DODGE = "Dodge et al., arXiv 2002.06305 (fine-tuning results vary with initialisation and data order)"
SHI = "Shi et al., arXiv 2405.14394 (loss over instructions changes tuned models)"
SPRINGER = "Springer et al., arXiv 2503.19206 (sensitivity to fine-tuning grows with pretraining)"
GEKHMAN = "Gekhman et al., arXiv 2405.05904 (fine-tuning on unknown facts)"
HAN = "Han et al., arXiv 2602.11137 (weight decay and plasticity)"
YANO = "Yano et al., arXiv 2603.16127 (learning-rate decay and fine-tunability)"
DECOUPLED = "Loshchilov & Hutter, arXiv 1711.05101 (decoupled weight decay)"
ALLEN_ZHU = "Allen-Zhu & Li, arXiv 2309.14316 (facts told in one wording are stored but not extractable)"
OLSSON = "Olsson et al., arXiv 2209.11895 (induction heads)"
LIU = "Liu et al., arXiv 2210.14199 (equal loss, different optimisation, different transfer)"
LIU_SHAPE = "Liu et al., arXiv 2210.14199 (equal loss, larger model, better transfer)"


@dataclass(frozen=True)
class Suspect:
    """Fields of a record (or tables of fields), by their dotted names: the cause they stand for, and how suspected."""

    cause: str
    title: str
    weight: float
    source: str
    fields: tuple[str, ...]

    @classmethod
    def under(cls, table: str, cause: str, title: str, weight: float, source: str, *names: str) -> Suspect:
        """A suspect whose fields stand in one table."""
        return cls(cause, title, weight, source, tuple(f"{table}.{name}" for name in names))


_recipe, _train, _model = (partial(Suspect.under, table) for table in ("recipe", "config.train", "model"))
_EPOCH = "how long it trains, and which epoch's weights are evaluated"
_PARTIAL = "how much of the validation set selects the epoch"

RECIPE = (
    _recipe("recipe-epoch", _EPOCH, 0.95, DIARY, "select", "epochs", "patience"),
    _recipe("recipe-rate", "learning rate", 0.9, SPRINGER, "lr"),
    _recipe("decoding-eos", "loss on the end-of-text token", 0.9, DIARY, "end_of_text_loss"),
    Suspect("recipe-data", "fine-tuning data", 0.9, GEKHMAN, ("data.sha256",)),
    Suspect("recipe-template", "prompt template", 0.85, DIARY, ("template", "recipe.template")),
    _recipe("recipe-mask", "which tokens carry loss", 0.8, SHI, "loss_on"),
    _recipe("recipe-dropout", "dropout in fine-tuning", 0.7, DIARY, "dropout"),
    _recipe("recipe-untie", "a head of its own in fine-tuning", 0.5, DIARY, "untie_head"),
    _recipe("recipe-adapter", "full fine-tuning or adapter", 0.7, SPRINGER, "lora_rank", "lora_alpha"),
    Suspect("recipe-split", "split of the data", 0.6, DIARY, ("data.split", "recipe.split")),
    _recipe("recipe-partial-validation", _PARTIAL, 0.6, DIARY, "validation_items"),
    _recipe("recipe-batch", "batch size and packing", 0.5, DODGE, "batch_size"),
    _recipe("recipe-schedule", "learning-rate schedule", 0.5, SPRINGER, "schedule", "warmup", "floor"),
    _recipe("recipe-optimizer", "optimiser", 0.4, DECOUPLED, "beta1", "beta2", "eps"),
    _recipe("recipe-length", "how long items are treated", 0.4, DIARY, "context", "too_long"),
    _recipe("recipe-weight-decay", "weight decay", 0.35, DECOUPLED, "weight_decay", "decay_on"),
    _recipe("recipe-noise", "noise on the weights", 0.3, "no source; by analogy with dropout", "noise"),
    _recipe("recipe-clip", "gradient clipping", 0.2, DIARY, "clip_norm"),
    _recipe("recipe-precision", "numeric precision", 0.2, DIARY, "precision"),
)

BASE = (
    _train("copying", "loss on tokens that induction predicts", 0.95, OLSSON, "mask_induction"),
    Suspect("base-data", "pretraining data", 0.9, ALLEN_ZHU, ("data",)),
    Suspect("base-origin", "what was done to the base model before", 0.9, GEKHMAN, ("origin", "tuned")),
    _train("overtrained", "how long it was trained", 0.6, SPRINGER, "steps", "tokens"),
    _train("weight-decay", "weight decay", 0.6, HAN, "weight_decay", "decay_on"),
    _train("rate-decay", "learning rate and its schedule", 0.6, YANO, "lr", "schedule", "warmup", "decay", "floor"),
    _model(
        *("base-shape", "shape of the model", 0.6, LIU_SHAPE),
        *("n_layer", "n_head", "n_embd", "context", "qkv_bias", "out_bias", "vocab_size"),
    ),
    _model("base-init", "initialisation", 0.6, DIARY, "init"),
    _model("base-norm", "layer norm", 0.3, DIARY, "norm"),
    _model("base-tying", "weight tying", 0.5, DIARY, "tie_weights"),
    _train("base-optimizer", "optimiser", 0.5, LIU, "optimizer", "beta1", "beta2", "eps", "momentum"),
    _train("base-batch", "batch size", 0.4, LIU, "batch_size", "accumulate", "processes"),
    _model("base-dropout", "dropout", 0.4, DIARY, "dropout"),
    _train("base-clip", "gradient clipping", 0.3, DIARY, "clip_norm"),
    _train("base-precision", "numeric precision", 0.3, DIARY, "precision"),
    _train("base-backend", "who computed the steps, torch or JAX", 0.3, DIARY, "backend"),
    _train("base-order", "order of the data and which weights are kept", 0.3, DODGE, "order", "checkpoint"),
)

IDLE = frozenset(
    {
        *(f"recipe.{name}" for name in ("device", "threads", "micro_batch_tokens", "answer_every_epoch")),
        *(f"config.train.{name}" for name in ("device", "threads", "parallel", "compile", "max_skipped")),
        *(f"config.train.{name}" for name in ("log_every", "eval_every", "eval_tokens", "samples", "tracker")),
        *(f"config.train.{name}" for name in ("save_every", "save_minutes", "keep")),
        *(f"model.{name}" for name in ("_name_or_path", "_model_name_or_path", "transformers_version", "use_cache")),
    }
)
"""Fields that describe a run without being able to change its result."""


@dataclass(frozen=True)
class Unused:
    """Fields of one table that do nothing while another field of it has one of these values, on both sides."""

    fields: tuple[str, ...]
    when: str
    values: tuple[JsonValue, ...]
    why: str


UNUSED = (
    Unused(
        ("lora_alpha", "lora_dropout", "lora_targets", "lora_target_modules"),
        "lora_rank",
        (None, 0),
        "full fine-tuning has no adapter",
    ),
    Unused(("decay_on",), "weight_decay", (0,), "nothing decays"),
    Unused(("floor",), "schedule", ("constant",), "a constant rate has no floor"),
    Unused(("decay",), "schedule", ("constant", "cosine", "linear"), "this schedule has no stage of decay"),
    Unused(("momentum",), "optimizer", ("adamw",), "this optimiser has no momentum of that kind"),
    Unused(("dropout_seed",), "dropout", (0,), "nothing is dropped"),
    Unused(("noise_seed",), "noise", (0,), "no noise is added"),
    Unused(
        ("top_k", "top_p", "min_p", "typical_p", "batch_size"),
        "temperature",
        (0,),
        "greedy decoding draws nothing",
    ),
)
"""What a field can do depends on others: these differ without acting."""

FACTORS = frozenset(
    {
        *("batch_size", "microbatch_size", "micro_batch_size", "accumulate", "gradient_accumulation_steps"),
        *("processes", "world_size", "devices"),
    }
)
"""Fields of one table that only count by their product: the effective batch."""


def is_seed(field: str) -> bool:
    """Whether a field only moves random draws. The split's seed moves the test items as well."""
    name = field.rsplit(".", 1)[-1]
    return (name == "seed" or name.endswith("_seed")) and ".split." not in field


def suspect_of(field: str, table: Sequence[Suspect], prefix: str) -> Suspect:
    """What a field stands for; one that is not in the table is a cause of its own, little suspected."""
    for suspect in table:
        if any(field == known or field.startswith(f"{known}.") for known in suspect.fields):
            return suspect
    name = field.rsplit(".", 1)[-1].replace("_", "-")
    return Suspect(f"{prefix}-{name}", field, 0.2, "not in the table of known fields", (field,))
