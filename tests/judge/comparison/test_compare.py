"""Comparisons of models: means, paired differences, categories, failures, and the command."""

import json
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from equiloss.errors import InputError
from judge.cli.main import program
from judge.comparison.compare import compare
from judge.comparison.document import Comparison
from judge.data.scores import Scores, choose_panel
from judge.data.verdicts import load_judged


def test_real_scores_of_gpt4(gpt4_judged):
    """The means that were published with the data, and a paired difference checked by a t interval."""
    comparison = compare(load_judged(gpt4_judged), draws=4000)
    assert [model.mean for model in comparison.models] == pytest.approx([74.09, 56.57])
    [one] = comparison.differences
    scores = Scores.of(judged := load_judged(gpt4_judged), choose_panel(judged)).by_item()
    t = stats.ttest_rel(scores[0], scores[1])
    assert one.difference == pytest.approx(17.52)
    assert one.standard_error == pytest.approx(float(t.statistic) ** -1 * 17.52)
    assert one.interval == one.interval_items == pytest.approx(tuple(t.confidence_interval()))
    assert one.p == pytest.approx(float(t.pvalue))
    assert not one.significant  # one seed a side
    assert one.p_holm is one.needed is one.minimum_detectable is None
    assert one.chance_seed_sd is not None
    at_that = np.sqrt((one.standard_error or 0) ** 2 + 2 * one.chance_seed_sd**2)
    assert one.difference / at_that == pytest.approx(stats.norm.ppf(0.975))
    assert one.wins + one.ties + one.losses == comparison.n_items == 100


def test_items_without_a_score_leave_the_means_and_are_shown(write_run):
    a = write_run("a", [[10.0, None, 30.0, 40.0]])
    b = write_run("b", [[0.0, 20.0, 10.0, None]])
    comparison = compare(load_judged([a, b]), draws=100)
    assert (comparison.n_items, comparison.n_items_any) == (2, 4)
    first, second = comparison.models
    assert (first.mean, first.mean_scored, first.n_scored, first.n_missing) == (20.0, pytest.approx(80 / 3), 3, 1)
    assert first.failures == second.failures == {"unparsable": 1}
    assert comparison.differences[0].difference == 15.0
    assert any("2 of 4 items lack a score" in warning for warning in comparison.warnings)


def test_pairs_use_all_items_that_they_share(write_run):
    files = [
        write_run("a", [[10.0, 20.0, 30.0]]),
        write_run("b", [[0.0, 0.0, 0.0]]),
        write_run("c", [[1.0, None, None]]),
    ]
    comparison = compare(load_judged(files), draws=100)
    assert comparison.n_items == 1
    assert [(one.a, one.b, one.n_items) for one in comparison.differences] == [
        ("a", "b", 3),
        ("a", "c", 1),
        ("b", "c", 1),
    ]
    assert comparison.differences[0].difference == 20.0


def test_the_same_answers_under_two_names_do_not_differ(write_run):
    rng = np.random.default_rng(0)
    row = [list(rng.integers(0, 101, 50).astype(float))]
    [one] = compare(load_judged([write_run("a", row), write_run("b", row)]), draws=200).differences
    assert (one.difference, one.interval, one.p, one.significant, one.ties) == (0.0, (0.0, 0.0), 1.0, False, 50)


def test_significance_is_judged_after_correction(write_run):
    """Ten pairs of five models that do not differ: p below 0.05 somewhere is common, after Holm it is not."""
    rng = np.random.default_rng(12)
    files = [write_run(f"m{i}.s{s}", [list(rng.normal(50, 10, 40))]) for i in range(5) for s in (1, 2)]
    comparison = compare(load_judged(files), draws=2000)
    assert len(comparison.differences) == 10
    for one in comparison.differences:
        assert one.p_holm is not None
        assert one.p is not None
        assert one.p_holm >= one.p
        assert one.significant == (one.p_holm < 0.05)


def test_categories_and_repeats(write_run):
    kinds = ["copy", "copy", "fact", None]
    a = write_run("a", [[10.0, 20.0, 30.0, 5.0], [30.0, 20.0, 30.0, 5.0]], categories=kinds)
    b = write_run("b", [[0.0, 0.0, 90.0, 5.0], [0.0, 0.0, 90.0, 5.0]], categories=kinds)
    comparison = compare(load_judged([a, b]), draws=100)
    assert comparison.n_repeats == 2
    assert [(one.category, one.n_items, one.means) for one in comparison.categories] == [
        ("copy", 2, {"a": 20.0, "b": 0.0}),
        ("fact", 1, {"a": 30.0, "b": 90.0}),
    ]


def test_seeds_are_pooled_into_a_model_unless_asked_otherwise(write_run):
    files = [write_run(f"m.s{i}", [[10.0 * i, 20.0]]) for i in (1, 2)] + [write_run("n", [[0.0, 0.0]])]
    pooled = compare(load_judged(files), draws=100)
    assert [(one.name, one.runs, one.mean) for one in pooled.models] == [
        ("m", ["m.s1", "m.s2"], 17.5),
        ("n", ["n"], 0.0),
    ]
    apart = compare(load_judged(files), draws=100, pool_seeds=False)
    assert [one.name for one in apart.models] == ["m.s1", "m.s2", "n"]


def test_nothing_in_common_is_an_error(write_run):
    a, b = write_run("a", [[1.0, None]]), write_run("b", [[None, 1.0]])
    with pytest.raises(InputError, match="no item has a score for every file"):
        compare(load_judged([a, b]))


