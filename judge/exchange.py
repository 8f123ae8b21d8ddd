"""Result files out to the formats of other tools; AlpacaEval's and the diary's come in as they are."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from judge.results import Judged
from pretrain.errors import InputError
from pretrain.runs import atomic, write_json

FORMATS = ("csv", "parquet", "alpaca-eval", "diary")
COLUMNS: tuple[str, ...] = (
    "id", "generator", "category", "instruction", "input", "reference", "output", "finish_reason", "n_tokens",
    "rubric", "judge", "judge_resolved", "criterion", "repeat", "position", "value", "explanation", "cost_usd",
)  # fmt: skip


def table(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """One row per verdict with the answer it is on; an answer without a verdict has one row with an empty value."""
    rows: list[dict[str, Any]] = []
    for run in judged:
        seen = {one.id for one in run.verdicts}
        for verdict in run.verdicts:
            response = run.responses.get(verdict.id)
            answer = response.model_dump() if response else {}
            rows.append({key: answer.get(key) for key in COLUMNS} | _only(verdict.model_dump()))
        rows += [
            {key: one.model_dump().get(key) for key in COLUMNS} for one in run.responses.values() if one.id not in seen
        ]
    return rows


def export(judged: Sequence[Judged], kind: str, path: Path) -> int:
    """Write the runs to a file of a kind in `FORMATS`; returns the number of rows.

    Raises: InputError for several runs in a format that holds one, or answers that are not there.
    """
    if kind in ("csv", "parquet"):
        rows = table(judged)
        if kind == "csv":
            with atomic(path) as f:
                writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        else:
            _parquet(rows, path)
        return len(rows)
    if len(judged) != 1 or not judged[0].responses:
        raise InputError(f"{kind} holds the answers of one run", "name one result file")
    responses = list(judged[0].responses.values())
    if kind == "alpaca-eval":
        document = [
            {
                "instruction": f"{one.instruction}\n\n{one.input}" if one.input else one.instruction,
                "output": one.output,
                "generator": one.generator,
                "dataset": one.category or "",
            }
            for one in responses
        ]
    else:
        document = [
            {"instruction": one.instruction, "input": one.input, "output": one.reference, "model_response": one.output}
            for one in responses
        ]
    write_json(path, document)
    return len(document)


def _only(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in COLUMNS if key in row}


def _parquet(rows: list[dict[str, Any]], path: Path) -> None:
    try:
        import pyarrow as pa  # pyright: ignore
        from pyarrow import parquet  # pyright: ignore
    except ImportError:
        raise InputError("Parquet needs pyarrow", 'pip install "equiloss[train]"') from None
    columns = {key: [row.get(key) for row in rows] for key in COLUMNS}
    with atomic(path, "wb") as f:
        parquet.write_table(pa.table(columns), f)  # pyright: ignore
