from __future__ import annotations

import json
import random
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equiloss import tokenizer
from equiloss.errors import EquilossError, InputError
from pretrain.data import shard_writer
from pretrain.data.document import Document
from pretrain.data.shard_writer import write_shards
from pretrain.data.shards import SPLITS, Shards
from pretrain.data.splits import Fractions, choose_split

SMALL = tokenizer.train_bpe(["some words to merge, some words"] * 2, 280)


def texts(count: int = 300) -> list[Document]:
    rng = random.Random(0)
    words = ["some", "words", "to", "merge", "über", "<|endoftext|>", "12"]
    return [
        Document(" ".join(rng.choices(words, k=rng.randint(1, 40))) + f" {i}", f"domain {i % 3}") for i in range(count)
    ]


def write(documents: list[Document], directory: Path, **options: object) -> Shards:
    arguments = {"source": {"name": "test"}, "workers": 1} | options
    return write_shards(documents, directory, SMALL, **arguments)  # pyright: ignore[reportArgumentType]


def decoded(shards: Shards, name: str) -> list[tuple[str, str]]:
    split = shards.split(name)
    found: list[tuple[str, str]] = []
    for index in range(len(split)):
        *ids, end = split.document(index).tolist()
        assert end == shards.tokenizer.eot_token
        assert end not in ids
        found.append((shards.tokenizer.decode(ids), shards.domains[split.domain[index]]))
    return found


def test_every_document_comes_back_once(tmp_path: Path) -> None:
    documents = texts()
    shards = Shards.open(write(documents, tmp_path / "data").directory)
    found = [pair for name in SPLITS for pair in decoded(shards, name)]
    assert sorted(found) == sorted((d.text, d.domain) for d in documents)
    assert decoded(shards, "train")  # in the order of the source
    assert [p for p in ((d.text, d.domain) for d in documents) if p in set(decoded(shards, "test"))] == decoded(
        shards, "test"
    )


def test_the_record_says_what_is_there(tmp_path: Path) -> None:
    documents = texts()
    shards = write(documents, tmp_path / "data", seed=3)
    record = json.loads((tmp_path / "data" / "data.json").read_text(encoding="utf-8"))
    assert record["format"] == "equiloss.data.v1"
    assert (record["dtype"], record["seed"], record["source"]) == ("uint16", 3, {"name": "test"})
    assert sum(s["documents"] for s in record["splits"].values()) == len(documents)
    assert sum(s["bytes"] for s in record["splits"].values()) == sum(len(d.text.encode()) for d in documents)
    for name in SPLITS:
        split = shards.split(name)
        assert record["splits"][name]["tokens"] == len(split.tokens)
        assert int(split.text_bytes.sum()) == record["splits"][name]["bytes"]
        assert split.ends.tolist()[-1] == len(split.tokens)
        assert (split.tokens == shards.tokenizer.eot_token).sum() == len(split)
    assert tokenizer.sha256(tokenizer.load(str(tmp_path / "data"))) == tokenizer.sha256(SMALL)
    assert "ranks" not in json.dumps(shards.summary())
    assert {path.name for path in (tmp_path / "data").iterdir()} == {
        "data.json",
        "tokenizer.json",
        *(f"{s}{e}" for s in SPLITS for e in (".bin", ".docs.npz")),
    }


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_nothing(tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_writer, "BATCH_BYTES", 500)
    write(texts(), tmp_path / "one")
    write(texts(), tmp_path / "many", workers=workers)
    for name in SPLITS:
        for end in (".bin", ".docs.npz"):
            one, many = (tmp_path / d / f"{name}{end}" for d in ("one", "many"))
            assert one.read_bytes() == many.read_bytes()
    records = [json.loads((tmp_path / d / "data.json").read_text(encoding="utf-8")) for d in ("one", "many")]
    assert records[0] | {"provenance": None} == records[1] | {"provenance": None}


@pytest.mark.slow
def test_a_dying_worker_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_writer, "BATCH_BYTES", 500)

    def kill_one(documents: int, tokens: int) -> None:
        for child in active_children()[:1]:  # the pool may have lost it before this is called again
            child.kill()

    with pytest.raises(EquilossError, match="a tokenizing process died"):
        write(texts(), tmp_path / "data", workers=2, on_progress=kill_one)
    assert not (tmp_path / "data").exists()


