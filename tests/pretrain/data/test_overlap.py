"""Documents that stand in another text: found by equal tokens and by shared runs, left out, and counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("safetensors")

from safetensors.numpy import save_file

from equiloss import tokenizer as tokenizers
from equiloss.errors import InputError
from pretrain.data import overlap as overlaps
from pretrain.data.document import Document
from pretrain.data.overlap import GRAM_TOKENS, HeldBack, hashes, open_text, overlap
from pretrain.data.shard_writer import write_shards
from pretrain.data.shards import Shards

Program = Callable[..., Any]
GPT2 = tokenizers.gpt2()
RNG = np.random.default_rng(5)


def ids(count: int) -> np.ndarray:
    return RNG.integers(1000, 40_000, count)


def vector(path: Path, documents: list[np.ndarray]) -> Path:
    save_file({"tokens": np.concatenate([np.append(d, GPT2.eot_token) for d in documents]).astype(np.uint16)}, path)
    return path


def test_every_run_has_its_hash_and_equal_runs_have_equal_ones() -> None:
    tokens = ids(40)
    assert len(hashes(tokens)) == 40 - GRAM_TOKENS + 1
    assert len(hashes(tokens[: GRAM_TOKENS - 1])) == 0
    assert hashes(tokens)[7] == hashes(tokens[7 : 7 + GRAM_TOKENS])[0]
    assert len(set(hashes(tokens).tolist())) == 28
    changed = tokens.copy()
    changed[20] += 1
    assert (hashes(changed) != hashes(tokens)).sum() == GRAM_TOKENS


@pytest.mark.parametrize("chunk", [GRAM_TOKENS, 50, 1 << 22])
def test_what_stands_in_the_training_tokens_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(overlaps, "CHUNK_TOKENS", chunk)
    whole, half, fresh, short, other_short = ids(100), ids(100), ids(80), ids(5), ids(6)
    partly = np.concatenate([half[:40], ids(60)])  # 28 of 88 runs
    train = [ids(300), whole, half, ids(50), short, np.concatenate([ids(30), other_short, ids(30)])]
    a = vector(tmp_path / "train.safetensors", train)
    b = vector(tmp_path / "test.safetensors", [whole, partly, fresh, short, other_short])
    found = overlap(str(a), str(b))
    assert (found.documents, found.documents_found, found.documents_whole) == (5, 2, 2)
    assert found.found == [0, 3], "a short document is found where it is a document of its own alone"
    assert (found.tokens, found.tokens_found) == (100 + 100 + 80 + 5 + 6, 100 + 40 + 5)
    assert overlap(str(a), str(b), threshold=0.3).documents_found == 3
    assert overlap(str(tmp_path), str(tmp_path)).documents_found == 2, "a directory's own splits"


def test_a_stretch_of_one_vector(tmp_path: Path) -> None:
    documents = [ids(99) for _ in range(4)]
    text = vector(tmp_path / "all.safetensors", documents)
    found = overlap(f"{text}:0:200", f"{text}:100:200")
    assert (found.documents, found.documents_found, found.a_tokens) == (2, 1, 200)
    assert found.tokens_found == 99
    assert overlap(f"{text}:0:150", f"{text}:120:60").tokens_found == 30, "a cut document counts as far as it is there"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("none", "no such data directory"),
        ("x.safetensors:test", "a token file has no splits"),
        ("x.safetensors:300:200", "tokens 300 to 500 of 400"),
        ("x.safetensors:0:0", "tokens 0 to 0 of 400"),
        ("m.safetensors", "not a vector of ids"),
        ("folder:test", "no data.json"),
    ],
)
def test_what_cannot_be_read_is_refused(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    vector(Path("x.safetensors"), [ids(99) for _ in range(4)])
    vector(Path("y.safetensors"), [ids(99)])
    Path("folder").mkdir()
    save_file({"tokens": np.zeros((2, 3), np.uint16)}, "m.safetensors")
    for command in (
        ("pretrain", "overlap", "x.safetensors", reference),
        ("pretrain", "data", "y.safetensors", "-o", "out", "--exclude", reference),
    ):
        done = program(*command)
        assert done.code == 2
        assert message in done.err
        assert len(done.err.strip().splitlines()) == 1
        assert not Path("out").exists()


def test_no_more_memory_than_the_test_text_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlaps, "CHUNK_TOKENS", 1000)
    text = vector(tmp_path / "x.safetensors", [ids(99) for _ in range(100)])
    with ExitStack() as stack:
        pieces = list(open_text(str(text), "train", lambda: GPT2, stack).pieces())
    assert len(pieces) == 10
    assert max(len(piece) for piece in pieces) == 1000 + GRAM_TOKENS - 1
    held = HeldBack([])
    assert held.tokens_found() == 0
    assert not held.holds(ids(20), 0.5)


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Four test documents in data/held, and 200 of them and others in text.jsonl."""
    monkeypatch.chdir(tmp_path)
    encoding = tokenizers.train_bpe(["some words of a text"] * 3, 270)
    long = [" ".join(f"w{n}" for n in RNG.integers(0, 10_000, 30)) for _ in range(3)]
    held = [*long, "tiny"]
    documents = [Document("a training text", "", "train"), *(Document(text, "", "test") for text in held)]
    write_shards(documents, Path("data/held"), encoding, workers=1)
    around = f"before it {long[1]} and {' '.join(f'v{n}' for n in range(200))}"  # holds a held-back document whole
    near = long[2].replace("w", "x", 3)
    others = [f"document {n} is about nothing" for n in range(195)]
    rows = [json.dumps({"text": text}) for text in (*others, long[0], around, near, "tiny", "tiny things")]
    Path("text.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return held


@pytest.mark.parametrize("tokenizer", ["data/held/tokenizer.json", "gpt2"])
def test_documents_of_a_test_set_are_left_out_and_counted(program: Program, texts: list[str], tokenizer: str) -> None:
    done = program(
        "pretrain", "data", "text.jsonl", "-o", "data/clean", "--tokenizer", tokenizer, "--exclude", "data/held:test"
    )
    assert done.code == 0, done.err
    assert "left out: 4 documents" in done.err
    assert "stand in data/held:test" in done.err
    shards = Shards.open(Path("data/clean"))
    (excluded,) = shards.record.excluded
    assert (excluded.data, excluded.documents, excluded.threshold) == ("data/held:test", 4, 0.5)
    splits = [shards.split(name) for name in ("train", "validation", "test")]
    kept = {shards.tokenizer.decode(s.document(i)[:-1].tolist()) for s in splits for i in range(len(s))}
    assert len(kept) == 196
    assert "tiny things" in kept
    assert not kept & set(texts)
    again = program("pretrain", "overlap", "data/clean", "data/held", "--json")
    assert json.loads(again.out)["documents_found"] == 0
    full = program("pretrain", "data", "text.jsonl", "-o", "data/full", "--test", "0", "--validation", "0")
    assert full.code == 0
    told = program("pretrain", "overlap", "data/full", "data/held")
    assert told.out.startswith("4 of 4 documents (100.0 %)")


@pytest.mark.usefixtures("texts")
def test_an_exclusion_that_leaves_nothing_writes_nothing(program: Program) -> None:
    done = program("pretrain", "data", "text.jsonl", "-o", "all", "--test", "0", "--validation", "0")
    assert done.code == 0
    done = program("pretrain", "data", "text.jsonl", "-o", "out", "--exclude", "all:train")
    assert done.code == 2
    assert "no document is left to train on (of 200 read, 0 were empty, 200 stand in what is excluded)" in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not Path("out").exists()


def test_a_reference_needs_what_it_names(tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(InputError, match="no such data directory"):
        open_text(f"{tmp_path / 'nothing'}:test:0:10", "test", lambda: GPT2, stack)
