"""Levels 1 to 4 and the verdict, on pairs whose cause was planted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from equiloss.errors import InputError
from equiloss.records.diagnosis import Diagnosis
from equiloss.records.noise import Spread
from equiloss.records.response import Response, read_responses, write_responses
from equiloss.records.verdict import CONTROL_SCHEMA, ControlVerdict, Verdict, file_name, read_verdicts, write_verdicts
from judge.data.reference import agreement
from judge.diagnose.case import Options
from judge.diagnose.diagnose import diagnose

Make = Callable[..., dict[str, Any]]


def say(pair: Any, a: str = "a", b: str = "b", **options: Any) -> Diagnosis:
    return diagnose(a, b, results_dir=pair.folder, **options)


def test_one_seed_a_side_is_never_called_real(pair: Any, make_record: Make) -> None:
    runs = [pair.answers("a", lambda i: 0.9, 1), pair.answers("b", lambda i: 0.3, 2)]
    for name, run in zip("ab", runs, strict=True):
        pair.write(name, run, make_record(lr=3e-4 if name == "a" else 3e-3))
    pair.judge(runs)
    found = say(pair)
    assert found.level(1).status == "undetermined"
    assert "seed" in found.level(1).says
    assert found.verdict.kind == "cannot-tell"
    assert found.verdict.reason == "one-seed"
    assert "--seeds 5" in (found.verdict.command or "")


@pytest.mark.parametrize(("sd", "tells"), [(1.0, True), (60.0, False)])
def test_a_noise_ledger_says_what_one_seed_a_side_cannot(pair: Any, make_record: Make, sd: float, tells: bool) -> None:
    runs = [pair.answers("a", lambda i: 0.9, 1), pair.answers("b", lambda i: 0.3, 2)]
    for name, run in zip("ab", runs, strict=True):
        pair.write(name, run, make_record(lr=3e-4 if name == "a" else 3e-3))
    pair.judge(runs)
    found = say(pair, options=Options(noise=Spread(seed_sd=sd, base_sd=None, seed_df=20.0)))
    answers, bases = found.questions.answers, found.questions.bases
    assert answers is not None
    assert bases is not None
    assert bases.unit == "fine-tuning seeds, by the ledger"
    assert bases.points == answers.points
    assert bases.low < answers.low
    assert (bases.low > 0) == tells
    assert "With the spread that the noise ledger measured" in found.verdict.sentence
    assert found.verdict.causes == ()


@pytest.mark.parametrize(
    ("changes", "why", "only"),
    [
        ({"lora_alpha": 64.0}, "full fine-tuning has no adapter", "recipe-adapter"),
        ({"decoding": {"max_new_tokens": 256, "temperature": 0.0, "top_k": 40}}, "greedy", "decoding-settings"),
        (
            {"decoding": {"max_new_tokens": 99, "temperature": 0.0}},
            "no answer reached the limit",
            "decoding-truncation",
        ),
        ({"batch_size": 4, "accumulate": 4}, "the effective batch is equal, 16 × 1 = 4 × 4", "recipe-batch"),
        ({"targets": ["v", "q"]}, "equal but for the order", "recipe-targets"),
    ],
)
def test_a_field_that_cannot_act_is_no_suspect(
    pair: Any, make_record: Make, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], why: str, only: str
) -> None:
    more = {"lora_rank": None, "lora_alpha": 16.0, "batch_size": 16, "accumulate": 1, "targets": ["q", "v"]}

    def recorded(**changes: Any) -> dict[str, Any]:
        document = make_record(**{key: value for key, value in changes.items() if key == "decoding"})
        document["recipe"] |= {**more, **{key: value for key, value in changes.items() if key != "decoding"}}
        return document

    runs = [
        *pair.seeds("a", lambda i: 0.9, run=recorded()),
        *pair.seeds("b", lambda i: 0.4, run=recorded(**changes), first=20),
    ]
    pair.judge(runs)
    found = say(pair)
    assert (found.verdict.kind, found.verdict.reason) == ("cannot-tell", "only-inert")
    assert why in found.verdict.sentence
    assert not [one for one in found.causes if one.open]
    assert (found.verdict.command or "").endswith(f"--only {only}")


def test_seeds_of_one_side_with_two_recipes_are_refused(pair: Any, make_record: Make) -> None:
    runs = pair.seeds("a", lambda i: 0.9, run=make_record())
    others = pair.seeds("b", lambda i: 0.4, run=make_record(), first=20)
    pair.write("b.s2", others[1], make_record(lr=1e-6))
    pair.judge([*runs, *others])
    with pytest.raises(InputError, match=r"b: b\.s1 and b\.s2 differ in recipe\.lr: 0\.0003 against 1e-06"):
        say(pair)


def test_empty_answers_are_a_symptom_and_name_nothing(pair: Any, make_record: Make) -> None:
    """Who does not know says nothing, on both sides; B knows less."""
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=make_record(lr=1e-3), wrong=""),
        *pair.seeds("b", lambda i: 0.4, run=make_record(), first=20, wrong=""),
    ]
    pair.judge(runs)
    found = say(pair)
    assert found.verdict.kind == "cannot-tell"
    cause = next(one for one in found.causes if one.id == "decoding-empty")
    assert (cause.status, cause.points) == ("possible", None)
    assert "may be a symptom" in found.verdict.sentence
    assert (found.verdict.command or "").endswith("--only recipe-rate")


SIDES = (("a", 0, 3e-4), ("b", 20, 1e-6))


def test_a_reference_that_does_not_predict_the_judge_neither_clears_nor_blames_it(pair: Any, make_record: Make) -> None:
    """Judged one at a time by a judge that sees a quality which the reference does not."""
    runs: list[list[Response]] = []
    for name, seed, lr in [(f"{side}.s{s}", s + first, lr) for side, first, lr in SIDES for s in (1, 2, 3)]:
        answers = pair.answers(name, lambda i: 0.5, seed)
        runs.append([one.model_copy(update={"output": f"{one.output}, says {name}"}) for one in answers])
        pair.write(name, runs[-1], make_record(lr=lr))

    def sense(one: Response, _place: int, _call: int) -> float:
        better = crc32(f"{one.generator} {one.id}".encode()) % 10 < (8 if one.generator.startswith("a") else 3)
        return (85.0 if better else 10.0) - 100 * agreement(one.output, one.reference)

    pair.judge(runs, together=False, bonus=sense)
    found = say(pair)
    assert "judge-drift" not in found.verdict.causes
    assert found.verdict.kind == "cannot-tell"
    assert found.level(2).status == "undetermined"
    assert "too little for the reference to clear or blame" in " ".join(one.says for one in found.level(2).evidence)
    assert (found.verdict.command or "").endswith("--only recipe-rate")


def test_no_verdicts_says_which_command_supplies_them(pair: Any) -> None:
    for name in "ab":
        pair.write(name, pair.answers(name, lambda i: 0.5, 1))
    found = say(pair)
    assert found.verdict.kind == "cannot-tell"
    assert found.verdict.reason == "not-judged"
    assert found.level(1).status == found.level(2).status == "not-tested"
    assert (found.level(1).command or "").startswith("judge score ")
    assert found.gap is None


def test_equal_models_have_no_cause(pair: Any, make_record: Make) -> None:
    runs = [
        *pair.seeds("a", lambda i: 0.6, run=make_record()),
        *pair.seeds("b", lambda i: 0.6, run=make_record(), first=50),
    ]
    pair.judge(runs)
    found = say(pair)
    assert found.verdict.kind in ("within-margin", "underpowered")
    assert found.verdict.causes == ()
    assert found.level(1).status == "accounts"
    assert found.gap is not None
    assert not found.gap.excludes(0)


def test_one_recipe_and_one_base_with_a_gap_beyond_seeds_is_an_unrecorded_difference(
    pair: Any, make_record: Make
) -> None:
    runs = [*pair.seeds("a", lambda i: 0.9, run=make_record()), *pair.seeds("b", lambda i: 0.3, run=make_record())]
    pair.judge(runs)
    found = say(pair)
    assert found.gap is not None
    assert found.gap.excludes(0)
    assert (found.verdict.kind, found.verdict.reason) == ("unrecorded-difference", "seeds-only")


def test_a_gap_barely_beyond_seeds_of_one_recipe_is_no_unrecorded_difference(pair: Any, make_record: Make) -> None:
    """Equal recipes differ at 5 % in one comparison of twenty: too often to say that something is not recorded."""
    runs = [
        *pair.seeds("a", lambda i: 0.6, run=make_record()),
        *pair.seeds("b", lambda i: 0.52, run=make_record(), first=60),
    ]
    pair.judge(runs)
    found = say(pair)
    assert found.gap is not None
    assert found.gap.excludes(0)
    assert found.gap.p is not None
    assert found.gap.p > 0.001
    assert (found.verdict.kind, found.verdict.reason) == ("underpowered", "seeds-only")
    assert "beyond them at 5 % and not at 0.1 % (p = 0.0" in found.verdict.sentence
    assert found.verdict.command is not None
    assert "--seed" in found.verdict.command


def test_verdict_files_alone_are_two_runs(pair: Any) -> None:
    runs = [pair.answers(name, lambda i: 0.6, seed) for seed, name in enumerate("ab")]
    pair.judge(runs)
    names = [file_name(name, "correctness-test", "gpt-4") for name in "ab"]
    found = diagnose(*(str(pair.folder / name) for name in names))
    assert (found.a.generators, found.b.generators) == (("a",), ("b",))
    with pytest.raises(InputError, match="the same files"):
        diagnose(*[str(pair.folder / names[0])] * 2)


def test_the_same_answers_under_two_names_have_no_gap(pair: Any) -> None:
    a = pair.answers("a", lambda i: 0.6, 1)
    b = [one.model_copy(update={"generator": "b"}) for one in a]
    for name, run in (("a", a), ("b", b)):
        pair.write(name, run)
    pair.judge([a, b])
    found = say(pair)
    assert (found.verdict.kind, found.verdict.reason) == ("within-margin", "no-gap")


def test_the_only_difference_in_the_recipe_is_a_suspicion_with_the_command_that_tests_it(
    pair: Any, make_record: Make
) -> None:
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=make_record()),
        *pair.seeds("b", lambda i: 0.4, run=make_record(dropout=0.5), first=20),
    ]
    pair.judge(runs)
    found = say(pair)
    assert found.verdict.kind == "cannot-tell"
    cause = next(one for one in found.causes if one.open)
    assert (cause.id, cause.status, cause.grade, cause.points) == ("recipe-dropout", "possible", "suspected", None)
    assert "recipe.dropout: 0.0 against 0.5" in cause.says
    assert (found.verdict.command or "").endswith(" --only recipe-dropout")


def test_two_differences_in_the_recipe_cannot_be_told_apart(pair: Any, make_record: Make) -> None:
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=make_record()),
        *pair.seeds("b", lambda i: 0.4, run=make_record(dropout=0.5, lr=1e-2), first=20),
    ]
    pair.judge(runs)
    found = say(pair)
    assert found.verdict.kind == "cannot-tell"
    assert [one.id for one in found.causes[:2]] == ["recipe-rate", "recipe-dropout"]  # the table's order of suspicion
    assert found.level(4).command == f"study explain {pair.folder}/a {pair.folder}/b"


def test_a_rerun_that_closes_the_gap_names_the_field_and_says_its_share_once(pair: Any, make_record: Make) -> None:
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=make_record()),
        *pair.seeds("b", lambda i: 0.3, run=make_record(lr=1e-6, dropout=0.5)),
    ]
    pair.judge(runs)
    tried = [
        {"cause": "recipe-rate", "share": {"value": 0.05, "low": -0.1, "high": 0.2}, "settled": True},
        {"cause": "recipe-dropout", "runs": ["x.s1", "x.s2"], "share": {"value": 0.9, "low": 0.8, "high": 1.0}},
    ]
    document = {"format": "equiloss.explanation.v1", "a": "a", "b": "b", "tried": tried}
    (pair.folder / "a.vs.b.explain.json").write_text(json.dumps(document))
    found = say(pair)
    assert found.verdict.cause == "recipe-dropout"
    assert found.verdict.sentence.count("90 %") == 1
    assert found.verdict.command == f"study explain {pair.folder}/a {pair.folder}/b --only recipe-dropout --seeds 4"
    assert next(one for one in found.causes if one.id == "recipe-rate").status == "excluded"


@pytest.mark.parametrize(("closes", "waits"), [(0.6, True), (0.98, False)])
def test_what_was_not_made_equal_beside_a_named_cause_is_told_where_a_quarter_is_left(
    pair: Any, make_record: Make, closes: float, waits: bool
) -> None:
    runs = [
        *pair.seeds("a", lambda i: 0.95, run=make_record()),
        *pair.seeds("b", lambda i: 0.2, run=make_record(lr=1e-6, dropout=0.5)),
    ]
    pair.judge(runs)
    gap = say(pair).gap
    assert gap is not None
    points = {"value": closes * gap.value, "low": closes * gap.value - 1, "high": closes * gap.value + 1, "p": 1e-9}
    share = {"value": closes, "low": closes - 0.02, "high": closes + 0.02}
    tried = [{"cause": "recipe-rate", "runs": ["x.s1", "x.s2"], "share": share, "points": points}]
    document = {"format": "equiloss.explanation.v1", "a": "a", "b": "b", "tried": tried}
    (pair.folder / "a.vs.b.explain.json").write_text(json.dumps(document))
    verdict = say(pair).verdict
    assert verdict.causes == ("recipe-rate",)
    assert ("Not made equal: " in verdict.sentence) is waits
    assert f"--only recipe-{'dropout' if waits else 'rate'}" in str(verdict.command)


def test_causes_that_cancel_are_told_behind_the_gap_that_is_not_shown(pair: Any, make_record: Make) -> None:
    runs = [
        *pair.seeds("a", lambda i: 0.6, run=make_record()),
        *pair.seeds("b", lambda i: 0.6, run=make_record(lr=1e-6, dropout=0.5)),
    ]
    pair.judge(runs)
    tried = [
        {
            "cause": f"recipe-{name}",
            "runs": ["x.s1", "x.s2"],
            "share": {"value": 1.0, "low": 0.5, "high": 1.5},
            "points": {"value": points, "low": points - 5, "high": points + 5, "p": 1e-6},
        }
        for name, points in (("rate", 30.0), ("dropout", -30.0))
    ]
    document = {"format": "equiloss.explanation.v1", "a": "a", "b": "b", "tried": tried}
    (pair.folder / "a.vs.b.explain.json").write_text(json.dumps(document))
    verdict = say(pair).verdict
    assert (verdict.kind, verdict.causes) == ("within-margin", ())
    assert set(verdict.shows_as) == {"recipe-rate", "recipe-dropout"}
    assert "contributions pull against each other: " in verdict.sentence


def test_a_position_effect_with_unbalanced_orders_is_named(pair: Any) -> None:
    runs = [*pair.seeds("a", lambda i: 0.6, 1), *pair.seeds("b", lambda i: 0.6, 1, first=50)]
    pair.judge(runs, order=lambda i, r: (0, 1) if i % 4 else (1, 0), bonus=lambda x, place, call: 40 - 40 * place)
    found = say(pair)
    assert found.verdict.cause == "judge-position"
    assert found.level(2).status == "accounts"
    effect = next(one for one in found.level(2).evidence if one.name == "position").value
    assert effect is not None
    assert effect.low is not None
    assert effect.high is not None
    assert effect.value == pytest.approx(-40)


def test_balanced_orders_cancel_the_position_effect(pair: Any) -> None:
    runs = [pair.seeds("a", lambda i: 0.9, 1)[0], pair.seeds("b", lambda i: 0.4, 1, first=50)[0]]
    pair.judge(runs, order=lambda i, r: (0, 1) if i % 2 else (1, 0), bonus=lambda x, place, call: 20 - 20 * place)
    found = say(pair)
    position = next((one for one in found.causes if one.id == "judge-position"), None)
    assert position is None or position.share is None or position.share.value < 0.2
    assert found.verdict.cause != "judge-position"


def test_equal_answers_in_a_fixed_order_name_the_position(pair: Any) -> None:
    a = pair.answers("a", lambda i: 0.6, 1)
    b = [one.model_copy(update={"generator": "b"}) for one in a]
    for name, run in (("a", a), ("b", b)):
        pair.write(name, run)
    pair.judge([a, b], order=lambda i, r: (0, 1), bonus=lambda x, place, call: (10 + call % 3) * (1 - place))
    found = say(pair)
    assert found.verdict.cause == "judge-position"
    assert found.verdict.share is not None
    assert found.verdict.share.value == pytest.approx(1.0)


def judged_by_length(pair: Any, right_a: float, points: float, at_limit: Callable[[int], bool] | None = None) -> None:
    """A's answers are longer, and right with this chance (B's with 0.6); a judge gives so many points a doubling.

    `at_limit`: the items on which A's answers ended at the token limit.
    """

    def longer(name: str, seed: int, pad: int, right: float) -> list[Response]:
        answers = [
            one.model_copy(update={"output": one.output + " indeed" * (1 + pad * (i % 4) + (i * 7 + seed) % 3)})
            for i, one in enumerate(pair.answers(name, lambda i: right, 5))
        ]
        limited = at_limit if at_limit and pad == 3 else lambda i: False
        return [
            one.model_copy(update={"finish_reason": "length"}) if limited(i) else one for i, one in enumerate(answers)
        ]

    runs = [
        *(longer(f"a.s{seed}", seed, 3, right_a) for seed in (1, 2)),
        *(longer(f"b.s{seed}", seed, 1, 0.6) for seed in (1, 2)),
    ]
    for run in runs:
        pair.write(run[0].generator, run)
    pair.judge(runs, bonus=lambda x, place, call: points * math.log2(len(x.output.split()) + 1))


def test_a_length_effect_is_named_where_the_reference_sees_no_gap(pair: Any) -> None:
    judged_by_length(pair, 0.6, 15)
    found = say(pair)
    assert found.verdict.cause == "judge-length"
    assert found.verdict.share is not None
    assert found.verdict.share.value > 0.5


def test_answers_at_the_token_limit_tell_nothing_of_a_taste_for_length(pair: Any) -> None:
    """Such answers are as long as the limit lets them be, which goes with what they are about."""
    judged_by_length(pair, 0.6, 15, at_limit=lambda i: True)
    found = say(pair)
    assert "judge-length" not in [one.id for one in found.causes]
    (seen,) = [one for one in found.level(2).evidence if one.name == "length"]
    assert "an answer ran to the token limit" in seen.says


def test_a_length_effect_counts_on_items_whose_answers_ended_by_themselves(pair: Any) -> None:
    judged_by_length(pair, 0.6, 15)
    whole = next(one.points for one in say(pair).causes if one.id == "judge-length")
    judged_by_length(pair, 0.6, 15, at_limit=lambda i: i % 3 == 0)
    some = next(one.points for one in say(pair).causes if one.id == "judge-length")
    assert whole is not None
    assert some is not None
    assert some.value == pytest.approx(whole.value * 2 / 3, rel=0.1)


def test_what_explains_less_than_half_is_told_and_not_named(pair: Any) -> None:
    judged_by_length(pair, 0.9, 10)
    found = say(pair)
    assert found.verdict.kind == "cannot-tell"
    share = next(one.share for one in found.causes if one.id == "judge-length")
    assert share is not None
    assert 0 < share.value < 0.5
    assert "Shown, with less than half of the gap: the judge favours length (" in found.verdict.sentence


def test_longer_and_better_is_not_called_a_length_effect(pair: Any) -> None:
    runs = [
        *pair.seeds("a", lambda i: 0.9, wrong="no"),
        *pair.seeds("b", lambda i: 0.3, first=20, wrong="no"),
    ]
    pair.judge(runs)
    assert say(pair).verdict.cause != "judge-length"


def test_a_judge_that_drifts_between_two_separate_runs_is_named(pair: Any) -> None:
    a = pair.answers("a", lambda i: 0.6, 1)
    b = [one.model_copy(update={"generator": "b"}) for one in a]
    for name, run in (("a", a), ("b", b)):
        pair.write(name, run)
    pair.judge([a, b], together=False, bonus=lambda x, place, call: 0.1 * call)
    found = say(pair)
    assert found.verdict.cause == "judge-drift"


def test_equal_answers_that_shared_a_place_were_judged_in_one_prompt(pair: Any) -> None:
    a = pair.answers("a", lambda i: 0.6, 1)
    b = [one.model_copy(update={"generator": "b"}) for one in a]
    for name, run in (("a", a), ("b", b)):
        pair.write(name, run)
    pair.judge([a, b])
    for name in "ab":  # as `judge score` writes answers that were shown once: each under its own name
        path = pair.folder / file_name(name, "correctness-test", "gpt-4")
        other = {"group": [name], "position": 0, "shared_with": ["b" if name == "a" else "a"]}
        lines = [Verdict.model_validate({**v.model_dump(by_alias=True), **other}) for v in read_verdicts(path)]
        write_verdicts(path, lines)
    says = " ".join(one.says for one in say(pair).level(2).evidence)
    assert "never judged in one prompt" not in says
    assert "in the same prompts by the same model" in says


def test_equal_requests_at_two_times_are_two_prompts(pair: Any) -> None:
    a = pair.answers("a", lambda i: 0.6, 1)
    b = [one.model_copy(update={"generator": "b"}) for one in a]
    for name, run in (("a", a), ("b", b)):
        pair.write(name, run)
    pair.judge([a, b], together=False, bonus=lambda x, place, call: 0.1 * call)
    for name in "ab":  # the same answer alone in a prompt makes the same request
        path = pair.folder / file_name(name, "correctness-test", "gpt-4")
        write_verdicts(path, [v.model_copy(update={"request_sha": v.id}) for v in read_verdicts(path)])
    found = say(pair)
    assert found.verdict.cause == "judge-drift"
    assert found.verdict.share is not None
    assert found.causes[0].points is not None
    assert found.causes[0].points.method == "equal answers"


def test_failures_on_bad_answers_of_one_model_are_named(pair: Any) -> None:
    runs = [*pair.seeds("a", lambda i: 0.5, 2), *pair.seeds("b", lambda i: 0.5, 2, first=30)]
    pair.judge(
        runs, fails=lambda x: x.generator.startswith("a") and "nothing" in x.output and crc32(x.id.encode()) % 5 > 0
    )
    found = say(pair)
    assert found.gap is not None
    assert found.gap.value > 10
    assert found.verdict.cause == "judge-failures"


def hard(pair: Any) -> Callable[[Response], bool]:
    """Whether an answer is B's to one of a half of the items."""
    ids = {id for i, id in enumerate(pair.ids) if i % 4 > 1}
    return lambda one: one.generator.startswith("b") and one.id in ids


