"""Rows of Parquet files and of data sets on the Hugging Face Hub, streamed through `datasets`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from equiloss.errors import InputError

Row: TypeAlias = Mapping[str, Any]
HUB = "hub:"
FORM = f"the form is {HUB}NAME[:CONFIG][:SPLIT]"


def parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a Parquet file, each with the place to name in errors.

    Raises: InputError when it is broken or something else.
    """
    place, hint = f"{path}: not a Parquet file, or broken", "fetch it again"
    rows = _load(place, hint, "parquet", data_files=str(path), split="train")
    return _rows(str(path), hint, rows)


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
        yield f"{source}: row {number}", row


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
