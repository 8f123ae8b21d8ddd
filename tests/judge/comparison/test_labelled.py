"""A person's labels in a comparison and in a report: the person's means and gaps beside the judge's."""

import json
import random

import numpy as np
import pytest
from typer.testing import CliRunner

from equiloss.statistics import prediction_powered
from judge import rubrics
from judge.cli.main import program
from judge.comparison.compare import compare
from judge.data.scores import Scores, choose_panel
from judge.data.verdicts import load_judged
from judge.labelling import label


@pytest.fixture
def labelled(write_run, tmp_path):
    """Two models judged 10 points too kindly, the second 20; a person rated 30 answers, one model's hardly any."""
    rng = random.Random(0)
    truth = {name: [float(rng.randint(10, 70)) for _ in range(80)] for name in "ab"}
    files = [
        write_run(name, [[one + rng.choice((-4.0, 0.0, 4.0)) + 10 * (1 + index) for one in truth[name]]])
        for index, name in enumerate("ab")
    ]
    judged = load_judged(files)
    place = {(run.generator, key): index for run in judged for index, key in enumerate(run.responses)}
    session = label.LabellingSession(
        label.sample(judged, 40, retest=0.25), tmp_path / "labels.jsonl", rubrics.load("correctness")
    )
    for index, task in enumerate(session.tasks):
        one = task.response
        session.rate(index, truth[one.generator][place[one.generator, one.id]])
    return files, session.path, truth


def test_each_model_is_estimated_on_the_persons_scale(labelled):
    files, path, truth = labelled
    judged, labels = load_judged(files), label.read_labels(path)
    found = compare(judged, labels=labels, draws=500)
    for index, model in enumerate(found.models):
        assert model.human is not None
        assert model.human.judge_bias == pytest.approx(10 * (1 + index), abs=2.5)
        assert model.human.interval[0] <= np.mean(truth[model.name]) <= model.human.interval[1]
        assert model.human.standard_error < model.human.labels_only_standard_error
        assert model.human.n_labelled == len({one.id for one in labels if one.generator == model.name})
    [gap] = found.differences
    means = [one.human.mean for one in found.models if one.human]
    assert gap.human is not None
    assert gap.difference is not None
    assert gap.human.difference == pytest.approx(means[0] - means[1])
    assert gap.human.difference == pytest.approx(gap.difference + 10, abs=4)
    # The very numbers of the estimator, on the very scores.
    scores = Scores.of(judged, choose_panel(judged))
    given = label.first_ratings(labels)
    humans = [np.array([given.get((name, key), np.nan) for key in scores.ids]) for name in scores.generators]
    weight = prediction_powered.common_weight(list(zip(scores.by_item(), humans, strict=True)))
    alone = prediction_powered.mean(scores.by_item()[0], humans[0], weight=weight)
    assert alone is not None
    mine = found.models[0].human
    assert mine is not None
    assert (mine.mean, *mine.interval) == pytest.approx((alone.mean, *alone.interval))


def test_too_few_labels_are_said_and_none_is_made_up(labelled):
    files, path, _ = labelled
    labels = [one for one in label.read_labels(path) if one.generator == "a"]
    found = compare(load_judged(files), labels=labels, draws=100)
    assert found.models[0].human is not None
    assert found.models[1].human is None
    assert found.differences[0].human is None
    assert any(one.startswith("b: fewer than 5 labelled answers") for one in found.warnings)
    assert compare(load_judged(files), draws=100).models[0].human is None


def test_the_commands_show_it(labelled, tmp_path):
    files, path, _ = labelled
    args = [*map(str, files), "--labels", str(path)]
    shown = CliRunner().invoke(program, ["compare", *args])
    assert shown.exit_code == 0, shown.output
    assert "person's mean" in shown.stdout
    assert "person's a − b" in shown.stdout
    plain = CliRunner().invoke(program, ["compare", *map(str, files)])
    assert "person" not in plain.stdout
    document = json.loads(CliRunner().invoke(program, ["compare", *args, "--json"]).stdout)
    assert document["differences"][0]["human"]["n_labelled"] == [
        one["human"]["n_labelled"] for one in document["models"]
    ]
    made = CliRunner().invoke(program, ["report", *args, "-o", str(tmp_path / "report")])
    assert made.exit_code == 0, made.output
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert set(report["sections"]["people"]["models"]) == {"a", "b"}
    assert "As a person scores" in (tmp_path / "report/report.html").read_text()
