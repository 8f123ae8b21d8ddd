"""A table of models x judgings, as diaries publish them: a row a model, a column each time that it was judged."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equiloss.errors import InputError
from equiloss.files import sha256_of
from equiloss.records.verdict import Verdict
from judge.data.verdicts import Judged

_JUDGING = re.compile(r"(run|judging|repeat|score)[ _.-]?\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class JudgingsRow:
    """A model's scores by judging (R,), means over all items, NaN where none; what else the table says of it."""

    model: str
    scores: NDArray[np.float64]
    recipe: str
    data: str
    base: str


def read_judgings(path: Path) -> list[JudgingsRow]:
    """The rows of a CSV file: `model`, columns run1, run2, ... of judgings; `recipe`, `data`, `base` where known.

    Raises: InputError where a row or the header is no such thing.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: {error}", "name a CSV file of models x judgings") from None
    judgings = [name for name in (rows[0] if rows else {}) if name and _JUDGING.match(name)]
    if not judgings or "model" not in rows[0]:
        raise InputError(f"{path}: no column `model` and columns run1, run2, ...", "a row a model, a column a judging")
    read: list[JudgingsRow] = []
    for number, row in enumerate(rows, start=2):
        try:
            scores = np.array([float(row[name] or "nan") for name in judgings])
        except (TypeError, ValueError):
            raise InputError(
                f"{path}, line {number}: a judging that is no number", "leave unknown ones empty"
            ) from None
        if not np.isfinite(scores).any() or np.isinf(scores).any():
            raise InputError(f"{path}, line {number}: no judging at all, or an infinite one", "leave such rows out")
        model = row["model"]
        read.append(
            JudgingsRow(model, scores, row.get("recipe") or model, row.get("data") or "", row.get("base") or model)
        )
    return read


def judged_of_table(path: Path) -> list[Judged]:
    """The models of a table as judged runs whose items are the judgings: each judged all models, so they are paired.

    Raises: InputError as `read_judgings` does, or where two rows are of one model.
    """
    rows = read_judgings(path)
    if twin := next((name for name, count in Counter(row.model for row in rows).items() if count > 1), None):
        raise InputError(f"{path}: two rows of {twin!r}", "a row a model; name seeds NAME.s1, NAME.s2, ...")
    values = np.concatenate([row.scores[~np.isnan(row.scores)] for row in rows])
    scale = (0.0, 100.0) if values.min() >= 0 and values.max() <= 100 else None
    common = {"criterion": "score", "rubric": "judgings", "judge": path.stem, "judge_resolved": "", "scale": scale}
    common |= {"rubric_sha": sha256_of(["judgings", path.stem])}
    judged: list[Judged] = []
    for row in rows:
        own = {"generator": row.model, "group": [row.model], **common}
        lines = [
            Verdict.model_validate({"id": f"judging {number}", "request_sha": str(number), "value": score, **own})
            for number, score in enumerate(row.scores.tolist(), start=1)
            if not np.isnan(score)
        ]
        judged.append(Judged(row.model, {}, tuple(lines)))
    return judged
