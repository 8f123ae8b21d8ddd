"""Result files to judge: small synthetic ones, and real answers with real judges' scores where the data is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from equiloss.records.response import Response, item_id, number_repeats, write_responses
from equiloss.records.verdict import Failure, Verdict, file_name, write_verdicts

SHARED = Path(__file__).parents[2].parent / "shared" / "data"

WriteRun = Callable[..., Path]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the real data is not beside this checkout")
    return SHARED


def verdict(item: str, generator: str, value: float, **fields: object) -> Verdict:
    """A verdict with everything that a test does not care about filled in."""
    defaults: dict[str, object] = {
        "criterion": "correctness",
        "rubric": "correctness",
        "rubric_sha": "0" * 64,
        "judge": "gpt-4",
        "judge_resolved": "gpt-4-0613",
        "request_sha": f"{item}-{fields.get('repeat', 0)}",
        "group": [generator],
        "explanation": f"scored {value:g}",
    }
    return Verdict.model_validate({"id": item, "generator": generator, "value": value, **defaults, **fields})


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Write NAME.jsonl and a verdict file beside it; returns the response file.

    `scores` is one row of values per repeat, None where the judge failed.
    """

    def write(
        name: str,
        scores: Sequence[Sequence[float | None]],
        *,
        categories: Sequence[str | None] | None = None,
        outputs: Sequence[str] | None = None,
        instructions: Sequence[str] | None = None,
        run: Mapping[str, object] | None = None,
        directory: Path = tmp_path,
        unique: bool = False,
        **fields: object,
    ) -> Path:
        n = len(scores[0]) if scores else len(outputs or ())
        asked = list(instructions or (f"Question {i}?" for i in range(n)))
        ids = [item_id(one, "") for one in asked]
        ids = number_repeats(ids) if unique else ids
        responses = [
            Response.model_validate(
                {
                    "id": ids[i],
                    "instruction": asked[i],
                    "output": outputs[i] if outputs else f"{name} says {i}",
                    "reference": f"answer {i}",
                    "generator": name,
                    "category": categories[i] if categories else None,
                    "finish_reason": "stop",
                    "n_tokens": 5,
                    "seed": 0,
                }
            )
            for i in range(n)
        ]
        path = directory / f"{name}.jsonl"
        write_responses(path, responses)
        given = [
            verdict(responses[i].id, name, value, repeat=repeat, **fields)
            for repeat, row in enumerate(scores)
            for i, value in enumerate(row)
            if value is not None
        ]
        failed = [
            Failure.model_validate(
                {
                    "id": responses[i].id,
                    "generator": name,
                    "reason": "unparsable",
                    "text": "no score here",
                    "repeat": repeat,
                    "group": [name],
                    "rubric": "correctness",
                    "rubric_sha": "0" * 64,
                    "judge": fields.get("judge", "gpt-4"),
                    "request_sha": f"{i}-{repeat}",
                }
            )
            for repeat, row in enumerate(scores)
            for i, value in enumerate(row)
            if value is None
        ]
        rubric, judge = str(fields.get("rubric", "correctness")), str(fields.get("judge", "gpt-4"))
        if given:
            write_verdicts(directory / file_name(name, rubric, judge), given)
        if failed:
            write_verdicts(directory / file_name(name, rubric, judge, failures=True), failed)
        if run is not None:
            (directory / f"{name}.run.json").write_text(json.dumps(run))
        return path

    return write


@pytest.fixture
def gpt4_judged(shared_data: Path, write_run: WriteRun) -> list[Path]:
    """Two models' real answers to 100 items with the scores that GPT-4 gave them: means 74.09 and 56.57."""
    items = json.loads((shared_data / "judged" / "two-models-100.json").read_text())
    return [
        write_run(
            f"model-{n}",
            [json.loads((shared_data / "judged" / f"gpt4-model-{n}.scores.json").read_text())],
            outputs=[item[f"model {n} response"] for item in items],
            instructions=[f"{i}. {item['instruction']}\n{item['input']}" for i, item in enumerate(items)],
        )
        for n in (1, 2)
    ]


WriteAnswers = Callable[..., list[Path]]


@pytest.fixture
def write_answers(tmp_path: Path) -> WriteAnswers:
    """Write results files of several models, not judged yet: model number m is wrong on every (m + 2)th item."""

    def write(n_items: int = 12, models: Sequence[str] = ("a", "b"), directory: Path = tmp_path) -> list[Path]:
        paths: list[Path] = []
        for number, name in enumerate(models):
            responses: list[Response] = []
            for i in range(n_items):
                instruction = f"Name thing number {i}."
                right = f"The thing is number {i}"
                wrong = f"Perhaps thing {i + number + 1} of {name}"
                fields = {
                    "id": item_id(instruction, ""),
                    "instruction": instruction,
                    "output": wrong if i % (number + 2) == 0 else right,
                    "reference": f"{right}.",
                    "generator": name,
                    "category": "odd" if i % 2 else "even",
                }
                responses.append(Response.model_validate(fields))
            paths.append(directory / f"{name}.jsonl")
            write_responses(paths[-1], responses)
        return paths

    return write


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks an endpoint that happens to be configured."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "JUDGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
