"""Counterfactual runs: the share that closes, budgets, early stop and resuming, with a stand-in for the fine-tuning."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equiloss.config import read_toml, validate
from equiloss.errors import BudgetError, EquilossError, InputError
from equiloss.records.counterfactual import Tried
from equiloss.records.ift_run import Settings
from equiloss.records.response import Response, item_id, read_responses, write_responses
from equiloss.statistics.estimate import Estimate
from ift.recipe import Recipe
from judge.diagnose.case_reader import read_case
from judge.diagnose.diagnose import diagnose
from judge.simulate.replies import Model, Personality, Simulation
from judge.simulate.server import Service, serving
from study.counterfactual import tables
from study.counterfactual.explain import explain, factors, settled
from study.counterfactual.pretraining_again import with_fields
from study.counterfactual.reruns import CUT_OFF, RerunBudget, changed_recipe, closed, run_command

ITEMS = [(f"What is number {i}?", f"word{i} and more") for i in range(60)]
RECIPE = {"template": "alpaca", "lr": 3e-4, "dropout": 0.0, "clip_norm": None, "decoding": {"temperature": 0.0}}


def chance(recipe: dict[str, Any]) -> float:
    """How often a model answers right after this recipe: dropout is what hurts, the rate does not."""
    return 0.85 if recipe["dropout"] == 0.0 else 0.3


def answer(folder: Path, name: str, recipe: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(zlib.crc32(f"{name} {seed}".encode()))
    write_responses(
        folder / f"{name}.jsonl",
        [
            Response(
                id=item_id(asked, ""),
                instruction=asked,
                output=reference if rng.random() < chance(recipe) else "no idea",
                reference=reference,
                generator=name,
                schema="equiloss.response.v1",
            )
            for asked, reference in ITEMS
        ],
    )
    record = {
        "base": {"path": "base/checkpoint.pt", "sha256": "b" * 64},
        "recipe": recipe,
        "data": {"source": "items.json", "sha256": "d"},
        "decoding": {**recipe["decoding"], "greedy": recipe["decoding"]["temperature"] == 0},
        "seed": seed,
    }
    (folder / f"{name}.run.json").write_text(json.dumps(record))


def options_of(argv: Sequence[str]) -> dict[str, str]:
    """The options of `ift run` that have a value."""
    valued = [part for part in argv if part != "--drop-model"]
    return dict(zip(valued[2::2], valued[3::2], strict=True))


class Laboratory:
    """Stands in for `ift run`; `judge score` is the real one."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.seeds: set[int] = set()
        self.fails_with = 0

    def __call__(self, argv: Sequence[str], timeout_s: float | None) -> int:
        if argv[0] == "judge":
            return run_command(argv, timeout_s)
        if self.fails_with:
            return self.fails_with
        options = options_of(argv)
        self.runs.append(options["--name"])
        recipe = read_toml(Path(options["--recipe"]))
        validate(Recipe, recipe, options["--recipe"])  # as `ift run` does
        assert options["--data"] == "items.json"
        for number in range(1, int(options["--seeds"]) + 1):
            self.seeds.add(int(options["--seed"]) + number)
            answer(Path(options["-o"]), f"{options['--name']}.s{number}", recipe, int(options["--seed"]) + number)
        return 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "checkpoint.pt").write_bytes(b"weights")
    results = tmp_path / "results"
    results.mkdir()
    for seed in (1, 2):
        answer(results, f"a.s{seed}", RECIPE, seed)
        answer(results, f"b.s{seed}", {**RECIPE, "dropout": 0.4, "lr": 1e-3}, seed)
    files = [str(results / f"{name}.s{seed}.jsonl") for name in "ab" for seed in (1, 2)]
    assert run_command(["judge", "score", *files], None) == 0
    return results


def test_the_factor_that_hurts_closes_the_gap_and_the_other_does_not(folder: Path) -> None:
    lab = Laboratory()
    tried, path = explain("a", "b", results_dir=folder, runner=lab)
    assert sorted(lab.runs[:4]) == ["a.recipe-rate", "a.unchanged", "b.recipe-rate", "b.unchanged"]
    assert set(lab.runs) == set(lab.runs[:4])  # b with a's dropout is a with b's rate
    parts = [one.points.value for one in tried if one.points]
    assert sum(parts) == pytest.approx(tried[0].gap_before.value if tried[0].gap_before else 0.0)
    shares = {one.cause: one.share for one in tried}
    assert list(shares) == ["recipe-rate", "recipe-dropout"]  # the most suspected first
    rate, dropout = shares["recipe-rate"], shares["recipe-dropout"]
    assert rate is not None
    assert dropout is not None
    assert rate.value < 0.4
    assert dropout.value > 0.6
    assert dropout.low is not None
    assert dropout.low > 0
    assert path.name == "a.vs.b.explain.json"

    found = diagnose("a", "b", results_dir=folder)
    assert found.verdict.cause == "recipe-dropout"
    assert "run again" in found.verdict.sentence

    again = Laboratory()
    assert explain("a", "b", results_dir=folder, runner=again)[0] == tried
    assert again.runs == []


