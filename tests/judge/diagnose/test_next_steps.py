"""What a diagnosis suggests runs: the cheap commands are run, the others are parsed (see `suggested`)."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from equiloss.errors import InputError
from judge.data.verdicts import load_judged
from judge.diagnose import next_steps
from judge.diagnose.case import Case
from judge.diagnose.case_reader import read_case
from judge.diagnose.diagnose import diagnose
from judge.diagnose.differences import SETTINGS, Difference

Make = Callable[..., dict[str, Any]]
Run = Callable[..., Any]


def two(pair: Any, make_record: Make, **changes: Any) -> Path:
    """Two runs, b the worse one, whose records differ as told."""
    runs = [pair.answers("a", lambda i: 0.9, 1), pair.answers("b", lambda i: 0.3, 2)]
    pair.write("a", runs[0], make_record())
    pair.write("b", runs[1], make_record(**changes))
    pair.judge(runs)
    return pair.folder


def test_the_cheap_ones_run(
    pair: Any, make_record: Make, program: Run, suggested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = two(pair, make_record)
    for path in (pair.folder / "a.run.json", *folder.glob("*.correctness-test.*")):
        path.unlink()
    monkeypatch.chdir(folder)
    diagnose("a.jsonl", "b.jsonl")
    case = read_case("a.jsonl", "b.jsonl")
    ran: list[str] = []
    for line in dict.fromkeys([*suggested, next_steps.score(case), next_steps.audit(case)]):
        name, *words = shlex.split(line)
        if name == "judge":
            assert program(name, *words).code == 0, line
            ran.append(words[0])
    assert set(ran) == {"score", "audit"}
    looked = next_steps.respond(read_case("a.jsonl", "b.jsonl"), case.b, "run-on", [])
    assert program(*shlex.split(looked)).code == 0
    assert looked == "ift show b.jsonl --count 10 --wrong"


@pytest.mark.parametrize(
    ("fault", "settings", "options"),
    [
        ("", {"temperature": (0.0, 1.0), "stop": (None, "x"), "top_k": (None, 5)}, {"temperature": 0.0, "top_k": None}),
        ("truncated", {}, {"max_new_tokens": 512}),
        ("truncated", {"max_new_tokens": (99, 9)}, {"max_new_tokens": 99}),
        ("repetition", {"template": ("alpaca", "diary")}, {"repetition_penalty": 1.2, "template": "alpaca"}),
    ],
)
def test_the_losing_side_answers_again_with_flags_that_exist(
    pair: Any,
    make_record: Make,
    parse: Callable[[str], dict[str, Any]],
    fault: str,
    settings: dict[str, Any],
    options: dict[str, Any],
) -> None:
    folder = two(pair, make_record, files={"model": "models/b"})
    case = read_case("a", "b", folder)
    differences = [Difference(f"decoding.{name}", a, b, SETTINGS) for name, (a, b) in settings.items()]
    found = parse(next_steps.respond(case, case.b, fault, differences))
    assert (found["model"], found["data"], found["name"]) == ("models/b", str(folder / "b.jsonl"), "b-again")
    assert {name: found[name] for name in options} == options


def test_what_is_known_of_the_runs_is_filled_in(pair: Any, make_record: Make) -> None:
    base = {"path": "runs/b 1/checkpoint.pt", "run": {"data": {"directory": "data/x"}}}
    folder = two(pair, make_record, base=base, data={"source": "items.json"})
    case = read_case("a", "b", folder)
    again = "pretrain run 'runs/b 1/config.toml' --data data/x --name b-again --seed 1"
    assert next_steps.pretrain_again(case).split(" && ")[0] == again
    assert next_steps.probe([case.b.base]) == "pretrain probe 'runs/b 1/checkpoint.pt' --data data/x"
    seeds = "ift run --base 'runs/b 1/checkpoint.pt' --data items.json --name b --seeds 5"
    assert next_steps.more_seeds(case).split(" && ")[1] == seeds
    assert next_steps.evaluate(case).endswith("--data DATA")  # they were trained on different data, or nobody knows


def test_a_rerun_finds_the_runs_and_verdicts_where_they_are(
    pair: Any, make_record: Make, parse: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = two(pair, make_record, lr=0.1)
    pair.judge([pair.answers(name, lambda i: 0.5, 3) for name in "ab"], judge="other")
    verdicts = folder / "elsewhere"
    verdicts.mkdir()
    for path in folder.glob("*.correctness-test.*"):
        path.rename(verdicts / path.name)

    def read(*targets: str) -> Case:
        return read_case(*targets, results_dir=folder, rubric=None, judge="gpt-4", verdicts_dir=verdicts)

    found = parse(next_steps.explain(read("a", "b"), "recipe-rate", 4) or "")
    assert (found["a"], found["b"], found["only"], found["seeds"]) == (
        str(folder / "a.jsonl"),
        str(folder / "b.jsonl"),
        ["recipe-rate"],
        4,
    )
    assert (found["verdicts"], found["rubric"], found["judge"]) == (verdicts, "correctness-test", "gpt-4")
    assert load_judged(parse(next_steps.audit(read("a", "b")))["files"])
    found = parse(next_steps.rescore(read("a", "b"), repeats=2))
    assert (found["output"], found["rubric"], found["judges"]) == (verdicts, "RUBRIC", ["gpt-4"])
    with pytest.raises(InputError, match=r"holds no verdicts on .*run `judge score .*nowhere`"):
        read_case("a", "b", folder, verdicts_dir=folder / "nowhere")
    monkeypatch.chdir(folder.parent)
    folder.rename("results")
    again = next_steps.explain(read_case("a", "b", judge="gpt-4", verdicts_dir=Path("results/elsewhere")))
    assert (again or "").startswith("study explain results/a.jsonl results/b.jsonl")
    for path in Path("results").glob("*.run.json"):
        path.unlink()
    assert next_steps.explain(read_case("a", "b", judge="gpt-4", verdicts_dir=Path("results/elsewhere"))) is None