def test_memory_holds_a_few_batches_however_long_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_writer, "BATCH_BYTES", 1000)
    read = 0
    ahead: list[int] = []

    def source() -> Iterator[Document]:
        nonlocal read
        for i in range(2000):
            read += 1
            yield Document(f"some words {i}")

    def progress(documents: int, tokens: int) -> None:
        ahead.append(read - documents)

    write_shards(source(), tmp_path / "data", SMALL, workers=1, on_progress=progress)
    assert max(ahead) < 600


def test_equal_documents_are_kept_once(tmp_path: Path) -> None:
    record = write([*texts(50), *texts(30)], tmp_path / "data", fractions=Fractions(0.2, 0.2)).record
    assert record.duplicates_removed.model_dump() == {"within_splits": 30, "across_splits": 0}
    assert sum(s.documents for s in record.splits.values()) == 50


def test_equal_documents_stay_in_one_split(tmp_path: Path) -> None:
    documents = [
        Document("a text", "a", "train"),
        Document("a text", "b", "train"),
        Document("a text", "a", "test"),
        Document("b text", "a", "validation"),
        Document("b text", "a", "train"),
        Document(" \n", "a", "train"),
        Document("", "a", "test"),
        Document("a text ", "a", "test"),
    ]
    record = write(documents, tmp_path / "data").record
    assert record.duplicates_removed.model_dump() == {"within_splits": 0, "across_splits": 2}
    assert record.empty_removed == 2
    assert {name: s.documents for name, s in record.splits.items()} == {"train": 2, "validation": 1, "test": 1}


def test_repeats_are_dropped_unless_the_source_sets_the_split(tmp_path: Path) -> None:
    record = write([Document(text, "a") for text in ("x", "y", "x", "x", "z")], tmp_path / "data").record
    assert record.duplicates_removed.model_dump() == {"within_splits": 2, "across_splits": 0}
    assert sum(split.documents for split in record.splits.values()) == 3


def test_a_source_that_splits_itself_is_believed(tmp_path: Path) -> None:
    documents = [Document(f"text {i}", "d", SPLITS[i % 3]) for i in range(9)]
    shards = write(documents, tmp_path / "data", fractions=Fractions(0.0, 0.0))
    for number, name in enumerate(SPLITS):
        assert [text for text, _ in decoded(shards, name)] == [f"text {i}" for i in range(number, 9, 3)]
    with pytest.raises(InputError, match="split 'dev'"):
        write([Document("x", "d", "dev")], tmp_path / "other")


@given(st.integers(0, 5), st.lists(st.binary(min_size=16, max_size=16), min_size=1, unique=True))
def test_a_split_depends_on_text_and_seed_alone(seed: int, digests: list[bytes]) -> None:
    fractions = Fractions(0.3, 0.3)
    assert all(choose_split(d, seed, fractions) == choose_split(d, seed, fractions) for d in digests)
    wider = Fractions(0.5, 0.3)  # more validation takes from training only
    for digest in digests:
        before, after = choose_split(digest, seed, fractions), choose_split(digest, seed, wider)
        assert before == after or (before, after) == ("train", "validation")


def test_the_shares_are_what_was_asked_and_the_seed_moves_them() -> None:
    digests = [random.Random(i).randbytes(16) for i in range(20_000)]
    chosen = [choose_split(d, 0, Fractions(0.1, 0.2)) for d in digests]
    assert abs(chosen.count("validation") / 20_000 - 0.1) < 0.01  # 4.7 standard errors
    assert abs(chosen.count("test") / 20_000 - 0.2) < 0.0135
    other = [choose_split(d, 1, Fractions(0.1, 0.2)) for d in digests]
    both = sum(a == b == "test" for a, b in zip(chosen, other, strict=True))
    assert abs(both / 20_000 - 0.04) < 0.0065  # independent of each other


def test_adding_documents_moves_none(tmp_path: Path) -> None:
    few = write(texts(100), tmp_path / "few", fractions=Fractions(0.2, 0.2))
    many = write(list(reversed(texts(200))), tmp_path / "many", fractions=Fractions(0.2, 0.2))
    for name in SPLITS:
        assert set(decoded(few, name)) <= set(decoded(many, name))