@pytest.mark.parametrize("reference", [True, False])
def test_no_gap_among_scored_answers_says_nothing_of_those_without_a_score(pair: Any, reference: bool) -> None:
    """B is wrong on half of the items, and has no score there: over the others the two are equal."""
    runs = [*pair.seeds("a", lambda i: 0.97), *pair.seeds("b", lambda i: 0.97 * (i % 4 < 2), first=30)]
    pair.judge(runs, fails=hard(pair))
    if not reference:
        for path in (pair.folder / f"{run[0].generator}.jsonl" for run in runs):
            write_responses(path, [one.model_copy(update={"reference": ""}) for one in read_responses(path)])
    found = say(pair)
    assert found.gap is not None
    assert max(map(abs, found.gap.interval)) < 5
    assert (found.verdict.kind, found.verdict.reason) == ("cannot-tell", "judge")
    assert "Without a score: 0 % of A's answers and 50 % of B's" in found.verdict.sentence
    assert (", without this 4" in found.verdict.sentence) == reference
    assert "--retry-failures" in str(found.verdict.command)


def test_failures_that_would_leave_no_gap_either_do_not_hide_that_there_is_none(pair: Any) -> None:
    runs = [one for first, name in enumerate("ab") for one in pair.seeds(name, lambda i: 0.99, first=30 * first)]
    pair.judge(runs, fails=hard(pair))
    found = say(pair)
    assert found.verdict.kind == "within-margin"
    assert [one.grade for one in found.causes if one.id == "judge-failures"] == ["adjusted"]


