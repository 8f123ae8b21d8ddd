"""What the browser of items shows: every item with its answers, scores and the judge's words."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from judge.data.scores import Scores
from judge.data.verdicts import Judged

_UNSAFE = re.compile("[<>&\u2028\u2029]")


def browser(judged: Sequence[Judged], scores: Scores, scale: tuple[float, float]) -> dict[str, Any]:
    """The items that were judged, compactly: lists run by run in the order of `runs`."""
    panel = scores.panel
    means = scores.by_item()
    verdicts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    failures: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in judged:
        for one in run.verdicts_of(panel):
            row = {"c": one.criterion, "v": one.value, "e": one.explanation, "r": one.repeat, "p": one.position}
            verdicts.setdefault((run.generator, one.id), []).append(row | {"n": len(one.group)})
        for one in run.failures_of(panel):
            row = {"reason": one.reason, "text": one.text or one.detail, "r": one.repeat}
            failures.setdefault((run.generator, one.id), []).append(row)
    rows: list[dict[str, Any]] = []
    for column, key in enumerate(scores.ids):
        found = [run.responses.get(key) for run in judged]
        first = next((one for one in found if one is not None), None)
        rows.append(
            {
                "id": key,
                "instruction": first.instruction if first else "",
                "input": first.input if first else "",
                "reference": first.reference if first else "",
                "category": first.category if first else None,
                "answers": [one.output if one else None for one in found],
                "finish": [one.finish_reason if one else None for one in found],
                "tokens": [one.n_tokens if one else None for one in found],
                "scores": [None if np.isnan(value) else round(float(value), 6) for value in means[:, column]],
                "verdicts": [verdicts.get((run.generator, key), []) for run in judged],
                "failures": [failures.get((run.generator, key), []) for run in judged],
            }
        )
    return {"runs": [run.generator for run in judged], "scale": list(scale), "items": rows}


def embed(document: Any) -> Markup:
    """JSON that can stand inside a `<script>`: no `<`, `>`, `&`, U+2028 or U+2029 but as escapes."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(_UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text))
