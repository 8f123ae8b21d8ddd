"""Result files out to other tools' formats, and other tools' files in."""

import csv
import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from equiloss.errors import InputError
from equiloss.records.response import item_id, read_responses
from equiloss.records.verdict import Verdict, read_failures, read_verdicts, verdict_row
from judge.cli.main import program
from judge.comparison.compare import compare
from judge.data.verdicts import load_judged
from judge.exchange.exchange import convert, read_as
from judge.exchange.registry import exporters, importers


def exchange(*args):
    result = CliRunner().invoke(program, ["exchange", *map(str, args)])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_a_table_has_a_row_for_every_verdict_and_for_every_answer_without_one(write_run, tmp_path):
    outputs = ["one, two", 'say "x"\nnext', "three"]
    judged = load_judged([write_run("a", [[1.0, 2.5, None]], outputs=outputs), write_run("b", [[4.0, 5.0, 6.0]])])
    assert exporters()["csv"](judged, tmp_path / "t.csv") == 6
    with (tmp_path / "t.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    assert [row["value"] for row in rows] == ["1.0", "2.5", "", "4.0", "5.0", "6.0"]
    assert [row["output"] for row in rows[:3]] == outputs
    parquet = pytest.importorskip("pyarrow.parquet")
    exporters()["parquet"](judged, tmp_path / "t.parquet")
    assert parquet.read_table(tmp_path / "t.parquet").column("value").to_pylist() == [1.0, 2.5, None, 4.0, 5.0, 6.0]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_go_out_and_come_back_with_the_same_comparison(kind, write_run, tmp_path):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    scores = [[1.0, 2.5, None, 4.0], [2.0, 3.5, 1.0, 0.0]]
    files = [write_run("a", scores, categories=["x", "y", "x", "y"]), write_run("b", [[5.0, 5.0, 6.0, 1.0]] * 2)]
    table = tmp_path / f"t.{kind}"
    exchange(*files, "--to", kind, "-o", table)
    exchange(table, "--from", kind, "-o", tmp_path / "back")
    before, after = load_judged(files), load_judged([tmp_path / "back/a.jsonl", tmp_path / "back/b.jsonl"])
    assert [set(run.responses) for run in after] == [set(run.responses) for run in before]
    first, second = (compare(one, draws=200) for one in (before, after))
    assert [one.mean for one in first.models] == [one.mean for one in second.models]
    assert [one.means for one in first.categories] == [one.means for one in second.categories]
    assert first.n_repeats == second.n_repeats == 2


@pytest.mark.parametrize("kind", ["alpaca-eval", "diary"])
def test_answers_come_back_as_they_were(kind, write_run, tmp_path):
    a = write_run("a", [[1.0, 2.0]], categories=["x", "y"])
    path = tmp_path / "out" / "a.json"
    exchange(a, "--to", kind, "-o", path)
    before, after = read_responses(a), read_responses(path)
    assert [one.output for one in after] == [one.output for one in before]
    assert [one.id for one in after] == [one.id for one in before]
    assert json.loads(path.read_text())[0]["instruction"] == "Question 0?"


@pytest.mark.parametrize("model", ["alpaca-7b", "text_davinci_001"])
def test_alpaca_evals_annotations_give_its_leaderboards_win_rate_and_error(model, shared_data, tmp_path):
    folder = shared_data / "alpaca_eval"
    with (folder / "leaderboard.csv").open() as f:
        published = next(row for row in csv.DictReader(f) if row[""] == model)
    exchange(folder / f"{model}.annotations.json", "--from", "alpaca-eval", "-o", tmp_path)
    files = [one for one in tmp_path.glob("*.jsonl") if ".alpaca-eval." not in one.name]
    found = compare(load_judged(files), draws=200)
    mine = next(one for one in found.models if one.name == model)
    assert mine.mean == pytest.approx(float(published["win_rate"]), abs=1e-6)
    assert mine.standard_error == pytest.approx(float(published["standard_error"]), abs=1e-6)


def test_the_books_two_models_and_their_scores(shared_data, tmp_path):
    folder = shared_data / "judged"
    scores = [part for n in (1, 2) for part in ("--scores", folder / f"gpt4-model-{n}.scores.json")]
    args = [folder / "two-models-100.json", "--from", "diary", "-o", tmp_path, "--judge", "gpt-4"]
    exchange(*args, *scores)
    found = compare(load_judged([tmp_path / "model-1.jsonl", tmp_path / "model-2.jsonl"]), draws=200)
    assert [one.mean for one in found.models] == pytest.approx([74.09, 56.57])
    short = [part for n in (1, 2) for part in ("--scores", folder / f"llama3-8b-model-{n}.scores.json")]
    with pytest.raises(InputError, match="99 scores for 100 answers"):
        exchange(*args, *short)
    with pytest.raises(InputError, match="1 files of scores for 2 models"):
        exchange(*args, *scores[:2])


def samples(filters=("none",)):
    """Lines as lm-evaluation-harness logs them for a task that generates."""
    for number in range(3):
        for name in filters:
            yield {
                "doc_id": number,
                "doc": {"question": f"What is {number} + 1?"},
                "target": str(number + 1),
                "arguments": {"gen_args_0": {"arg_0": f"Q: What is {number} + 1?\nA:", "arg_1": {"until": ["Q:"]}}},
                "resps": [[f" It is {number + 1}."]],
                "filtered_resps": [f"It is {number + 1}." if name == "none" else str(number + 1)],
                "filter": name,
                "metrics": ["exact_match"],
                "doc_hash": "d",
                "prompt_hash": "p",
                "target_hash": "t",
                "exact_match": float(name != "none" or number == 0),
            }


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_lm_eval_samples(tmp_path):
    path = write_lines(tmp_path / "samples_sums_2026.jsonl", samples(("none", "flexible")))
    exchange(path, "--from", "lm-eval", "--generator", "mine", "-o", tmp_path / "r")
    answers = read_responses(tmp_path / "r/mine.jsonl")
    assert [(one.output, one.reference) for one in answers] == [(f"It is {n}.", str(n)) for n in (1, 2, 3)]
    judged = load_judged([tmp_path / "r/mine.jsonl"])
    assert [str(one) for one in judged[0].panels()] == ["lm-eval by lm-eval", "lm-eval-flexible by lm-eval"]
    for rubric, mean in (("lm-eval", 1 / 3), ("lm-eval-flexible", 1.0)):
        assert compare(judged, rubric=rubric, draws=100).models[0].mean == pytest.approx(mean)


def test_lm_eval_in_its_older_layout_and_with_messages(tmp_path):
    messages = json.dumps([{"role": "system", "content": "s"}, {"role": "user", "content": "Say it."}])
    row = {"doc_id": 7, "target": "it", "arguments": [[messages, {}]], "filtered_resps": ["it"], "acc": 1}
    found = read_as("lm-eval", [write_lines(tmp_path / "s.jsonl", [row])])
    assert found.responses["s"][0].instruction == "Say it."
    assert found.verdicts["s"][0].criterion == "acc"
    choices = {**row, "filtered_resps": [[-3.0, False]]}
    with pytest.raises(InputError, match=r"item 1: .*no text was generated"):
        read_as("lm-eval", [write_lines(tmp_path / "c.jsonl", [choices])])


def test_scores_for_inspect_have_one_record_an_item_and_come_back(write_run, tmp_path):
    a = write_run("a", [[1.0, 2.0, None], [3.0, 2.0, 5.0]])
    path = tmp_path / "scores.json"
    exchange(a, "--to", "inspect", "-o", path)
    records = json.loads(path.read_text())
    assert [one["value"] for one in records] == [2.0, 2.0, 5.0]
    assert len({one["id"] for one in records}) == 3  # Inspect refuses two records for one sample
    assert records[0]["answer"] == "a says 0"
    found = read_as("inspect", [path])
    assert [one.value for one in found.verdicts["a"]] == [2.0, 2.0, 5.0]
    assert found.verdicts["a"][0].judge == "gpt-4"
    exchange(a, "--to", "inspect", "-o", tmp_path / "scores.jsonl")
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 3


def test_inspects_grades_epochs_and_named_scores(tmp_path):
    rows = [
        {"id": 1, "value": "C", "epoch": 1},
        {"id": 1, "value": "P", "epoch": 2},
        {"id": 2, "value": {"helpful": 0.25, "true": "I"}, "explanation": "no"},
    ]
    found = read_as("inspect", [write_lines(tmp_path / "m.jsonl", rows)], judge="me")
    read = [(one.id, one.criterion, one.value, one.repeat) for one in found.verdicts["m"]]
    assert read == [("1", "score", 1.0, 0), ("1", "score", 0.5, 1), ("2", "helpful", 0.25, 0), ("2", "true", 0.0, 0)]
    [path] = found.write(tmp_path / "r")
    assert load_judged([path])[0].verdicts[2].explanation == "no"


def test_inspect_itself_reads_what_is_written(write_run, tmp_path):
    pytest.importorskip("inspect_ai")
    exchange(write_run("a", [[1.0, 2.0]]), "--to", "inspect", "-o", tmp_path / "s.json")
    code = "import sys; from inspect_ai.scorer import precomputed_scores; precomputed_scores(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, tmp_path / "s.json"], check=True)


@pytest.mark.parametrize("kind", [one for one in importers() if one != "parquet"])
def test_a_file_of_another_kind_is_refused_with_its_place(kind, tmp_path):
    path = tmp_path / "x.json"
    path.write_text("strange\n1\n" if kind == "csv" else json.dumps([{"strange": 1}]))
    with pytest.raises(InputError, match="item 1"):
        read_as(kind, [path])


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["arg_0", "x"]), inner, max_size=2),
    max_leaves=4,
)
FIELDS = ["instruction", "output", "output_1", "output_2", "generator_1", "generator_2", "preference", "id", "value",
          "doc_id", "arguments", "filtered_resps", "metadata", "epoch", "model_response"]  # fmt: skip


