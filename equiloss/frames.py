"""Result files as pandas DataFrames: the API for notebooks. docs/notebook.md shows an example.

Every function takes a file, a directory (all files of its kind in it), a pattern such as `results/*.jsonl`, or several
of these. Frames are tidy: a row a response, verdict, run, evaluation or document; `path` says where it was read. The
columns that are always there, with their types, are in the tables below; whatever else a file holds follows them.
The parts of a comparison, an audit or a diagnosis are frames too: `to_frames()` of the document.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pydantic import BaseModel

from equiloss.errors import InputError
from equiloss.records.frame import frame_of
from equiloss.records.ift_run import read_run
from equiloss.records.response import read_responses
from equiloss.records.verdict import read_verdicts

if TYPE_CHECKING:
    from pandas import DataFrame

Paths: TypeAlias = str | Path | Iterable[str | Path]


def _typed(**columns: str) -> dict[str, str]:
    """Types by column, from the columns (separated by spaces) of each type."""
    return {name: dtype for dtype, names in columns.items() for name in names.split()}


RESPONSES = _typed(
    string="id generator instruction input output reference category finish_reason", Int64="n_tokens seed"
)
VERDICTS = _typed(
    string="id generator criterion rubric rubric_sha judge judge_resolved request_sha group explanation",
    Int64="repeat position usage_prompt_tokens usage_completion_tokens",
    float64="value cost_usd",
)
RUNS = _typed(
    string="name base_path base_sha256 data_source data_sha256 template_name stopped fingerprint",
    Int64="seed selected_epoch steps",
    float64="base_validation_loss selected_validation_loss recipe_lr pretraining_loss_before pretraining_loss_after "
    "weight_distance_relative",
)


def responses(paths: Paths) -> DataFrame:
    """Answers (`RESPONSES`). Raises: InputError where there are none, or a file is broken."""
    return _frame({path: read_responses(path) for path in _files(paths, "*.jsonl", '"equiloss.response.')}, RESPONSES)


def verdicts(paths: Paths) -> DataFrame:
    """Verdicts, a row for each criterion and repeat (`VERDICTS`). What the judge failed on has no row, and no score."""
    return _frame({path: read_verdicts(path) for path in _files(paths, "*.jsonl", '"equiloss.verdict.')}, VERDICTS)


def runs(paths: Paths) -> DataFrame:
    """Fine-tunings and answerings, from NAME.run.json (`RUNS`); a field of the recipe stands as `recipe_lr` does."""
    return _frame({path: [read_run(path)] for path in _files(paths, "*.run.json")}, RUNS)


def _frame(records: Mapping[Path, Sequence[BaseModel]], dtypes: Mapping[str, str]) -> DataFrame:
    frame = frame_of([record for of_path in records.values() for record in of_path], dtypes)
    frame.insert(0, "path", [str(path) for path, of_path in records.items() for _ in of_path])
    return frame.astype({"path": "string"})


def _files(paths: Paths, pattern: str, schema: str = "") -> list[Path]:
    """The files that are named, and in directories those with a fitting name and the schema on their first line."""
    found: list[Path] = []
    for place in [paths] if isinstance(paths, str | Path) else paths:
        if Path(place).is_dir():
            found += [path for path in sorted(Path(place).glob(pattern)) if schema in _first_line(path)]
        else:
            found += map(Path, sorted(glob.glob(str(place))) or [place])
    if not found:
        raise InputError(f"{paths}: holds no file of this kind ({pattern})", "name the files, or another directory")
    return found


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as f:
        return f.readline()
