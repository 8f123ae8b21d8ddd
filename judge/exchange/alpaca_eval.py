"""AlpacaEval: answers out as model_outputs.json, its judge's annotations.json in."""

from __future__ import annotations

from judge.data.verdicts import Judged
from judge.exchange.collected import Collected, Source
from judge.exchange.registry import Row, exporter, importer, of_one_run


@exporter("alpaca-eval")
@of_one_run
def model_outputs(run: Judged) -> list[dict[str, str]]:
    """One record an answer; AlpacaEval knows no input beside the instruction."""
    return [
        {
            "instruction": f"{one.instruction}\n\n{one.input}" if one.input else one.instruction,
            "output": one.output,
            "generator": one.generator,
            "dataset": one.category or "",
        }
        for one in run.responses.values()
    ]


@importer("alpaca-eval")
def annotation(collected: Collected, row: Row, source: Source) -> None:
    """An entry of annotations.json: `preference` is 1 for the first output, 2 for the second, or between; 1.5 a tie.

    Kept in per cent for each, so that the second's mean and its standard error are the leaderboard's.
    """
    names = [str(row["generator_1"]), str(row["generator_2"])]
    for index, name in enumerate(names, start=1):
        id = collected.answer(name, source, row["instruction"], row[f"output_{index}"], category=row.get("dataset"))
        if (preference := row["preference"]) is None:
            continue
        second = 0.5 if preference in (0, 1.5) else float(preference) - 1
        if not 0 <= second <= 1:
            raise ValueError(f"a preference of {preference}")
        shown = {"criterion": "preference", "group": names, "position": index - 1, "scale": (0, 100)}
        share = second if index == 2 else 1 - second
        collected.score(name, id, 100 * share, "alpaca-eval", str(row.get("annotator") or source.judge), **shown)
