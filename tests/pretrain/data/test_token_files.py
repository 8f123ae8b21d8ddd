from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("safetensors")

from safetensors.numpy import save_file

from equiloss import tokenizer
from equiloss.errors import InputError
from pretrain.data import token_files
from pretrain.data.shard_writer import write_source
from pretrain.data.shards import SPLITS, Shards
from pretrain.data.splits import Fractions

GPT2 = tokenizer.gpt2()


def tokens(texts: list[str], dtype: Any = np.uint16) -> np.ndarray:
    return np.array([i for text in texts for i in (*GPT2.encode_ordinary(text), GPT2.eot_token)], dtype)


def texts_of(shards: Shards, name: str) -> list[str]:
    split = shards.split(name)
    return [shards.tokenizer.decode(split.document(i)[:-1].tolist()) for i in range(len(split))]


@pytest.mark.parametrize("read", [1, 7, 1 << 20])
def test_a_file_is_split_by_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: int) -> None:
    monkeypatch.setattr(token_files, "READ_TOKENS", read)
    texts = [f"Document {i} is naïve." for i in range(60)]
    save_file({"tokens": tokens(["", *texts, texts[0]])[:-1]}, tmp_path / "all.safetensors")  # the last end is missing
    shards = write_source(str(tmp_path / "all.safetensors"), tmp_path / "data", fractions=Fractions(0.2, 0.2))
    assert sorted(text for name in SPLITS for text in texts_of(shards, name)) == sorted(texts)
    assert all(texts_of(shards, name) for name in SPLITS)
    assert shards.record.duplicates_removed.model_dump() == {"within_splits": 1, "across_splits": 0}
    assert shards.record.empty_removed == 1
    for name in SPLITS:
        size = sum(len(text.encode()) for text in texts_of(shards, name))
        assert shards.record.splits[name].bytes == size == shards.split(name).text_bytes.sum()


def test_the_diarys_directory_keeps_its_splits(tmp_path: Path) -> None:
    save_file({"tokens": tokens(["one", "two", "two"])}, tmp_path / "train.safetensors")
    save_file({"tokens": tokens(["three", "one"])}, tmp_path / "validation.safetensors")
    shards = write_source(str(tmp_path), tmp_path / "data")
    assert texts_of(shards, "train") == ["one", "two", "two"]
    assert texts_of(shards, "validation") == ["three"]
    assert texts_of(shards, "test") == []
    assert shards.record.duplicates_removed.across_splits == 1


def test_the_order_of_the_splits_is_the_trainings_first(tmp_path: Path) -> None:
    for name in ("validation", "test", "train"):
        save_file({"tokens": tokens([name, "shared"], np.int64)}, tmp_path / f"{name}.safetensors")
    shards = write_source(str(tmp_path), tmp_path / "data")
    assert [texts_of(shards, name) for name in SPLITS] == [["train", "shared"], ["validation"], ["test"]]


def test_the_command_reads_them(program: Callable[..., Any], tmp_path: Path) -> None:
    save_file({"tokens": tokens([f"text {i}" for i in range(50)])}, tmp_path / "x.safetensors")
    done = program("pretrain", "data", tmp_path / "x.safetensors", "-o", tmp_path / "data")
    assert done.code == 0, done.err
    assert sum(s.documents for s in Shards.open(tmp_path / "data").record.splits.values()) == 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": np.zeros(3, np.float32)}, "no tensor `tokens`, only weight"),
        ({"tokens": np.zeros((2, 3), np.uint16)}, "not a vector of ids"),
        ({"tokens": np.zeros(3, np.float32)}, "not a vector of ids"),
        ({"tokens": np.array([1, 60000], np.uint16)}, "an id outside the tokenizer's 50,257"),
        ({"tokens": np.array([1, -1], np.int32)}, "an id outside"),
        ({"tokens": np.zeros(0, np.uint16)}, "no document is left"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    save_file(content, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=message):
        write_source(str(tmp_path / "x.safetensors"), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_broken_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing like it")
    for name, message in (("x", "not a safetensors file"), ("y", "no such file")):
        with pytest.raises(InputError, match=message):
            write_source(str(tmp_path / f"{name}.safetensors"), tmp_path / "data")


def test_nanogpts_files_keep_their_splits(tmp_path: Path) -> None:
    tokens(["one", "two", "two"]).tofile(tmp_path / "train.bin")
    tokens(["three"])[:-1].tofile(tmp_path / "val.bin")
    shards = write_source(str(tmp_path), tmp_path / "data")
    assert texts_of(shards, "train") == ["one", "two", "two"]
    assert texts_of(shards, "validation") == ["three"]
    one = write_source(str(tmp_path / "train.bin"), tmp_path / "one", fractions=Fractions(0, 0))
    assert texts_of(one, "train") == ["one", "two"]


def test_other_bin_files_are_refused_by_name(tmp_path: Path, parse: Callable[[str], dict[str, Any]]) -> None:
    path = tmp_path / "chars of" / "train.bin"
    path.parent.mkdir()
    np.arange(65, dtype=np.uint16).tofile(path)
    with pytest.raises(InputError, match=r"train\.bin: its ids are all below 256: characters or bytes"):
        write_source(str(path), tmp_path / "data")
    (path.parent / "meta.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(InputError, match=r"its ids are characters \(there is a meta\.pkl\)") as refused:
        write_source(str(path.parent), tmp_path / "data")
    assert parse((refused.value.hint or "").split("`")[1])["sources"] == [str(path.parent / "input.txt")]
    (path.parent / "meta.pkl").unlink()
    np.array([1, 60000], np.uint16).tofile(path)
    with pytest.raises(InputError, match="an id outside the tokenizer's 50,257"):
        write_source(str(path), tmp_path / "data")
    path.write_bytes(b"abc")
    with pytest.raises(InputError, match=r"train\.bin: not a file of uint16 ids"):
        write_source(str(path), tmp_path / "data")
    (path.parent / "data.json").write_text("{}")
    with pytest.raises(InputError, match="is a data directory already"):
        write_source(str(path.parent), tmp_path / "data")