HIDES = 23.0
"""What a quarter of the answers wrong costs, about."""


@pytest.mark.parametrize("behind", [0.9, 1.0])
def test_a_gap_that_the_judges_favour_for_a_place_hides_is_not_denied(pair: Any, behind: float) -> None:
    """A is better on a quarter of the items and stands first nearly always, of which the judge thinks less."""
    runs = [*pair.seeds("a", lambda i: 0.99), *pair.seeds("b", lambda i: 0.99 * (i % 4 > 0), first=30)]
    pair.judge(
        runs,
        order=lambda index, _: [0, 1, 2, 3, 4, 5] if index % 10 < 10 * behind else [3, 4, 5, 0, 1, 2],
        bonus=lambda _, place, __: HIDES / (2 * behind - 1) * (place > 2),
    )
    found = say(pair, options=Options(margin_points=10.0))
    assert found.gap is not None
    assert max(map(abs, found.gap.interval)) < 10
    assert (found.verdict.kind, found.verdict.reason) == ("cannot-tell", "judge")
    assert "the judge favours a position" in found.verdict.sentence
    assert ", without this 2" in found.verdict.sentence


@pytest.mark.parametrize(("score", "status"), [(90.0, "undetermined"), (0.0, "clear")])
def test_a_judge_that_rewards_empty_answers_is_not_cleared(
    pair: Any, make_record: Make, score: float, status: str
) -> None:
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=make_record()),
        *pair.seeds("b", lambda i: 0.3, run=make_record(lr=1e-6)),
    ]
    pair.judge(runs)
    path = pair.folder / file_name("a.s1", "correctness-test", "gpt-4")
    planted = [
        ControlVerdict(**{**one.model_dump(by_alias=True), "schema": CONTROL_SCHEMA, "value": score, "canary": "empty"})
        for one in read_verdicts(path)[:10]
    ]
    write_verdicts(path.with_name(path.name.removesuffix(".jsonl") + ".canaries.jsonl"), planted)
    found = say(pair)
    assert found.level(2).status == status
    assert ("control answers speak against this judge" in found.level(2).says) == (status == "undetermined")
    assert found.verdict.kind == "cannot-tell"
    assert any(one.startswith("Level 2") for one in found.verdict.against) == (status == "clear")


