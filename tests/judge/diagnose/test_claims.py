"""Every claim that a diagnosis makes in words is held against the numbers beside it, over many planted cases."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest

from equiloss.numerals import estimated, percent, significant
from equiloss.records.diagnosis import Cause, Diagnosis
from equiloss.records.ift_run import IftRun
from judge.diagnose.diagnose import diagnose
from judge.diagnose.levels.recipe import find_traps, traps_between
from judge.diagnose.naming import carries

Make = Callable[..., dict[str, Any]]

CASES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "worse": {"right_b": 0.4},
    "slightly worse": {"right_b": 0.82},
    "position, fixed order": {"order": "first", "bonus": "place", "wrong": True},
    "position, unbalanced": {"order": "mostly", "bonus": "place"},
    "position, balanced": {"order": "balanced", "bonus": "place", "right_b": 0.5},
    "length": {"bonus": "length", "pad": True},
    "drift": {"bonus": "call", "together": False},
    "apart but worse": {"together": False, "right_b": 0.4},
    "failures on bad answers": {"fails": "bad", "right": 0.5, "right_b": 0.5},
    "failures at random": {"fails": "some", "right_b": 0.5},
    "cut off": {"cut": True, "b": {"decoding": {"max_new_tokens": 1, "temperature": 0.0}}},
    "run on": {"run_on": True},
    "run on, masked end": {"run_on": True, "b": {"end_of_text_loss": False}},
    "looping": {"loop": True, "b": {"decoding": {"max_new_tokens": 9, "repetition_penalty": 0.5}}},
    "sampled": {"right_b": 0.4, "b": {"decoding": {"max_new_tokens": 256, "temperature": 1.5}}},
    "one field": {"right_b": 0.4, "b": {"lr": 1e-5}},
    "two fields": {"right_b": 0.4, "b": {"lr": 1e-5, "dropout": 0.5}},
    "one field, no gap": {"b": {"lr": 1e-5}},
    "one seed": {"right_b": 0.3, "seeds": 1, "b": {"lr": 1e-5}},
}
NAMED = {
    "position, fixed order": "judge-position",
    "position, unbalanced": "judge-position",
    "length": "judge-length",
    "drift": "judge-drift",
    "failures on bad answers": "judge-failures",
    "cut off": "decoding-truncation",
    "run on, masked end": "decoding-eos",
    "looping": "decoding-repetition",
}
KINDS = {
    "nothing": "underpowered",
    "worse": "unrecorded-difference",
    "run on": "unrecorded-difference",
    "sampled": "cannot-tell",
    "one field": "cannot-tell",
    "two fields": "cannot-tell",
    "one seed": "cannot-tell",
}


def planted(pair: Any, make_record: Make, case: dict[str, Any]) -> Diagnosis:
    """Two models made and judged as the case says."""
    seeds, right, right_b = case.get("seeds", 3), case.get("right", 0.85), case.get("right_b", case.get("right", 0.85))
    extra = {"wrong": "red blue green"} if case.get("wrong") else {}
    a = [pair.answers(f"a.s{s}", lambda i: right, s, **extra) for s in range(1, seeds + 1)]
    b = [pair.answers(f"b.s{s}", lambda i: right_b, 20 + s, **extra) for s in range(1, seeds + 1)]

    def changed(one: Any, index: int) -> Any:
        text, words = one.output, one.output.split()
        if case.get("pad"):
            return one.model_copy(update={"output": text + " indeed" * (6 + index % 5)})
        if case.get("cut") and len(words) > 1:
            return one.model_copy(update={"output": words[0], "finish_reason": "length"})
        if case.get("run_on"):
            return one.model_copy(update={"output": f"{text} and so it went on for a while", "finish_reason": "length"})
        if case.get("loop"):
            return one.model_copy(update={"output": " ".join([text] * 4), "finish_reason": "length"})
        return one

    b = [[changed(one, index) for index, one in enumerate(run)] for run in b]
    if case.get("pad"):
        a = [
            [one.model_copy(update={"output": one.output + " indeed" * (i % 3)}) for i, one in enumerate(x)] for x in a
        ]
    for run in a:
        pair.write(run[0].generator, run, make_record())
    for run in b:
        pair.write(run[0].generator, run, make_record(**case.get("b", {})))
    n = 2 * seeds
    orders = {
        "first": lambda i, r: list(range(n)),
        "mostly": lambda i, r: list(range(n)) if i % 4 else list(range(n))[::-1],
        "balanced": lambda i, r: list(range(n)) if i % 2 else list(range(n))[::-1],
    }
    bonuses = {
        "place": lambda x, place, call: 30 - 60 * place / (n - 1) + call % 3,
        "length": lambda x, place, call: 4.0 * len(x.output.split()),
        "call": lambda x, place, call: -0.05 * call,
    }
    fails = {
        "bad": lambda x: x.generator.startswith("b") and "nothing" in x.output and crc32(x.id.encode()) % 5 > 0,
        "some": lambda x: x.instruction.endswith(("3.", "3 Smith live?")),
    }
    pair.judge(
        [*a, *b],
        together=case.get("together", True),
        **({"order": orders[case["order"]]} if "order" in case else {}),
        **({"bonus": bonuses[case["bonus"]]} if "bonus" in case else {}),
        **({"fails": fails[case["fails"]]} if "fails" in case else {}),
    )
    return diagnose("a", "b", results_dir=pair.folder)


@pytest.mark.parametrize("name", CASES)
def test_what_is_said_is_so(name: str, pair: Any, make_record: Make) -> None:
    found = planted(pair, make_record, CASES[name])
    check(found)
    assert found.verdict.cause == NAMED.get(name), found.verdict.sentence
    assert found.verdict.kind == ("cause" if name in NAMED else KINDS.get(name, found.verdict.kind))


def check(found: Diagnosis) -> None:
    """Raise where a sentence of the diagnosis claims what its numbers do not show."""
    gap = found.gap
    assert gap is not None
    for level in found.levels:
        supported = [one for one in level.causes if one.status in ("supported", "named")]
        if level.status == "accounts" and level.number >= 2:
            assert any(one.says in level.says for one in supported if carries(one))
        if level.status == "clear":
            assert not any(carries(one) for one in supported), level.says
    for cause in found.causes:
        evidenced(cause)
    reality = found.level(1).says
    assert ("more than noise over items and fine-tuning seeds" in reality) <= gap.excludes(0.0)
    assert ("not told from noise" in reality) <= (not gap.excludes(0.0))
    questions(found)
    contributions(found)
    judge_level(found)
    decoding_level(found)
    recipe_level(found)
    verdict(found)


def evidenced(cause: Cause) -> None:
    """Only a contribution whose interval leaves out 0 is supported, and a suspicion has no points."""
    if cause.status in ("supported", "named"):
        assert cause.points is not None
        assert cause.points.excludes(0.0)
        assert cause.evidence_for
    assert (cause.grade == "suspected") <= (cause.points is None)
    if cause.status == "excluded":
        assert not cause.open


def questions(found: Diagnosis) -> None:
    """One value for all three, and the gap's interval is that of the highest unit that was varied."""
    asked = [one for one in (found.questions.answers, found.questions.bases, found.questions.recipes) if one]
    assert found.gap is not None
    assert {round(one.points, 9) for one in asked} == {round(found.gap.value, 9)}
    assert (asked[-1].low, asked[-1].high) == (found.gap.low, found.gap.high)
    assert (found.questions.bases is None) == (found.a.seeds == found.b.seeds == 1)
    assert found.questions.answers is not None
    assert found.questions.answers.p is None


