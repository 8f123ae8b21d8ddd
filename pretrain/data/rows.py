"""Records of files (JSON or Parquet, packed or not) and of data sets on the Hugging Face Hub, streamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from io import BytesIO
from itertools import count
from math import isnan
from pathlib import Path
from typing import Any, TypeAlias

from equiloss import files
from equiloss.errors import InputError

Row: TypeAlias = Mapping[str, Any]
HUB = "hub:"
FORM = f"the form is {HUB}NAME[:CONFIG][:SPLIT]"


def file_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """The records of a file, each with the place to name in errors: Parquet by name or first bytes, JSON else.

    Raises: InputError when it is missing, empty, broken or something else.
    """
    with files.reading(path, "a file", "fetch it again"), files.open_bytes(path) as f:
        parquet = f.read(4) == b"PAR1" or files.unpacked_name(path).lower().endswith(".parquet")
    return _parquet_rows(path) if parquet else files.json_rows(path)


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    parquet: Any = import_module("pyarrow.parquet")
    number = count(1)
    with files.reading(path, "a Parquet file", "fetch it again"), files.open_bytes(path) as f:
        source = BytesIO(f.read(files.MAX_BYTES)) if files.packed(path) else f
        for batch in parquet.ParquetFile(source).iter_batches(batch_size=1000):
            yield from ((f"{path}: row {next(number)}", _without_nan(row)) for row in batch.to_pylist())


def hub_rows(source: str, default_split: str | None = None) -> dict[str, Iterator[tuple[str, Row]]]:
    """The rows of a Hub data set by split, each with the place to name in errors: `hub:NAME[:CONFIG][:SPLIT]`.

    Without a split that of `default_split` is read, or all. Raises: InputError when it is not there or not reachable.
    """
    repository, _, rest = source.removeprefix(HUB).partition(":")
    config, _, split = rest.partition(":")
    hint = f"check the name, the network, and HF_TOKEN if it is gated; {FORM}"
    split = split or default_split
    loaded = _load(source, hint, repository, config or None, split=split)
    parts: Mapping[str, Iterable[Row]] = loaded if split is None else {split: loaded}
    return {name: _rows(source, hint, rows) for name, rows in parts.items()}


def _load(source: str, hint: str, *arguments: str | None, **options: str | None) -> Any:
    datasets: Any = import_module("datasets")
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what goes wrong is said here, in one line
    try:
        return datasets.load_dataset(*arguments, **options, streaming=True)
    except Exception as error:  # the library's errors have no common base: network, access, configuration, format
        raise InputError(f"{source}: {_first_line(error)}", hint) from None


def _rows(source: str, hint: str, rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    iterator = iter(rows)
    for number in count(1):
        try:
            row = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            raise InputError(f"{source}: row {number}: {_first_line(error)}", hint) from None
        yield f"{source}: row {number}", _without_nan(row)


def _without_nan(row: Row) -> Row:
    """NaN, which pandas writes for what is missing, becomes None."""
    return {name: None if isinstance(value, float) and isnan(value) else value for name, value in row.items()}


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
