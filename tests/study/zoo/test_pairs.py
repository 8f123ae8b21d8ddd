"""The zoo: pairs from files, what they share, and the counting of diagnoses."""

from __future__ import annotations

from pathlib import Path

import pytest

from equiloss import templates
from equiloss.errors import InputError
from equiloss.records import diagnosis as records
from equiloss.records.diagnosis import (
    Cause,
    Contribution,
    Diagnosis,
    DiagnosisVerdict,
    Question,
    Questions,
    Side,
    VerdictKind,
)
from equiloss.statistics.estimate import Estimate
from study.zoo.counting import PairOutcome, PlantedFactor, Proportion, checks, count, outcome, pool
from study.zoo.pairs import known, read_pairs
from study.zoo.plan import study_of

PAIR = """
[pair]
cause = "{cause}"
description = "Two files."
a = "{{pair}}/results/a"
b = "{{pair}}/results/b"
judge = "--drift 0.1"

[[cell]]
name = "make-{{side}}"
foreach = {{ side = ["a", "b"] }}
run = "python -c pass {{world}}"
outputs = ["{{pair}}/results/{{side}}.s1.jsonl"]
"""


def pair_file(directory: Path, name: str, cause: str = "recipe-rate") -> Path:
    path = directory / f"{name}.toml"
    path.write_text(PAIR.format(cause=cause), encoding="utf-8")
    return path


def diagnosis(cause: str | None, kind: VerdictKind = "cause") -> Diagnosis:
    side = Side(name="x", generators=("x.s1",), seeds=1, items=10)
    return Diagnosis(
        a=side,
        b=side,
        gap=Estimate(value=0.2, low=0.1, high=0.3, unit="points"),
        levels=(records.tested(0, "clear", "Equal."),),
        causes=(Cause(id=cause, level=4, title="", status="named"),) if cause else (),
        verdict=DiagnosisVerdict(kind=kind, reason="test", cause=cause, sentence="So it <b>is</b>."),
    )


def put(directory: Path, pair: str, seed: int, document: Diagnosis) -> None:
    path = directory / f"s{seed}" / pair / "diagnosis.json"
    path.parent.mkdir(parents=True)
    path.write_text(document.model_dump_json(), encoding="utf-8")


def test_every_shipped_pair_plans_and_ends_with_its_diagnosis() -> None:
    pairs = read_pairs([])
    assert len(pairs) >= 10
    study = study_of(pairs, [0, 1])
    cells = {cell.name: cell for cell in study.cells}
    for pair in pairs:
        for seed in (0, 1):
            last = cells[f"s{seed}-{pair.name}-diagnose"]
            assert last.command.startswith("judge diagnose")
            assert last.needs


def test_the_pairs_on_a_real_model_share_its_bases_and_are_made_only_when_named() -> None:
    names = [name for name in known() if name.startswith("real/")]
    pairs = read_pairs(["real/*"])
    assert [f"real/{pair.name}" for pair in pairs] == names
    assert {"rate", "lora", "template", "eos", "position", "drift", "leaked", "seeds", "copy", "two", "decoy"} <= {
        pair.name for pair in pairs
    }
    assert not {pair.path for pair in pairs} & {pair.path for pair in read_pairs(())}
    study = study_of(pairs, [0], ["train=16", "answer=8", "runs=[1,2]"])
    commands = {cell.name: cell.command for cell in study.cells}
    sides = [name for name in commands if name.startswith("s0-shared-arm-plain-")]
    assert len(sides) == len(set(sides))
    assert sum(name.endswith("-diagnose") for name in commands) == len(pairs)
    assert "--train 16 --validation 20 --test 100" in commands["s0-shared-items"]
    assert all(
        "max_new_tokens=8" in command
        for command in commands.values()
        if command.startswith("ift run --base s0/shared/bases/plain --data s0/shared/items")
    )
    with pytest.raises(InputError, match="share no cells"):
        read_pairs(["real/rate", "recipe-rate"])


