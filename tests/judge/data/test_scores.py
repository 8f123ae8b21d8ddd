"""Scores of judged answers: whose may be compared, and what is missing."""

import math

import numpy as np
import pytest

from equiloss.errors import InputError
from equiloss.records.verdict import Verdict, read_verdicts, write_verdicts
from judge.data.scores import Scores, choose_panel, criteria_of
from judge.data.verdicts import load_judged


def test_scores_are_nan_where_no_verdict_was_given(write_run):
    a = write_run("a", [[1.0, None, 3.0], [5.0, None, None]], categories=["x", None, "y"])
    b = write_run("b", [[2.0, 2.0, 2.0]])
    judged = load_judged([a, b])
    scores = Scores.of(judged, choose_panel(judged))
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
    judged = load_judged([a])
    panel = choose_panel(judged)
    assert criteria_of(judged, panel) == ["correctness", "fluency"]
    np.testing.assert_array_equal(Scores.of(judged, panel).by_item(), [[(10 + 300) / 4, math.nan]])
    np.testing.assert_array_equal(Scores.of(judged, panel, "correctness").by_item(), [[10.0, 40.0]])
    with pytest.raises(InputError, match="no verdict on 'style'"):
        Scores.of(judged, panel, "style")


def test_seeds_of_one_model_are_told_by_their_names(write_run):
    runs = load_judged([write_run("m.s1", [[1.0]]), write_run("m.s12", [[1.0]]), write_run("m", [[1.0]])])
    assert [(run.model, run.seed) for run in runs] == [("m", 1), ("m", 12), ("m", None)]


def test_an_llm_is_preferred_to_the_offline_judge_and_a_choice_must_be_made_between_llms(write_run):
    a = write_run("a", [[1.0]])
    write_run("a", [[5.0]], judge="offline-reference")
    assert choose_panel(load_judged([a])).judge == "gpt-4"
    write_run("a", [[5.0]], judge="llama")
    with pytest.raises(InputError, match="judged in 2 ways"):
        choose_panel(load_judged([a]))
    assert choose_panel(load_judged([a]), judge="llama").judge == "llama"
    write_run("a", [[5.0]], judge="llama@http://127.0.0.1:1/v1")
    assert choose_panel(load_judged([a]), judge="llama").judge == "llama"


def test_scores_that_cannot_be_compared_are_refused(write_run):
    unjudged = write_run("u", [], outputs=["x"])
    with pytest.raises(InputError, match="not judged yet"):
        choose_panel(load_judged([unjudged]))
    a, b = write_run("a", [[1.0]]), write_run("b", [[1.0]], judge="llama")
    with pytest.raises(InputError, match="no rubric and judge that all files share"):
        choose_panel(load_judged([a, b]))
    c = write_run("c", [[1.0]], rubric_sha="1" * 64)
    judged = load_judged([a, c])
    with pytest.raises(InputError, match="different versions of the rubric"):
        Scores.of(judged, choose_panel(judged))


def test_a_judge_that_changed_between_runs_is_a_warning(write_run):
    judged = load_judged([write_run("a", [[1.0]]), write_run("b", [[1.0]], judge_resolved="gpt-4-0314")])
    [warning] = Scores.of(judged, choose_panel(judged)).warnings
    assert "gpt-4-0314, gpt-4-0613" in warning


def test_published_mean_scores_of_gpt4(gpt4_judged):
    judged = load_judged(gpt4_judged)
    scores = Scores.of(judged, choose_panel(judged))
    assert scores.by_item().mean(axis=1) == pytest.approx([74.09, 56.57], abs=1e-12)
