import json
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equiloss import files, provenance
from equiloss.errors import InputError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def interrupted() -> None:
        with files.atomic(path) as f:
            f.write("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_written_file_has_ordinary_permissions(tmp_path):
    path = tmp_path / "new" / "a.json"
    files.write_json(path, {"a": 1})
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@given(st.lists(json_values))
def test_json_lines_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    path.write_text("{}\n")
    for row in rows:
        files.append_jsonl(path, row)
    assert files.read_jsonl(path) == [{}, *rows]


@given(st.dictionaries(st.text(), json_values))
def test_a_documents_hash_ignores_the_order_of_keys(document):
    backwards = dict(reversed(document.items()))
    assert files.sha256_of(document) == files.sha256_of(backwards) == files.sha256_of(json.loads(json.dumps(document)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "the file is empty"),
        (b"  \n", "the file is empty"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b'{"a": 1}\n{"a":', "line 2 is not JSON"),
    ],
)
def test_reading_says_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        files.read_jsonl(path)


def test_a_file_of_lines_may_start_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    assert files.read_jsonl(path) == [{"a": 1}]


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # the published test vector of FIPS 180-2
    assert files.sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_provenance_names_what_made_a_file():
    record = provenance.provenance()
    assert set(record.model_dump()) == {"equiloss", "git_commit", "python", "platform", "libraries", "created"}
    assert record.libraries["numpy"]


def test_records_are_written_as_their_fields_wherever_they_stand(tmp_path):
    record = provenance.provenance()
    files.write_json(tmp_path / "a.json", {"made": [record]})
    assert files.read_json(tmp_path / "a.json") == {"made": [record.model_dump()]}
    with pytest.raises(TypeError, match="object is not JSON"):
        files.json_line({"a": object()})
