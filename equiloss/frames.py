"""Result files as pandas DataFrames: the API for notebooks. docs/notebook.md shows an example.

Every function takes a file, a directory (all files of its kind in it), a pattern such as `results/*.jsonl`, or several
of these. Frames are tidy: a row a response, verdict, run, evaluation or document; `path` says where it was read. The
columns that are always there, with their types, are in the tables below; whatever else a file holds follows them.
The tables of a comparison, an audit or a diagnosis are frames too: `tables(document)`.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_origin

from pydantic import BaseModel

from equiloss.errors import InputError
from equiloss.records.evaluation import HINT, PER_DOCUMENT, EvaluationRecord, load
from equiloss.records.file_record import read
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
EVALUATIONS = _typed(
    string="checkpoint_name checkpoint_path checkpoint_sha256 data_path data_sha256 data_split",
    Int64="data_documents data_tokens data_bytes method_context_tokens method_stride_tokens",
    float64="loss_nats_value loss_nats_se loss_nats_low loss_nats_high bits_per_byte_value bits_per_byte_low "
    "bits_per_byte_high accuracy_value perplexity calibration_expected_calibration_error",
)
LOSSES = _typed(Int64="index tokens bytes correct", category="domain", float64="nats nats_per_token bits_per_byte")


def responses(paths: Paths) -> DataFrame:
    """Answers (`RESPONSES`). Raises: InputError where there are none, or a file is broken."""
    return _frame({path: read_responses(path) for path in _files(paths, "*.jsonl", '"equiloss.response.')}, RESPONSES)


def verdicts(paths: Paths) -> DataFrame:
    """Verdicts, a row for each criterion and repeat (`VERDICTS`). What the judge failed on has no row, and no score."""
    return _frame({path: read_verdicts(path) for path in _files(paths, "*.jsonl", '"equiloss.verdict.')}, VERDICTS)


def runs(paths: Paths) -> DataFrame:
    """Fine-tunings and answerings, from NAME.run.json (`RUNS`); a field of the recipe stands as `recipe_lr` does."""
    return _frame({path: [read_run(path)] for path in _files(paths, "*.run.json")}, RUNS)


def evaluations(paths: Paths) -> DataFrame:
    """Evaluations of base models, from NAME.eval.json: a row for each model and split of some data (`EVALUATIONS`)."""
    files = _files(paths, "*.eval.json")
    return _frame({path: [read(EvaluationRecord, path, HINT)] for path in files}, EVALUATIONS)


def losses(path: str | Path) -> DataFrame:
    """Every document of one evaluation with its loss (`LOSSES`): what `evaluations` is the mean of."""
    import pandas as pd

    loaded = load(path)
    frame = pd.DataFrame({name: loaded.arrays[name] for name in PER_DOCUMENT})
    frame["domain"] = frame["domain"].map(dict(enumerate(loaded.record.data.domains)))
    frame["nats_per_token"] = frame["nats"] / frame["tokens"]
    frame["bits_per_byte"] = frame["nats"] / frame["bytes"] / 0.6931471805599453
    return frame[[*LOSSES]].astype(LOSSES)


def tables(document: BaseModel) -> dict[str, DataFrame]:
    """The tables of a document by name: of a comparison models, differences, categories; of a diagnosis levels, causes.

    Every list of records in it is a table, even where it is empty.
    """
    return {
        name: frame_of(getattr(document, name))
        for name, field in type(document).model_fields.items()
        if _records(field.annotation)
    }


def _records(annotation: Any) -> bool:
    kinds = get_args(annotation)[:1] if get_origin(annotation) in (list, tuple) else ()
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds)


def _frame(records: Mapping[Path, Sequence[BaseModel]], dtypes: Mapping[str, str]) -> DataFrame:
    import pandas as pd

    frame = frame_of([record for of_path in records.values() for record in of_path], dtypes)
    places = [str(path) for path, of_path in records.items() for _ in of_path]
    return pd.concat([pd.Series(places, name="path", dtype="string"), frame], axis=1)


def _files(paths: Paths, pattern: str, schema: str = "") -> list[Path]:
    """The files that are named, and in directories those with a fitting name and the schema on their first line."""
    files: list[Path] = []
    for place in [paths] if isinstance(paths, str | Path) else paths:
        if Path(place).is_dir():
            files += [path for path in sorted(Path(place).glob(pattern)) if schema in _first_line(path)]
        else:
            files += map(Path, sorted(glob.glob(str(place))) or [place])
    if not files:
        raise InputError(f"{paths}: holds no file of this kind ({pattern})", "name the files, or another directory")
    return files


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as f:
        return f.readline(1 << 20)