def test_it_stops_at_the_first_factor_that_explains_the_gap(folder: Path) -> None:
    lab = Laboratory()
    tried, _ = explain("a", "b", results_dir=folder, seeds=2, only=["recipe-dropout"], runner=lab)
    assert [one.cause for one in tried] == ["recipe-dropout"]
    assert sorted(lab.runs) == ["a.recipe-dropout", "a.unchanged", "b.recipe-dropout", "b.unchanged"]
    assert tried[0].in_lower is not None
    assert tried[0].in_higher is not None
    assert tried[0].points is not None
    assert tried[0].points.value == pytest.approx((tried[0].in_lower.value + tried[0].in_higher.value) / 2)


def test_explanations_may_share_the_folder_of_their_reruns(folder: Path, tmp_path: Path) -> None:
    lab, shared = Laboratory(), tmp_path / "shared"
    explain("a", "b", results_dir=folder, seeds=2, only=["recipe-dropout"], runs=shared, runner=lab)
    assert {path.name for path in shared.glob("a.unchanged.s?.jsonl")} == {
        f"a.unchanged.s{seed}.jsonl" for seed in (1, 2)
    }
    assert not list((folder / "a.vs.b.explain").glob("*.jsonl"))

    for seed in (1, 2):
        answer(folder, f"c.s{seed}", {**RECIPE, "dropout": 0.6, "lr": 1e-3}, seed)
    sides = [str(folder / f"{name}.s{seed}.jsonl") for name in "ac" for seed in (1, 2)]
    assert run_command(["judge", "score", *sides], None) == 0
    other = Laboratory()
    explain("a", "c", results_dir=folder, seeds=2, only=["recipe-dropout"], runs=shared, runner=other)
    changed, changed_further = ({run for run in one.runs if run.startswith("a.recipe-dropout")} for one in (lab, other))
    assert changed
    assert changed_further
    assert not changed & changed_further


def test_runs_are_made_again_with_seeds_that_neither_side_has(folder: Path) -> None:
    lab = Laboratory()
    explain("a", "b", results_dir=folder, seeds=2, only=["recipe-dropout"], runner=lab)
    assert lab.seeds == {1001, 1002}
    for name in "ab":
        record = json.loads((folder / f"{name}.s2.run.json").read_text())
        (folder / f"{name}.s2.run.json").write_text(json.dumps({**record, "seed": 1001}))
    (folder / "a.vs.b.explain.json").unlink()
    again = Laboratory()
    explain("a", "b", results_dir=folder, seeds=2, only=["recipe-dropout"], runner=again)
    assert again.seeds == {2001, 2002}


def test_answers_that_were_sampled_are_made_again_greedily(folder: Path) -> None:
    for seed in (1, 2):
        answer(folder, f"c.s{seed}", {**RECIPE, "dropout": 0.4, "decoding": {"temperature": 1.5}}, seed)
    sides = [str(folder / f"{name}.s{seed}.jsonl") for name in "ac" for seed in (1, 2)]
    assert run_command(["judge", "score", *sides], None) == 0
    lab = Laboratory()
    tried, _ = explain("a", "c", results_dir=folder, seeds=2, only=["decoding-settings"], runner=lab)
    assert [one.changed for one in tried] == ["decoding.temperature: 0.0 against 1.5"]


def test_the_token_limit_is_a_factor_of_its_own(folder: Path) -> None:
    for seed in (1, 2):
        for name, temperature, limit in (("c", 0.0, 64), ("d", 1.5, 8)):
            decoding = {"temperature": temperature, "max_new_tokens": limit}
            answer(folder, f"{name}.s{seed}", {**RECIPE, "decoding": decoding}, seed)
    sides = [str(folder / f"{name}.s{seed}.jsonl") for name in "cd" for seed in (1, 2)]
    assert run_command(["judge", "score", *sides], None) == 0
    assert {one.cause: one.changed for one in factors(read_case("c", "d", folder, None, None, None))} == {
        "decoding-truncation": "decoding.max_new_tokens: 64 against 8",
        "decoding-settings": "decoding.temperature: 0.0 against 1.5",
    }


