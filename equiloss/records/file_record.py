"""What all records have in common: frozen models that keep unknown fields, read with errors that name the place."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from equiloss.errors import InputError
from equiloss.files import json_text, read_json

R = TypeVar("R", bound=BaseModel)


Number = Annotated[float, Field(allow_inf_nan=False)]
"""A finite number."""


class FileRecord(BaseModel):
    """Base of what passes between stages in a file: frozen, and fields that another version wrote are kept.

    Fields that are numbers are refused where a file says true or false, which pydantic would take for 1 and 0, or "NaN"
    or "Infinity" as text.
    A record with a field `format` is accepted by `parse` only where the file says the same.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, serialize_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _no_numbers(cls, data: Any) -> Any:
        fields: dict[str, object] = data if isinstance(data, dict) else {}  # pyright: ignore
        for name in _numbers_of(cls):
            value = fields.get(name)
            if type(value) is bool or (type(value) is str and _infinite(value)):
                raise ValueError(f"{name}: {json_text(value)} is no number")
        return data  # pyright: ignore[reportUnknownVariableType]


def _infinite(text: str) -> bool:
    return text.strip().lstrip("+-")[:3].lower() in ("nan", "inf")


@cache
def _numbers_of(cls: type[BaseModel]) -> set[str]:
    """The fields of a record that are numbers, or may be, by their names in a file; those that may be flags apart."""
    fields = {field.alias or name: field.annotation for name, field in cls.model_fields.items()}
    kinds = {name: {kind, *map(_bare, get_args(kind))} for name, kind in fields.items()}
    return {name for name, either in kinds.items() if either & {int, float} and bool not in either}


def _bare(kind: Any) -> Any:
    """A type without what `Annotated` says of it."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def shared(record: R, pool: dict[object, Any], own: frozenset[str]) -> R:
    """The record with values that others in `pool` hold, too: thousands of lines that say the same take little room.

    Texts but those of the fields `own`, lists, and what pydantic keeps beside the fields are shared. Fields that are
    set one by one in a new object share their names with those of others, too, as any Python object's do.
    """
    compact, put = object.__new__(type(record)), object.__setattr__
    fields = vars(compact)
    for name, value in vars(record).items():
        kind = value.__class__
        if kind is str:
            fields[name] = value if name in own else sys.intern(value)
        elif kind in _SMALL:
            fields[name] = value
        elif kind is list:
            fields[name] = pool.setdefault((name, repr(value)), value)
        elif isinstance(value, BaseModel) and not value.model_extra:
            fields[name] = pool.setdefault((name, repr(vars(value))), value)
        else:
            fields[name] = value
    given = frozenset(record.__pydantic_fields_set__)
    if given not in pool:
        pool[given] = set(given)
    put(compact, "__pydantic_fields_set__", pool[given])
    put(compact, "__pydantic_extra__", record.__pydantic_extra__ or pool.setdefault((), {}))
    put(compact, "__pydantic_private__", None)
    return compact


_SMALL = frozenset((NoneType, bool, int, float, tuple))


class SparseRecord(FileRecord):
    """A record with fields that only some files have: what its writer did not set is not written either."""

    @model_serializer(mode="wrap")
    def _set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key in self.model_fields_set}


def parse(cls: type[R], document: Any, where: str, hint: str) -> R:
    """A record from plain data; `where` (a file, a line) and `hint` (what to do) are for the error.

    Raises: InputError when it is of another format, or when a field is missing or wrong.
    """
    field = cls.model_fields.get("format")
    if field is not None and not (isinstance(document, dict) and document.get("format") == field.default):  # pyright: ignore[reportUnknownMemberType]
        raise InputError(f"{where}: not of the format {field.default}", hint)
    return validated(cls, document, where, hint)


def validated(cls: type[R], document: Any, where: str, hint: str) -> R:
    """A record from plain data, of whatever format.

    Raises: InputError in one line: where, the first field that does not fit, what it should be.
    """
    try:
        return cls.__pydantic_validator__.validate_python(document)
    except ValidationError as error:
        raise InputError(f"{where}: {first_error(error)}", hint) from None


def first_error(error: ValidationError) -> str:
    """The first field that does not fit, by its path, and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def read(cls: type[R], path: Path, hint: str) -> R:
    """A record from a JSON file; Raises: InputError as `parse` does, and when the file is missing or broken."""
    return parse(cls, read_json(path), str(path), hint)