def test_a_formula_has_no_position_effect(pair: Any) -> None:
    runs = [*pair.seeds("a", lambda i: 0.9), *pair.seeds("b", lambda i: 0.4, first=20)]
    pair.judge(runs, judge="offline-reference")
    found = say(pair)
    assert found.judge_is_llm is False
    assert found.level(2).status == "clear"
    assert not found.level(2).causes


def test_answers_that_do_not_stop_are_named_when_cutting_them_closes_the_gap(pair: Any, make_record: Make) -> None:
    def run_on(name: str, seed: int) -> list[Response]:
        return [
            one.model_copy(
                update={
                    "output": one.output + " and so it went on and on until the end",
                    "finish_reason": "length",
                }
            )
            for one in pair.answers(name, lambda i: 0.8, seed)
        ]

    good = pair.seeds("a", lambda i: 0.8, 2, run=make_record())
    bad = [run_on("b.s1", 11), run_on("b.s2", 12)]
    for run in bad:
        pair.write(run[0].generator, run, make_record())
    pair.judge([*good, *bad])
    found = say(pair)
    cause = next(one for one in found.causes if one.id == "decoding-eos")
    assert cause.share is not None
    assert cause.share.value > 0.8
    assert found.level(3).status == "accounts"


def runs_on(run: list[Response], every: int) -> list[Response]:
    """Every so manieth answer goes on after it is done, and then ends by itself."""
    more = " and so it went on and on until the end"
    return [one.model_copy(update={"output": one.output + more * (i % every == 0)}) for i, one in enumerate(run)]