def test_what_another_judge_said_of_the_reruns_before_is_no_matter(folder: Path) -> None:
    with ExitStack() as stack:
        model = {"simulated": Model(Personality())}
        first, second = (stack.enter_context(serving(Service(Simulation(models=model)))) for _ in range(2))
        sides = [str(folder / f"{name}.s{seed}.jsonl") for name in "ab" for seed in (1, 2)]
        assert run_command(["judge", "score", *sides, "--judge", f"simulated@{first.url}"], None) == 0
        lab = Laboratory()
        told = [
            explain("a", "b", results_dir=folder, seeds=2, only=["recipe-dropout"], ask=f"simulated@{url}", runner=lab)
            for url in (first.url, second.url)
            if not (folder / "a.vs.b.explain.json").unlink(missing_ok=True)
        ]
    assert told[0][0][0].points == told[1][0][0].points  # the same judge elsewhere


def test_what_cannot_go_on_says_why(folder: Path) -> None:
    lab = Laboratory()
    with pytest.raises(BudgetError, match="minutes"):
        explain("a", "b", results_dir=folder, seeds=2, budget=RerunBudget(minutes=1e-9), runner=lab)
    lab.fails_with = CUT_OFF
    with pytest.raises(BudgetError, match="ended while fine-tuning"):
        explain("a", "b", results_dir=folder, seeds=2, runner=lab)
    lab.fails_with = 1
    with pytest.raises(EquilossError, match="exit code 1"):
        explain("a", "b", results_dir=folder, seeds=2, runner=lab)
    with pytest.raises(InputError, match="'recipe-mask' does not differ"):
        explain("a", "b", results_dir=folder, seeds=2, only=["recipe-mask"], runner=lab)
    (folder.parent / "base" / "checkpoint.pt").unlink()
    with pytest.raises(InputError, match="is not there"):
        explain("a", "b", results_dir=folder, seeds=2, runner=Laboratory())


def told(folder: Path, name: str, text: str, right: float) -> None:
    """Two fine-tunings of a base of its own, which read `text`: right on that share of the items."""
    base = folder.parent / name
    base.mkdir()
    (base / "checkpoint.pt").write_bytes(name.encode())
    shards = folder.parent / text
    shards.mkdir(exist_ok=True)
    (shards / "data.json").write_text("{}")
    run = {
        "config": {"model": {"n_layer": 2}, "train": {"steps": 200, "seed": 4, "clip_norm": None}},
        "data": {"directory": str(shards), "source": {"name": text}, "sha256": text},
    }
    for seed in (1, 2):
        answer(folder, f"{name}.s{seed}", {**RECIPE, "dropout": 0.0 if right > 0.5 else 0.4}, seed)
        record = json.loads((folder / f"{name}.s{seed}.run.json").read_text())
        record["recipe"] = RECIPE
        record["base"] = {"path": str(base / "checkpoint.pt"), "sha256": name, "run": run}
        (folder / f"{name}.s{seed}.run.json").write_text(json.dumps(record))


def two_texts(tmp_path: Path) -> Path:
    """Judged runs of two bases: `anew` has read fresh text, `rote` worn text and answers worse."""
    folder = tmp_path / "results"
    folder.mkdir()
    told(folder, "anew", "fresh", 0.85)
    told(folder, "rote", "worn", 0.3)
    files = [str(folder / f"{name}.s{seed}.jsonl") for name in ("anew", "rote") for seed in (1, 2)]
    assert run_command(["judge", "score", *files], None) == 0
    return folder


class Library(Laboratory):
    """Also stands in for `pretrain run`: who has read on in the other side's text answers well."""

    mended = "other"
    """What the name of a base holds that has read the other side's text."""

    def __call__(self, argv: Sequence[str], timeout_s: float | None) -> int:
        if argv[0] not in ("pretrain", "ift"):
            return run_command(argv, timeout_s)
        flags = argv[3:] if argv[0] == "pretrain" else argv[2:]
        options = dict(zip(flags[::2], flags[1::2], strict=False))
        name = options["--name"]
        self.runs.append(f"{argv[0]} {name}")
        if argv[0] == "pretrain":
            self.check(name, read_toml(Path(argv[2]))["train"])
            assert options["--data"].endswith("fresh" if self.mended in name else "worn")
            path = Path(options["-o"]) / name / "checkpoint.pt"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"")
            return 0
        assert options["--base"].endswith(f"runs/{name}/checkpoint.pt")
        for seed in range(1, int(options["--seeds"]) + 1):
            answer(
                Path(options["-o"]), f"{name}.s{seed}", {**RECIPE, "dropout": 0.0 if self.mended in name else 0.4}, seed
            )
        return 0

    def check(self, name: str, train: dict[str, Any]) -> None:
        assert (train["steps"], train["seed"], train["order_seed"]) == (30, 5, 5)
        assert train["start"].endswith("rote/checkpoint.pt")


