"""Comparisons by people and judges: their files read, and what audit, labels and corrected win rates make of them."""

import csv
import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pytest
from typer.testing import CliRunner

from equiloss.errors import InputError
from equiloss.records.response import read_responses
from equiloss.records.verdict import read_verdicts
from judge.auditing import effects
from judge.auditing.audit import audit
from judge.cli.main import program
from judge.comparison.compare import compare
from judge.data.scores import Scores
from judge.data.verdicts import Panel, load_judged
from judge.exchange.exchange import read_as
from judge.labelling.label import first_ratings, majorities, read_labels, two_raters

TRUST = Path(__file__).parents[3] / "benchmarks" / "trust.py"
QUALITY = {"Alpha (7B)": 0.0, "beta": 0.6, "Gamma": 1.2, "delta-2": 1.8}


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def arena(tmp_path):
    """A folder laid out as dustalov/llmfao: a crowd, a judge that prefers the left, and one that says what it likes."""
    rng = random.Random(1)
    folder = tmp_path / "arena"
    folder.mkdir()

    def winner(left: str, right: str, bias: float) -> str:
        better = QUALITY[left] - QUALITY[right] + bias + rng.gauss(0, 1)
        return "left" if better > 0.4 else "right" if better < -0.4 else "tie"

    prompts = [{"id": 10 + i, "text": f"Say {i}.", "slug": f"s{i}"} for i in range(30)]
    answers = [
        {"id": i, "model": i, "result": "word " * rng.randint(3, 60), "prompt": prompt["id"], "name": name}
        for i, (prompt, name) in enumerate((prompt, name) for prompt in prompts for name in QUALITY)
    ]
    for name, rows in (("prompts", prompts), ("results", answers)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = ("crowd-comparisons", "gpt3-crowd-comparisons", "gpt4-crowd-comparisons")
    files: dict[str, list[dict[str, object]]] = {name: [] for name in names}
    shown = [(prompt["id"], *rng.sample(pair, 2)) for prompt in prompts for pair in combinations(QUALITY, 2)]
    for id, (prompt, left, right) in enumerate(shown):
        row: dict[str, object] = {"id": id, "prompt": prompt, "left": left, "right": right}
        for worker in rng.sample(range(20), rng.randint(3, 5)):
            files["crowd-comparisons"].append(row | {"worker": worker, "winner": winner(left, right, 0.0)})
        files["gpt3-crowd-comparisons"].append(row | {"winner": winner(left, right, 0.8)})
        files["gpt4-crowd-comparisons"].append(row | {"winner": winner(left, right, 0.0)})
    for name, rows in files.items():
        write_csv(folder / f"{name}.csv", rows)
    return folder


def take(folder: Path, out: Path) -> Path:
    names = ["prompts.jsonl", "results.jsonl", *sorted(path.name for path in folder.glob("*.csv"))]
    args = ["exchange", *(str(folder / name) for name in names), "--from", "pairs", "-o", str(out)]
    result = CliRunner().invoke(program, args)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return out


def test_comparisons_become_answers_verdicts_and_labels(tmp_path):
    left_wins = {"prompt": 7, "left": "a b", "right": "c", "winner": "left", "worker": "w1"}
    rows = [left_wins, left_wins | {"winner": "tie", "worker": "w2"}, left_wins | {"winner": "right", "worker": "w3"}]
    write_csv(tmp_path / "people.csv", [*rows, left_wins | {"worker": "w4"}])
    arena_row = {"question_id": "7", "model_a": "c", "model_b": "a b", "winner": "model_b", "judge": "gpt"}
    (tmp_path / "judge.jsonl").write_text(json.dumps(arena_row) + "\n")
    (tmp_path / "prompts.jsonl").write_text('{"id": 7, "text": "Say."}\n{"id": 8, "text": "Never compared."}\n')
    (tmp_path / "answers.jsonl").write_text(
        '{"prompt": 7, "name": "a b", "result": "one two"}\n{"prompt": 8, "name": "c", "result": "x"}\n'
    )
    names = ("prompts.jsonl", "answers.jsonl", "people.csv", "judge.jsonl")
    read_as("pairs", [tmp_path / name for name in names]).write(tmp_path / "out")
    assert [(one.id, one.instruction, one.output) for one in read_responses(tmp_path / "out/a-b.jsonl")] == [
        ("7", "Say.", "one two")
    ]
    assert not (tmp_path / "out/c.jsonl").exists()
    people = read_verdicts(tmp_path / "out/a-b.pairs.people.jsonl")
    assert [(one.value, one.repeat, one.position, one.group) for one in people] == [
        (value, repeat, 0, ["a b", "c"]) for repeat, value in enumerate([1.0, 0.5, 0.0, 1.0])
    ]
    [verdict] = read_verdicts(tmp_path / "out/a-b.pairs.gpt.jsonl")
    assert (verdict.value, verdict.position, verdict.judge) == (1.0, 1, "gpt")
    labels = read_labels(tmp_path / "out/labels.jsonl")
    key = ("a b", "7 | a b | c")
    assert first_ratings(labels)[key] == 0.625
    assert majorities(labels) == {key: 1.0}
    assert majorities([label for label in labels if label.rater != "w4"]) == {}  # none is the commonest
    assert two_raters(labels) == [(1.0, 0.5)]
    with pytest.raises(InputError, match="is there already"):
        read_as("pairs", [tmp_path / "people.csv"]).write(tmp_path / "out")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"prompt": 1, "left": "a", "right": "b", "winner": "both lose"}], "item 1: the winner 'both lose'"),
        ([{"prompt": 1, "left": "a", "right": "a", "winner": "left"}], "item 1: the winner 'left' of 'a' and 'a'"),
        ([{"prompt": 1, "left": "a", "winner": "left"}], "has no 'right'"),
        ([{"prompt": 1, "left": "a", "right": "b", "winner": w} for w in ("tie", "")], "item 2: has no 'winner'"),
        ([{"left": "a", "right": "b", "winner": "left"}], "has no 'prompt'"),
    ],
)
def test_what_is_no_comparison_is_refused_with_its_place(rows, told, tmp_path):
    with pytest.raises(InputError, match=told.replace("(", r"\(")):
        read_as("pairs", [write_csv(tmp_path / "pairs.csv", rows)])