@pytest.mark.parametrize(("sets", "rerun"), [([], 0), (["planted=[101]"], 4), (["planted=[101, 102]"], 8)])
def test_planted_points_of_real_pairs_are_known_where_seeds_for_them_are_given(sets: list[str], rerun: int) -> None:
    names = [cell.name for cell in study_of(read_pairs(["real/two"]), [0], sets).cells]
    assert sum(name.startswith("s0-shared-planted-") for name in names) == rerun
    assert ("s0-two-planted-points" in names) == bool(rerun)
    assert sum(name.startswith("s0-shared-arm-") for name in names) == 6


def test_what_pairs_share_is_made_once_a_seed_and_only_when_needed() -> None:
    one = study_of(read_pairs(["recipe-rate"]), [0])
    assert [cell.name for cell in one.cells if "-shared-base" in cell.name] == ["s0-shared-base-diverse"]
    many = study_of(read_pairs(["recipe-*,null-recipe"]), [0, 3])
    assert [cell.name for cell in many.cells if "-shared-base" in cell.name] == [
        "s0-shared-base-diverse",
        "s3-shared-base-diverse",
    ]


def test_parameters_are_settable_for_all_and_for_one_pair() -> None:
    pairs = read_pairs(["recipe-rate", "null-recipe", "judge-length"])
    study = study_of(pairs, [0], ["steps=7", "runs=[1, 4]", "judge-length.runs=[1]"])
    commands = {cell.name: cell.command for cell in study.cells}
    assert "train.steps=7" in commands["s0-shared-base-diverse"]
    assert "--seed 4" in commands["s0-shared-arm-diverse-lr-3e-5-14"]
    assert [name for name in commands if "shared-apart" in name] == ["s0-shared-apart-1", "s0-shared-apart-4"]
    assert [name for name in commands if "judge-length-terse" in name] == ["s0-judge-length-terse-1"]
    with pytest.raises(InputError, match="no such parameter"):
        study_of(pairs, [0], ["stepps=7"])


def test_a_pair_of_ones_own(tmp_path: Path) -> None:
    pairs = read_pairs([str(pair_file(tmp_path, "mine"))])
    study = study_of(pairs, [2])
    last = study.cells[-1]
    results = ("s2/mine/results/a.s1.jsonl", "s2/mine/results/b.s1.jsonl")
    assert last.inputs == (*results, "s2/mine/verdicts", "s2/mine/judged.txt")
    assert last.command == "judge diagnose s2/mine/results/a s2/mine/results/b --verdicts s2/mine/verdicts --json"
    assert last.stdout == "s2/mine/diagnosis.json"
    judged = next(cell for cell in study.cells if cell.name == "s2-mine-judge")
    assert judged.inputs == results
    assert "--drift 0.1" in " ".join(judged.uses[0].argv)


def test_a_pair_that_judges_by_itself_is_judged_no_other_way() -> None:
    study = study_of(read_pairs(["judge-position"]), [0], ["runs=[1,2,3]"])
    assert [cell.name for cell in study.cells if cell.command.startswith("judge score")] == []
    assert len([cell for cell in study.cells if "plant.py judge" in cell.command]) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[cell]]\nname = 'x'\nrun = 'python'\n", r"no \[pair\] table"),
        ("[pair]\ncause = 'x'\ndescriptoin = 'y'\n", "did you mean 'description'"),
        ("[pair]\ndescription = 'y'\n", "cause"),
    ],
)
def test_a_broken_pair_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_pairs([str(path)])


def test_an_unknown_pair_and_a_pair_named_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pair 'nothing'"):
        read_pairs(["nothing"])
    with pytest.raises(InputError, match="asked for twice"):
        read_pairs(["recipe-rate", "recipe-*"])


def test_the_exact_interval() -> None:
    # 9 of 10: [0.55498, 0.99747] (Clopper and Pearson; tabulated e.g. in Newcombe 1998); all of n: 0.025 ** (1 / n).
    nine = Proportion.exact(9, 10)
    assert nine.low == pytest.approx(0.55498, abs=1e-5)
    assert nine.high == pytest.approx(0.99747, abs=1e-5)
    assert Proportion.exact(20, 20).low == pytest.approx(0.025 ** (1 / 20))
    assert Proportion.exact(0, 0).value is None


