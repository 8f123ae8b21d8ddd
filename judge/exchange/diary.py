"""The training diary's files of answers, and the book's with several models."""

from __future__ import annotations

from equiloss.errors import InputError
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
    """An item with the answers of the diary's one model (`model_response`), or the book's ("model 1 response", ...).

    Of an annotated file `llm_score` (0 to 100) and `llm_comments` become a verdict. An item without a score was not
    judged: never 0, but a failure where that is allowed. Files of one name with the same answers are repeated judgings.
    """
    asked = {"instruction": row["instruction"], "input": row.get("input") or "", "reference": row["output"]}
    if "model_response" in row:
        _annotated(collected, row, source, asked)
    elif not (names := [key for key in row if key.endswith(" response")]):
        raise KeyError("model_response")
    else:
        for name in names:
            model = name.removesuffix("response").strip().replace(" ", "-")
            collected.answer(model, source, output=str(row[name]).strip(), **asked)


def _annotated(collected: Collected, row: Row, source: Source, asked: dict[str, str]) -> None:
    """An answer, and what the judge of this file gave it, where it is an annotated file."""
    name, output = source.generator.removesuffix("-annotated"), str(row["model_response"]).strip()
    known = collected.known(name, source.number)
    if known is not None and (known.instruction, known.output) != (asked["instruction"], output):
        raise ValueError(f"not the answer that an earlier file gives for {name}: name another model's --generator")
    id = collected.answer(name, source.number, output=output, **asked)
    if "llm_score" not in source.fields:
        return
    shown = {"repeat": collected.judged_before(name, id), "group": [name]}
    if (score := row.get("llm_score")) is None:
        if not source.allow_unscored:
            raise InputError(
                f"{source.path}: item {source.number} has no llm_score",
                "judge it again, or take such items as failures of the judge with --allow-unscored",
            )
        collected.fail(name, id, "diary", source.judge, "the file has no llm_score for it", **shown)
    else:
        comments = str(row.get("llm_comments") or "")
        collected.score(name, id, score, "diary", source.judge, explanation=comments, scale=(0, 100), **shown)
