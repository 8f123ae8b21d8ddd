"""What all records have in common: frozen models that keep unknown fields, read with errors that name the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from equiloss.errors import InputError
from equiloss.files import read_json

R = TypeVar("R", bound=BaseModel)


class FileRecord(BaseModel):
    """Base of what passes between stages in a file: frozen, and fields that another version wrote are kept.

    A record with a field `format` is accepted by `parse` only where the file says the same.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, serialize_by_alias=True)


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
    try:
        return cls.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}: {place}: {first['msg']}" if place else f"{where}: {first['msg']}", hint) from None


def read(cls: type[R], path: Path, hint: str) -> R:
    """A record from a JSON file; Raises: InputError as `parse` does, and when the file is missing or broken."""
    return parse(cls, read_json(path), str(path), hint)
