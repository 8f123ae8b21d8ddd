"""The noise ledger against what was planted and an analysis of variance by hand, and the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from equiloss.errors import InputError
from equiloss.records.noise import Level, load, spread
from equiloss.records.response import Response, item_id, write_responses
from equiloss.records.verdict import Verdict, file_name, write_verdicts
from equiloss.statistics.estimate import Estimate
from judge.cli.main import program as judge
from study.cli.main import program
from study.noise.ledger import noise_ledger
from study.noise.measurements import ScoredRun, from_table


def scored(rng: np.random.Generator, recipes: int = 3, bases: int = 4, seeds: int = 3) -> list[ScoredRun]:
    """Base SD 4, seed SD 2, recipe x item SD 8, seed x item SD 12, judge SD 5; an hour a base run, a minute a seed."""
    item = rng.normal(0, 20, 60)
    runs: list[ScoredRun] = []
    for recipe in range(recipes):
        own = item + rng.normal(0, 8, 60)
        for base in range(bases):
            level = 50 + rng.normal(0, 4)
            for seed in range(seeds):
                cells = level + rng.normal(0, 2) + own + rng.normal(0, 12, 60)
                scores = cells[:, None] + rng.normal(0, 5, (60, 2))
                name = f"r{recipe}.b{base}.s{seed}"
                runs.append(ScoredRun(name, str(recipe), "", name[:5], scores, False, 3600.0, 60.0, 0.001))
    return runs


def held(estimates: list[Estimate], truth: float) -> float:
    return float(np.mean([not one.excludes(truth) for one in estimates]))


def test_planted_components_are_found_and_their_intervals_hold_them():
    rng = np.random.default_rng(0)
    ledgers = [noise_ledger(scored(rng)) for _ in range(150)]
    planted: dict[Level, float] = {
        "pretraining_run": 4,
        "fine_tuning_seed": 2,
        "item": 8,
        "judge_repeat": 5,
        "seed_item": math.sqrt(144 + 12.5),
    }
    for level, sd in planted.items():
        rows = [row.sd for ledger in ledgers if (row := ledger.component(level))]
        assert len(rows) == 150
        assert np.mean([row.value**2 for row in rows]) == pytest.approx(sd**2, rel=0.15), level
        assert held(rows, sd) >= 0.90, level
    differ = 1.959964 * math.sqrt(2 * (16 + 4 + (144 + 12.5) / 60))
    rows = [ledger.two_runs_differ_by for ledger in ledgers if ledger.two_runs_differ_by]
    assert np.median([row.value for row in rows]) == pytest.approx(differ, rel=0.06)
    assert held(rows, differ) >= 0.9


def test_a_purchase_does_what_the_formula_says():
    ledger = noise_ledger(scored(np.random.default_rng(1)))
    sd = {row.level: row.sd.value for row in ledger.components}
    cell = (sd["seed_item"] ** 2 - sd["judge_repeat"] ** 2 / 2) / 60

    def half(bases: int, seeds: int) -> float:
        run = sd["fine_tuning_seed"] ** 2 + cell + sd["judge_repeat"] ** 2 / 2 / 60
        return 1.959964 * math.sqrt(
            2 * (sd["pretraining_run"] ** 2 / bases + run / bases / seeds + sd["item"] ** 2 / 60)
        )

    rows = {row.what: row for row in ledger.purchases}
    assert (ledger.bases, ledger.seeds) == (4, 3)
    assert ledger.half_width == pytest.approx(half(4, 3))
    assert rows["base run"].half_width == pytest.approx(half(5, 3))
    assert rows["fine-tuning seed"].half_width == pytest.approx(half(4, 4))
    assert rows["base run"].hours == pytest.approx(2 * (3600 + 3 * 60) / 3600)
    assert rows["judge repeat"].usd == pytest.approx(2 * 12 * 60 * 0.001)
    assert ledger.allocation
    for best in ledger.allocation:
        assert 2 * best.bases * (3600 + best.seeds * 60) <= best.hours * 3600
        assert best.half_width == pytest.approx(half(best.bases, best.seeds))


def test_a_table_of_judgings_tells_the_judges_noise_and_no_more(tmp_path: Path):
    """The residual of a two-way analysis of variance, by hand; with recipes and bases named, the runs' spread too."""
    rng = np.random.default_rng(2)
    values = np.round(rng.normal(20, 5, (8, 1)) + rng.normal(0, 0.5, 5) + rng.normal(0, 0.3, (8, 5)), 2)
    lines = [f"m{i}," + ",".join(map(str, row)) for i, row in enumerate(values)]
    table = tmp_path / "runs.csv"
    table.write_text("model,run1,run2,run3,run4,run5\n" + "\n".join(lines) + "\n")
    ledger = noise_ledger(from_table(table))
    left = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    [row] = ledger.components
    assert row.level == "judge_repeat"
    assert row.of_means
    assert row.sd.value == pytest.approx(math.sqrt((left**2).sum() / 28))
    assert ledger.two_runs_differ_by is None
    assert set(ledger.not_measured) >= {"pretraining_run", "fine_tuning_seed"}
    named = [f"m{i},r{i // 4},b{i // 2}," + ",".join(map(str, row)) for i, row in enumerate(values)]
    table.write_text("model,recipe,base,run1,run2,run3,run4,run5\n" + "\n".join(named) + "\n")
    ledger = noise_ledger(from_table(table))
    means = values.mean(axis=1).reshape(4, 2)
    seed = ledger.component("fine_tuning_seed")
    assert seed is not None
    assert seed.sd.value == pytest.approx(math.sqrt(means.var(axis=1, ddof=1).mean()))
    base = means.mean(axis=1).reshape(2, 2).var(axis=1, ddof=1).mean() - seed.sd.value**2 / 2
    run = ledger.component("pretraining_run")
    assert run is not None
    assert run.sd.value == pytest.approx(math.sqrt(max(0.0, base)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column `model`"),
        ("model,loss\na,1\n", "no column `model`"),
        ("model,run1,run2\na,1,x\n", "line 2: a judging that is no number"),
        ("model,run1,run2\na,,\n", "line 2: no judging at all"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, says: str):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        from_table(tmp_path / "t.csv")


def test_nothing_measured_twice_is_an_error(tmp_path: Path):
    (tmp_path / "t.csv").write_text("model,run1\na,1\nb,2\n")
    result = CliRunner().invoke(program, ["noise", "--table", str(tmp_path / "t.csv")])
    assert isinstance(result.exception, InputError)
    assert "nothing was measured twice" in str(result.exception)


def answers(directory: Path, name: str, values: np.ndarray) -> Path:
    """A judged file of results, a score an item."""
    asked = {item_id(f"Question {index}?", ""): f"Question {index}?" for index in range(len(values))}
    path = directory / f"{name}.jsonl"
    rows = [{"id": id, "instruction": text, "output": "x", "generator": name} for id, text in asked.items()]
    write_responses(path, [Response.model_validate(row) for row in rows])
    panel = {"rubric": "correctness", "rubric_sha": "0" * 64, "judge": "gpt-4", "judge_resolved": "gpt-4"}
    scores = [
        {"id": id, "generator": name, "criterion": "correctness", "value": value, "group": [name], **panel}
        | {"request_sha": id, "repeat": 0, "explanation": ""}
        for id, value in zip(asked, values.tolist(), strict=True)
    ]
    write_verdicts(directory / file_name(name, "correctness", "gpt-4"), [Verdict.model_validate(row) for row in scores])
    return path


def test_the_ledger_serves_a_comparison_of_one_seed_a_side(tmp_path: Path):
    rng = np.random.default_rng(3)
    item = rng.normal(50, 15, 60)
    files = [
        answers(tmp_path, f"{name}.s{seed}", item + rng.normal(0, 3) + rng.normal(0, 5, 60))
        for name in "mn"
        for seed in (1, 2, 3)
    ]
    result = CliRunner().invoke(program, ["noise", *map(str, files), "-o", str(tmp_path / "noise.json")])
    assert result.exit_code == 0, result.output
    assert "fine-tuning seed" in result.stdout
    assert "<svg" in (tmp_path / "noise.html").read_text()
    ledger = load(tmp_path / "noise.json")
    assert spread(ledger).base_sd is None
    seed = ledger.component("fine_tuning_seed")
    assert seed is not None
    ends = [str(files[0]), str(files[3]), "--noise", str(tmp_path / "noise.json"), "--draws", "100"]
    assert CliRunner().invoke(judge, ["compare", *ends]).exit_code == 0
    [gap] = json.loads(CliRunner().invoke(judge, ["compare", *ends, "--json"]).stdout)["differences"]
    low, high = gap["with_noise"]["bases"]
    assert low < gap["interval_items"][0] < gap["interval_items"][1] < high
    assert gap["with_noise"]["recipes"] is None
    assert gap["with_noise"]["seed_sd"] == pytest.approx(seed.sd.value)
