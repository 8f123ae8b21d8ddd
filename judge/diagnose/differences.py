"""How likely each recorded field is to matter: the table behind levels 4 and 5, with the reason for each weight.

A weight orders suspects before anything is measured; it never names a cause. Weights are this project's judgement,
from 0 to 1; `source` says what they rest on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

DIARY = 'the training diary "Writing an LLM from scratch" and its scripts'
DODGE = "Dodge et al., arXiv 2002.06305 (fine-tuning results vary with initialisation and data order)"
SHI = "Shi et al., arXiv 2405.14394 (loss over instructions changes tuned models)"
SPRINGER = "Springer et al., arXiv 2503.19206 (sensitivity to fine-tuning grows with pretraining)"
GEKHMAN = "Gekhman et al., arXiv 2405.05904 (fine-tuning on unknown facts)"
HAN = "Han et al., arXiv 2602.11137 (weight decay and plasticity)"
YANO = "Yano et al., arXiv 2603.16127 (learning-rate decay and fine-tunability)"
DECOUPLED = "Loshchilov & Hutter, arXiv 1711.05101 (decoupled weight decay)"


@dataclass(frozen=True)
class Field:
    """A field (or several) of a run's record: the cause it stands for, how much it is suspected, and why."""

    pattern: str
    cause: str
    title: str
    weight: float
    source: str


RECIPE = (
    Field(
        r"(^|\.)(select|selection|epochs|patience|restore|evaluate|weights)$",
        "recipe-epoch",
        "how long it trains, and which epoch's weights are evaluated",
        0.95,
        DIARY,
    ),
    Field(r"(^|\.)(lr|learning_rate|rate)$", "recipe-rate", "learning rate", 0.9, SPRINGER),
    Field(
        r"(^|\.)(end_of_text.*|eos.*|.*\beos_loss|stop_loss)$",
        "decoding-eos",
        "loss on the end-of-text token",
        0.9,
        DIARY,
    ),
    Field(
        r"(^|\.)(mask|loss_on|loss|loss_mask|train_on.*|prompt_loss.*)$",
        "recipe-mask",
        "which tokens carry loss",
        0.8,
        SHI,
    ),
    Field(r"^template(\.|$)|(^|\.)template$", "recipe-template", "prompt template", 0.85, DIARY),
    Field(
        r"^data\.(sha256|rows|items|path_sha256|n_items)$|(^|\.)data_sha256$",
        "recipe-data",
        "fine-tuning data",
        0.9,
        GEKHMAN,
    ),
    Field(
        r"^data\.(split|split_seed|split_ids|sizes).*|(^|\.)split_seed$|(^|\.)split\.",
        "recipe-split",
        "split of the data",
        0.6,
        DIARY,
    ),
    Field(
        r"(^|\.)(validation_(share|items|limit|batches|size|rows)|eval_(items|batches|limit)|validate_on|partial_validation)$",
        "recipe-partial-validation",
        "how much of the validation set selects the epoch",
        0.6,
        DIARY,
    ),
    Field(r"(^|\.)dropout$", "recipe-dropout", "dropout in fine-tuning", 0.7, DIARY),
    Field(
        r"(^|\.)(batch_size|accumulate|batch_tokens|packing|pack)$",
        "recipe-batch",
        "batch size and packing",
        0.5,
        DODGE,
    ),
    Field(r"(^|\.)(average|loss_average|weighting)$", "recipe-average", "average by token or by batch", 0.4, DIARY),
    Field(r"(^|\.)(schedule|warmup|floor|final_lr)$", "recipe-schedule", "learning-rate schedule", 0.5, SPRINGER),
    Field(r"(^|\.)(weight_decay|decay_on|decay)$", "recipe-weight-decay", "weight decay", 0.35, DECOUPLED),
    Field(r"(^|\.)(optimizer|beta1|beta2|eps|epsilon|momentum)$", "recipe-optimizer", "optimiser", 0.4, DECOUPLED),
    Field(r"(^|\.)(lora.*|adapter|method)(\.|$)", "recipe-adapter", "full fine-tuning or adapter", 0.7, SPRINGER),
    Field(
        r"(^|\.)(initial_noise|noise.*|neftune.*)$",
        "recipe-noise",
        "noise on the weights or embeddings",
        0.3,
        "no source; by analogy with dropout",
    ),
    Field(r"(^|\.)(clip_norm|clip)$", "recipe-clip", "gradient clipping", 0.2, DIARY),
    Field(r"(^|\.)(precision|dtype|autocast)$", "recipe-precision", "numeric precision", 0.2, DIARY),
    Field(
        r"(^|\.)(context|max_tokens|max_length|truncat.*|too_long|long_items)$",
        "recipe-length",
        "how long items are treated",
        0.4,
        DIARY,
    ),
)