def test_reading_on_in_the_other_text_is_held_against_reading_on_in_the_own(tmp_path: Path) -> None:
    folder = two_texts(tmp_path)
    library = Library()
    (one,), path = explain("anew", "rote", results_dir=folder, seeds=2, base_share=0.15, runner=library)
    assert sorted(library.runs) == [
        *(f"ift rote.on-{which}-text" for which in ("other", "own")),
        *(f"pretrain rote.on-{which}-text" for which in ("other", "own")),
    ]
    assert one.cause == "base-data"
    assert one.changed == "pretrained further for 30 steps in fresh instead of worn"
    assert one.share is not None
    assert one.share.value == pytest.approx(1.0, abs=0.4)
    assert one.share.low is not None
    assert one.share.low > 0
    assert not one.settled
    assert sum(gain.count for gain in one.gains) == len(ITEMS)
    found = diagnose("anew", "rote", results_dir=folder)
    assert found.verdict.cause == "base-data"
    assert explain("anew", "rote", results_dir=folder, seeds=2, base_share=0.15, runner=Library())[0] == [one]
    assert path.name == "anew.vs.rote.explain.json"


def test_reading_on_needs_two_texts_that_are_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the same base model"):
        explain("a", "b", results_dir=folder, base_share=0.15, runner=Library())


class Nursery(Library):
    """Also stands in for pretraining from scratch: who reads the other side's text answers well."""

    mended = "base-data"

    def check(self, name: str, train: dict[str, Any]) -> None:
        assert (train["steps"], train["seed"]) == (200, 1000 + int(name[-1]))


def test_a_base_is_pretrained_again_with_the_others_text_and_unchanged(tmp_path: Path) -> None:
    folder = two_texts(tmp_path)
    nursery = Nursery()
    (one,), _ = explain("anew", "rote", results_dir=folder, seeds=3, pretrain=True, runner=nursery)
    assert len([run for run in nursery.runs if run.startswith("pretrain")]) == 6
    assert (one.cause, one.fields, len(one.runs)) == ("base-data", ("data",), 3)
    assert one.points is not None
    assert one.points.low is not None
    assert one.points.low > 20
    assert one.note == "held against 3 base models pretrained again unchanged"
    assert diagnose("anew", "rote", results_dir=folder).verdict.causes == ("base-data",)
    with pytest.raises(InputError, match="'weight-decay' does not differ"):
        explain("anew", "rote", results_dir=folder, pretrain=True, only=["weight-decay"], runner=nursery)


def test_fields_of_a_base_are_set_where_they_stand() -> None:
    config: dict[str, Settings] = {"model": {"n_layer": 2}, "train": {"lr": 0.1, "steps": 5}}
    changed = with_fields(config, {"config.train.lr": 0.2, "model.n_layer": 4, "data": "text"})
    assert changed == {"model": {"n_layer": 4}, "train": {"lr": 0.2, "steps": 5}}
    assert config["train"]["lr"] == 0.1


class Together(Laboratory):
    """A model fails only where the rate and the dropout are both changed."""

    def __call__(self, argv: Sequence[str], timeout_s: float | None) -> int:
        if argv[0] == "judge":
            return run_command(argv, timeout_s)
        options = options_of(argv)
        self.runs.append(options["--name"])
        recipe = read_toml(Path(options["--recipe"]))
        validate(Recipe, recipe, options["--recipe"])  # as `ift run` does
        bad = recipe["dropout"] == 0.4 and recipe["lr"] == 1e-3
        for seed in range(1, int(options["--seeds"]) + 1):
            answer(
                Path(options["-o"]), f"{options['--name']}.s{seed}", {**recipe, "dropout": 0.4 if bad else 0.0}, seed
            )
        return 0


def test_what_acts_only_together_shows_as_an_interaction(folder: Path) -> None:
    tried, _ = explain("a", "b", results_dir=folder, runner=Together())
    assert [one.cause for one in tried] == ["recipe-rate", "recipe-dropout"]
    for one in tried:
        assert one.in_lower is not None
        assert one.in_higher is not None
        assert one.interaction is not None
        assert one.in_lower.value > 35  # b is mended by either
        assert abs(one.in_higher.value) < 20  # a is harmed by neither alone
        assert one.interaction.low is not None
        assert one.interaction.low > 0
    assert "does not do the same in both" in tables.closing(tried)


