"""Records as pandas DataFrames: a row each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from pandas import DataFrame


def frame_of(records: Iterable[BaseModel], dtypes: Mapping[str, str] | None = None) -> DataFrame:
    """Records as a DataFrame; the columns of `dtypes` come first and are always there.

    The fields of a part stand under the part's name (`base_sha256`), the ends of an interval as `_low` and `_high`;
    texts in a list are joined by ", "; lists and tables of records are left out, since they are frames of their own.
    """
    import pandas as pd

    types: dict[str, str] = {**(dtypes or {})}
    rows = [dict(_cells(record.model_dump(by_alias=False, exclude={"schema_"}))) for record in records]
    names = dict.fromkeys([*types, *(name for row in rows for name in row)])
    absent = {name for name in names if rows and all(row.get(name) is None for row in rows)}
    parts = {name for name in absent if any(other.startswith(f"{name}_") for other in names)}
    return pd.DataFrame(rows, columns=[name for name in names if name not in parts]).astype(types)


def _cells(part: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in part.items():
        name = f"{prefix}{key}".rstrip("_")
        if isinstance(value, Mapping):
            yield from _cells({**value}, f"{name}_")
        elif isinstance(value, list | tuple):
            several: list[Any] = [*value]
            if [type(one) for one in several] == [float, float]:
                yield from zip((f"{name}_low", f"{name}_high"), several, strict=True)
            elif several and all(isinstance(one, str) for one in several):
                yield name, ", ".join(several)
        else:
            yield name, value
