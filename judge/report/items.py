"""What the browser of items shows: every item with its answers, scores and the judge's words."""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from equiloss.records.verdict import Line
from equiloss.redaction import scrub
from judge.data.scores import Scores
from judge.data.verdicts import Judged, Panel

_UNSAFE = re.compile("[<>&\u2028\u2029]")
PLAIN = 1000
"""More items than this are packed, in chunks that the page unpacks as they are looked at."""
CHUNK = 250


@dataclass(frozen=True, slots=True)
class ItemScores:
    """An item as report.json has it: the score of each run, None where there is none."""

    id: str
    category: str | None
    scores: dict[str, float | None]


def browser(
    judged: Sequence[Judged],
    items: Sequence[ItemScores],
    panel: Panel,
    scale: tuple[float, float],
    place: Mapping[str, int],
) -> dict[str, object]:
    """The items that were judged: what is sorted and filtered by, and chunks of the rest, packed where there are many.

    Lists are run by run in the order of `runs`; `place` is a run's colour. Of verdicts a chunk has how many each run
    has on each item, and columns of their fields.
    """
    verdicts = [_by_item(run.verdicts_of(panel)) for run in judged]
    failures = [_by_item(run.failures_of(panel)) for run in judged]

    def shown(item: ItemScores) -> dict[str, object]:
        responses = [run.responses.get(item.id) for run in judged]
        first = next((response for response in responses if response), None)
        return {
            "id": item.id,
            "instruction": first.instruction if first else "",
            "input": first.input if first else "",
            "reference": first.reference if first else "",
            "answers": [response and response.output for response in responses],
            "finish": [response and response.finish_reason for response in responses],
            "tokens": [response and response.n_tokens for response in responses],
            "failures": [
                [{"reason": f.reason, "text": f.text or f.detail, "r": f.repeat} for f in lines[item.id]]
                for lines in failures
            ],
        }

    def chunk(items: Sequence[ItemScores]) -> dict[str, object]:
        given = [[lines[item.id] for lines in verdicts] for item in items]
        flat = [verdict for runs in given for lines in runs for verdict in lines]
        return {
            **_columns([shown(item) for item in items]),
            "counts": [[len(lines) for lines in runs] for runs in given],
            "verdicts": [
                [v.criterion for v in flat],
                [v.value for v in flat],
                [v.explanation for v in flat],
                [v.repeat for v in flat],
                [v.position for v in flat],
                [len(v.group) for v in flat],
            ],
        }

    def longest(item: ItemScores) -> int:
        return max(len(run.responses[item.id].output) if item.id in run.responses else 0 for run in judged)

    def put(document: object) -> object:
        return packed(document) if len(items) > PLAIN else document

    index = [[item.category, longest(item), *item.scores.values()] for item in items]
    return {
        "runs": [run.generator for run in judged],
        "places": [place[run.generator] for run in judged],
        "scale": scale,
        "size": CHUNK,
        "index": put(index),
        "chunks": [put(chunk(items[first : first + CHUNK])) for first in range(0, len(items), CHUNK)],
    }


def _columns(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    """Rows as columns, which pack better."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def _by_item(lines: Iterable[Line]) -> Mapping[str, list[Line]]:
    grouped: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        grouped[line.id].append(line)
    return grouped


def packed(document: object) -> str:
    """JSON without secrets as deflate packs it, in base64: what a browser's DecompressionStream reads."""
    text = scrub(json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    deflate = zlib.compressobj(7, wbits=-15)  # 9 takes twice as long for 0.3 % less
    return base64.b64encode(deflate.compress(text.encode("utf-8", "replace")) + deflate.flush()).decode()


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
