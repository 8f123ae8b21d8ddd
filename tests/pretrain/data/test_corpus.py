from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equiloss.errors import InputError
from pretrain.data import corpus
from pretrain.data.corpus import Fields, read_documents
from pretrain.data.document import Document


def read(path: Path | str, **fields: str) -> list[Document]:
    return list(read_documents(str(path), Fields(**fields)))


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "speech.txt"
    path.write_bytes("\ufeffFellow citizens,\n\nit is über.\n".encode())
    assert read(path) == [Document("Fellow citizens,\n\nit is über.\n", "speech")]


def test_a_separator_cuts_a_text_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "READ_BYTES", 5)  # the separator and the characters lie across pieces
    path = tmp_path / "stories.txt"
    path.write_text("one ü\n<|endoftext|>\ntwo\n<|endoftext|>\n", encoding="utf-8")
    assert [d.text for d in read(path, separator="<|endoftext|>")] == ["one ü", "two"]
    assert len(read(path)) == 1


@given(st.lists(st.text("abü ", min_size=1).filter(str.strip), min_size=1), st.integers(1, 9))
def test_cutting_gives_the_pieces_whatever_the_reads(pieces: list[str], read_bytes: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "READ_BYTES", read_bytes)
        path = Path(folder) / "x.txt"
        path.write_text("\n##\n".join(pieces), encoding="utf-8")
        assert [d.text for d in read(path, separator="##")] == pieces


def test_a_folder_names_the_domains(tmp_path: Path) -> None:
    for name in ("law/b.txt", "law/old/c.md", "news/a.jsonl", "top.txt", ".hidden/x.txt", "news/skip.bin"):
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"text": "from jsonl"}\n' if name.endswith("jsonl") else name, encoding="utf-8")
    assert read(tmp_path / "texts") == [
        Document("law/b.txt", "law"),
        Document("law/old/c.md", "law"),
        Document("from jsonl", "news"),
        Document("top.txt", "texts"),
    ]


ROWS = [{"text": "one", "lang": "en"}, {"text": "zwei ü", "lang": "de"}, {"text": None, "lang": "de"}]
EXPECTED = [Document("one", "en"), Document("zwei ü", "de"), Document("", "de")]


def as_jsonl(path: Path) -> Path:
    path = path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n", encoding="utf-8")
    return path


def as_gzipped_jsonl(path: Path) -> Path:
    text = as_jsonl(path).read_bytes()
    (path / "rows.jsonl").unlink()
    path = path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(text))
    return path


def as_json(path: Path) -> Path:
    path = path / "rows.json"
    path.write_text(json.dumps(ROWS), encoding="utf-8")
    return path


def as_gzipped_json(path: Path) -> Path:
    path = path / "rows.json.gz"
    path.write_bytes(gzip.compress(json.dumps(ROWS).encode()))
    return path


def as_parquet(path: Path) -> Path:
    path = path / "rows.parquet"
    parquet.write_table(arrow.Table.from_pylist(ROWS), path)
    return path


def as_packed_parquet(path: Path) -> Path:
    plain = as_parquet(path)
    packed = path / "rows.PARQUET.ZST"
    packed.write_bytes(arrow.compress(plain.read_bytes(), "zstd", asbytes=True))
    plain.unlink()
    return packed


FORMATS = [as_jsonl, as_gzipped_jsonl, as_json, as_gzipped_json, as_parquet, as_packed_parquet]


@pytest.mark.parametrize("write", FORMATS)
def test_records(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    assert read(path, domain="lang") == EXPECTED
    assert [d.text for d in read(path, text="lang")] == ["en", "de", "de"]
    assert {d.domain for d in read(path)} == {"rows"}


@pytest.mark.parametrize("write", FORMATS)
def test_a_missing_field_names_the_known_ones(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    with pytest.raises(InputError, match=r"no (field|column) 'body'.*--text-field: text, lang"):
        read(write(tmp_path), text="body")
    with pytest.raises(InputError, match=r"no (field|column) 'topic'.*--domain-field: text, lang"):
        read(write(tmp_path), domain="topic")


def test_a_hub_data_set_is_streamed(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    as_jsonl(tmp_path)
    documents = read_documents(f"hub:{tmp_path}", Fields(domain="lang"))
    assert next(documents) == EXPECTED[0]
    assert list(documents) == EXPECTED[1:]
    with pytest.raises(InputError, match=r"no field 'body'.*text, lang"):
        read(f"hub:{tmp_path}", text="body")
    with pytest.raises(InputError, match=r"hub:.*nowhere"):
        read(f"hub:{tmp_path}::nowhere")


def test_the_hub_gets_name_configuration_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[object] = []

    class Rows(list[dict[str, str]]):
        column_names = None

    def load(name: str, config: str | None, *, split: str, streaming: bool) -> Rows:
        asked.append((name, config, split, streaming))
        return Rows([{"text": "x"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert read("hub:org/name") == [Document("x", "name")]
    assert read("hub:org/name:sample-10BT") == [Document("x", "sample-10BT")]
    assert read("hub:org/name:en:validation") == [Document("x", "en")]
    assert asked == [
        ("org/name", None, "train", True),
        ("org/name", "sample-10BT", "train", True),
        ("org/name", "en", "validation", True),
    ]


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def load(*args: object, **kwargs: object) -> None:
        raise ConnectionError("could not reach the Hub\nlong\ntrace")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(InputError) as raised:
        read("hub:org/name")
    assert "could not reach the Hub" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_world_brings_its_splits() -> None:
    documents = list(read_documents("world:demo?people=20"))
    assert {d.split for d in documents} == {"train", "validation", "test"}
    assert all(d.domain for d in documents)


def broken(name: str, content: bytes, message: str):
    return pytest.param(name, content, message, id=message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        broken("a.txt", b"", "file is empty"),
        broken("a.txt", b"fine\xff\xfe", "not UTF-8 text .near byte 4"),
        broken("b.txt", b"cut off \xc3", "not UTF-8 text"),
        broken("a.jsonl", b'{"text": "x"}\n{"text": \n', "line 2 is not JSON"),
        broken("a.jsonl", b'{"text": "x"}\n"\xff"\n', "not UTF-8 text"),
        broken("b.jsonl", b'{"text": "x"}\n[1]\n', "line 2 is not a record"),
        broken("c.jsonl", b'{"text": 5}\n', "line 1: the field 'text' is not text but 5"),
        broken("b.json", b'[\n{"text": }]', "not JSON: .* on line 2"),
        broken("a.parquet", b"PAR1 not really", "not a Parquet file"),
        broken("a.jsonl.gz", gzip.compress(b"x" * 9999)[:-9], "damaged"),
        broken("a.docx", b"x", "not a kind of file that is read"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        read(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_and_empty_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no text in this folder"):
        read(tmp_path)


def test_a_damaged_parquet_page_is_named(tmp_path: Path) -> None:
    path = as_parquet(tmp_path)
    data = bytearray(path.read_bytes())
    data[4:40] = b"\xff" * 36
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"rows\.parquet"):
        read(path)


def test_a_description_changes_with_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    before = corpus.describe(str(tmp_path))
    assert (before.files, before.bytes) == (1, 1)
    (tmp_path / "a.txt").write_text("y", encoding="utf-8")
    assert corpus.describe(str(tmp_path)).sha256 != before.sha256
    assert corpus.describe("world:demo").model_dump() == {"name": "world:demo"}
