"""Levels 0 and 5: the premise from per-document losses, and causes in the base model from probes and records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from equiloss import numerals
from equiloss.loss_comparison import summary
from equiloss.records.diagnosis import Diagnosis
from equiloss.records.evaluation import EvaluatedCheckpoint, EvaluatedData, Evaluation, EvaluationMethod, save
from equiloss.records.probe import Measure
from equiloss.records.response import read_responses, write_responses
from equiloss.statistics.estimate import Estimate
from judge.diagnose.causes.measures import difference
from judge.diagnose.diagnose import diagnose
from judge.diagnose.levels.premise import outcome_level

Make = Callable[..., dict[str, Any]]


def base(
    folder: Path,
    name: str,
    *,
    data: str = "d",
    cloze: float | None = None,
    stored: float | None = None,
    copying: float = 0.5,
    **train: Any,
) -> dict[str, Any]:
    """A base model's part of a run record, with a probe beside its checkpoint where `cloze` is given.

    `cloze`, `stored`: the share of facts that it completes at first mention, and in the words in which it read them.
    """
    path = folder / name / "checkpoint.pt"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    if cloze is not None:
        facts = {"first_mention_accuracy": completed(cloze)}
        facts |= {"stored_accuracy": completed(stored)} if stored is not None else {}
        flat = {"value": copying, "standard_error": 0.01, "unit": "share", "samples": None}
        probes = {
            "cloze": {"measures": facts},
            "copying": {"measures": {"accuracy": flat}},
        }
        document = {"format": "equiloss.probe.v1", "checkpoint": {"sha256": name}, "probes": probes}
        path.with_name("checkpoint.probe.json").write_text(json.dumps(document))
    config = {"train": {"steps": 100, "seed": 0, **train}}
    run = {"config": config, "data": {"source": {"name": data}, "sha256": data * 8}}
    return {"path": str(path), "sha256": name, "config": {"n_layer": 2}, "run": run}


def completed(share: float) -> dict[str, Any]:
    right = {f"Person{i} Smith / city": float(i % 20 < 20 * share) for i in range(0, 120, 2)}
    value = sum(right.values()) / len(right)
    return {"value": value, "standard_error": 0.05, "unit": "share", "samples": right}


def two(
    pair: Any, make_record: Make, a: dict[str, Any], b: dict[str, Any], right_b: Callable[[int], float]
) -> Diagnosis:
    """Three fine-tunings of each base by one recipe: A right on 90 %, B as `right_b` says."""
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=make_record(base=a)),
        *pair.seeds("b", right_b, run=make_record(base=b), first=40),
    ]
    pair.judge(runs)
    return diagnose("a", "b", results_dir=pair.folder)


def test_facts_out_of_reach_are_named_when_the_gap_lies_on_items_of_knowledge(pair: Any, make_record: Make) -> None:
    a, b = base(pair.folder, "one", cloze=1.0), base(pair.folder, "two", data="e", cloze=0.2)
    found = two(pair, make_record, a, b, lambda i: 0.9 if i % 2 else 0.2)
    assert found.verdict.cause == "knowledge-extraction"
    assert found.verdict.share is not None
    assert found.verdict.share.value > 0.7
    copying = next(one for one in found.causes if one.id == "copying")
    assert copying.status == "excluded"


@pytest.mark.parametrize(
    ("stored", "mentioned", "named", "because"),
    [
        (1.0, 0.2, "knowledge-extraction", "is within noise"),
        (0.2, 0.2, "knowledge-storage", "lies in facts that are not stored either"),
        (0.8, 0.2, "knowledge-extraction", "less than half of the one at the subject's first mention"),
    ],
)
def test_facts_that_are_not_stored_are_told_from_facts_that_cannot_be_extracted(
    pair: Any, make_record: Make, stored: float, mentioned: float, named: str, because: str
) -> None:
    a = base(pair.folder, "one", cloze=1.0, stored=1.0)
    b = base(pair.folder, "two", data="e", cloze=mentioned, stored=stored)
    found = two(pair, make_record, a, b, lambda i: 0.9 if i % 2 else 0.2)
    assert found.verdict.cause == named
    other = {"knowledge-extraction": "knowledge-storage", "knowledge-storage": "knowledge-extraction"}[named]
    excluded = next(one for one in found.causes if one.id == other)
    assert excluded.status == "excluded"
    assert because in excluded.says
    assert "acts completed in the words that were read" in " ".join(found.verdict.because)
    assert f"{numerals.significant(stored)} against 1.00" in found.verdict.sentence
    assert f"{numerals.significant(mentioned)} against 1.00" in found.verdict.sentence


def test_what_is_stored_is_not_claimed_where_it_was_not_probed(pair: Any, make_record: Make) -> None:
    a, b = base(pair.folder, "one", cloze=1.0), base(pair.folder, "two", data="e", cloze=0.2)
    found = two(pair, make_record, a, b, lambda i: 0.9 if i % 2 else 0.2)
    assert found.verdict.cause == "knowledge-extraction"
    told = [found.verdict.sentence, *found.verdict.because, found.causes[0].title]
    assert not any("stored" in one or "that each read" in one for one in told)


@pytest.mark.parametrize(("share", "gain", "agrees"), [(0.8, 30.0, True), (0.8, -2.0, False), (0.01, 30.0, False)])
def test_a_counterfactual_in_the_text_confirms_only_where_the_predicted_items_gain(
    pair: Any, make_record: Make, share: float, gain: float, agrees: bool
) -> None:
    a, b = base(pair.folder, "one", cloze=1.0), base(pair.folder, "two", data="e", cloze=0.2)
    before = two(pair, make_record, a, b, lambda i: 0.9 if i % 2 else 0.2)
    assert "counterfactual" not in before.verdict.sentence
    tried = {
        "cause": "base-data",
        "changed": "read on for 30 steps in d instead of e",
        "side": "b",
        "share": {"value": share, "low": share - 0.3, "high": share + 0.3},
        "gains": [
            {
                "items": "items that ask for knowledge",
                "count": 60,
                "points": {"value": gain, "low": gain - 5, "high": gain + 5},
            }
        ],
        "note": "held against its own text",
    }
    document = {"format": "equiloss.explanation.v1", "a": "a", "b": "b", "tried": [tried]}
    (pair.folder / "a.vs.b.explain.json").write_text(json.dumps(document))
    found = diagnose("a", "b", results_dir=pair.folder)
    assert found.verdict.cause == "knowledge-extraction"
    assert ("A counterfactual run agrees" in found.verdict.sentence) is agrees
    assert ("A counterfactual run does not agree" in found.verdict.sentence) is not agrees
    assert any(
        "closes" in one for one in (found.causes[0].evidence_for if agrees else found.causes[0].evidence_against)
    )


def test_a_counterfactual_that_may_have_closed_nothing_or_all_settles_nothing(pair: Any, make_record: Make) -> None:
    a, b = base(pair.folder, "one", cloze=1.0), base(pair.folder, "two", data="e", cloze=0.2)
    two(pair, make_record, a, b, lambda i: 0.9 if i % 2 else 0.2)
    share = {"value": 0.4, "low": -0.1, "high": 0.95}
    document = {
        "format": "equiloss.explanation.v1",
        "a": "a",
        "b": "b",
        "tried": [{"cause": "base-data", "share": share}],
    }
    (pair.folder / "a.vs.b.explain.json").write_text(json.dumps(document))
    assert "A counterfactual run does not settle it" in diagnose("a", "b", results_dir=pair.folder).verdict.sentence


def test_a_probe_alone_names_nothing_when_the_gap_lies_elsewhere(pair: Any, make_record: Make) -> None:
    a, b = base(pair.folder, "one", cloze=1.0), base(pair.folder, "two", data="e", cloze=0.2)
    found = two(pair, make_record, a, b, lambda i: 0.3 if i % 2 else 0.9)
    assert found.verdict.kind == "cannot-tell"
    cause = next(one for one in found.causes if one.id == "knowledge-extraction")
    assert cause.status == "excluded"
    assert "the gap does not lie on items that ask for knowledge" in cause.says


def test_a_probe_in_the_wrong_direction_is_excluded(pair: Any, make_record: Make) -> None:
    a, b = base(pair.folder, "one", cloze=0.2), base(pair.folder, "two", data="e", cloze=1.0)
    found = two(pair, make_record, a, b, lambda i: 0.9 if i % 2 else 0.2)
    cause = next(one for one in found.causes if one.id == "knowledge-extraction")
    assert cause.status == "excluded"
    assert "the gap does not lie on items that ask for knowledge" in cause.says


def with_overlap(make_record: Make, one: dict[str, Any], leaked: list[str]) -> dict[str, Any]:
    corpus = {"items": len(leaked), "share": 0.5, "ids": leaked}
    data = {"path": "data.json", "sha256": "d" * 64, "overlap": {"corpus": corpus}}
    return make_record(base=one, data=data)


@pytest.mark.parametrize(
    ("on_leaked", "elsewhere", "leaks", "status"),
    [
        (0.2, 0.9, 60, "named"),  # the gap lies on what only A has read
        (0.4, 0.4, 60, "excluded"),  # it lies everywhere
        (0.2, 0.9, 0, "excluded"),  # nothing leaked
    ],
)
def test_leaked_items_are_named_where_they_carry_the_gap(
    pair: Any, make_record: Make, on_leaked: float, elsewhere: float, leaks: int, status: str
) -> None:
    a, b = base(pair.folder, "one", cloze=0.5), base(pair.folder, "two", data="e", cloze=0.5)
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=with_overlap(make_record, a, pair.ids[:leaks])),
        *pair.seeds("b", lambda i: on_leaked if i < 60 else elsewhere, run=with_overlap(make_record, b, []), first=40),
    ]
    pair.judge(runs)
    found = diagnose("a", "b", results_dir=pair.folder)
    cause = next(one for one in found.causes if one.id == "contamination")
    assert cause.status == status
    assert (found.verdict.cause == "contamination") == (status == "named")
    if status == "named":
        assert cause.share is not None
        assert cause.share.value > 0.7
        assert "60 of the 120 test items stand in the text that a's base model read" in found.verdict.sentence


def test_items_that_leaked_to_the_worse_side_explain_nothing(pair: Any, make_record: Make) -> None:
    a, b = base(pair.folder, "one", cloze=0.5), base(pair.folder, "two", data="e", cloze=0.5)
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=with_overlap(make_record, a, [])),
        *pair.seeds("b", lambda i: 0.2, run=with_overlap(make_record, b, pair.ids[:60]), first=40),
    ]
    pair.judge(runs)
    found = diagnose("a", "b", results_dir=pair.folder)
    assert next(one for one in found.causes if one.id == "contamination").status == "excluded"


def evaluate(folder: Path, name: str, nats: tuple[float, float]) -> None:
    """What `pretrain eval` writes beside a checkpoint: 80 documents, half of lists and half of people."""
    domain = np.arange(80) % 2
    losses = np.array(nats)[domain] + 0.01 * np.sin(np.arange(80))
    tokens = np.full(80, 50.0)
    bins = np.stack([tokens, *[0 * tokens] * 9], 1)
    arrays = {"index": np.arange(80), "domain": domain, "tokens": tokens, "nats": tokens * losses, "bytes": 4 * tokens}
    arrays |= {"correct": tokens / 4, "decile_tokens": bins, "decile_nats": bins * losses[:, None]}
    arrays |= {"position_tokens": tokens[:, None], "position_nats": (tokens * losses)[:, None]}
    confidence = np.stack([tokens, *[0 * tokens] * 14], 1)
    arrays |= {f"confidence_{part}": confidence / 4 for part in ("sum", "correct")} | {"confidence_tokens": confidence}
    record = summary(
        EvaluatedCheckpoint(name=name, path=f"{name}/checkpoint.pt", sha256=name),
        EvaluatedData(sha256="d", split="test", domains=["lists", "people"]),
        EvaluationMethod(context_tokens=8, stride_tokens=4, precision="fp32"),
        arrays,
    )
    save(Evaluation(record, arrays), folder / name / "demo.test")


@pytest.mark.parametrize(
    ("lists", "people", "right_on_people", "status"),
    [
        (0.8, 1.2, 0.2, "excluded"),  # A's base is worse on both
        (0.8, 0.8, 0.2, "named"),  # B is worse where its base is
        (0.8, 0.8, 0.9, "excluded"),  # B is worse on the lists, where its base is better
    ],
)
def test_a_mix_of_domains_is_named_where_the_gap_lies_on_the_domain_that_was_lost(
    pair: Any, make_record: Make, lists: float, people: float, right_on_people: float, status: str
) -> None:
    a, b = base(pair.folder, "one", cloze=0.5), base(pair.folder, "two", data="e", cloze=0.5)
    evaluate(pair.folder, "one", (1.0, people))
    evaluate(pair.folder, "two", (lists, 1.0))
    for name in ("one", "two"):
        path = pair.folder / name / "checkpoint.probe.json"
        document = json.loads(path.read_text())
        kinds = {one: ("people", "lists")[i % 2] for i, one in enumerate(pair.ids)}
        document["probes"]["domains"] = {"measures": {}, "items": kinds}
        path.write_text(json.dumps(document))
    on_lists = 0.9 if right_on_people < 0.5 else 0.2
    found = two(pair, make_record, a, b, lambda i: on_lists if i % 2 else right_on_people)
    cause = next(one for one in found.causes if one.id == "composition")
    assert cause.status == status
    assert (found.verdict.cause == "composition") == (status == "named")
    if status == "named":
        assert "on items of people, where A's base is better, A scores higher." in found.verdict.sentence


def test_two_pretraining_seeds_are_chance_of_pretraining(pair: Any, make_record: Make) -> None:
    a, b = base(pair.folder, "one", seed=1), base(pair.folder, "two", seed=2)
    found = two(pair, make_record, a, b, lambda i: 0.4)
    assert (found.verdict.kind, found.verdict.reason) == ("chance-of-pretraining", "seeds-of-pretraining")


@pytest.mark.parametrize("text", ["one", "two"])
def test_copying_is_compared_on_one_text_alone(pair: Any, make_record: Make, text: str) -> None:
    a, b = base(pair.folder, "one", cloze=0.5, copying=0.95), base(pair.folder, "two", data="e", cloze=0.5)
    for name, read in (("one", "one"), ("two", text)):
        path = pair.folder / name / "checkpoint.probe.json"
        document = json.loads(path.read_text())
        own = {"data": {"path": f"data/{name}", "sha256": name}, "text": {"path": f"data/{read}", "sha256": read}}
        path.write_text(json.dumps(document | own))
    found = two(pair, make_record, a, b, lambda i: 0.45 if i % 2 else 0.9)
    compared = text == "one"
    assert (found.verdict.cause == "copying") is compared
    assert ("copying" in {one.id for one in found.causes}) is compared
    assert ("probes on one text" in found.level(5).missing) is not compared
    assert compared or "--text data/one" in (found.level(5).command or "")


def imported(folder: Path, name: str, **run: Any) -> dict[str, Any]:
    """A base model of another library: its record has a shape and nothing of its training."""
    made = base(folder, name)
    shape = {"hidden_size": 8, "_name_or_path": f"bases/{name}", "transformers_version": name}
    return {**made, "config": shape, "run": {"kind": "huggingface", "name": name, **run}}


def test_models_that_were_trained_elsewhere_are_not_said_to_differ_in_nothing(pair: Any, make_record: Make) -> None:
    found = two(pair, make_record, imported(pair.folder, "one"), imported(pair.folder, "two"), lambda i: 0.4)
    assert (found.verdict.kind, found.verdict.reason) == ("cannot-tell", "nothing-accounts")
    assert not [one for one in found.causes if one.level == 5]  # where a file lay is no property of a model


def test_a_base_model_that_was_fine_tuned_before_is_a_suspect(pair: Any, make_record: Make) -> None:
    recipe = {"lr": 1e-4, "epochs": 6, "decoding": {"temperature": 0.0}}
    tuned = imported(pair.folder, "two", kind="ift", recipe=recipe, base={"path": "x", "sha256": "one"})
    found = two(pair, make_record, imported(pair.folder, "one"), tuned, lambda i: 0.4)
    assert found.verdict.kind == "cannot-tell"
    assert "Not excluded: what was done to the base model before" in found.verdict.sentence
    (cause,) = (one for one in found.causes if one.level == 5)
    assert "origin: imported against fine-tuned" in cause.says


def test_base_models_that_were_fine_tuned_by_two_recipes_differ_in_them(pair: Any, make_record: Make) -> None:
    a, b = (
        imported(pair.folder, name, kind="ift", recipe={"epochs": epochs}, base={"path": "x", "sha256": "x"})
        for name, epochs in (("one", 9), ("two", 6))
    )
    (cause,) = (one for one in two(pair, make_record, a, b, lambda i: 0.4).causes if one.level == 5)
    assert "tuned.epochs: 9 against 6" in cause.says


def test_chance_of_pretraining_tells_which_fault_of_the_judge_is_open(pair: Any, make_record: Make) -> None:
    found = two(pair, make_record, base(pair.folder, "one", seed=1), base(pair.folder, "two", seed=2), lambda i: 0.4)
    assert "Not excluded" not in found.verdict.sentence  # the reference has the gap too
    for path in pair.folder.glob("?.s?.jsonl"):
        answers = read_responses(path)  # none equal to the other side's, which would show that the judge is fair
        own = [{"reference": "", "output": f"{one.output} {one.generator}"} for one in answers]
        write_responses(path, [one.model_copy(update=new) for one, new in zip(answers, own, strict=True)])
    found = diagnose("a", "b", results_dir=pair.folder)
    assert found.verdict.kind == "chance-of-pretraining"
    assert found.verdict.sentence.endswith(" Not excluded: the judge favours a position.")


def test_chance_of_pretraining_says_what_it_shows_as(pair: Any, make_record: Make) -> None:
    a = base(pair.folder, "one", seed=1, cloze=0.5, copying=0.95)
    b = base(pair.folder, "two", seed=2, cloze=0.5, copying=0.5)
    found = two(pair, make_record, a, b, lambda i: 0.45 if i % 2 else 0.9)
    assert found.verdict.kind == "chance-of-pretraining"
    assert found.verdict.causes == ()
    assert found.verdict.shows_as == ("copying",)
    assert "It shows as copying from the context" in found.verdict.sentence


def test_causes_that_pull_against_each_other_are_both_told_with_their_signs(pair: Any, make_record: Make) -> None:
    a = base(pair.folder, "one", cloze=1.0, copying=0.5)
    b = base(pair.folder, "two", data="e", cloze=0.2, copying=0.95)
    runs = [
        *pair.seeds("a", lambda i: 0.55 if i % 2 else 0.95, run=make_record(base=a)),
        *pair.seeds("b", lambda i: 0.9 if i % 2 else 0.25, run=make_record(base=b), first=40),
    ]
    pair.judge(runs)
    found = diagnose("a", "b", results_dir=pair.folder)
    assert found.verdict.causes == ("knowledge-extraction", "copying")
    points = {one.cause: one.points or 0.0 for one in found.contributions}
    assert points["knowledge-extraction"] == pytest.approx(33, abs=6)
    assert points["copying"] == pytest.approx(-16, abs=6)
    assert found.unexplained is not None
    assert found.unexplained.value == pytest.approx(0, abs=1e-6)
    assert "pull against each other" in found.verdict.sentence


def test_causes_that_predict_the_same_items_are_tied(pair: Any, make_record: Make) -> None:
    a, b = base(pair.folder, "one", cloze=1.0), base(pair.folder, "two", data="e", cloze=0.2)
    facts = [id for index, id in enumerate(pair.ids) if index % 2 == 0]
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=with_overlap(make_record, a, facts)),
        *pair.seeds("b", lambda i: 0.9 if i % 2 else 0.2, run=with_overlap(make_record, b, []), first=40),
    ]
    pair.judge(runs)
    found = diagnose("a", "b", results_dir=pair.folder)
    assert set(found.verdict.causes) == {"knowledge-extraction", "contamination"}
    assert "these items cannot tell them apart" in found.verdict.sentence


@pytest.mark.parametrize("lr", [3e-6, 3e-4])
def test_a_probe_carries_no_more_than_its_difference_can_make(pair: Any, make_record: Make, lr: float) -> None:
    a, b = base(pair.folder, "one", cloze=1.0), base(pair.folder, "two", data="e", cloze=0.8)
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=make_record(base=a)),
        *pair.seeds("b", lambda i: 0.9 if i % 2 else 0.2, run=make_record(base=b, lr=lr), first=40),
    ]
    pair.judge(runs)
    found = diagnose("a", "b", results_dir=pair.folder)
    cause = next(one for one in found.causes if one.id == "knowledge-extraction")
    assert cause.points is not None
    assert cause.points.value == pytest.approx(10.0, abs=0.5)  # 0.2 of 100 points on half of the items
    assert found.verdict.kind == "cannot-tell"
    assert found.verdict.causes == ()
    assert ("--only recipe-rate" in (found.verdict.command or "")) == (lr < 1e-4)


def test_an_open_recipe_difference_keeps_a_located_cause_from_being_named(pair: Any, make_record: Make) -> None:
    a, b = base(pair.folder, "one", cloze=1.0), base(pair.folder, "two", data="e", cloze=0.2)
    runs = [
        *pair.seeds("a", lambda i: 0.9, run=make_record(base=a)),
        *pair.seeds("b", lambda i: 0.9 if i % 2 else 0.2, run=make_record(base=b, lr=3e-6), first=40),
    ]
    pair.judge(runs)
    found = diagnose("a", "b", results_dir=pair.folder)
    assert (found.verdict.kind, found.verdict.reason) == ("cannot-tell", "open-rival")
    assert "learning rate could carry as much" in found.verdict.sentence
    tried = {"cause": "recipe-rate", "share": {"value": 0.1, "low": 0.02, "high": 0.18}, "settled": True}
    document = {"format": "equiloss.explanation.v1", "a": "a", "b": "b", "tried": [tried]}
    (pair.folder / "a.vs.b.explain.json").write_text(json.dumps(document))
    found = diagnose("a", "b", results_dir=pair.folder)
    assert found.verdict.causes == ("knowledge-extraction",)
    assert next(one for one in found.causes if one.id == "recipe-rate").status == "supported"


@pytest.mark.parametrize("shared", [False, True])
def test_the_base_run_is_the_unit_where_a_side_has_several(pair: Any, make_record: Make, shared: bool) -> None:
    chances = {"a1": 0.75, "a2": 0.6, "b1": 0.6, "b2": 0.55 if shared else 0.45}
    runs, bases = [], {}
    for number, (name, chance) in enumerate(chances.items()):
        of = f"base{number % 2}" if shared else name
        decay = 0.1 if name.startswith("a") or shared else 0.2
        if of not in bases:
            bases[of] = base(pair.folder, of, seed=number, weight_decay=decay)
        record = make_record(base=bases[of], **({"lr": 1e-5} if shared and name.startswith("b") else {}))
        for seed in (1, 2, 3):
            run = f"{name[0]}.s{3 * (number % 2) + seed}"
            runs.append(pair.answers(run, lambda i, chance=chance: chance, 10 * number + seed))
            pair.write(run, runs[-1], record)
    pair.judge(runs)
    found = diagnose("a", "b", results_dir=pair.folder)
    assert found.questions.bases is not None
    assert found.questions.recipes is not None
    assert found.questions.bases.low > 0
    assert found.questions.recipes.low < 0 < found.questions.recipes.high
    assert found.verdict.kind == "underpowered"
    says = "On these base runs the recipes do differ" if shared else "These base models do differ"
    assert says in found.verdict.sentence


def test_one_pretraining_run_a_side_settles_nothing_by_elimination(pair: Any, make_record: Make) -> None:
    a, b = base(pair.folder, "one", cloze=0.5), base(pair.folder, "two", cloze=0.5, weight_decay=1.0)
    found = two(pair, make_record, a, b, lambda i: 0.4)
    assert found.verdict.kind == "cannot-tell"
    cause = next(one for one in found.causes if one.id == "weight-decay")
    assert cause.status == "possible"


def test_without_evaluations_and_probes_it_says_which_commands_supply_them(pair: Any, make_record: Make) -> None:
    a, b = base(pair.folder, "one"), base(pair.folder, "two", steps=50)
    found = two(pair, make_record, a, b, lambda i: 0.4)
    assert found.level(0).status == "not-tested"
    assert (found.level(0).command or "").startswith("pretrain eval ")
    assert "pretrain probe " in (found.level(5).command or "")


@pytest.mark.parametrize(
    ("value", "half", "status"),
    [(0.0, 0.02, "clear"), (0.2, 0.02, "accounts"), (0.045, 0.02, "undetermined"), (0.0, 0.2, "undetermined")],
)
def test_the_premise_is_equivalent_different_or_undetermined(value: float, half: float, status: str) -> None:
    found = outcome_level(Estimate(value=value, low=value - half, high=value + half, confidence=0.9), 0.05)
    assert found.status == status
    assert (found.says.startswith("The base models are loss-equivalent")) == (status == "clear")
    assert ("not loss-equivalent" in found.says) == (status == "accounts")


def test_a_difference_of_measures_is_paired_where_samples_are_common() -> None:
    a = Measure(value=0.5, standard_error=0.1, samples={str(i): i + 1.0 for i in range(10)})
    b = Measure(value=0.4, standard_error=0.1, samples={str(i): float(i) for i in range(10)})
    assert difference(a, b).low == pytest.approx(1.0)
    apart = difference(Measure(value=1.0, standard_error=0.3), Measure(value=0.0, standard_error=0.4))
    assert apart.high == pytest.approx(1.0 + 1.96 * 0.5)
    assert difference(Measure(value=1.0), Measure(value=0.0)).low is None


def test_shares_that_are_all_alike_are_not_known_without_error() -> None:
    """The bound is Clopper and Pearson's of none of n, as scipy has it."""
    bound = binomtest(0, 40).proportion_ci(0.95, "exact").high
    every = Measure.mean_of([1.0] * 40, unit="share", keys=[str(i) for i in range(40)])
    none = Measure.mean_of([0.0] * 40, unit="share", keys=[str(i) for i in range(40)])
    assert difference(every, every).interval == pytest.approx((-bound, bound))
    assert difference(every, none).interval == pytest.approx((1 - bound, 1.0))
    apart = Measure.mean_of([1.0] * 40, unit="share")
    assert difference(apart, apart).interval == pytest.approx((-(2**0.5) * bound, 2**0.5 * bound))
    loss = Measure.mean_of([2.5] * 40, unit="nats", keys=[str(i) for i in range(40)])
    assert difference(loss, loss).interval == (0.0, 0.0)  # no share: no bound


def test_who_computed_the_steps_is_a_suspect_and_torch_where_older_records_do_not_say(
    pair: Any, make_record: Make
) -> None:
    older = base(pair.folder, "one")
    found = two(pair, make_record, older, base(pair.folder, "two", backend="jax"), lambda i: 0.2)
    suspect = next(one for one in found.causes if one.id == "base-backend")
    assert "config.train.backend: torch against jax" in suspect.says
    found = two(pair, make_record, older, base(pair.folder, "three", backend="torch"), lambda i: 0.2)
    assert "base-backend" not in {one.id for one in found.causes}
