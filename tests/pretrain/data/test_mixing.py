"""Mixes of sources by weight: their order, what repeats, what the record says, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equiloss import tokenizer as tokenizers
from equiloss.errors import InputError
from pretrain.data.corpus import Fields
from pretrain.data.mixing import Mix, parse
from pretrain.data.shards import Shards

Program = Callable[..., Any]


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """a and b: 200 documents of 20 bytes; c: 10 of them."""
    monkeypatch.chdir(tmp_path)
    for name, count in {"a": 200, "b": 200, "c": 10}.items():
        rows = [json.dumps({"text": f"{name} document {i:>9}"}) for i in range(count)]
        Path(f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")


def names(mix: Mix) -> list[str]:
    return [document.domain for document in mix.documents()]


@pytest.mark.usefixtures("sources")
def test_the_source_that_is_furthest_behind_comes_next() -> None:
    mix = Mix([("a.jsonl", 45), ("b.jsonl", 45), ("c.jsonl", 10)], Fields())
    order = names(mix)
    for end in (20, 40, 100, 200):
        counts = Counter(order[:end])
        assert counts["a"] == pytest.approx(0.45 * end, abs=1)
        assert counts["c"] == pytest.approx(0.1 * end, abs=1)
    assert [part.passes for part in mix.parts if part.name != "c.jsonl"] in ([1, 1], [1, 0], [0, 1])
    assert mix.parts[2].passes == mix.parts[2].documents // 10 == 4
    assert names(Mix(mix.weights, Fields())) == order
    assert len({tuple(names(Mix(mix.weights, Fields(), seed))) for seed in range(5)}) > 1, "the seed breaks ties"


@pytest.mark.usefixtures("sources")
def test_a_small_source_repeats_in_training_alone_and_the_record_says_so(program: Program) -> None:
    done = program(
        "pretrain", "data", "a.jsonl=90", "c.jsonl=10", "-o", "mix", "--validation", "0.2", "--test", "0.2", "--json"
    )
    assert done.code == 0, done.err
    shards = Shards.open(Path("mix"))
    source = shards.record.source
    assert source is not None
    assert source.name == "a.jsonl=90 c.jsonl=10"
    first, small = source.mix
    assert (first.passes, first.documents) == (1, 200)
    assert small.passes == small.documents // 10 == 2
    assert small.share == pytest.approx(0.1, abs=0.01)
    assert small.sha256 is not None
    line = f"c.jsonl: {100 * small.share:.1f} % of the text read, {small.documents} documents, read to its end 2 times"
    assert line in done.err
    assert shards.domains == ["a", "c"]
    for split in ("train", "validation", "test"):
        part = shards.split(split)
        tokens = np.asarray(part.tokens)
        ends = np.flatnonzero(tokens == shards.tokenizer.eot_token)
        texts = Counter(tuple(piece.tolist()) for piece in np.split(tokens, ends + 1) if len(piece))
        assert (max(texts.values()) > 1) == (split == "train")


@pytest.mark.usefixtures("sources")
def test_a_tokenizer_is_trained_on_the_mix(program: Program) -> None:
    done = program("pretrain", "data", "a.jsonl=1", "b.jsonl=1", "-o", "mix", "--train-tokenizer", 270)
    assert done.code == 0, done.err
    values = Shards.open(Path("mix")).tokenizer.token_byte_values()
    assert b" document" in values


def test_parameters_of_a_world_are_no_weight() -> None:
    assert parse(["world:demo?people=50"]) == []
    assert parse(["world:demo?people=50=2", "world:demo=1"]) == [("world:demo?people=50", 2), ("world:demo", 1)]


@pytest.mark.usefixtures("sources")
@pytest.mark.parametrize(
    ("mix", "message"),
    [
        (["a.jsonl=0", "b.jsonl=1"], "'a.jsonl=0': a mix needs SOURCE=WEIGHT with a weight above 0"),
        (["a.jsonl=-1", "b.jsonl=1"], "weight above 0"),
        (["a.jsonl=inf", "b.jsonl=1"], "weight above 0"),
        (["a.jsonl=much", "b.jsonl=1"], "weight above 0"),
        (["a.jsonl", "b.jsonl"], "'a.jsonl': a mix needs SOURCE=WEIGHT"),
        (["a.jsonl=45"], "two sources or more"),
        (["a.jsonl=45", "a.jsonl=55"], "each of them once"),
    ],
)
def test_a_mix_that_is_none_is_refused(program: Program, mix: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(mix)
    done = program("pretrain", "data", *mix, "-o", "out")
    assert done.code == 2
    assert not Path("out").exists()


@pytest.mark.usefixtures("sources")
@pytest.mark.parametrize(
    ("other", "message"),
    [("empty.jsonl", "empty"), ("missing.jsonl", "no such file"), ("t.safetensors", "not a safetensors file")],
)
def test_a_source_that_cannot_be_mixed_is_named_and_nothing_is_written(
    program: Program, other: str, message: str
) -> None:
    Path("empty.jsonl").touch()
    Path("t.safetensors").touch()
    done = program("pretrain", "data", "a.jsonl=1", f"{other}=1", "-o", "out")
    assert done.code == 2
    assert other in done.err
    assert message in done.err
    assert not Path("out").exists()


def test_token_files_join_a_mix_and_domains_of_one_name_are_told_apart(program: Program, tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    encoding = tokenizers.gpt2()
    for folder in ("a", "b"):
        (tmp_path / folder / "text").mkdir(parents=True)
        rows = [json.dumps({"text": f"{folder} writes document {i:>9}"}) for i in range(60)]
        (tmp_path / folder / "text" / "x.jsonl").write_text("\n".join(rows), encoding="utf-8")
    texts = [f"tokens of document {i:>9} are naïve" for i in range(60)]
    ids = [i for text in texts for i in (*encoding.encode_ordinary(text), encoding.eot_token)]
    save_file({"tokens": np.array(ids, np.uint16)}, tmp_path / "t.safetensors")
    sources = [f"{tmp_path / name}=1" for name in ("a", "b", "t.safetensors")]
    done = program("pretrain", "data", *sources, "-o", tmp_path / "mix", "--test", "0.2")
    assert done.code == 0, done.err
    shards = Shards.open(tmp_path / "mix")
    assert shards.domains[:2] == [f"{tmp_path / 'a'}: text", f"{tmp_path / 'b'}: text"] or len(shards.domains) == 3
    assert {name for name in shards.domains if name.endswith(": text")} == {f"{tmp_path / n}: text" for n in "ab"}
    assert shards.record.source is not None
    assert [part.share for part in shards.record.source.mix] == pytest.approx([1 / 3] * 3, abs=0.05)
    kept = {
        encoding.decode(split.document(i)[:-1].tolist())
        for split in map(shards.split, ("train", "validation", "test"))
        for i in range(len(split))
    }
    assert set(texts) <= kept


def test_a_tokenizer_cannot_be_trained_on_tokens(program: Program, tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    save_file({"tokens": np.array([1, 2, 3], np.uint16)}, tmp_path / "t.safetensors")
    done = program("pretrain", "data", tmp_path / "t.safetensors", "-o", tmp_path / "x", "--train-tokenizer", 270)
    assert done.code == 2
    assert "name it with --tokenizer" in done.err
    assert not (tmp_path / "x").exists()
