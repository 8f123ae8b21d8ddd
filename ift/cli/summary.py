"""What `ift run` and `ift respond` tell on the terminal and in `--json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from equiloss.commands import judge_score
from equiloss.numerals import duration, number, percent
from equiloss.records.ift_run import AnswerStatistics, RunRecord, plain_run

if TYPE_CHECKING:
    from ift.generation.respond import Answers
    from ift.training.run import FinishedRun

ALL = "all"
"""The statistics of all answers, beside those of each category."""


def of_runs(runs: Sequence[FinishedRun]) -> list[str]:
    """Each run's epochs, validation loss and answers, where its files are, and what to do next."""
    lines: list[str] = []
    for one in runs:
        record, paths = one.record, one.paths
        if one.again:
            lines.append(f"{paths.name}: finished before; nothing to do")
        loss = record.selected_validation_loss
        lines.append(
            f"{paths.name}: {len(record.epochs)} epochs, epoch {record.selected_epoch} selected"
            + ("" if loss is None else f", validation loss {number(loss, 4)}")
            + f"; {duration(record.environment.wall_s)}"
        )
        lines += [f"  {line}" for line in of_statistics(record.answers)]
        model = f", model {paths.model}/" if record.files.model else ""
        lines.append(f"  answers {paths.responses}, record {paths.record}{model}")
    epochs = [epoch.responses for one in runs for epoch in one.record.epochs if epoch.responses]
    return [*lines, f"next: {judge_score(epochs or [one.paths.responses for one in runs])}"]


def of_answers(answers: Answers) -> list[str]:
    """What the answers are like, where they are, and what to do next."""
    name, path = answers.paths.name, answers.paths.responses
    if answers.again:
        return [f"{name}: finished before; nothing to do", f"answers {path}"]
    lines = [f"{name}: {line}" for line in of_statistics(answers.record.answers)]
    return [*lines, f"answers {path}", f"next: {judge_score([path])}"]


def of_statistics(statistics: Mapping[str, AnswerStatistics]) -> list[str]:
    """The answers' statistics in one line, and exact matches by category in another."""
    total = statistics.get(ALL)
    if total is None or not total.items:
        return ["no test items"]
    line = f"{total.items} answers, {total.finish_reason.get('length', 0)} unfinished, {total.empty} empty"
    if total.exact_match is not None:
        line += f"; exact match {percent(total.exact_match, 1)}"
    if total.rouge_l is not None:
        line += f", ROUGE-L {number(total.rouge_l)}"
    shares = [
        f"{name} {percent(group.exact_match)}"
        for name, group in sorted(statistics.items())
        if name != ALL and group.exact_match is not None
    ]
    return [line, f"exact match: {', '.join(shares)}"] if shares else [line]


def document(records: Sequence[RunRecord]) -> dict[str, object]:
    """`runs`: the records (of `ift run`: NAME.run.json) without the text of templates and the ids of splits."""
    return {"runs": [plain_run(record, without={"template": {"text"}, "data": {"split"}}) for record in records]}