def contributions(found: Diagnosis) -> None:
    assert found.gap is not None
    assert {one.cause: one.points for one in found.contributions} == {
        one.id: None if one.points is None else one.points.value for one in found.causes
    }
    shown = [one.points for one in found.contributions if one.status in ("supported", "named") and one.points]
    assert found.unexplained is not None
    assert found.unexplained.value == pytest.approx(found.gap.value - sum(shown))


def judge_level(found: Diagnosis) -> None:
    for one in found.level(2).evidence:
        if one.name == "equal answers":
            assert one.value is not None
            assert one.value.p is not None
            assert ("are not scored equally" in one.says) == (one.value.p < 0.01)
            assert estimated(one.value) in one.says
        if one.name in ("position", "length") and one.value is not None:
            assert estimated(one.value) in one.says
        if one.name == "failures" and one.a is not None and one.b is not None:
            if one.a == one.b == 0:
                assert one.says == "Every answer has a score."
            else:
                assert f"{percent(one.a)} of A's" in one.says
                assert f"{percent(one.b)} of B's" in one.says
        if "cancels" in one.says:
            assert one.bearing != "for"


def decoding_level(found: Diagnosis) -> None:
    level = found.level(3)
    rates = {row["fault"]: (float(row["a"] or 0), float(row["b"] or 0)) for row in level.tables["faults"]}
    for cause in level.causes:
        shown = re.search(r"has more .* \((\d+) % against (\d+) %\)", cause.says)
        if shown:
            more, less = int(shown[1]), int(shown[2])
            assert more > less
            assert (more, less) in {(round(100 * max(pair)), round(100 * min(pair))) for pair in rates.values()}
    settings = next(one for one in level.evidence if one.name == "settings")
    assert ("differ" in settings.says) >= any("decoded with different" in one.says for one in level.causes)


