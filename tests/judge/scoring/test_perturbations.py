"""What a planted bias makes of perturbed prompts is what the audit measures; a judge without bias is not moved."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from judge import rubrics
from judge.cli.main import program
from judge.rubrics import Item
from judge.scoring import perturbations
from judge.scoring.parse import read
from judge.scoring.perturbations import formatted, measure, paraphrased, perturbed, verbose
from judge.simulate.replies import Model, Personality, Simulation
from judge.simulate.server import Service, serving

WORDS = ["red", "green", "blue", "one", "two", "three", "sun", "moon", "tree", "river"]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = []
    for name in "ab":
        rng, path = random.Random(name), tmp_path / f"{name}.jsonl"
        rows = []
        for number in range(30):
            reference = " ".join(random.Random(number).choices(WORDS, k=10))
            kept = rng.randint(4, 9)
            output = " ".join([*reference.split()[:kept], *rng.choices(["do not", "because"], k=10 - kept)])
            rows.append({"instruction": f"Say {number}", "reference": reference, "output": output, "generator": name})
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths.append(path)
    return paths


def moved(files: list[Path], person: Personality, **options) -> dict[str, perturbations.Movement]:
    with serving(Service(Simulation(default=Model(person)))) as server:
        found = measure(files, f"sim@{server.url}", **options)
        asked = server.counts["requests"]
        assert measure(files, f"sim@{server.url}", **options) == found
        assert server.counts["requests"] == asked  # from the ledger
    return {row.kind: row for row in found.kinds}


def test_a_judge_that_is_not_moved_by_the_prompt_is_not_moved(files):
    found = moved(files, Personality(), n_items=12)
    assert list(found) == list(perturbations.KINDS)
    for kind in ("again", "labels", "scale-order"):
        moves = found[kind].moves
        assert (found[kind].n, moves and moves.interval) == (24, (0.0, 0.0))
    assert found["paraphrase"].n > 0
    assert {found[kind].n for kind in ("format", "verbosity")} == {12}  # one answer of each prompt


def test_a_love_of_length_is_what_verbosity_moves(files):
    """Half the scale of truth makes room at both ends; what is left is the planted points per doubling of words."""
    plain, loving = (
        moved(files, Personality(length_bias=bias, truth_weight=0.0, spread=0.2))["verbosity"] for bias in (0.0, 0.04)
    )
    assert plain.moves is not None
    assert loving.moves is not None
    extra = loving.moves.value - plain.moves.value
    assert extra == pytest.approx(4.0 * 1.7, abs=1.0)  # 10 to 14 words become 33 to 37: 1.4 to 1.7 doublings


def test_noise_moves_every_perturbation_alike_and_is_told_by_asking_again(files):
    found = moved(files, Personality(noise=0.08))
    assert found["again"].distance is not None
    assert found["labels"].distance is not None
    assert found["again"].distance.value == pytest.approx(found["labels"].distance.value, rel=0.4)
    assert found["again"].distance.value > 4


def test_in_pairs_one_models_answer_is_perturbed_in_both_orders(files):
    with serving(Service(Simulation(default=Model(Personality(length_bias=0.5, truth_weight=0.0))))) as server:
        found = measure(files, f"sim@{server.url}", rubric="pairwise")
    by_kind = {row.kind: row for row in found.kinds}
    assert "scale-order" not in by_kind
    moves = by_kind["verbosity"].moves
    assert moves is not None
    assert moves.value > 0.3  # from an even chance to nearly always
    assert moves.excludes(0)


@pytest.mark.parametrize("rubric", ["correctness", "pairwise", "instruction-following"])
def test_labels_and_the_scales_order_are_all_that_changes(rubric):
    plain = rubrics.load(rubric)
    item, answers = Item("i", "What?", reference="so"), ["first", "second"]
    before, numbered = (one.render(item, answers) for one in (plain, perturbed(plain, "labels")))
    assert numbered.labels == ("1", "2")
    assert "ANSWER 1" in numbered.user
    assert "ANSWER A" not in numbered.user
    assert ('"A"' in before.system, '"A"' in numbered.system, '"1"' in numbered.system) == (True, False, True)
    assert " A and B" not in numbered.system
    assert " A with B" not in numbered.user
    if rubric != "pairwise":
        turned = perturbed(plain, "scale-order")
        assert turned.render(item, answers).user == before.user
        assert turned.render(item, answers).system.startswith(before.system)
        values = turned.schema(["A"])["$defs"]["score"]["enum"]
        assert values == plain.front.scale.values[::-1]
    assert plain.render(item, answers) == before


def test_numbered_replies_are_read():
    scores, pairs = (perturbed(rubrics.load(name), "labels") for name in ("correctness", "pairwise"))
    found = read(scores, ("1", "2"), '{"Answer 1": {"correctness": 10}, "2": {"correctness": 20}}')
    assert [found[label].scores["correctness"] for label in "12"] == [10, 20]
    for given in ('"2"', "2", '"ANSWER 2"'):
        assert read(pairs, ("1", "2"), f'{{"{pairs.criteria[0]}": {given}}}')["2"].scores == {pairs.criteria[0]: 1.0}


def test_the_rules_of_the_texts():
    assert paraphrased("It is large because we do not begin.") == "It's big since we don't start."
    assert paraphrased(paraphrased("For example, many people help.")) == "For example, many people help."
    assert paraphrased("Nothing here changes") == "Nothing here changes"
    assert formatted("One. Two!\nThree") == "- One.\n- Two!\n- Three"
    assert formatted("One") == "**One**"
    assert "One" in verbose("One")


def test_the_command_and_the_offline_judge(files):
    command = ["audit", *map(str, files), "--perturb", "offline-reference", "--items", "10"]
    result = CliRunner().invoke(program, [*command, "--json"])
    document = json.loads(result.stdout)
    assert (document["judge"], document["n_items"]) == ("offline-reference", 10)
    by_kind = {row["kind"]: row for row in document["kinds"]}
    assert by_kind["labels"]["moves"]["value"] == 0  # it reads no prompt
    assert by_kind["verbosity"]["n"] == 20
    assert by_kind["format"]["distance"]["value"] > 0  # it compares words
    assert "verbosity" in CliRunner().invoke(program, command).stdout
