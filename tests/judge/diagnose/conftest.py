"""Pairs of runs whose true cause is known because it was planted: answers, verdicts and records as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equiloss.records.diagnosis import Diagnosis
from equiloss.records.response import Response, item_id, write_responses
from equiloss.records.verdict import Failure, Verdict, file_name, write_verdicts
from judge.data.reference import agreement

COLOURS = ["red", "blue", "green", "black", "white", "brown", "pink", "grey"]
PLACES = ["paris", "rome", "oslo", "lima", "cairo", "delhi", "bern", "tokyo"]

RECIPE: dict[str, Any] = {
    "template": "alpaca",
    "loss_on": "response",
    "end_of_text_loss": True,
    "validation_items": None,
    "epochs": 6,
    "select": "best",
    "lr": 3e-4,
    "dropout": 0.0,
    "weight_decay": 0.1,
    "split": {"by": "seed", "test": 0.1, "seed": 0},
    "decoding": {"max_new_tokens": 256, "temperature": 0.0},
}


def item(index: int) -> tuple[str, str, str, str]:
    """Instruction, input, reference and category: a question of knowledge or a list to copy, in turn."""
    if index % 2:
        words = [COLOURS[(index + k) % 8] for k in range(3)]
        return f"Copy the words of list {index}.", " ".join(words), " ".join(words), "copy"
    return f"Where does Person{index} Smith live?", "", PLACES[index % 8], "recall"


def record(**changes: Any) -> dict[str, Any]:
    """A run's record with some fields changed: recipe fields by name, `base` and top-level ones whole."""
    recipe = dict(RECIPE)
    document: dict[str, Any] = {
        "format": "equiloss.ift-run.v1",
        "base": {"path": "runs/base/checkpoint.pt", "sha256": "b" * 64, "config": {"n_layer": 2}, "run": {}},
        "data": {"path": "data.json", "sha256": "d" * 64},
        "epochs": [
            {"epoch": e, "train_loss": 2.0 - e / 10, "validation_loss": 1.0 + (e - 3) ** 2} for e in (1, 2, 3, 4)
        ],
        "selected_epoch": 3,
        "selected_validation_loss": 1.0,
        "seeds": {"order": 0, "dropout": 0, "noise": 0},
    }
    for key, value in changes.items():
        if key in recipe:
            recipe[key] = value
        else:
            document[key] = value
    document["recipe"] = recipe
    return document


class Pair:
    """Writes two models' runs into a folder, several seeds each, and judges them as a simple judge would."""

    def __init__(self, folder: Path, items: int = 120) -> None:
        self.folder = folder
        self.items = [item(i) for i in range(items)]
        self.ids = [item_id(i[0], i[1]) for i in self.items]

    def answers(
        self, name: str, right: Callable[[int], float], seed: int, wrong: str = "nothing of the kind", **fields: Any
    ) -> list[Response]:
        """Answers that are right with a chance that depends on the item's index."""
        rng = np.random.default_rng(seed)
        return [
            Response(
                id=one,
                instruction=asked,
                input=given,
                output=reference if rng.random() < right(i) else wrong,
                reference=reference,
                generator=name,
                category=category,
                finish_reason="stop",
                n_tokens=5,
                seed=seed,
                schema="equiloss.response.v1",
            ).model_copy(update=fields)
            for i, (one, (asked, given, reference, category)) in enumerate(zip(self.ids, self.items, strict=True))
        ]

    def write(self, name: str, responses: Sequence[Response], run: Mapping[str, Any] | None = None) -> Path:
        """NAME.jsonl and NAME.run.json."""
        path = self.folder / f"{name}.jsonl"
        write_responses(path, responses)
        if run is not None:
            (self.folder / f"{name}.run.json").write_text(json.dumps(run))
        return path

    def judge(
        self,
        runs: Sequence[Sequence[Response]],
        *,
        judge: str = "gpt-4",
        order: Callable[[int, int], Sequence[int]] | None = None,
        bonus: Callable[[Response, int, int], float] = lambda response, place, call: 0.0,
        fails: Callable[[Response], bool] = lambda response: False,
        together: bool = True,
        repeats: int = 1,
    ) -> None:
        """Verdicts of 0 to 100: agreement with the reference plus a planted bonus (response, place, call)."""
        verdicts: dict[str, list[Verdict | Failure]] = {run[0].generator: [] for run in runs}
        call = 0
        groups = [list(range(len(runs)))] if together else [[i] for i in range(len(runs))]
        for group in groups:
            for repeat in range(repeats):
                for index in range(len(self.ids)):
                    chosen = order(index, repeat) if order and together else group
                    call += 1
                    shown = [runs[i][index] for i in chosen]
                    for place, response in enumerate(shown):
                        common: dict[str, Any] = {
                            "id": response.id,
                            "generator": response.generator,
                            "repeat": repeat,
                            "position": place,
                            "group": [one.generator for one in shown],
                            "rubric": "correctness-test",
                            "rubric_sha": "0" * 64,
                            "judge": judge,
                            "judge_resolved": judge,
                            "request_sha": f"{call}",
                        }
                        if fails(response):
                            verdicts[response.generator].append(Failure(reason="refusal", **common))
                        else:
                            value = 100 * agreement(response.output, response.reference) + bonus(response, place, call)
                            verdicts[response.generator].append(Verdict(criterion="correctness", value=value, **common))
        for name, lines in verdicts.items():
            scored = [one for one in lines if isinstance(one, Verdict)]
            failed = [one for one in lines if isinstance(one, Failure)]
            write_verdicts(self.folder / file_name(name, "correctness-test", judge), scored)
            if failed:
                write_verdicts(self.folder / file_name(name, "correctness-test", judge, failures=True), failed)

    def seeds(
        self,
        name: str,
        right: Callable[[int], float],
        count: int = 3,
        run: Mapping[str, Any] | None = None,
        first: int = 0,
        **fields: Any,
    ) -> list[list[Response]]:
        """`count` seeds NAME.s1, NAME.s2, ... with their records."""
        runs = []
        for seed in range(1, count + 1):
            responses = self.answers(f"{name}.s{seed}", right, first + seed, **fields)
            own = None if run is None else {**run, "seeds": {"order": seed, "dropout": seed, "noise": seed}}
            self.write(f"{name}.s{seed}", responses, own)
            runs.append(responses)
        return runs


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A folder to write a pair of models into."""
    return Pair(tmp_path)


@pytest.fixture
def make_record() -> Callable[..., dict[str, Any]]:
    """`record`, for tests (which cannot import from a conftest)."""
    return record


@pytest.fixture(autouse=True)
def suggested(monkeypatch: pytest.MonkeyPatch, parse: Callable[[str], object]) -> list[str]:
    """Every command that the test's diagnoses suggest, by level, cause and verdict; each must parse."""
    lines: list[str] = []

    def checked(**fields: Any) -> Diagnosis:
        diagnosis = Diagnosis(**fields)
        for told in (diagnosis.verdict, *diagnosis.levels, *diagnosis.causes):
            lines.extend(told.command.split(" && ") if told.command else [])
        for line in lines:
            parse(line)
        return diagnosis

    monkeypatch.setattr("judge.diagnose.diagnose.Diagnosis", checked)
    return lines
