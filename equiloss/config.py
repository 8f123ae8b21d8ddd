"""Configurations: TOML files and presets, overrides, and what a base model and its training are made of."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from equiloss.errors import InputError
from equiloss.files import LARGEST, MAX_DEPTH, read_text, reading


class Config(BaseModel):
    """Base of every configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


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
        given = "" if first["type"] == "missing" else f", not {first['input']!r:.60}"
        message = first["msg"][0].lower() + first["msg"][1:]
        if first["type"] == "value_error":
            given, message = "", first["msg"].removeprefix("Value error, ")
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
    """Read a TOML file; "none" stands for None, which TOML lacks, and dates and times for their text.

    Raises: InputError when it is missing, empty or broken.
    """
    with reading(path, "TOML", "mend the file"):
        data = tomllib.loads(read_text(path))
        _check_bounds(data)
        return _as_json(data)


def _check_bounds(value: Any, depth: int = 0) -> None:
    """Raises: ValueError for a number of more than 64 bits, infinite or none, NUL in a text, and too deep a nesting."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a number of more than 64 bits")
    if isinstance(value, float) and not abs(value) <= LARGEST:
        raise ValueError(f"{value} is no number, or too large")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("a NUL character, which no name, path or command has")
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    inner: list[Any] = [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []  # pyright: ignore
    for part in inner:
        _check_bounds(part, depth + 1)


def _as_json(data: dict[str, Any]) -> dict[str, Any]:
    return {key: None if value == "none" else _plain(value) for key, value in data.items()}


def _plain(value: Any) -> Any:
    """A value of TOML as JSON knows it."""
    if isinstance(value, dict):
        return _as_json(cast("dict[str, Any]", value))
    if isinstance(value, list):
        return [_plain(part) for part in cast("list[Any]", value)]
    return value.isoformat() if isinstance(value, date | time) else value


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
        except (ValueError, RecursionError):
            value = text.strip()
        with reading("--set", "KEY=VALUE", "choose another value"):
            _check_bounds(value)
        table = result
        for part in parts[:-1]:
            inner: Any = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise InputError(f"--set {item!r}: {part!r} is not a section", "check the key")
            table = cast("dict[str, Any]", inner)
        table[parts[-1]] = None if value == "none" else _plain(value)
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