def test_counting(tmp_path: Path) -> None:
    pairs = read_pairs([str(pair_file(tmp_path, "rate")), str(pair_file(tmp_path, "null", "chance"))])
    where = tmp_path / "zoo"
    put(where, "rate", 0, diagnosis("recipe-rate"))
    put(where, "rate", 1, diagnosis("recipe-mask"))
    put(where, "rate", 2, diagnosis(None, "cannot-tell"))
    put(where, "null", 0, diagnosis(None, "within-margin"))
    put(where, "null", 1, diagnosis("copying"))
    put(where, "null", 2, diagnosis(None, "cannot-tell"))
    counted = count(pairs, [outcome(pair, seed, where) for pair in pairs for seed in range(4)])
    assert (counted.accuracy.count, counted.accuracy.of) == (1, 3)
    assert (counted.false_alarms.count, counted.false_alarms.of) == (1, 3)
    assert counted.confusion == {
        "recipe-rate": {"recipe-rate": 1, "recipe-mask": 1, "cannot tell": 1},
        "chance": {"chance": 1, "copying": 1, "cannot tell": 1},
    }
    assert counted.names == ["recipe-rate", "chance", "cannot tell", "copying", "recipe-mask"]
    assert [(pair.right, pair.of) for pair in counted.pairs] == [(1, 3), (1, 3)]
    document = counted.model_dump(mode="json")
    assert [run["named"] for run in document["runs"] if run["seed"] == 3] == [None, None]
    assert [run["right"] for run in document["runs"]] == [True, False, False, False] * 2
    html = templates.report_page("zoo.html", zoo=counted)
    assert "1 of 3 times: 33 % (exact 95 % interval 1 % to 91 %)" in html
    assert "So it &lt;b&gt;is&lt;/b&gt;." in html
    assert "not made" in html


FACTORS = """
[pair]
cause = "recipe-rate"
beside = "copying"
description = "Two factors."
explain = true

[[factor]]
cause = "recipe-rate"
b.flags = "--set lr=3e-5"

[[factor]]
cause = "copying"
b.bases = ["listless", "again"]
a.bases = ["diverse", "third"]
"""


def test_a_pair_of_factors_is_made_in_all_their_combinations(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FACTORS, encoding="utf-8")
    (pair,) = read_pairs([str(path)])
    assert (pair.kind, pair.causes) == ("two", ("recipe-rate", "copying"))
    assert {letters: arm.name for letters, arm in pair.arms.items()} == {
        "aa": "diverse-third",
        "ab": "listless-again",
        "ba": "diverse-third-lr-3e-5",
        "bb": "listless-again-lr-3e-5",
    }
    cells = {cell.name: cell for cell in study_of([pair], [4], ["runs=[7]", "planted=[8, 9]"]).cells}
    sides = {name for name in cells if name.startswith("s4-shared-arm-")}
    alone = {f"s4-shared-arm-{arm}-17" for arm in ("diverse", "third", "listless-lr-3e-5", "again-lr-3e-5")}
    both = {f"s4-shared-arm-{arm}-{n}7" for arm in ("diverse-third", "listless-again-lr-3e-5") for n in (1, 2)}
    assert sides == alone | both
    assert len([name for name in cells if name.startswith("s4-shared-planted-")]) == 2 * 4 * 2 * 2
    tuned = cells["s4-shared-arm-again-lr-3e-5-17"].command
    assert "runs/again/checkpoint.pt" in tuned
    assert "--seed 7 --set lr=3e-5" in tuned
    gathered = cells["s4-shared-arm-listless-again-lr-3e-5-27"]
    assert gathered.inputs[0] == "s4/shared/arms/again-lr-3e-5.s17.jsonl"
    assert gathered.outputs[0] == "s4/shared/arms/listless-again-lr-3e-5.s27.jsonl"
    last = cells["s4-mine-diagnose"]
    assert {"s4/shared/probe-listless.txt", "s4/shared/premise-listless.txt"} <= set(last.inputs)
    assert "s4/shared/arms/diverse-third.vs.listless-again-lr-3e-5.explain.json" in last.inputs
    assert not any("planted" in one for one in last.inputs)  # what is true is not shown to the diagnosis
    assert "aa=diverse-third" in cells["s4-mine-planted-points"].command