def test_texts_come_before_comparisons_and_names_must_differ_as_files(tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"id": 1, "text": "Say."}\n')
    pairs = write_csv(tmp_path / "p.csv", [{"prompt": 1, "left": "a b", "right": "a-b", "winner": "left"}])
    with pytest.raises(InputError, match="name files of prompts and answers before them"):
        read_as("pairs", [pairs, tmp_path / "prompts.jsonl"])
    with pytest.raises(InputError, match=r"would both write a-b\.pairs\.p\.jsonl"):
        read_as("pairs", [pairs]).write(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_audit_and_labels_tell_a_judge_that_prefers_the_left_from_one_that_does_not(arena, tmp_path):
    out = take(arena, tmp_path / "out")
    judged, labels = load_judged(sorted(out.glob("*.jsonl"))), read_labels(out / "labels.jsonl")
    reports = {
        name: audit(judged, judge=f"{name}-comparisons", labels=labels, draws=100).model_dump(by_alias=True)
        for name in ("crowd", "gpt3-crowd", "gpt4-crowd")
    }
    biased, fair = reports["gpt3-crowd"]["position"], reports["gpt4-crowd"]["position"]
    assert biased["as_given_interval"][0] > 0.1
    assert abs(fair["as_given"]) < 0.15 < biased["as_given"] - fair["as_given"] + 0.05
    with_crowd, among_people = reports["gpt4-crowd"]["agreement"]
    assert (with_crowd["n"], among_people["n"]) == (180, 180)
    assert with_crowd["same"] > reports["gpt3-crowd"]["agreement"][0]["same"]
    assert 0.3 < among_people["same"] < with_crowd["same"]  # a majority errs less than one of it
    assert reports["crowd"]["repeatability"]["n_answers"] == 180
    assert reports["gpt4-crowd"]["length"] is not None  # no reference is needed to compare two answers' lengths
    assert any("comparisons" in finding for finding in reports["gpt4-crowd"]["findings"])


def test_win_rates_are_corrected_by_a_tenth_of_the_votes(arena, tmp_path):
    out = take(arena, tmp_path / "out")
    judged, labels = load_judged(sorted(out.glob("*.jsonl"))), read_labels(out / "labels.jsonl")
    voted = sorted({label.key[1] for label in labels})
    chosen = set(random.Random(3).sample(voted, 36))
    some = [label for label in labels if label.key[1] in chosen]
    corrected, whole = (
        compare(judged, judge="gpt3-crowd-comparisons", labels=given, draws=100).model_dump()["models"]
        for given in (some, labels)
    )
    for few, all_votes in zip(corrected, whole, strict=True):
        crowd = first_ratings([label for label in labels if label.generator == few["name"]])
        truth = sum(crowd.values()) / len(crowd)
        assert all_votes["human"]["mean"] == pytest.approx(truth)
        assert 0 < few["human"]["judge_weight"] <= 1
        assert few["human"]["interval"][0] - 0.1 < truth < few["human"]["interval"][1] + 0.1
        assert few["human"]["standard_error"] < 1.2 * few["human"]["labels_only_standard_error"]
    strengths = {row["name"]: row["strength"]["value"] for row in whole}
    assert sorted(strengths, key=lambda name: strengths[name]) == list(QUALITY)


def test_the_benchmark_of_trust_runs_on_such_a_folder(arena):
    ran = subprocess.run([sys.executable, TRUST, arena, "--draws", "20"], capture_output=True, text=True, check=False)
    found = json.loads(ran.stdout)
    assert ran.returncode in (0, 5), ran.stderr
    assert found["gpt3-crowd-comparisons:draws"]["skipped"] < 1


def test_real_judges_of_real_pairs_say_what_the_page_says(shared_data, tmp_path):
    """docs/trust.md, from the crowd's, GPT-3.5's and GPT-4's verdicts on the answers of 59 models."""
    spec = importlib.util.spec_from_file_location("trust_benchmark", TRUST)
    assert spec
    assert spec.loader
    trust = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(trust)
    out = take(shared_data / "llmfao", tmp_path / "out")
    judged, labels = load_judged(sorted(out.glob("*.jsonl"))), read_labels(out / "labels.jsonl")
    assert trust.people_same(labels) == pytest.approx(0.532, abs=0.001)
    crowd = majorities(labels)
    for judge, same, place, coverage in (
        ("gpt3-crowd-comparisons", 0.377, (0.277, 0.433), 0.92),
        ("gpt4-crowd-comparisons", 0.446, (-0.143, -0.040), 0.92),
    ):
        panel = Panel("pairs", judge)
        given = Scores.of_units(judged, panel).by_answer()
        both = [(given[key], vote) for key, vote in crowd.items()]
        agreed = sum((one > 0.5) - (one < 0.5) == (other > 0.5) - (other < 0.5) for one, other in both)
        assert agreed / len(both) == pytest.approx(same, abs=0.001)
        position = effects.estimate(effects.verdict_rows(judged, panel, (0.0, 1.0))).as_given["place"]
        assert position.interval == pytest.approx(place, abs=0.001)
        drawn = trust.draws(judged, judge, 20, 0)
        assert coverage <= drawn.coverage
        assert drawn.width < drawn.labels_width
        assert drawn.corrected_error < drawn.judge_error
