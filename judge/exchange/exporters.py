"""Answers and verdicts written for other tools."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from equiloss.errors import InputError
from equiloss.files import atomic, write_json, write_jsonl
from equiloss.records.verdict import Verdict
from judge.data.verdicts import Judged

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
    """Write the runs to a file of a kind in `WRITERS`; returns the number of rows.

    Raises: InputError for several runs in a format that holds one, or answers or verdicts that are not there.
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
    if len(judged) != 1:
        raise InputError(f"{kind} holds the answers of one run", "name one result file")
    document = WRITERS[kind](judged[0])
    if not document:
        raise InputError(f"{judged[0].generator}: nothing to write as {kind}", "are the answers, or verdicts, there?")
    if path.suffix == ".jsonl":
        write_jsonl(path, document)
    else:
        write_json(path, document)
    return len(document)


def _alpaca_eval(run: Judged) -> list[dict[str, Any]]:
    return [
        {
            "instruction": f"{one.instruction}\n\n{one.input}" if one.input else one.instruction,
            "output": one.output,
            "generator": one.generator,
            "dataset": one.category or "",
        }
        for one in run.responses.values()
    ]


def _diary(run: Judged) -> list[dict[str, Any]]:
    return [
        {"instruction": one.instruction, "input": one.input, "output": one.reference, "model_response": one.output}
        for one in run.responses.values()
    ]


def _inspect(run: Judged) -> list[dict[str, Any]]:
    """One record per item, as Inspect's `precomputed_scores` wants: means over repeats, by criterion where several."""
    panels = {(one.rubric, one.judge) for one in run.verdicts}
    if len(panels) > 1:
        raise InputError(
            f"{run.generator} is judged in {len(panels)} ways; Inspect takes one score an item",
            "name the verdict file of one of them",
        )
    by_item: dict[str, dict[str, list[Verdict]]] = {}
    for one in run.verdicts:
        by_item.setdefault(one.id, {}).setdefault(one.criterion, []).append(one)
    records: list[dict[str, Any]] = []
    for key, found in by_item.items():
        means = {name: sum(one.value for one in given) / len(given) for name, given in found.items()}
        first = next(iter(found.values()))[0]
        response = run.responses.get(key)
        records.append(
            {
                "id": key,
                "value": next(iter(means.values())) if len(means) == 1 else means,
                "answer": response.output if response else None,
                "explanation": first.explanation or None,
                "metadata": {
                    "generator": run.generator,
                    "rubric": first.rubric,
                    "judge": first.judge,
                    "repeats": max(map(len, found.values())),
                },
            }
        )
    return records


WRITERS: dict[str, Callable[[Judged], list[dict[str, Any]]]] = {
    "alpaca-eval": _alpaca_eval,
    "diary": _diary,
    "inspect": _inspect,
}
TO = ("csv", "parquet", *WRITERS)


def _only(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in COLUMNS if key in row}


def _parquet(rows: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa  # pyright: ignore
    from pyarrow import parquet  # pyright: ignore

    columns = {key: [row.get(key) for row in rows] for key in COLUMNS}
    with atomic(path, "wb") as f:
        parquet.write_table(pa.table(columns), f)  # pyright: ignore