def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path) -> None:
    import base64

    extra = [a.to_bytes(1, "big") + b.to_bytes(1, "big") + b"!" for a in range(256) for b in range(256)]
    ranks = [bytes([i]) for i in range(256)] + [bytes([a, b]) for a in range(256) for b in range(256)] + extra
    record = {
        "kind": "bpe",
        "pattern": tokenizer.PATTERN,
        "ranks": [base64.b64encode(r).decode() for r in ranks],
        "special_tokens": {"<|endoftext|>": len(ranks)},
    }
    shards = write_shards([Document("ab!", "d", "train")], tmp_path / "d", tokenizer.from_record(record))
    assert shards.record.dtype == "uint32"
    assert shards.split("train").tokens.dtype == np.dtype("<u4")
    assert [text for text, _ in decoded(shards, "train")] == ["ab!"]


def test_a_lone_surrogate_does_not_stop_it(tmp_path: Path) -> None:
    shards = write([Document("a\ud800b", "d", "train")], tmp_path / "data")
    assert [text for text, _ in decoded(shards, "train")] == ["a?b"]


def test_nothing_to_train_on_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no document is left to train on \(of 2 read, 2 were empty"):
        write([Document("  "), Document("")], tmp_path / "deep" / "data")
    assert not (tmp_path / "deep").exists()
    with pytest.raises(InputError, match="leave nothing to train on"):
        Fractions(0.6, 0.4)


def test_a_broken_source_leaves_an_older_directory_as_it_was(tmp_path: Path) -> None:
    def source() -> Iterator[Document]:
        yield Document("fine")
        raise InputError("line 2 is not JSON")

    before = write(texts(20), tmp_path / "data").sha256
    with pytest.raises(InputError, match="line 2"):
        write_shards(source(), tmp_path / "data", SMALL)
    assert Shards.open(tmp_path / "data").sha256 == before
    assert not (tmp_path / "data" / ".partial").exists()


def test_an_older_directory_is_replaced_and_a_foreign_one_is_not(tmp_path: Path) -> None:
    write(texts(20), tmp_path / "data")
    after = write(texts(30), tmp_path / "data")
    assert sum(s.documents for s in after.record.splits.values()) == 30
    (tmp_path / "data" / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(InputError, match=r"holds other files \(thesis.tex\)"):
        write(texts(20), tmp_path / "data")
    with pytest.raises(InputError, match="is a file"):
        write(texts(20), tmp_path / "data" / "thesis.tex")


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    partial = tmp_path / "data" / ".partial"
    partial.mkdir(parents=True)
    (partial / "train.bin").write_bytes(b"half")
    with pytest.raises(InputError, match="not a finished data directory"):
        Shards.open(tmp_path / "data")
    write(texts(20), tmp_path / "data")
    assert not partial.exists()


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    def source() -> Iterator[Document]:
        yield Document("one")
        with pytest.raises(InputError, match="another `pretrain data` is writing there"):
            write(texts(20), tmp_path / "data")
        yield Document("two")

    shards = write_shards(source(), tmp_path / "data", SMALL, fractions=Fractions(0, 0))
    assert [text for text, _ in decoded(shards, "train")] == ["one", "two"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "data.json").unlink(), "not a finished data directory"),
        (lambda d: (d / "data.json").write_text("{}"), "not of the format"),
        (lambda d: (d / "data.json").write_text('{"format": "equiloss.data.v1"}'), "Field required"),
        (lambda d: (d / "train.bin").write_bytes(b"xx"), "not the .* bytes that data.json says"),
        (lambda d: (d / "test.bin").unlink(), "not the .* bytes that data.json says"),
        (lambda d: (d / "train.docs.npz").write_bytes(b"xx"), "write the data again"),
        (lambda d: (d / "train.docs.npz").unlink(), "write the data again"),
    ],
)
def test_damaged_directories_are_refused(tmp_path: Path, change, message: str) -> None:
    directory = write(texts(20), tmp_path / "data").directory
    change(directory)
    with pytest.raises(InputError, match=message):
        Shards.open(directory).split("train")


def test_an_unknown_split_and_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such data directory"):
        Shards.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no split 'dev'"):
        write(texts(20), tmp_path / "data").split("dev")


def test_an_empty_split_opens(tmp_path: Path) -> None:
    split = write([Document("x", "d", "train")], tmp_path / "data").split("test")
    assert len(split) == 0
    assert len(split.tokens) == 0
