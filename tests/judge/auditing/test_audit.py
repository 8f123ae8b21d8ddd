"""The audit recovers biases that were planted in a simulated judge, and says nothing where there are none."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from equiloss.records.provenance import Provenance
from equiloss.records.response import Response, item_id, write_responses
from judge.auditing import page
from judge.auditing.audit import audit
from judge.auditing.documents import Audit
from judge.cli.main import program
from judge.data.verdicts import load_judged
from judge.scoring.injection import wilson
from judge.scoring.options import ScoreRequest
from judge.scoring.score import score_files
from judge.simulate.replies import Model, Personality, Simulation
from judge.simulate.server import Service, serving


def answers(directory: Path, n_items: int = 110) -> list[Path]:
    """Three models' answers of all qualities and lengths, the first better and longer than the others."""
    rng = random.Random(0)
    paths: list[Path] = []
    for index, name in enumerate(("a", "b", "c")):
        rows: list[Response] = []
        for item in range(n_items):
            reference = [f"word{item}x{k}" for k in range(12)]
            kept = rng.randint(3, 9 if index else 11)
            padding = [f"other{name}{item}x{k}" for k in range(rng.choice((0, 3, 9, 24)))]
            asked = f"Say {item}."
            rows.append(
                Response.model_validate(
                    {
                        "id": item_id(asked, ""),
                        "instruction": asked,
                        "output": " ".join(reference[:kept] + padding),
                        "reference": " ".join(reference),
                        "generator": name,
                    }
                )
            )
        paths.append(directory / f"{name}.jsonl")
        write_responses(paths[-1], rows)
    return paths


def judged_with(
    directory: Path, person: Personality, *, repeats: int = 2, canaries: float = 0.1, **faults: float
) -> Audit:
    """Answers judged by a simulated judge over HTTP, and audited."""
    paths = answers(directory)
    simulation = Simulation(default=Model(person))
    with serving(Service(simulation)) as server:
        score_files(
            ScoreRequest(files=tuple(paths), judges=(f"sim@{server.url}",), repeats=repeats, control_answers=canaries)
        )
    return audit(load_judged(paths), draws=200)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("position", "length", "noise", "drift"),
    [
        (0.0, 0.0, 0.1, 0.0),
        (0.15, 0.0, 0.05, 0.0),
        (0.0, 0.06, 0.1, 0.0),
        (-0.1, -0.04, 0.15, 0.0),
        (0.0, 0.0, 0.08, 0.8),
        (0.1, 0.05, 0.08, -0.6),
    ],
)
def test_planted_biases_are_recovered_within_their_intervals(position, length, noise, drift, tmp_path):
    person = Personality(position_bias=position, length_bias=length, noise=noise, drift=drift)
    found = judged_with(tmp_path, person)
    assert found.position is not None
    assert found.length is not None
    assert found.drift is not None
    for bias, planted, widest in (
        (found.position, position, 0.08),
        (found.length, length, 0.08),
        (found.drift, drift, 0.6),
    ):
        assert bias.interval[0] <= planted <= bias.interval[1]
        assert bias.interval[1] - bias.interval[0] < widest
        assert (bias.p is not None and bias.p < 0.05) == (planted != 0)
    again = found.repeatability
    assert again is not None
    assert again.noise_interval is not None
    assert again.noise_interval[0] <= noise <= again.noise_interval[1]
    text = " ".join(found.findings)
    assert ("the first place is worth" in text) == (position != 0)
    assert ("an answer twice as long gets" in text) == (length != 0)
    assert ("scores moved by" in text) == (drift != 0)


@pytest.mark.slow
def test_a_judge_without_noise_repeats_itself_and_one_that_fails_is_counted(tmp_path):
    exact = judged_with(tmp_path / "exact", Personality(), canaries=0.0)
    assert exact.repeatability is not None
    assert exact.repeatability.noise == 0.0
    assert exact.repeatability.icc_one == pytest.approx(1.0)
    assert not exact.warnings
    paths = answers(tmp_path / "refusing")
    with serving(Service(Simulation(default=Model(refusal=0.2)))) as server:
        score_files(ScoreRequest(files=tuple(paths), judges=(f"sim@{server.url}",), control_answers=0.0))
    found = audit(load_judged(paths), draws=100)
    low, high = wilson(round(0.2 * 110), 110)
    assert low <= found.failures.by_run["a"] <= high


@pytest.mark.slow
def test_what_the_judge_can_make_of_a_gap_is_said(tmp_path):
    """Of two equally good models one pads its answers: the judge's liking for length is all there is to the gap."""
    paths = answers(tmp_path)[1:]
    rows = [Response.model_validate(json.loads(line)) for line in paths[1].read_text().splitlines()]
    padded = [one.model_copy(update={"output": one.output + " and so on, and so on" * 3}) for one in rows]
    write_responses(paths[1], padded)
    with serving(Service(Simulation(default=Model(Personality(length_bias=0.08, noise=0.05))))) as server:
        score_files(ScoreRequest(files=tuple(paths), judges=(f"sim@{server.url}",), repeats=2))
    found = audit(load_judged(paths), draws=100)
    [pair] = found.pairs
    assert pair.by_length is not None
    assert pair.by_length[1] < 0  # the second is the longer one
    assert pair.trusted_beyond is not None
    assert abs(pair.gap) < pair.trusted_beyond
    assert pair.unknown == []
    assert any("all together as much as the gap" in one for one in found.findings)


