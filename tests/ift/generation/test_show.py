"""Metrics, overlap, and the commands to look at items and answers."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from equiloss.records.response import Example, Response, write_responses
from ift.cli.main import program
from ift.data import overlap
from ift.generation import metrics
from ift.training.energy import Meter


def answer(output: str, reference: str = "", **fields: object) -> Response:
    return Response.model_validate(
        {"id": "1", "instruction": "?", "output": output, "reference": reference, "generator": "m", **fields}
    )


def test_exact_match_forgives_space_case_and_a_full_stop_only() -> None:
    assert metrics.exact_match(answer(" Oslo. ", "oslo"))
    assert metrics.exact_match(answer("a\n b", "a b"))
    assert not metrics.exact_match(answer("Oslo, Norway", "Oslo"))
    assert not metrics.exact_match(answer("", "x"))


def test_distinct_counts_different_pairs_of_words() -> None:
    assert metrics.distinct("a b a b", 2) == pytest.approx(2 / 3)
    assert metrics.distinct("a", 2) is None


def test_the_summary_by_category() -> None:
    responses = [
        answer("5", "5", category="sum", finish_reason="stop", n_tokens=1),
        answer("6", "5", category="sum", finish_reason="length", n_tokens=9),
        answer("", "x", category="copy", finish_reason="stop", n_tokens=0),
    ]
    found = metrics.summary(responses)
    assert found["all"].items == 3
    assert found["sum"].exact_match == 0.5
    assert found["all"].finish_reason == {"stop": 2, "length": 1}
    assert found["all"].empty == 1
    assert found["sum"].tokens_mean == 5
    assert metrics.summary([answer("the cat sat", "the cat sat")])["all"].chrf == pytest.approx(100)
    assert metrics.summary([answer("the cat", "the cat sat down")])["all"].rouge_l == pytest.approx(2 / 3)


WORDS = st.lists(st.sampled_from(["the", "cat", "sat", "down"]), max_size=7)


@given(WORDS, WORDS)
def test_rouge_l_is_that_of_its_definition(answer: list[str], wanted: list[str]) -> None:
    found = metrics.rouge_l(" ".join(answer), " ".join(wanted))
    # The definition, word for word: the longest sequence that is left of both when words are struck out.
    left = {kept for n in range(len(answer) + 1) for kept in combinations(answer, n)}
    common = max(len(kept) for n in range(len(wanted) + 1) for kept in combinations(wanted, n) if kept in left)
    assert found == pytest.approx(2 * common / (len(answer) + len(wanted)) if common else 0)


def test_rouge_l_reads_words_as_rouge_score_does() -> None:
    assert metrics.rouge_l("It's 3.5, the_cat!", "it s 3 5 THE cat") == 1
    assert metrics.rouge_l("Käse", "k se") == 1  # letters beyond a to z part words
    assert metrics.rouge_l("¡!", "the cat") == metrics.rouge_l("the cat", "") == 0


def item(number: int, instruction: str, reference: str = "") -> Example:
    return Example(id=str(number), instruction=instruction, reference=reference)


def test_exact_and_near_duplicates_are_found() -> None:
    train = [item(1, "What is the capital of France?", "Paris is the capital of France."), item(2, "Sort: b a", "a b")]
    test = [
        item(3, "what is the capital of france", "Lyon"),
        item(4, "What is the capital of France now?", "Paris is the capital of France."),
        item(5, "Name three colours of the rainbow.", "Red, blue, green"),
    ]
    found = overlap.report({"train": train, "test": test, "validation": []})
    assert found.exact is not None
    assert found.exact.ids == ("3",)
    assert found.near is not None
    assert [pair.id for pair in found.near.pairs] == ["4"]
    assert found.near.share == pytest.approx(1 / 3)
    assert found.corpus is None


def test_overlap_with_the_pretraining_text(tmp_path: Path) -> None:
    from pretrain.data.shard_writer import write_source

    text = tmp_path / "speeches"
    text.mkdir()
    for number in range(30):
        (text / f"{number}.txt").write_text(
            f"Speech {number}: we hold these truths to be self evident for all {number}."
        )
    write_source(str(text), tmp_path / "data", tokenizer="gpt2", workers=1)
    test = [
        item(1, "Complete.", "We hold these truths to be self-evident for all"),
        item(2, "Complete.", "Nothing of this stands in any of the speeches there"),
    ]
    found = overlap.report({"train": [], "test": test, "validation": []}, tmp_path / "data")
    assert found.corpus is not None
    assert found.corpus.ids == ("1",)


def test_a_short_question_overlaps_where_it_stands_in_the_text_whole() -> None:
    texts = ["She asked: Where does Mona Day live? In Oslo.", "Mona Day has a home in Oslo. The words: fan, egg."]
    test = [
        item(1, "Where does Mona Day live?", "Oslo"),
        item(2, "In which city is the home of Mona Day?", "Oslo"),
        item(3, "The words", "In Oslo"),
        item(4, "What does Mona Day work as", "a guard"),
    ]
    assert overlap.in_corpus(test, texts) == ["1"]
    assert overlap.in_corpus(test, []) == []


def test_all_items_that_stand_in_the_text_are_named() -> None:
    test = [item(number, f"What is the name of number {number}?", "x") for number in range(50)]
    assert len(overlap.in_corpus(test, [one.instruction for one in test])) == 50


def test_show(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    write_responses(path, [answer("[red]x[/red]", "y", id="a"), answer("y", "y", id="b", category="c")])
    result = CliRunner().invoke(program, ["show", str(path)])
    assert result.exit_code == 0
    assert "[red]x[/red]" in result.stdout
    document = json.loads(CliRunner().invoke(program, ["show", str(path), "--wrong", "--json"]).stdout)
    assert [one["id"] for one in document["responses"]] == ["a"]
    assert document["summary"]["all"]["items"] == 2


def test_preview_marks_what_carries_loss(items: Path) -> None:
    result = CliRunner().invoke(program, ["preview", "--data", str(items), "-n", "1"])
    assert result.exit_code == 0
    assert "###| Response|:«ant" in result.stdout
    assert "<|endoftext|>»" in result.stdout
    document = json.loads(CliRunner().invoke(program, ["preview", "--data", str(items), "--json"]).stdout)
    first = document["items"][0]
    assert sum(token["loss"] for token in first["tokens"]) == first["loss_tokens"]


def test_chat_answers_each_line(base: Path) -> None:
    result = CliRunner().invoke(
        program, ["chat", "--model", str(base), "--max-new-tokens", "3"], input="Hello\n/new\nAgain\n\nnever\n"
    )
    assert result.exit_code == 0, result.exception
    assert len(result.stdout.splitlines()) >= 2


def test_energy_is_the_growth_of_the_counters_and_none_without(tmp_path: Path) -> None:
    assert Meter(tmp_path).joules() is None
    zone = tmp_path / "intel-rapl:0"
    part = tmp_path / "intel-rapl:0:0"
    for one in (zone, part):
        one.mkdir()
        (one / "energy_uj").write_text("9000000")
        (one / "max_energy_range_uj").write_text("10000000")
    meter = Meter(tmp_path)
    (zone / "energy_uj").write_text("2000000")
    assert meter.joules() == pytest.approx(3.0)
