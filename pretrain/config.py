"""Configurations: TOML files and presets, overrides, and what a base model and its training are made of."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

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
        first = error.errors()[0]
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
        field = cls.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        cls = field.annotation
    return list(cls.model_fields)


def _nearest(key: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises: InputError when it is missing, empty or broken.
    """
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML: {error}", "mend the file") from None


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
        table[parts[-1]] = None if value == "none" else value
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
    """How a base model is trained. A step takes `batch_size` × `accumulate` sequences, on however many devices."""

    steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=16, ge=1)
    accumulate: int = Field(default=1, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine"] = "cosine"
    seed: int = 0


class RunConfig(Config):
    """A whole pretraining run."""

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
