"""Answers with their verdicts as one table, CSV or Parquet, out and in."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from equiloss.files import atomic, read_text, reading
from equiloss.frames import RESPONSES, VERDICTS
from equiloss.records.frame import frame_of
from judge.data.verdicts import Judged
from judge.exchange.collected import Collected, Source
from judge.exchange.registry import Row, exporter, importer

if TYPE_CHECKING:
    from pandas import DataFrame

ANSWER = ("id", "generator", "category", "instruction", "input", "reference", "output", "finish_reason", "n_tokens")
SCORE = (
    "rubric",
    "judge",
    "judge_resolved",
    "criterion",
    "repeat",
    "position",
    "value",
    "weight",
    "explanation",
    "cost_usd",
)


def table(judged: Sequence[Judged]) -> DataFrame:
    """A row per verdict with the answer it is on; an answer without a verdict has a row with an empty value."""
    import pandas as pd

    parts: list[DataFrame] = []
    for run in judged:
        answers = frame_of(run.responses.values(), RESPONSES)[[*ANSWER]]
        scores = frame_of(run.verdicts, VERDICTS).reindex(columns=["id", "generator", *SCORE])
        bare = answers[~answers["id"].isin(scores["id"])]
        parts += [scores.merge(answers, how="left", on=["id", "generator"]), bare]
    return pd.concat(parts, ignore_index=True)[[*ANSWER, *SCORE]]


FORMULA = r"^(?=[=+\-@\t\r])"
"""How a cell begins that a spreadsheet takes for a formula."""


@exporter("csv")
def csv(judged: Sequence[Judged], path: Path) -> int:
    """The table as CSV."""
    return write_csv(judged, path, mark_formulas=False)


def write_csv(judged: Sequence[Judged], path: Path, mark_formulas: bool) -> int:
    """The table as CSV; with `mark_formulas` an apostrophe before what begins like a formula makes it text."""
    rows = table(judged)
    if mark_formulas:
        texts = rows.select_dtypes(exclude="number").columns
        rows[texts] = rows[texts].replace(FORMULA, "'", regex=True)
    with atomic(path) as f:
        rows.to_csv(f, index=False, lineterminator="\n")
    return len(rows)


@exporter("parquet")
def parquet(judged: Sequence[Judged], path: Path) -> int:
    """The table as Parquet."""
    import_module("pyarrow")  # raises, saying what is not installed
    rows = table(judged)
    with atomic(path, "wb") as f:
        rows.to_parquet(f, index=False)
    return len(rows)


def read_csv(path: Path) -> list[Row]:
    """The rows of a CSV file, as texts. Raises: InputError when it is missing, empty or broken."""
    import pandas as pd

    with reading(path, "CSV", "mend that line"):
        read_text(path)  # raises where there is nothing to read, saying why
        with path.open(encoding="utf-8-sig", newline="") as f:  # line ends within answers stay as they are
            rows = pd.read_csv(io.StringIO(f.read(), newline=""), dtype=str, keep_default_na=False)
    return _records(rows)


def read_parquet(path: Path) -> list[Row]:
    """The rows of a Parquet file. Raises: InputError when it is missing or something else."""
    import_module("pyarrow")
    import pandas as pd

    with reading(path, "a Parquet file", "check the file, and --from"):
        return _records(pd.read_parquet(path, dtype_backend="numpy_nullable"))


@importer("csv", read_csv)
@importer("parquet", read_parquet)
def row(collected: Collected, cells: Row, source: Source) -> None:
    """An answer, once for all its scores, and its score if there is one; of a foreign table any of the columns."""
    generator = cells.get("generator") or source.generator
    answer = {name: cells[name] for name in ANSWER if name in cells and name != "generator"}
    id = collected.answer(generator, cells.get("id") or source, **answer)
    if "value" in cells:
        given = {name: cells[name] for name in SCORE if name in cells}
        score: Row = {"rubric": "table", "judge": source.judge, **given}
        collected.score(generator, id, **score)


def _records(rows: DataFrame) -> list[Row]:
    """Rows without the cells that are empty, but for an answer, which may be."""
    full = (rows.notna() & (rows != "")).to_dict("records")
    return [
        {str(name): cell if keep[name] else "" for name, cell in cells.items() if keep[name] or name == "output"}
        for cells, keep in zip(rows.astype(object).to_dict("records"), full, strict=True)
    ]
