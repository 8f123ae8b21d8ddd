"""Joining responses, verdicts, failures and run records."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from judge import results
from judge.results import Panel
from judge.verdicts import Verdict, read_verdicts, write_verdicts
from pretrain.errors import InputError


def test_a_response_file_brings_what_lies_beside_it(write_run):
    a = write_run("a", [[1.0, 2.0], [3.0, None]], run={"format": "equiloss.ift-run.v1"})
    write_run("a.b", [[9.0, 9.0]])  # its name begins like a's
    [judged] = results.load([a])
    assert judged.generator == "a"
    assert [one.output for one in judged.responses.values()] == ["a says 0", "a says 1"]
    assert [one.value for one in judged.verdicts] == [1.0, 2.0, 3.0]
    assert [one.reason for one in judged.failures] == ["unparsable"]
    assert judged.run == {"format": "equiloss.ift-run.v1"}
    assert [path.name for path in judged.files] == [
        "a.jsonl",
        "a.run.json",
        "a.correctness.gpt-4.jsonl",
        "a.correctness.gpt-4.failures.jsonl",
    ]


def test_a_verdict_file_brings_its_responses_and_leaves_other_judges_out(write_run):
    a = write_run("a", [[1.0, 2.0]])
    write_run("a", [[5.0, 6.0]], judge="llama")
    [judged] = results.load([a.with_name("a.correctness.llama.jsonl")])
    assert judged.path == a
    assert [one.value for one in judged.verdicts] == [5.0, 6.0]
    assert judged.panels() == [Panel("correctness", "llama")]


def test_verdicts_in_another_directory_meet_their_responses_when_both_are_named(write_run, tmp_path):
    a = write_run("a", [[1.0, 2.0]])
    elsewhere = tmp_path / "verdicts" / "a.correctness.gpt-4.jsonl"
    elsewhere.parent.mkdir()
    a.with_name("a.correctness.gpt-4.jsonl").rename(elsewhere)
    [alone] = results.load([elsewhere])
    assert alone.path is None
    assert len(alone.verdicts) == 2
    [both] = results.load([elsewhere, a])
    assert both.path == a
    assert len(both.responses) == len(both.verdicts) == 2


def test_naming_a_failures_file_too_changes_nothing(write_run):
    a = write_run("a", [[1.0, None, 3.0]])
    failures = a.with_name("a.correctness.gpt-4.failures.jsonl")
    assert results.load([a, failures]) == results.load([a])
    [alone] = results.load([failures])
    assert (alone.path, len(alone.verdicts), len(alone.failures)) == (a, 2, 1)


def test_scores_are_nan_where_no_verdict_was_given(write_run):
    a = write_run("a", [[1.0, None, 3.0], [5.0, None, None]], categories=["x", None, "y"])
    b = write_run("b", [[2.0, 2.0, 2.0]])
    judged = results.load([a, b])
    scores = results.scores(judged, results.choose_panel(judged))
    assert scores.values.shape == (2, 3, 2)
    np.testing.assert_array_equal(scores.by_item(), [[3.0, math.nan, 3.0], [2.0, 2.0, 2.0]])
    assert scores.asked.all()
    assert scores.categories == ("x", None, "y")


def test_the_overall_score_is_the_weighted_mean_of_the_criteria(write_run):
    a = write_run("a", [[10.0, 40.0]])
    path = a.with_name("a.correctness.gpt-4.jsonl")
    first = read_verdicts(path)
    second = [
        Verdict.model_validate(v.model_dump(by_alias=True) | {"criterion": "fluency", "value": 100.0, "weight": 3.0})
        for v in first[:1]
    ]
    write_verdicts(path, [*first, *second])
    judged = results.load([a])
    panel = results.choose_panel(judged)
    assert results.criteria(judged, panel) == ["correctness", "fluency"]
    np.testing.assert_array_equal(results.scores(judged, panel).by_item(), [[(10 + 300) / 4, math.nan]])
    np.testing.assert_array_equal(results.scores(judged, panel, "correctness").by_item(), [[10.0, 40.0]])
    with pytest.raises(InputError, match="no verdict on 'style'"):
        results.scores(judged, panel, "style")


def test_seeds_of_one_model_are_told_by_their_names(write_run):
    runs = results.load([write_run("m.s1", [[1.0]]), write_run("m.s12", [[1.0]]), write_run("m", [[1.0]])])
    assert [(run.model, run.seed) for run in runs] == [("m", 1), ("m", 12), ("m", None)]


def test_an_llm_is_preferred_to_the_offline_judge_and_a_choice_must_be_made_between_llms(write_run):
    a = write_run("a", [[1.0]])
    write_run("a", [[5.0]], judge="offline-reference")
    assert results.choose_panel(results.load([a])).judge == "gpt-4"
    write_run("a", [[5.0]], judge="llama")
    with pytest.raises(InputError, match="judged in 2 ways"):
        results.choose_panel(results.load([a]))
    assert results.choose_panel(results.load([a]), judge="llama").judge == "llama"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda write, tmp: [tmp / "none.jsonl"], "no such file"),
        (lambda write, tmp: [write("a", [[1.0]], run={}).with_name("a.run.json")], "is a run's record"),
        (
            lambda write, tmp: [
                write("a", [[1.0]]),
                write("a", [[1.0]], directory=tmp / "other"),
            ],
            "both hold answers of 'a'",
        ),
    ],
)
def test_bad_files_are_told_in_one_line(build, message, write_run, tmp_path):
    with pytest.raises(InputError, match=message):
        results.load(build(write_run, tmp_path))


def test_scores_that_cannot_be_compared_are_refused(write_run):
    unjudged = write_run("u", [], outputs=["x"])
    with pytest.raises(InputError, match="not judged yet"):
        results.choose_panel(results.load([unjudged]))
    a, b = write_run("a", [[1.0]]), write_run("b", [[1.0]], judge="llama")
    with pytest.raises(InputError, match="no rubric and judge that all files share"):
        results.choose_panel(results.load([a, b]))
    c = write_run("c", [[1.0]], rubric_sha="1" * 64)
    judged = results.load([a, c])
    with pytest.raises(InputError, match="different versions of the rubric"):
        results.scores(judged, results.choose_panel(judged))


def test_a_judge_that_changed_between_runs_is_a_warning(write_run):
    judged = results.load([write_run("a", [[1.0]]), write_run("b", [[1.0]], judge_resolved="gpt-4-0314")])
    [warning] = results.scores(judged, results.choose_panel(judged)).warnings
    assert "gpt-4-0314, gpt-4-0613" in warning


def test_published_mean_scores_of_gpt4(gpt4_judged):
    judged = results.load(gpt4_judged)
    scores = results.scores(judged, results.choose_panel(judged))
    assert scores.by_item().mean(axis=1) == pytest.approx([74.09, 56.57], abs=1e-12)


def test_a_json_array_is_a_response_file(tmp_path: Path):
    path = tmp_path / "diary.json"
    path.write_text(json.dumps([{"instruction": "Q", "input": "", "output": "ref", "model_response": "mine"}]))
    [judged] = results.load([path])
    [response] = judged.responses.values()
    assert (judged.generator, response.output, response.reference) == ("diary", "mine", "ref")
