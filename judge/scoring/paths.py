"""Where verdicts go: never over those on another model's answers, or by another judge, rubric text or parameters."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from equiloss.errors import InputError
from equiloss.files import read_json, sha256_file
from equiloss.records.verdict import file_name
from judge.data.answers import AnswerFile
from judge.data.verdicts import companion
from judge.endpoints.payload import objects_of, part_of

# What must be the same for verdicts to take the place of older ones of the same name, and what it is called.
_SAME = {"base_url": "endpoint", "parameters": "set of parameters", "expected_score": "use of --expected-score"}


def verdict_paths(
    files: Sequence[AnswerFile], directory: Path | None, names: Sequence[str], record: Mapping[str, Any]
) -> list[Path]:
    """A path for each file's verdicts: NAME.<rubric>.<judge>.jsonl [beside the answers].

    The generator stands for NAME where another model has that name, the second of the judge's `names` for the first
    where another judge has it, and a hash is added where both do not suffice. `record` is what will be written beside.
    Raises: InputError when other verdicts of the same model, rubric and judge lie there, which would be lost.
    """
    taken: dict[Path, str] = {}
    for file in files:
        folder, rubric = directory or file.path.parent, record["rubric"]["name"]
        sign = hashlib.sha256(f"{file.generator}\n{record['judge']}".encode("utf-8", "replace")).hexdigest()[:6]
        candidates = [file_name(stem, rubric, judge) for judge, stem in product(names, (file.stem, file.generator))]
        candidates.append(file_name(file.generator, rubric, f"{names[-1]}-{sign}"))
        for path in (folder / name for name in candidates):
            if path not in taken and _is_free(path, file, record):
                taken[path] = file.generator
                break
    return list(taken)


def _is_free(path: Path, file: AnswerFile, record: Mapping[str, Any]) -> bool:
    """Whether nothing lies there, or older verdicts of the same making; False for another model's or judge's."""
    beside = companion(path, ".score.json")
    if not beside.is_file():
        return True
    there = part_of({"": read_json(beside)}, "")
    if (there.get("generator"), there.get("judge")) != (file.generator, record["judge"]):
        return False
    of: Any = (
        next((given for given in objects_of(there, "inputs") if given.get("generator") == file.generator), None) or {}
    )
    is_moved = str(file.path.resolve()) != os.path.abspath(str(of.get("path")))
    different = "set of answers" if is_moved and of.get("sha256") != sha256_file(file.path) else None
    if part_of(there, "rubric").get("sha256") != record["rubric"]["sha256"]:
        different = "text of the rubric"
    for name, words in _SAME.items():
        different = words if (there.get(name) or None) != (record[name] or None) else different
    if different:
        raise InputError(
            f"{path} holds verdicts on {file.generator!r} with another {different}, which would be lost",
            "name another directory with -o, or delete them",
        )
    return True
