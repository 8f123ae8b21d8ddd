"""The training diary's files of answers, and the book's with several models."""

from __future__ import annotations

from judge.data.verdicts import Judged
from judge.exchange.collected import Collected, Source
from judge.exchange.registry import Row, exporter, importer, of_one_run


@exporter("diary")
@of_one_run
def model_responses(run: Judged) -> list[dict[str, str]]:
    """One record an answer; `output` is the reference."""
    return [
        {"instruction": one.instruction, "input": one.input, "output": one.reference, "model_response": one.output}
        for one in run.responses.values()
    ]


@importer("diary")
def answers(collected: Collected, row: Row, source: Source) -> None:
    """An item with the answers of the diary's one model (`model_response`), or the book's ("model 1 response", ...)."""
    names = [key for key in row if key.endswith("response")]
    if not names:
        raise KeyError("model_response")
    for name in names:
        model = name.removesuffix("response").strip().replace(" ", "-") if name != "model_response" else ""
        asked = {"instruction": row["instruction"], "input": row.get("input") or "", "reference": row["output"]}
        collected.answer(model or source.generator, source, output=str(row[name]).strip(), **asked)
