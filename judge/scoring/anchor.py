"""An anchor set: answers that were judged already, to be judged once more beside the old verdicts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from equiloss.errors import InputError
from judge.data.verdicts import load_judged
from judge.scoring.options import ScoreRequest


@dataclass(frozen=True)
class Anchor:
    """What to ask, and the items that all runs of the anchor set have verdicts on."""

    request: ScoreRequest
    ids: frozenset[str]


def read(request: ScoreRequest, rubric: str) -> Anchor:
    """The answers behind the anchors' verdicts by a rubric, judged anew in a folder (and ledger) of their own.

    Answers that were judged one by one are judged so again. Answers are looked for beside the verdicts and among the
    request's files. Without a folder, it is anchor-DATE beside the first anchor.
    Raises: InputError where the anchors hold no such verdicts, or the answers are not there.
    """
    runs = load_judged([*request.files, *request.anchors])
    if missing := next((run.generator for run in runs if run.path is None), None):
        raise InputError(f"the answers of {missing!r} are not beside its verdicts", "name their file, too")
    verdicts = {run.generator: [line for line in run.verdicts if line.rubric == rubric] for run in runs}
    ids, *others = [frozenset(line.id for line in lines) for lines in verdicts.values()]
    ids = ids.intersection(*others)
    if not ids:
        known = sorted({line.rubric for run in runs for line in run.verdicts})
        names = ", ".join(map(str, request.anchors))
        raise InputError(f"{names}: no verdict by {rubric!r}", f"choose with --rubric: {', '.join(known) or 'none'}")
    alone = all(len(line.group) < 2 for lines in verdicts.values() for line in lines)
    folder = request.anchors[0].parent / f"anchor-{datetime.now(UTC):%Y-%m-%d}"
    layout = request.layout or ("pointwise" if alone else None)
    output = request.output or folder
    files = tuple(run.path for run in runs if run.path)
    return Anchor(replace(request, files=files, layout=layout, output=output), ids)
