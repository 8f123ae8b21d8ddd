"""`judge gate`: outcomes and exit codes, looks that continue, data that change, loops, and what pipelines read."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from equiloss.records.gate import GateLog
from equiloss.records.noise import Level, NoiseComponent, NoiseLedger
from equiloss.records.verdict import read_verdicts, write_verdicts
from equiloss.statistics.estimate import Estimate
from judge.cli.main import program
from judge.diagnose.case_reader import read_case
from judge.gate import gate as gates
from judge.gate.gate import GateDocument


def gate(*arguments: str | Path) -> tuple[int, dict, str]:
    """Exit code, document and stderr of `judge gate ... --json`."""
    result = CliRunner().invoke(program, ["gate", *map(str, arguments), "--json"])
    return result.exit_code, json.loads(result.stdout) if result.stdout else {}, str(result.exception or result.stderr)


def write_ledger(path: Path, sd: float) -> None:
    """A noise ledger with this SD between seeds, and between base runs."""
    levels: tuple[Level, ...] = ("fine_tuning_seed", "pretraining_run")
    ledger = NoiseLedger(components=[NoiseComponent(level=one, sd=Estimate(value=sd), df=30) for one in levels])
    path.write_text(ledger.model_dump_json())


@pytest.fixture
def pair(write_run, tmp_path):
    """Write `n` items of seeds a.s1.. and b.s1.., b better by `gain` points; the first n are the same at any n."""

    def write(gain: float, n: int = 100, seeds: tuple[int, int] = (1, 1), spread: float = 0.0, **fields) -> list[str]:
        for name, shift, count in (("a", 0.0, seeds[0]), ("b", gain, seeds[1])):
            for seed in range(1, count + 1):
                rng = np.random.default_rng([seed, ord(name)])
                values = np.random.default_rng(7).normal(50, 10, 400) + shift + rng.normal(0, spread or 1e-9)
                row = [list(np.clip(values + rng.normal(0, 5, 400), 0, 100)[:n])]
                write_run(f"{name}.s{seed}", row, scale=(0.0, 100.0), **fields)
        return ["a", "b", "--results", str(tmp_path)]

    return write


@pytest.mark.parametrize(
    ("gain", "outcome", "exits"),
    [
        (8.0, "better", {"better": 0, "not-worse": 0, "equivalent": 5}),
        (-8.0, "worse", {"better": 5, "not-worse": 5, "equivalent": 5}),
        (0.0, "equivalent", {"better": 5, "not-worse": 0, "equivalent": 0}),
    ],
)
def test_the_outcome_and_its_exit_codes(pair, gain, outcome, exits):
    arguments = pair(gain, n=400)
    document = {}
    for require, code in exits.items():
        found, document, _ = gate(*arguments, "--require", require)
        assert (found, document["outcome"], document["holds"]) == (code, outcome, code == 0)
    assert set(document) == {f.serialization_alias or name for name, f in GateDocument.model_fields.items()}
    assert document["look"] == 1  # three questions about the same data are one look


def test_a_small_gain_is_a_gain_and_a_small_loss_does_not_matter(pair):
    _, up, _ = gate(*pair(2.0, n=400))
    assert (up["outcome"], up["within_margin"], up["margin"]) == ("better", True, 5.0)
    assert "by less than the margin" in up["says"]
    code, up, _ = gate(*pair(2.0, n=400), "--require", "equivalent")
    assert code == 0
    Path(up["log"]).unlink()
    code, down, _ = gate(*pair(-2.0, n=400))
    assert (code, down["outcome"]) == (0, "equivalent")
    assert down["interval"][1] < 0
    code, down, _ = gate(*pair(-2.0, n=400), "--margin", "1")
    assert (code, down["outcome"]) == (5, "worse")


def test_the_interval_of_a_look_is_students_at_its_own_confidence(pair, tmp_path):
    _, document, _ = gate(*pair(3.0, n=60))
    rows = {
        name: [verdict.value for verdict in read_verdicts(tmp_path / f"{name}.s1.correctness.gpt-4.jsonl")]
        for name in "ab"
    }
    expected = stats.ttest_rel(rows["b"], rows["a"]).confidence_interval(1 - 0.05 / 2)
    assert document["look_interval"] == pytest.approx([expected.low, expected.high])
    assert document["look_confidence"] == pytest.approx(0.975)


def test_growing_data_continue_the_test_and_the_interval_only_narrows(pair):
    intervals, document = [], {}
    for look, n in enumerate((40, 80, 160), start=1):
        _, document, _ = gate(*pair(3.0, n=n))
        assert (document["look"], document["is_new_look"], document["n_items"]) == (look, True, n)
        intervals.append(document["interval"])
        _, again, _ = gate(*pair(3.0, n=n))
        assert (again["look"], again["is_new_look"]) == (look, False)
        assert again["interval"] == document["interval"]
    assert intervals[0][0] <= intervals[1][0] <= intervals[2][0]
    assert intervals[0][1] >= intervals[1][1] >= intervals[2][1]
    log = GateLog.model_validate_json(Path(document["log"]).read_text())
    assert [round(1 - look.confidence, 6) for look in log.tests[0].looks] == [0.025, 0.008333, 0.004167]


def test_growing_seeds_are_looks_at_the_bases_and_other_answers(pair):
    for look, seeds in enumerate(((2, 2), (3, 2), (4, 4)), start=1):
        _, bases, _ = gate(*pair(3.0, seeds=seeds), "--about", "bases")
        assert (bases["look"], bases["n_runs"], bases["unit"]) == (look, list(seeds), "fine-tuning seeds")
        _, answers, _ = gate(*pair(3.0, seeds=seeds), "--about", "answers")
        assert answers["look"] == look
        assert answers["interval"] == answers["look_interval"]  # other runs are other answers


def test_what_was_looked_at_may_neither_change_nor_go(pair):
    _, document, _ = gate(*pair(3.0, n=80, seeds=(2, 2)), "--about", "bases")
    kept = Path(document["log"]).read_bytes()
    pair(3.0, n=60, seeds=(2, 2))
    _, printed, error = gate("a", "b", "--results", Path(document["log"]).parent, "--about", "bases")
    assert printed == {}
    assert "is gone since look 1" in error
    pair(4.0, n=100, seeds=(2, 2))
    _, _, error = gate("a", "b", "--results", Path(document["log"]).parent, "--about", "bases")
    assert "is another than at look 1" in error
    assert "--log FILE" in error
    assert Path(document["log"]).read_bytes() == kept
    pair(3.0, n=80, seeds=(2, 2))
    Path(document["log"]).with_name("a.s2.jsonl").rename(Path(document["log"]).with_name("aside"))
    _, _, error = gate("a", "b", "--results", Path(document["log"]).parent, "--about", "bases")
    assert "the score of a.s2" in error


@pytest.mark.parametrize("about", ["bases", "recipes"])
def test_one_seed_a_side_tells_nothing_of_others_without_a_ledger(pair, tmp_path, about):
    code, document, _ = gate(*pair(20.0), "--about", about)
    assert (code, document["outcome"], document["interval"], document["look"]) == (5, "cannot-tell", None, 0)
    assert "a side" in document["says"]
    assert "--noise" in document["says"]
    assert not Path(document["log"]).exists()
    write_ledger(tmp_path / "noise.json", 1.0)
    code, document, _ = gate(*pair(20.0), "--about", about, "--noise", tmp_path / "noise.json", "--require", "better")
    assert (code, document["outcome"], document["look"]) == (0, "better", 1)
    assert document["unit"].endswith(", by the ledger")
    write_ledger(tmp_path / "noise.json", 15.0)
    code, document, _ = gate(*pair(20.0), "--about", about, "--noise", tmp_path / "noise.json", "--log", tmp_path / "l")
    assert (code, document["outcome"]) == (5, "cannot-tell")


def test_a_ledger_that_knows_more_than_two_seeds_is_used(pair, tmp_path):
    write_ledger(tmp_path / "noise.json", 1.0)
    arguments = (*pair(4.0, seeds=(2, 2)), "--about", "bases")
    _, alone, _ = gate(*arguments)
    _, helped, _ = gate(*arguments, "--noise", tmp_path / "noise.json")
    assert (alone["unit"], helped["unit"]) == ("fine-tuning seeds", "fine-tuning seeds, by the ledger")
    assert (alone["look"], helped["look"]) == (1, 2)  # another statistic of the same data is another look


def test_a_criterion_is_gated_by_itself(pair, tmp_path):
    arguments = pair(0.0)
    for name, shift in (("a", 0.0), ("b", -9.0)):
        path = tmp_path / f"{name}.s1.correctness.gpt-4.jsonl"
        given = read_verdicts(path)
        style = [line.model_copy(update={"criterion": "style", "value": 50 + line.value / 4 + shift}) for line in given]
        write_verdicts(path, [*given, *style])
    code, document, _ = gate(*arguments, "--criterion", "correctness", "--require", "equivalent")
    assert (code, document["criterion"], document["look"]) == (0, "correctness", 1)
    code, document, _ = gate(*arguments, "--criterion", "style")
    assert (code, document["outcome"], document["look"]) == (5, "worse", 1)  # a test of its own in the same log
    _, document, _ = gate(*arguments)
    assert (document["criterion"], document["look"]) == ("overall", 1)
    assert document["points"] == pytest.approx(-4.5, abs=0.5)
    _, _, error = gate(*arguments, "--criterion", "tone")
    assert "the criteria are correctness, style" in error


def test_few_items_decide_nothing(pair):
    code, document, _ = gate(*pair(30.0, n=19))
    assert (code, document["outcome"]) == (5, "cannot-tell")
    assert "19 items" in document["says"]


def test_a_loop_spends_its_error_rate_over_all_candidates(write_run, tmp_path, pair):
    pair(0.0, n=100)
    rng = np.random.default_rng(3)
    loop = tmp_path / "loop.json"
    confidences = []
    for number in range(1, 6):
        write_run(f"c{number}", [list(rng.uniform(40, 60, 100))], scale=(0.0, 100.0))
        arguments = ("a", f"c{number}", "--results", tmp_path, "--loop", loop, "--about", "answers")
        _, document, _ = gate(*arguments)
        assert document["place"] == number
        confidences.append(document["look_confidence"])
    assert [1 - one for one in confidences] == pytest.approx(
        [0.05 * 100 / ((99 + n) * (100 + n)) / 2 for n in range(1, 6)]
    )
    _, document, _ = gate("a", "c2", "--results", tmp_path, "--loop", loop, "--about", "answers")
    assert (document["place"], document["is_new_look"]) == (2, False)
    _, document, _ = gate("a", "c2", "--results", tmp_path, "--loop", loop)
    assert document["about"] == "bases"
    _, _, error = gate("a", "c2", "--results", tmp_path, "--loop", loop, "--about", "answers", "--confidence", "0.9")
    assert "share a confidence of 0.95" in error
    _, _, error = gate("a", "c2", "--results", tmp_path, "--log", loop)
    assert "is the log of a loop" in error


def test_processes_of_a_loop_do_not_take_each_others_place(write_run, tmp_path, pair):
    pair(0.0, n=60)
    for number in range(6):
        write_run(f"c{number}", [list(np.random.default_rng(number).uniform(40, 60, 60))], scale=(0.0, 100.0))
    cases = [read_case("a", f"c{number}", tmp_path) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda case: gates.gate(case, tmp_path / "l.json", loop=True), cases))
    log = GateLog.model_validate_json((tmp_path / "l.json").read_text())
    assert sorted(test.place for test in log.tests) == [1, 2, 3, 4, 5, 6]
    assert {test.b for test in log.tests} == {f"c{n}" for n in range(6)}


def test_pipelines_read_a_test_case_and_a_summary(pair, tmp_path):
    junit, summary = tmp_path / "out" / "gate.xml", tmp_path / "summary.md"
    code, document, _ = gate(*pair(-9.0), "--junit", junit, "--summary", summary)
    suite = ElementTree.parse(junit).getroot()
    assert code == 5
    assert (suite.tag, suite.get("tests"), suite.get("failures")) == ("testsuite", "1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert (failure.get("type"), failure.get("message")) == ("worse", document["says"])
    code, document, _ = gate(*pair(-9.0), "--junit", junit, "--summary", summary, "--margin", "30", "--overwrite")
    assert ElementTree.parse(junit).getroot().find("testcase/failure") is None
    text = summary.read_text()
    assert text.count("### Gate") == 2
    assert text.index("did not pass") < text.index("Gate passed")


def test_bad_input_is_a_line_and_exit_code_2(pair, tmp_path):
    arguments = pair(0.0)
    result = CliRunner().invoke(program, ["gate", *arguments, "--margin", "0"])
    assert result.exit_code == 2
    (tmp_path / "log.json").write_text('{"format": "other"}')
    _, _, error = gate(*arguments, "--log", tmp_path / "log.json")
    assert "not of the format equiloss.gate-log.v1" in error
    _, _, error = gate(*arguments, "--log", "x", "--loop", "y")
    assert "exclude each other" in error
    (tmp_path / "c.jsonl").write_text('{"instruction": "q", "output": "x", "generator": "c"}\n')
    _, _, error = gate("a", tmp_path / "c.jsonl", "--results", tmp_path)
    assert "judge score" in error