def recipe_level(found: Diagnosis) -> None:
    level = found.level(4)
    differences = level.tables["differences"]
    said = next(one for one in level.evidence if one.name == "differences").says
    assert ("differ in no recorded field" in said) == (not differences)
    for row in differences:
        assert str(row["field"]) in said


def verdict(found: Diagnosis) -> None:
    said, named = found.verdict, [one for one in found.causes if one.status == "named"]
    assert {one.id for one in named} == set(said.causes)
    assert (said.kind == "cause") == bool(named)
    assert found.gap is not None
    if named:
        assert said.cause == said.causes[0] == found.causes[0].id
        assert said.because
        assert found.gap.excludes(0.0)
        assert sum(one.share.value for one in named if one.share and one.share.value > 0) >= 0.5
        for one in named:
            assert one.points is not None
            assert f"{significant(one.points.value)} points" in said.sentence
    else:
        assert said.cause is None
    if said.kind in ("within-margin", "underpowered"):
        assert not found.gap.excludes(0.0)
        margin = found.margin_points or 0.0
        inside = -margin < (found.gap.low or 0.0) and (found.gap.high or 0.0) < margin
        assert inside == (said.kind == "within-margin")
    if found.questions.bases is None:
        assert not {one.level for one in named} & {0, 4, 5}
    assert "significant" not in " ".join([said.sentence, *(level.says for level in found.levels)])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"selected_epoch": 4}, "those of epoch 4, but the validation loss is lowest in epoch 3"),
        ({"recomputed_validation_loss": 1.4}, "they are not the same weights"),
        ({"recipe": {"validation_items": 40}, "data": {"items": {"validation": 55}}}, "selected on 40 of 55"),
        ({"decoding": {"temperature": 0.7}, "seeds": None}, "sampled without a recorded seed"),
        ({"recipe": {"dropout": None}, "base": {"config": {"dropout": 0.1}}}, "dropout was inherited"),
        ({"data": {"overlap": {"exact": {"share": 0.25}}}}, "25 % of the test items are asked in training too"),
        ({"data": {"overlap": {"near": {"share": 0.5}}}}, "50 % of the test items nearly repeat a training item"),
        ({"data": {"overlap": {"corpus": {"share": 0.1}}}}, "10 % of the test items stand in the pretraining text"),
    ],
)
def test_a_trap_is_told_where_it_is_and_nowhere_else(changes: dict[str, Any], says: str, make_record: Make) -> None:
    record = make_record()
    assert find_traps(IftRun.model_validate(record), "a") == []
    for key, value in changes.items():
        record[key] = {**record.get(key, {}), **value} if isinstance(value, dict) and value else value
    (told,) = find_traps(IftRun.model_validate(record), "a")
    assert told.startswith("a: ")
    assert says in told


def test_traps_between_two_records(make_record: Make) -> None:
    a, b = make_record(), make_record()

    def traps(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
        return traps_between(IftRun.model_validate(a), IftRun.model_validate(b), "a", "b")

    assert traps(a, b) == []
    assert traps(a, {**b, "selected_epoch": 5}) == ["a was selected at epoch 3, b at epoch 5."]
    other = {**b, "base": {**b["base"], "sha256": "c"}}
    assert "tuned on neither" in traps(a, other)[0]
    assert traps(a, {**other, "lr_sweep": {"picked": 1}}) == ["The learning rate was tuned on b only."]
    split = {"data": {"split": {"test": ["x"]}}}, {"data": {"split": {"test": ["y"]}}}
    assert traps({**a, **split[0]}, {**b, **split[1]}) == ["The two runs were tested on different items."]
