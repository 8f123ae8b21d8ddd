"""What the browser of items shows: every item with its answers, scores and the judge's words."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from equiloss.records.file_record import FileRecord
from judge.data.scores import Scores
from judge.data.verdicts import Judged

_UNSAFE = re.compile("[<>&\u2028\u2029]")


class ItemScores(FileRecord):
    """An item as report.json has it: the score of each run, None where there is none."""

    id: str
    category: str | None
    scores: dict[str, float | None]


def browser(
    judged: Sequence[Judged], scores: Scores, scale: tuple[float, float], place: Mapping[str, int]
) -> dict[str, object]:
    """The items that were judged, compactly: lists run by run in the order of `runs`; `place` is a run's colour."""
    verdicts: dict[tuple[str, str], list[dict[str, object]]] = defaultdict(list)
    failures: dict[tuple[str, str], list[dict[str, object]]] = defaultdict(list)
    for run in judged:
        for line in run.verdicts_of(scores.panel):
            row = {"c": line.criterion, "v": line.value, "e": line.explanation, "r": line.repeat, "p": line.position}
            verdicts[run.generator, line.id].append({**row, "n": len(line.group)})
        for line in run.failures_of(scores.panel):
            failures[run.generator, line.id].append(
                {"reason": line.reason, "text": line.text or line.detail, "r": line.repeat}
            )
    items: list[dict[str, object]] = []
    for item in scores_of(judged, scores):
        responses = [run.responses.get(item.id) for run in judged]
        first = next((response for response in responses if response), None)
        items.append(
            {
                "id": item.id,
                "instruction": first.instruction if first else "",
                "input": first.input if first else "",
                "reference": first.reference if first else "",
                "category": item.category,
                "answers": [response and response.output for response in responses],
                "finish": [response and response.finish_reason for response in responses],
                "tokens": [response and response.n_tokens for response in responses],
                "scores": list(item.scores.values()),
                "verdicts": [verdicts[run.generator, item.id] for run in judged],
                "failures": [failures[run.generator, item.id] for run in judged],
            }
        )
    runs = [run.generator for run in judged]
    return {"runs": runs, "places": [place[run] for run in runs], "scale": scale, "items": items}


def scores_of(judged: Sequence[Judged], scores: Scores) -> list[ItemScores]:
    """Every item with its category and the score of each run."""
    items: list[ItemScores] = []
    for id, values in zip(scores.ids, scores.by_item().T.tolist(), strict=True):
        first = next((run.responses[id] for run in judged if id in run.responses), None)
        by_run = {
            run.generator: None if math.isnan(value) else round(value, 6)
            for run, value in zip(judged, values, strict=True)
        }
        items.append(ItemScores(id=id, category=first.category if first else None, scores=by_run))
    return items


def embed(document: object) -> Markup:
    """JSON that can stand inside a `<script>`: no `<`, `>`, `&`, U+2028 or U+2029 but as escapes."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(_UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text))