def test_a_judge_that_rewards_control_answers_is_warned_of(tmp_path):
    honest = judged_with(tmp_path / "honest", Personality(), repeats=1, canaries=0.3)
    assert honest.warnings == []
    assert honest.control_answers["reference"].mean == pytest.approx(1.0)
    assert honest.control_answers["duplicate"].mean_abs_difference == 0.0
    fooled = judged_with(tmp_path / "fooled", Personality(susceptible=1.0), repeats=1, canaries=0.3)
    assert fooled.control_answers["injection"].mean > 0.9
    assert any("texts that only ask for a high score" in one for one in fooled.warnings)
    assert fooled.findings[0].startswith("Warning: the judge gives texts")
    text = page.html(fooled, [], Provenance(equiloss="0", created="now"))
    assert "Not as it is" in text
    assert ">yes<" not in text
    assert not any("differences of more than" in one for one in fooled.findings)


def test_failures_that_fall_on_one_run_are_noticed(write_run):
    rng = random.Random(1)
    scores = [float(rng.randint(0, 100)) for _ in range(60)]
    a = write_run("a", [[None if i % 4 == 0 else one for i, one in enumerate(scores)]])
    b = write_run("b", [scores])
    found = audit(load_judged([a, b]), draws=100)
    assert found.failures.by_run == {"a": 0.25, "b": 0.0}
    assert found.failures.p is not None
    assert found.failures.p < 0.001
    assert any("missing at random" in one for one in found.findings)


def test_where_every_verdict_failed_nothing_is_measured(write_run):
    found = audit(load_judged([write_run("a", [[None, None]]), write_run("b", [[1.0, 2.0]])]), draws=100)
    assert (found.position, found.length, found.repeatability, found.pairs) == (None, None, None, [])
    assert found.failures.by_run == {"a": 1.0, "b": 0.0}
    assert audit(load_judged([write_run("a", [[None]])]), draws=100).n_verdicts == 0


def test_judges_are_compared_with_each_other(write_run):
    rng = random.Random(2)
    first = [float(rng.randint(0, 100)) for _ in range(50)]
    a = write_run("a", [first])
    write_run("a", [[min(100.0, max(0.0, one + rng.gauss(0, 10))) for one in first]], judge="llama")
    found = audit(load_judged([a]), judge="gpt-4", draws=100)
    assert found.jury is not None
    assert found.jury.judges == ["gpt-4", "llama"]
    assert found.jury.alpha is not None
    assert found.jury.alpha > 0.85
    shown = CliRunner().invoke(program, ["audit", str(a), "--judge", "gpt-4", "-o", str(a.parent / "audit")])
    assert "Kendall's W of 2 judges" in shown.stdout
    assert "gpt-4, llama, on 50 answers" in (a.parent / "audit/audit.html").read_text()


def test_real_scores_of_gpt4(gpt4_judged):
    found = audit(load_judged(gpt4_judged), draws=200)
    assert found.scale_use.at_least + found.scale_use.at_greatest > 0.8
    assert found.share_at_ends > 0.8
    assert found.repeatability is None
    assert any("judged once" in one for one in found.findings)


def test_the_command(write_run):
    rng = random.Random(3)
    a, b = (write_run(name, [[float(rng.randint(0, 100)) for _ in range(40)]] * 2) for name in "ab")
    result = CliRunner().invoke(program, ["audit", str(a), str(b), "--json", "--draws", "100"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert set(document) == {f.serialization_alias or name for name, f in Audit.model_fields.items()}
    assert document["repeatability"]["standard_deviation"] == 0.0
    shown = CliRunner().invoke(program, ["audit", str(a), str(b), "--draws", "100"])
    assert "reliability of a verdict" in shown.stdout


def test_the_page_says_it_in_one_screen_and_holds_no_markup_of_others(write_run, tmp_path):
    rng = random.Random(4)
    names = ("<b>a</b>", "b")
    files = [write_run(name, [[float(rng.randint(0, 100)) for _ in range(30)]] * 2) for name in ("a", "b")]
    judged = load_judged(files)
    found = audit(judged, draws=100)
    found = found.model_copy(update={"pairs": [found.pairs[0].model_copy(update={"a": names[0]})]})
    _, path = page.write(found, files, tmp_path / "audit")
    text = path.read_text()
    assert "&lt;b&gt;a&lt;/b&gt;" in text
    assert "<b>a" not in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "Differences of more than" in text
    document = json.loads((tmp_path / "audit/audit.json").read_text())
    assert set(document) - {"provenance"} == {f.serialization_alias or name for name, f in Audit.model_fields.items()}


def test_a_judge_that_rewards_control_answers_is_warned_of_wherever_its_verdicts_are_read(tmp_path):
    paths = answers(tmp_path, 40)[:2]
    with serving(Service(Simulation(default=Model(Personality(susceptible=1.0))))) as server:
        score_files(ScoreRequest(files=tuple(paths), judges=(f"sim@{server.url}",), control_answers=0.5))
    args = list(map(str, paths))
    compared = CliRunner().invoke(program, ["compare", *args])
    assert "warning: the judge gives texts that only ask for a high score" in compared.stderr
    assert "control answers" in compared.stderr
    document = json.loads(CliRunner().invoke(program, ["compare", *args, "--json"]).stdout)
    assert document["canaries"]["injection"]["mean"] == 1.0
    made = CliRunner().invoke(program, ["report", *args, "-o", str(tmp_path / "report")])
    assert made.exit_code == 0, made.output
    first_screen = (tmp_path / "report/report.html").read_text().partition('id="scores"')[0]
    assert "The judge gives texts that only ask for a high score" in first_screen
    assert "<dd>sim <small>" in first_screen
    assert server.url not in first_screen