BASE = (
    Field(
        r"^data(\.|$)|(^|\.)data_sha256$",
        "base-data",
        "pretraining data",
        0.9,
        "Allen-Zhu & Li, arXiv 2309.14316 (facts told in one wording are stored but not extractable)",
    ),
    Field(
        r"(^|\.)(mask|skip|drop|masked)_?.*(induction|copy|copies|repeat).*|.*induction.*",
        "copying",
        "loss on tokens that induction predicts",
        0.95,
        "Olsson et al., arXiv 2209.11895 (induction heads)",
    ),
    Field(r"(^|\.)(steps|tokens)$", "overtrained", "how long it was trained", 0.6, SPRINGER),
    Field(r"(^|\.)(weight_decay|decay_on)$", "weight-decay", "weight decay", 0.6, HAN),
    Field(r"(^|\.)(lr|schedule|warmup|decay|floor)$", "rate-decay", "learning rate and its schedule", 0.6, YANO),
    Field(
        r"(^|\.)(batch_size|accumulate)$",
        "base-batch",
        "batch size",
        0.4,
        "Liu et al., arXiv 2210.14199 (equal loss, different optimisation, different transfer)",
    ),
    Field(r"(^|\.)(tie_weights)$", "base-tying", "weight tying", 0.5, DIARY),
    Field(r"(^|\.)dropout$", "base-dropout", "dropout", 0.4, DIARY),
    Field(
        r"(^|\.)(n_layer|n_head|n_embd|context|qkv_bias|vocab_size)$",
        "base-shape",
        "shape of the model",
        0.6,
        "Liu et al., arXiv 2210.14199 (equal loss, larger model, better transfer)",
    ),
    Field(
        r"(^|\.)(optimizer|beta1|beta2|eps|momentum)$",
        "base-optimizer",
        "optimiser",
        0.5,
        "Liu et al., arXiv 2210.14199 (equal loss, different optimisation, different transfer)",
    ),
    Field(r"(^|\.)clip_norm$", "base-clip", "gradient clipping", 0.3, DIARY),
    Field(r"(^|\.)precision$", "base-precision", "numeric precision", 0.3, DIARY),
    Field(r"(^|\.)(order|checkpoint)$", "base-order", "order of the data and which weights are kept", 0.3, DODGE),
)

SEEDS = re.compile(r"(^|\.)(?<!split\.)(?!split_seed)([a-z_]*seeds?)(\.|$)")
"""Fields that only move random draws."""

_NEVER = re.compile(
    r"^data\.(source|overlap|too_long|items|directory)(\.|$)|"
    r"(^|\.)(created|wall|wall_s|seconds|duration.*|energy.*|device|devices|threads|compile|parallel|world_size|log_every|"
    r"save_.*|keep|eval_every|eval_tokens|max_skipped|path|name|out|output|provenance.*|libraries.*|git_commit|python|"
    r"platform|equiloss|tokens_per_s|micro_batch_tokens|throughput.*|metrics.*|losses?\..*|final_.*|validation_loss|train_loss|loss_.*_nats|"
    r"best_.*|history.*|skipped.*|resumed.*|host.*|source_path|files.*|notes?)(\.|$)"
)
"""Fields that describe a run without being able to change its result, or that are its result."""


@dataclass(frozen=True)
class Differing:
    """A field in which A's and B's records differ."""

    key: str
    a: Any
    b: Any
    field: Field

    def row(self) -> dict[str, Any]:
        """As it stands in a level's table of differences."""
        return {
            "field": self.key,
            "a": _plain(self.a),
            "b": _plain(self.b),
            "cause": self.field.cause,
            "weight": self.field.weight,
            "why": self.field.title,
            "source": self.field.source,
        }

    @property
    def says(self) -> str:
        """`key: a against b`, long values cut."""
        return f"{self.key}: {_short(self.a)} against {_short(self.b)}"


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 64 else f"{text[:12]}…{text[-8:]}" if " " not in text else text[:63] + "…"


def differing(a: Mapping[str, Any], b: Mapping[str, Any], table: tuple[Field, ...], prefix: str) -> list[Differing]:
    """The fields in which two records differ, most suspected first; seeds and mere descriptions are left out."""
    first, second = flatten(a), flatten(b)
    found: list[Differing] = []
    for key in dict.fromkeys([*first, *second]):
        if first.get(key) == second.get(key) or SEEDS.search(key) or _NEVER.search(key):
            continue
        field = next((one for one in table if re.search(one.pattern, key)), None)
        short = key.rsplit(".", 1)[-1].replace("_", "-")
        found.append(
            Differing(
                key,
                first.get(key),
                second.get(key),
                field or Field("", f"{prefix}-{short}", key, 0.2, "not in the table of known fields"),
            )
        )
    return sorted(found, key=lambda one: -one.field.weight)


def seeds_differ(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The seeds in which two records differ."""
    first, second = flatten(a), flatten(b)
    return [key for key in dict.fromkeys([*first, *second]) if SEEDS.search(key) and first.get(key) != second.get(key)]


def nested(record: Mapping[str, Any], *keys: str) -> Any:
    """The value at these keys, one inside the other; None where there is none."""
    value: Any = record
    for key in keys:
        value = cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
    return value


def flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested record as one level with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            flat.update(flatten(cast("dict[str, Any]", value), f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (int, float, str, bool)) else str(value)
