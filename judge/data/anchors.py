"""Judgings by several judges, or versions of one: refused in one table, unless an anchor set shows that they may be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from equiloss import commands
from equiloss.errors import InputError
from equiloss.records.anchor import AnchorEvidence, load
from equiloss.records.verdict import Failure, Verdict
from judge.data.verdicts import Judged, Panel, kind_of


def pooled(judged: Sequence[Judged], evidence: Iterable[Path]) -> list[Judged]:
    """The runs with each pair of judgings that evidence shows to be alike taken as one, under the first one's name.

    Raises: InputError for evidence that shows they are not alike, or says nothing of these verdicts.
    """
    runs = list(judged)
    for path in evidence:
        found = load(path)
        if not found.one_table:
            why = next((fault for row in found.criteria for fault in row.faults), "it has no criterion")
            raise InputError(f"{path}: the two judgings may not stand in one table: {why}", "judge all by one judge")
        if not any(_of(found, line) for run in runs for line in run.verdicts):
            raise InputError(
                f"{path}: is about {found.rubric} by {found.first.judge} and {found.second.judge}, not these verdicts",
                "name the evidence about them",
            )
        runs = [_as_first(run, found) for run in runs]
    return runs


def _of(evidence: AnchorEvidence, line: Verdict | Failure) -> bool:
    """Whether a line is of one of the two judgings."""
    return line.rubric == evidence.rubric and any(
        line.judge == side.judge and (not line.judge_resolved or line.judge_resolved in side.resolved)
        for side in (evidence.first, evidence.second)
    )


def _as_first(run: Judged, evidence: AnchorEvidence) -> Judged:
    """A run with the second judging under the first one's name, unless it has the first one's verdicts too."""
    first = evidence.first
    own = Panel(evidence.rubric, first.judge)
    if first.judge != evidence.second.judge and any(own.has(line) for line in run.verdicts):
        return run
    renamed = {"judge": first.judge, "judge_resolved": next(iter(first.resolved), "")}
    verdicts = tuple(line.model_copy(update=renamed) if _of(evidence, line) else line for line in run.verdicts)
    failures = tuple(line.model_copy(update=renamed) if _of(evidence, line) else line for line in run.failures)
    return replace(run, verdicts=verdicts, failures=failures)


def check_one_judging(judged: Sequence[Judged], panel: Panel) -> None:
    """Refuse runs of which an item was judged by different versions of the judge.

    Where a version judged an item for all of them, what it does to scores cancels from differences.
    Raises: InputError naming the runs, the versions, and the commands that show whether they are alike.
    """
    seen: dict[tuple[str, int], tuple[Judged, str]] = {}
    for run in judged:
        for line in run.verdicts_of(panel):
            other, version = seen.setdefault((line.id, line.repeat), (run, line.judge_resolved))
            if line.judge_resolved and version and line.judge_resolved != version:
                raise InputError(
                    f"{other.generator} was judged by {version}, {run.generator} by {line.judge_resolved}: "
                    "not in one table without evidence that they score alike",
                    f"`{how_to_show(other, panel)}`, then --evidence {_folder(other) / 'against.json'}",
                )


def how_to_show(run: Judged, panel: Panel) -> str:
    """The commands that judge a run's answers again and hold the new verdicts against the old."""
    files = [file for file in run.files if file.is_file() and file != run.path and file.suffix == ".jsonl"]
    own = [file for file in files if kind_of(file) == "verdicts"] or [run.path or Path(commands.FILE)]
    judge = None if not panel.is_llm else panel.judge
    folder = _folder(run)
    return commands.both(
        commands.judge_score([], anchor=own[0], judge=judge, output=folder),
        commands.judge_audit(own[:1], against=folder, output=folder),
    )


def _folder(run: Judged) -> Path:
    return next((file.parent for file in run.files), Path(".")) / "anchor"