def diagnosed_without_loss_on_the_end(pair: Any, make_record: Make, right: float, every: int) -> Diagnosis:
    good = pair.seeds("a", lambda i: 0.8, 2, run=make_record())
    bad = [runs_on(pair.answers(f"b.s{seed}", lambda i: right, 10 + seed), every) for seed in (1, 2)]
    for run in bad:
        pair.write(run[0].generator, run, make_record(end_of_text_loss=False))
    pair.judge([*good, *bad])
    return say(pair)


def test_answers_that_end_late_are_named_where_the_end_had_no_loss(pair: Any, make_record: Make) -> None:
    found = diagnosed_without_loss_on_the_end(pair, make_record, right=0.8, every=1)
    assert found.verdict.causes == ("decoding-eos",)
    assert found.gap is not None
    cause = next(one for one in found.causes if one.id == "decoding-eos")
    assert cause.points is not None
    assert cause.points.value == pytest.approx(found.gap.value, rel=0.25)


def test_a_field_of_the_recipe_stays_open_where_the_faults_that_it_makes_carry_little(
    pair: Any, make_record: Make
) -> None:
    found = diagnosed_without_loss_on_the_end(pair, make_record, right=0.2, every=6)
    cause = next(one for one in found.causes if one.id == "decoding-eos")
    assert cause.share is not None
    assert cause.share.value < 0.4
    assert cause.open
    assert found.verdict.kind == "cannot-tell"
    assert "Not excluded: more by loss on the end-of-text token." in found.verdict.sentence
    assert found.verdict.command is not None
    assert found.verdict.command.startswith("study explain")