KINDS = st.sampled_from(["alpaca-eval", "lm-eval", "inspect", "diary"])


@given(KINDS, st.fixed_dictionaries(dict.fromkeys(FIELDS, ANYTHING)))
@settings(max_examples=150, deadline=None)
def test_no_json_makes_a_reader_stumble(kind, row):
    """Whatever stands in the fields: it is read, or refused as bad input."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.json"
        path.write_text(json.dumps([row]))
        with suppress(InputError):
            found = read_as(kind, [path])
            assert found.responses or found.verdicts


def test_the_kinds_are_those_that_are_registered():
    from judge.cli.exchange import readable, writable

    assert set(writable()) >= {"csv", "parquet", "inspect", "alpaca-eval", "diary"}
    assert set(readable()) >= {"csv", "parquet", "inspect", "alpaca-eval", "diary", "lm-eval"}
    page = (Path(__file__).parents[3] / "docs/exchange.md").read_text()
    assert all(f"`{kind}`" in page for kind in {*writable(), *readable()})


def test_one_run_at_a_time_where_the_format_holds_one(write_run, tmp_path):
    judged = load_judged([write_run("a", [[1.0]]), write_run("b", [[1.0]])])
    with pytest.raises(InputError, match="one run"):
        exporters()["diary"](judged, tmp_path / "x.json")
    with pytest.raises(InputError, match="known: alpaca-eval, csv"):
        exchange(tmp_path, "--to", "word", "-o", tmp_path / "x")
    both = CliRunner().invoke(program, ["exchange", "x", "--to", "csv", "--from", "csv", "-o", "y"])
    assert isinstance(both.exception, InputError)


def annotated(path, scores, outputs=("Paris.", "4", "blue")):
    """A file as the diary's judge annotates it: an item whose judgement did not parse has no score at all."""
    rows = [
        {"instruction": f"Question {n}?", "input": "", "output": "reference", "model_response": output}
        | ({} if score is None else {"llm_score": score, "llm_comments": f"comment {n}"})
        for n, (score, output) in enumerate(zip(scores, outputs, strict=True))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


def test_the_diarys_judgings_become_repeats_and_a_missing_score_a_failure_where_that_is_allowed(tmp_path):
    files = [
        annotated(tmp_path / "first/jax-annotated.json", [80, 0, 30.5]),
        annotated(tmp_path / "second/jax-annotated.json", [82, None, 31]),
        annotated(tmp_path / "second/torch-annotated.json", [10, 20, 30], outputs=("Rome.", "5", "red")),
    ]
    with pytest.raises(InputError, match=r"second/jax-annotated.json: item 2 has no llm_score.*--allow-unscored"):
        exchange(*files, "--from", "diary", "--judge", "gpt-5.1", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    exchange(*files, "--from", "diary", "--judge", "gpt-5.1", "-o", tmp_path / "out", "--allow-unscored")
    jax, torch = load_judged([tmp_path / "out/jax.jsonl", tmp_path / "out/torch.jsonl"])
    assert [one.output for one in jax.responses.values()] == ["Paris.", "4", "blue"]
    assert [(line.value, line.repeat) for line in jax.verdicts] == [(80, 0), (0, 0), (30.5, 0), (82, 1), (31, 1)]
    assert {(line.rubric, line.judge, line.scale) for line in jax.verdicts} == {("diary", "gpt-5.1", (0, 100))}
    assert jax.verdicts[0].explanation == "comment 0"
    assert [line.value for line in torch.verdicts] == [10, 20, 30]
    (failure,) = read_failures(tmp_path / "out/jax.diary.gpt-5.1.failures.jsonl")
    assert (failure.id, failure.repeat) == (list(jax.responses)[1], 1)
    assert "no llm_score" in failure.detail


@pytest.mark.parametrize(
    ("scores", "outputs", "message"),
    [
        ([80, 101, 3], ("Paris.", "4", "blue"), "item 2: .*101"),
        ([80, True, 3], ("Paris.", "4", "blue"), "item 2: value"),
        ([80, "good", 3], ("Paris.", "4", "blue"), "item 2: value"),
        ([80, 1, 3], ("Paris.", "5", "blue"), "item 2: not the answer that an earlier file gives for jax"),
    ],
)
def test_annotations_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, scores, outputs, message):
    first = annotated(tmp_path / "first/jax-annotated.json", [80, 0, 30])
    second = annotated(tmp_path / "second/jax-annotated.json", scores, outputs)
    with pytest.raises(InputError, match=message):
        exchange(first, second, "--from", "diary", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_without_scores_has_answers_alone(tmp_path):
    path = annotated(tmp_path / "plain.json", [None] * 3)
    exchange(path, "--from", "diary", "-o", tmp_path / "out")
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["plain.jsonl"]


def test_line_ends_and_weights_survive_a_table(tmp_path: Path) -> None:
    answers = tmp_path / "a.jsonl"
    answers.write_text(json.dumps({"instruction": "Q", "output": "one\r\ntwo\rthree\n", "reference": ""}) + "\n")
    convert([answers], "csv", None, tmp_path / "t.csv")
    convert([tmp_path / "t.csv"], None, "csv", tmp_path / "back")
    assert json.loads((tmp_path / "back/a.jsonl").read_text())["output"] == "one\r\ntwo\rthree\n"
    id = json.loads((tmp_path / "back/a.jsonl").read_text())["id"]
    lines = [
        verdict_row(
            Verdict(
                id=id, generator="a", criterion=name, value=value, weight=weight, rubric="r", rubric_sha="s", judge="j",
                judge_resolved="j", request_sha="q",
            )
        )
        for name, value, weight in (("tone", 1, 1), ("fact", 5, 9))
    ]  # fmt: skip
    (tmp_path / "a.r.j.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for kind in ("csv", "parquet"):
        convert([answers], kind, None, tmp_path / f"w.{kind}")
        convert([tmp_path / f"w.{kind}"], None, kind, tmp_path / f"w-{kind}")
        assert [line.weight for line in read_verdicts(tmp_path / f"w-{kind}/a.r.j.jsonl")] == [1, 9]


def test_what_other_tools_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    rows = [{"id": 7, "instruction": "Q", "output": "x", "generator": None, "finish_reason": "EOS"}]
    rows += [{"id": None, "instruction": "R", "output": "y", "finish_reason": "tool_calls"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = read_responses(path)
    assert (first.id, first.generator, first.finish_reason) == ("7", "b", "stop")
    assert (second.id, second.finish_reason) == (item_id("R", ""), None)
    path.write_text(json.dumps({"instruction": "Q", "output": "r", "model 1 response": "x"}).replace("output", "input"))
    with pytest.raises(InputError, match="--from diary"):
        read_responses(path)


def test_cells_that_begin_like_formulas_are_marked_on_request_and_nothing_is_replaced(tmp_path: Path) -> None:
    answers = tmp_path / "a.jsonl"
    answers.write_text(json.dumps({"instruction": "Sum?", "output": "=1+1", "generator": "a"}) + "\n", encoding="utf-8")
    out = tmp_path / "a.csv"

    def run(*more: str) -> Any:
        return CliRunner().invoke(program, ["exchange", str(answers), "--to", "csv", "-o", str(out), *more])

    assert run().exit_code == 0
    assert ",=1+1," in out.read_text(encoding="utf-8")
    assert isinstance(refused := run("--mark-formulas").exception, InputError)
    assert "a.csv: is there already" in str(refused)
    assert run("--mark-formulas", "--overwrite").exit_code == 0
    assert ",'=1+1," in out.read_text(encoding="utf-8")
