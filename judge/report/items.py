"""What the browser of items shows: every item with its answers, scores and the judge's words."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
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


class BrowserItem(TypedDict):
    """An item as the browser has it; lists run by run."""

    id: str
    instruction: str
    input: str
    reference: str
    category: str | None
    answers: list[str | None]
    finish: list[str | None]
    tokens: list[int | None]
    scores: list[float | None]
    verdicts: list[list[dict[str, object]]]
    failures: list[list[dict[str, object]]]


class BrowserData(TypedDict):
    """All that the browser shows; `places` are the colours of the runs."""

    runs: list[str]
    places: list[int]
    scale: tuple[float, float]
    items: list[BrowserItem]


def browser(
    judged: Sequence[Judged], scores: Scores, scale: tuple[float, float], place: Mapping[str, int]
) -> BrowserData:
    """The items that were judged; `place` is the colour of each run."""
    verdicts: dict[tuple[str, str], list[dict[str, object]]] = defaultdict(list)
    failures: dict[tuple[str, str], list[dict[str, object]]] = defaultdict(list)
    for run in judged:
        for one in run.verdicts_of(scores.panel):
            row = {"c": one.criterion, "v": one.value, "e": one.explanation, "r": one.repeat, "p": one.position}
            verdicts[run.generator, one.id].append({**row, "n": len(one.group)})
        for one in run.failures_of(scores.panel):
            failures[run.generator, one.id].append(
                {"reason": one.reason, "text": one.text or one.detail, "r": one.repeat}
            )
    items: list[BrowserItem] = []
    for id, values in zip(scores.ids, scores.by_item().T, strict=True):
        responses = [run.responses.get(id) for run in judged]
        first = next((one for one in responses if one), None)
        items.append(
            {
                "id": id,
                "instruction": first.instruction if first else "",
                "input": first.input if first else "",
                "reference": first.reference if first else "",
                "category": first.category if first else None,
                "answers": [one and one.output for one in responses],
                "finish": [one and one.finish_reason for one in responses],
                "tokens": [one and one.n_tokens for one in responses],
                "scores": [None if np.isnan(value) else round(float(value), 6) for value in values],
                "verdicts": [verdicts[run.generator, id] for run in judged],
                "failures": [failures[run.generator, id] for run in judged],
            }
        )
    runs = [run.generator for run in judged]
    return {"runs": runs, "places": [place[run] for run in runs], "scale": scale, "items": items}


def scores_of(data: BrowserData) -> tuple[ItemScores, ...]:
    """The items without their texts."""
    return tuple(
        ItemScores(
            id=item["id"], category=item["category"], scores=dict(zip(data["runs"], item["scores"], strict=True))
        )
        for item in data["items"]
    )


def embed(document: object) -> Markup:
    """JSON that can stand inside a `<script>`: no `<`, `>`, `&`, U+2028 or U+2029 but as escapes."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(_UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text))