def cut_off(run: list[Response], every: int = 1) -> list[Response]:
    """Every so manieth answer of several words ends at the limit after its first."""
    return [
        one.model_copy(update={"output": " ".join(one.output.split()[:1]), "finish_reason": "length"})
        if len(one.output.split()) > 1 and i % every == 0
        else one
        for i, one in enumerate(run)
    ]


def diagnosed_with_a_lower_limit(pair: Any, make_record: Make, right: float, every: int = 1) -> Diagnosis:
    good = pair.seeds("a", lambda i: 0.9, 3, run=make_record())
    short = make_record(decoding={"max_new_tokens": 2, "temperature": 0.0})
    bad = [cut_off(pair.answers(f"b.s{s}", lambda i: right, 10 + s), every) for s in (1, 2, 3)]
    for run in bad:
        pair.write(run[0].generator, run, short)
    pair.judge([*good, *bad])
    return say(pair)


def test_cut_off_answers_with_another_token_limit_are_named_truncation(pair: Any, make_record: Make) -> None:
    found = diagnosed_with_a_lower_limit(pair, make_record, right=0.9)
    assert found.verdict.cause == "decoding-truncation"
    assert "decoding.max_new_tokens: 256 against 2" in " ".join(one.says for one in found.level(3).evidence)
    assert [one.cause for one in found.contributions].count("decoding-truncation") == 1
    assert not any(one.cause == "decoding-settings" for one in found.contributions)