def test_base_models_of_several_sides_are_fine_tuned_once_and_what_plants_nothing_has_no_planted_points() -> None:
    pairs = read_pairs(["null-recipes*", "null-warmup*"])
    names = [cell.name for cell in study_of(pairs, [0], ["runs=[1, 2]"]).cells]
    bases = ("diverse", "again", "third", "fourth", "warmer", "warmer-again")
    tuned = [name for name in names if name.startswith("s0-shared-arm-") and name[-2:] in ("11", "12")]
    assert {f"s0-shared-arm-{base}-1{run}" for base in bases for run in (1, 2)} <= set(tuned)
    assert len({pair.arms[side].name for pair in pairs for side in "ab"}) == 7
    assert not [name for name in names if "planted" in name]


def test_one_base_model_stands_for_two_factors_that_name_one(tmp_path: Path) -> None:
    (pair,) = read_pairs(["two-extraction-copying"])
    assert [arm.bases for arm in pair.arms.values()] == [
        ("diverse",),
        ("listless",),
        ("repeated",),
        ("listless-repeated",),
    ]


def test_every_run_of_the_shipped_pairs_follows_the_parameter() -> None:
    study = study_of(read_pairs([]), [0], ["runs=[4, 5]", "planted=[6, 7]"])
    made = {path for cell in study.cells for path in cell.outputs}
    for cell in study.cells:
        for path in cell.inputs:
            assert path in made or path.startswith(("/", "s0/shared/arms/")), (cell.name, path)
    assert not [cell.name for cell in study.cells if ".s1.jsonl" in cell.command and "one-seed" not in cell.name]


def told(cause: str, points: float, kind: VerdictKind = "cause", also: tuple[str, ...] = ()) -> Diagnosis:
    found = diagnosis(cause, kind)
    contribution = Contribution(
        cause=cause, points=points, low=points - 2, high=points + 2, grade="measured", status="named"
    )
    question = Question(points=0.2, low=0.1, high=0.3, unit="base runs")
    return found.model_copy(
        update={
            "better": "x",
            "contributions": (contribution,),
            "questions": Questions(recipes=question),
            "verdict": found.verdict.model_copy(update={"causes": (cause, *also)}),
        }
    )


@pytest.mark.parametrize(
    ("both", "third", "right"), [((1, 1), (0, 1), True), ((1, 1), (1, 1), False), ((0, 1), (0, 1), False)]
)
def test_a_pair_of_two_causes_is_right_where_both_and_no_third_are_listed(
    both: tuple[int, int], third: tuple[int, int], right: bool
) -> None:
    made = {"pair": "p", "seed": 0, "cause": "copying", "kind": "two", "named": "knowledge-extraction"}
    assert PairOutcome.model_validate({**made, "checks": {"both": both, "third": third}}).right is right