def test_the_command_prints_one_document_whose_keys_are_documented(write_run):
    files = [str(write_run("a", [[1.0, 2.0, 4.0]])), str(write_run("b", [[0.0, 2.0, 1.0]]))]
    result = CliRunner().invoke(program, ["compare", *files, "--json", "--draws", "200"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["schema"] == "equiloss.comparison.v1"
    assert set(document) == {f.serialization_alias or name for name, f in Comparison.model_fields.items()}
    table = CliRunner().invoke(program, ["compare", *files, "--draws", "200"])
    assert "2.33" in table.stdout
    assert "only 3 items" in table.stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys, judge.cli.main; from typer.testing import CliRunner;"
        "assert CliRunner().invoke(judge.cli.main.program, ['compare', '--help']).exit_code == 0;"
        "print(sorted({'numpy', 'scipy', 'pandas', 'torch', 'openai', 'statsmodels'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_one_run_a_side_speaks_of_its_items_and_needs_nothing(write_run):
    rng = np.random.default_rng(1)
    a, b = rng.normal(50, 10, 60), rng.normal(50, 10, 60)
    [one] = compare(load_judged([write_run("a", [list(a)]), write_run("b", [list(b)])]), draws=500).differences
    assert one.method == "items"
    assert one.variance is not None
    assert one.variance.seed is None
    assert one.minimum_detectable is one.needed is None
    assert one.interval == pytest.approx(tuple(stats.ttest_rel(a, b).confidence_interval()))
    assert one.win_rate == pytest.approx((a > b).mean())


def test_several_seeds_are_tested_over_seeds(write_run):
    """Five seeds a side that differ much among themselves: sure over items, not over seeds."""
    rng = np.random.default_rng(5)
    item = rng.normal(50, 20, 100)
    files = [
        write_run(f"{name}.s{s}", [list(item + level + rng.normal(0, 3, 100))])
        for name, levels in (("m", (-9, 9, 4, -4, 3)), ("n", (8, -7, -5, 6, -6)))
        for s, level in enumerate(levels)
    ]
    judged = load_judged(files)
    [one] = compare(judged, draws=500).differences
    assert one.method == "seeds and items"
    assert not one.significant
    assert one.variance is not None
    assert one.variance.shares["seed"] > 0.9
    assert one.variance.n_seeds == (5, 5)
    assert one.interval is not None
    assert one.interval_percentile is not None
    assert one.interval[0] < one.interval_percentile[0] < one.interval_percentile[1] < one.interval[1]
    single = compare([judged[1], judged[6]], draws=500).differences[0]
    assert single.interval is not None
    assert single.interval[0] > 0  # over items alone: of these very answers
    assert not single.significant


def test_six_equal_models_spread_over_as_much_as_a_simulation_says(write_run):
    rng = np.random.default_rng(8)
    files = [write_run(f"m{i}", [list(rng.normal(15, 20, 110))]) for i in range(6)]
    found = compare(load_judged(files), draws=100).equal_models
    assert found is not None
    ranges = np.ptp(rng.normal(0, 20 / np.sqrt(110), (40_000, 6)), axis=1)
    assert found.n_models == 6
    assert found.expected == pytest.approx(float(np.median(ranges)), rel=0.08)
    assert found.largest == pytest.approx(float(np.quantile(ranges, 0.95)), rel=0.08)
    assert found.chance == pytest.approx(float((ranges >= found.observed).mean()), abs=0.12)
    assert found.unit == "items"


def test_the_same_question_asked_twice_counts_once(write_run):
    """An item that is there ten times has ids -2, -3, ...: its copies are one cluster."""
    rng = np.random.default_rng(6)
    base = rng.normal(5, 10, 12)
    once = compare(load_judged([write_run("a", [list(base)]), write_run("b", [[0.0] * 12])]), draws=4000).differences[0]
    asked = [f"Q{i}" for i in range(12) for _ in range(10)]
    files = [
        write_run(name, [list(row)], instructions=asked, unique=True)
        for name, row in (("c", np.repeat(base, 10)), ("d", np.zeros(120)))
    ]
    comparison = compare(load_judged(files), draws=4000)
    twice = comparison.differences[0]
    assert (comparison.n_items, comparison.n_clusters) == (120, 12)
    assert twice.standard_error == pytest.approx(once.standard_error)
    assert twice.p == pytest.approx(once.p, abs=0.02)


def test_clusters_by_a_field(write_run):
    kinds = ["x"] * 10 + ["y"] * 10
    a = write_run("a", [[10.0] * 10 + [20.0] * 10], categories=kinds)
    comparison = compare(load_judged([a]), draws=200, cluster="category")
    assert comparison.n_clusters == 2
    assert comparison.models[0].standard_error == pytest.approx(np.sqrt(2 * 2 * 50.0**2) / 20)
    with pytest.raises(InputError, match="no response has the field 'sauce'"):
        compare(load_judged([a]), cluster="sauce")


def test_missing_scores_are_bounded(write_run):
    a = write_run("a", [[10.0, None, 30.0, 40.0]])
    b = write_run("b", [[0.0, 20.0, 10.0, 0.0]])
    comparison = compare(load_judged([a, b]), draws=100)
    assert comparison.models[0].bounds == (20.0, 30.0)  # an unknown rubric: the scale is that of the scores, 0 to 40
    assert comparison.differences[0].bounds == ((10 - 20 + 20 + 40) / 4, (10 + 20 + 20 + 40) / 4)