def test_a_token_limit_stays_open_where_the_answers_that_it_cut_carry_little(pair: Any, make_record: Make) -> None:
    found = diagnosed_with_a_lower_limit(pair, make_record, right=0.2, every=6)
    cause = next(one for one in found.causes if one.id == "decoding-truncation")
    assert cause.share is not None
    assert cause.share.value < 0.4
    assert cause.open
    assert found.verdict.causes == ()
    assert "different token limits" in found.verdict.sentence
    assert found.verdict.command is not None
    assert found.verdict.command.startswith("ift respond")
    assert "--max-new-tokens 256" in found.verdict.command


def test_a_model_that_is_simply_worse_has_no_decoding_fault(pair: Any, make_record: Make) -> None:
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=make_record()),
        *pair.seeds("b", lambda i: 0.4, first=9, run=make_record()),
    ]
    pair.judge(runs)
    assert say(pair).level(3).status == "clear"


def test_unknown_names_are_input_errors_with_the_nearest_run(pair: Any, make_record: Make) -> None:
    pair.write("alpha", pair.answers("alpha", lambda i: 0.5, 1), make_record())
    with pytest.raises(InputError, match="did you mean 'alpha'"):
        say(pair, "alpah", "alpha")
    with pytest.raises(InputError, match="same files"):
        say(pair, "alpha", "alpha")
    with pytest.raises(InputError, match="no such file"):
        say(pair, str(Path("missing.jsonl")), "alpha")
