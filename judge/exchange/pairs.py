"""Comparisons of two answers by people or judges, as arenas keep them: who stood left, who right, and who won."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equiloss.files import sha256_of
from equiloss.records.response import read_rows
from judge.exchange.collected import Collected, Source
from judge.exchange.registry import Row, importer
from judge.exchange.table import read_csv
from judge.labelling.label import Label

_WINNERS = {
    **dict.fromkeys(("left", "model_a", "a"), 1.0),
    **dict.fromkeys(("tie", "both", "tie (bothbad)"), 0.5),
    **dict.fromkeys(("right", "model_b", "b"), 0.0),
}
RUBRIC = "pairs"


def read_pairs(path: Path) -> Sequence[Row]:
    """The rows of a CSV or JSON file. Raises: InputError when it is missing, empty or broken."""
    return read_csv(path) if path.suffix.lower() == ".csv" else read_rows(path)


@importer("pairs", read_pairs)
def comparison(collected: Collected, row: Row, source: Source) -> None:
    """A comparison (`winner`), or a text that stands apart: a prompt (`id`, `text`) or an answer (`prompt`, `name`).

    A comparison by a `worker` is a verdict of the file's crowd, and a person's label.
    """
    if "winner" not in source.fields:
        _text(collected, row)
        return
    left, right = (str(_first(row, *names)) for names in (("left", "model_a"), ("right", "model_b")))
    item, judge = str(_first(row, "prompt", "question_id")), str(row.get("judge") or source.judge)
    won = _WINNERS.get(str(row["winner"]).strip().lower())
    if won is None or left == right:
        raise ValueError(f"the winner {row['winner']!r} of {left!r} and {right!r}")
    group, worker = [left, right], str(row.get("worker") or row.get("rater") or "")
    repeat = collected.judged_before(judge, sha256_of([item, *group]))
    asked = sha256_of([RUBRIC, judge, item, *group, repeat])
    for position, (generator, value) in enumerate(((left, won), (right, 1 - won))):
        if (answer := collected.texts.get((generator, item))) is not None:
            if (prompt := collected.texts.get(("", item))) is None:
                raise KeyError(f"text of prompt {item}: name the file of prompts, too")
            collected.answer(generator, item, prompt, answer, id=item)
        shown = {"group": group, "position": position, "repeat": repeat, "scale": (0, 1), "request_sha": asked}
        collected.score(generator, item, value, RUBRIC, judge, criterion="preference", **shown)
        if worker:
            rated = {"rater": worker, "rubric": RUBRIC, "low": 0.0, "high": 1.0, "against": group[1 - position]}
            collected.labels.append(Label.model_validate({"id": item, "generator": generator, "value": value, **rated}))


def _text(collected: Collected, row: Row) -> None:
    """Keep a prompt's text, or a model's answer to one, for the comparisons that are read after it."""
    if collected.verdicts:
        raise ValueError("a text after the comparisons: name files of prompts and answers before them")
    if "text" in row:
        collected.texts["", str(row["id"])] = str(row["text"])
    else:
        key = str(_first(row, "name", "generator", "model")), str(_first(row, "prompt", "question_id"))
        collected.texts[key] = str(_first(row, "result", "output"))


def _first(row: Row, *names: str) -> object:
    """The first of some fields that a row has. Raises: KeyError naming the first when it has none."""
    return next((row[name] for name in names if row.get(name) not in (None, "")), None) or row[names[0]]