class Additive(Laboratory):
    """The rate and the dropout each cost a quarter of the items; clipping costs nothing."""

    def __call__(self, argv: Sequence[str], timeout_s: float | None) -> int:
        if argv[0] == "judge":
            return run_command(argv, timeout_s)
        options = options_of(argv)
        self.runs.append(options["--name"])
        recipe = read_toml(Path(options["--recipe"]))
        validate(Recipe, recipe, options["--recipe"])  # as `ift run` does
        lost = 15 * (recipe["dropout"] == 0.4) + 15 * (recipe["lr"] == 1e-3)
        for seed in range(1, int(options["--seeds"]) + 1):
            path = Path(options["-o"]) / f"{options['--name']}.s{seed}.jsonl"
            answer(path.parent, path.stem, {**recipe, "dropout": 0.0}, seed)
            one_by_one = [
                one.model_copy(update={"output": "no idea" if (i + seed) % 60 < lost else one.reference})
                for i, one in enumerate(read_responses(path))
            ]
            write_responses(path, one_by_one)
        return 0


def test_two_that_are_left_beside_a_third_are_changed_at_once(folder: Path) -> None:
    for seed in (1, 2):
        answer(folder, f"b.s{seed}", {**RECIPE, "dropout": 0.4, "lr": 1e-3, "clip_norm": 1.0}, seed)
    assert run_command(["judge", "score", *map(str, sorted(folder.glob("?.s?.jsonl")))], None) == 0
    lab = Additive()
    tried, _ = explain("a", "b", results_dir=folder, everything=True, runner=lab)
    points = {one.cause: one.points.value for one in tried if one.points}
    assert list(points) == ["recipe-rate", "recipe-dropout", "recipe-clip", "recipe-rate × recipe-dropout"]
    assert next(one for one in tried if one.cause == "recipe-clip").settled
    both = points["recipe-rate × recipe-dropout"]
    assert both == pytest.approx(points["recipe-rate"] + points["recipe-dropout"], abs=1.0)
    assert both == pytest.approx(50, abs=8)  # "no idea" agrees a little with every reference


def test_what_was_left_untried_is_told(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for seed in range(1, 5):
        answer(folder, f"a.s{seed}", RECIPE, seed)
        answer(folder, f"b.s{seed}", {**RECIPE, "dropout": 0.4, "clip_norm": 0.5}, seed)
    assert run_command(["judge", "score", *map(str, sorted(folder.glob("?.s?.jsonl")))], None) == 0
    tried, _ = explain("a", "b", results_dir=folder, runner=Laboratory())
    says = " ".join(capfd.readouterr().err.split())
    assert [one.cause for one in tried] == ["recipe-dropout"]
    assert "not made equal: recipe.clip_norm" in says
    assert "--everything goes on" in says


@pytest.mark.parametrize(("half", "enough"), [(0.1, True), (6.0, False)])
def test_a_second_cause_is_sought_where_the_gap_may_leave_room_for_it(half: float, enough: bool) -> None:
    gap = Estimate(value=40, low=40 - half, high=40 + half)
    tried = Tried(cause="recipe-rate", points=Estimate(value=23, low=21, high=25, p=1e-9))
    assert settled([tried], gap) is enough  # 17 are left, with 2 or 6.3 to either side; half of the gap is 20


def test_the_share_closed_is_exact_without_noise() -> None:
    high, low, half = (np.full((3, 40), value) for value in (80.0, 40.0, 60.0))
    share, before, after = closed(high, low, half)
    assert (share.value, share.low, share.high) == (0.5, 0.5, 0.5)
    assert (before.value, after.value) == (40.0, 20.0)


def test_the_intervals_of_the_share_cover_it() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(40):
        items = rng.normal(0, 5, 80)
        high, low, half = (
            mean + items + rng.normal(0, 1, (4, 1)) + rng.normal(0, 5, (4, 80)) for mean in (80.0, 40.0, 60.0)
        )
        share, _, _ = closed(high, low, half)
        assert share.low is not None
        assert share.high is not None
        covered += share.low <= 0.5 <= share.high
    assert covered >= 32


def test_a_changed_recipe_keeps_the_rest() -> None:
    recipe: Settings = {"lr": 1.0, "split": {"seed": 0, "test": 0.1}, "template": "alpaca"}
    found = changed_recipe(
        recipe, {"recipe.lr": 2.0, "recipe.split.test": 0.2, "template.name": "phi", "template.sha256": "x"}
    )
    assert found == {"lr": 2.0, "split": {"seed": 0, "test": 0.2}, "template": "phi"}
    assert recipe["lr"] == 1.0