def test_what_is_asked_of_each_kind_of_pair(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FACTORS, encoding="utf-8")
    (two,) = read_pairs([str(path)])
    planted = [PlantedFactor(cause="recipe-rate", points=10.0, standard_error=1.0)]
    assert checks(two, told("recipe-rate", 12.0, also=("copying",)), planted) == {
        "both": (1, 1),
        "third": (0, 1),
        "wrong": (0, 1),
        "points": (1, 1),
    }
    third = checks(two, told("recipe-rate", 12.9, also=("copying", "composition")), planted)
    assert (third["both"], third["third"], third["wrong"], third["points"]) == ((1, 1), (1, 1), (1, 1), (0, 1))
    hidden = told("recipe-rate", 12.0, "underpowered")
    behind = hidden.verdict.model_copy(update={"causes": (), "shows_as": ("recipe-rate", "copying")})
    cancel = checks(two, hidden.model_copy(update={"better": None, "verdict": behind}), planted)
    assert (cancel["both"], cancel["third"], "wrong" in cancel) == ((1, 1), (0, 1), False)
    (mixed,) = read_pairs(["composition"])
    assert checks(mixed, told("composition", 1.0, also=("copying",)), [])["wrong"] == (0, 1)
    assert checks(mixed, told("composition", 1.0, also=("contamination",)), [])["wrong"] == (1, 1)
    null, unlisted, one, decoy = read_pairs(["null-recipes", "unlisted-mix", "one-seed-rate", "decoy-decay-rate"])
    assert checks(null, told("copying", 1.0), []) == {"null": (1, 1), "recipes": (1, 1)}
    assert checks(unlisted, told("copying", 1.0), []) == {"unlisted": (1, 1), "wrong": (1, 1)}
    assert checks(one, told("recipe-rate", 1.0), [])["one-seed"] == (1, 1)
    assert checks(decoy, told("recipe-rate", 1.0), [])["single"] == (1, 1)
    assert checks(decoy, told("recipe-weight-decay", 1.0), [])["wrong"] == (1, 1)


def test_counts_are_of_pairs_in_worlds_and_of_kinds_of_pairs(tmp_path: Path) -> None:
    pairs = read_pairs(["decoy-decay-rate", "decoy-beta-mask"])
    where = tmp_path / "zoo"
    for seed, named in ((0, "recipe-rate"), (1, "recipe-mask")):
        put(where, "decoy-decay-rate", seed, told(named, 1.0))
    put(where, "decoy-beta-mask", 0, told("recipe-mask", 1.0))
    counted = count(pairs, [outcome(pair, seed, where) for pair in pairs for seed in (0, 1)])
    rates = {one.name: one for one in counted.counts}
    assert (rates["single"].rate.count, rates["single"].rate.of) == (2, 3)
    assert (rates["single"].pairs.count, rates["single"].pairs.of) == (1, 2)
    assert (rates["wrong"].rate.count, rates["wrong"].rate.of) == (1, 3)
    assert rates["points"].rate.of == 0
    assert "kinds of pairs of which it is always so" in templates.report_page("zoo.html", zoo=counted)


def test_zoos_that_were_made_apart_are_counted_together(tmp_path: Path) -> None:
    pairs = read_pairs(["decoy-decay-rate", "decoy-beta-mask"])
    where = tmp_path / "zoo"
    put(where, "decoy-decay-rate", 0, told("recipe-rate", 1.0))
    put(where, "decoy-beta-mask", 0, told("copying", 1.0))
    put(where, "decoy-beta-mask", 1, told("recipe-mask", 1.0))
    found = [outcome(pair, 0, where) for pair in pairs], [outcome(pairs[1], 1, where)]
    count(pairs, found[0]).write(tmp_path / "first")
    count(pairs[1:], found[1]).write(tmp_path / "second")
    files = [tmp_path / name / "zoo.json" for name in ("first", "second")]
    pooled, together = pool(files), count(pairs, [*found[0], *found[1]])
    apart = {"provenance", "pairs"}
    assert pooled.model_dump(mode="json", exclude=apart) == together.model_dump(mode="json", exclude=apart)
    assert {(pair.name, pair.right, pair.of) for pair in pooled.pairs} == {
        ("decoy-decay-rate", 1, 1),
        ("decoy-beta-mask", 1, 2),
    }
    files[1].with_name("copy.json").write_bytes(files[1].read_bytes())
    with pytest.raises(InputError, match=r"decoy-beta-mask \(seed 1\) is in .*zoo.json and in .*copy.json"):
        pool([*files, files[1].with_name("copy.json")])


def test_nothing_that_could_be_made_counts_for_nothing(tmp_path: Path) -> None:
    pairs = read_pairs([str(pair_file(tmp_path, "rate"))])
    counted = count(pairs, [outcome(pairs[0], 0, tmp_path)])
    assert (counted.accuracy.of, counted.accuracy.value, counted.confusion) == (0, None, {})
    assert (counted.pairs[0].right, counted.pairs[0].of) == (0, 0)
