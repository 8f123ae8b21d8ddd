"""Inspect's precomputed scores, out and in."""

from __future__ import annotations

from statistics import fmean

from equiloss.errors import InputError
from equiloss.records.verdict import Verdict
from judge.data.verdicts import Judged
from judge.exchange.collected import Collected, Source
from judge.exchange.registry import Row, exporter, importer, of_one_run

GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}


@exporter("inspect")
@of_one_run
def precomputed_scores(run: Judged) -> list[dict[str, object]]:
    """One record per item, as Inspect's `precomputed_scores` wants: means over repeats, by criterion where several."""
    panels = {(line.rubric, line.judge) for line in run.verdicts}
    if len(panels) > 1:
        raise InputError(
            f"{run.generator} is judged in {len(panels)} ways; Inspect takes one score an item",
            "name the verdict file of one of them",
        )
    by_item: dict[str, dict[str, list[Verdict]]] = {}
    for line in run.verdicts:
        by_item.setdefault(line.id, {}).setdefault(line.criterion, []).append(line)
    records: list[dict[str, object]] = []
    for id, by_criterion in by_item.items():
        means = {name: fmean(line.value for line in lines) for name, lines in by_criterion.items()}
        first = next(iter(by_criterion.values()))[0]
        about = {"generator": run.generator, "rubric": first.rubric, "judge": first.judge}
        records.append(
            {
                "id": id,
                "value": next(iter(means.values())) if len(means) == 1 else means,
                "answer": run.responses[id].output if id in run.responses else None,
                "explanation": first.explanation or None,
                "metadata": {**about, "repeats": max(map(len, by_criterion.values()))},
            }
        )
    return records


@importer("inspect")
def score(collected: Collected, row: Row, source: Source) -> None:
    """`id`, `value` (a number, a grade, or one of them for each name), `epoch`, which becomes the repeat."""
    about, value = row.get("metadata") or dict[str, str](), row["value"]
    named: Row = {"score": value} if isinstance(value, str | float | int) else value
    for name, given in named.items():
        collected.score(
            str(about.get("generator") or source.generator),
            str(row["id"]),
            GRADES[given] if given in GRADES else float(given),
            str(about.get("rubric") or "inspect"),
            str(about.get("judge") or source.judge),
            criterion=name,
            explanation=row.get("explanation") or "",
            repeat=int(row.get("epoch") or 1) - 1,
        )
