import errno
import gzip
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equiloss import files, provenance
from equiloss.errors import IncompleteError, InputError

int64 = st.integers(-(2**63), 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e100, 1e100) | st.text(),
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


def test_what_a_killed_writer_left_goes_with_the_next_writing_of_that_file_and_nothing_else_does(tmp_path):
    path, other = tmp_path / "a.txt", tmp_path / ".a.txt.mine.tmp"
    other.write_text("somebody's")
    killed = "import os, sys; from pathlib import Path; from equiloss.files import atomic"
    killed += "\nwith atomic(Path(sys.argv[1])) as f: f.write('half'); f.flush(); os.kill(os.getpid(), 9)"
    for name in ("a.txt", "b.txt"):
        assert subprocess.run([sys.executable, "-c", killed, tmp_path / name], timeout=60).returncode == -9
    assert len(list(tmp_path.glob(f".*{files.TEMPORARY}"))) == 2
    files.write_text(path, "whole")
    assert path.read_text() == "whole"
    assert other.exists()
    assert [left.name[:7] for left in tmp_path.glob(f".*{files.TEMPORARY}")] == [".b.txt."]


def test_two_living_writers_of_a_file_leave_each_others_alone(tmp_path):
    path = tmp_path / "a.txt"
    with files.atomic(path) as first:
        first.write("first")
        with files.atomic(path) as second:
            second.write("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "🌍" * 63, "[a]*?" * 30])
def test_a_name_as_long_as_a_files_can_be_is_written_whole(tmp_path, name):
    files.write_text(tmp_path / name, "a")
    files.write_text(tmp_path / name, "b")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "b")]


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 3000 + "]" * 3000, "nested too deeply"),
        ("[" * 200 + "]" * 200, "nested too deeply"),
        ("9" * 5000, "too large"),
        ("1e999", "too large"),
        ("[1, -Infinity]", "Infinity is no number"),
    ],
)
def test_json_is_read_within_bounds(text, message):
    with pytest.raises(InputError, match=message):
        files.parse_json(text, "x")


def test_json_of_other_programs_is_read_alike_everywhere():
    read = files.parse_json(
        '{"\\ud83d": "half \\udc00, whole \\ud83d\\ude00, \\\\ud83d", "n": NaN, "i": 1' + "0" * 30 + "}", "x"
    )
    assert read == {"�": "half �, whole 😀, \\ud83d", "n": None, "i": 1e30}


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", 2.0**63),
        ("-9223372036854775808", -(2**63)),
        ("-9223372036854775809", -(2.0**63)),
        ("1e100", 1e100),
        ("-0", 0),
    ],
)
def test_a_number_is_what_it_would_be_alone_wherever_it_stands(number, value):
    for text, read in ((number, value), (f'{{"a": [{number}, "b"]}}', {"a": [value, "b"]})):
        found = files.parse_json(text, "x")
        assert (found, repr(found)) == (read, repr(read))


@given(json_values)
def test_json_is_read_alike_with_what_only_the_careful_reader_takes_and_without(value):
    text = json.dumps(value)
    assert files.parse_json(text, "x") == value
    assert files.parse_json(f'[{text}, NaN, "\\ud800"]', "x") == [value, None, "\ufffd"]


@pytest.mark.parametrize(("depth", "fits"), [(files.MAX_DEPTH, True), (files.MAX_DEPTH + 1, False)])
@pytest.mark.parametrize("inner", ["", "1", "NaN"])
def test_json_is_nested_so_deep_and_no_deeper(depth, fits, inner):
    text = "[" * depth + inner + "]" * depth
    if fits:
        files.parse_json(text, "x")
    else:
        with pytest.raises(InputError, match="nested too deeply"):
            files.parse_json(text, "x")


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1}\n{"a": 2}\n',
        b'[{"a": 1}, {"a": 2}]',
        b'\xef\xbb\xbf[\n {"a": 1},\n {"a": 2}\n]\n',
        b'{"version": 1, "data": [{"a": 1}, {"a": 2}]}',
        b'{\n "data": [\n  {"a": 1}, {"a": 2}\n ]\n}',
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_rows_are_found_by_content_not_by_name(tmp_path, content, packed):
    path = tmp_path / "rows.json"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert [row for _, row in files.json_rows(path)] == [{"a": 1}, {"a": 2}]


def test_a_line_is_never_glued_to_one_without_an_end(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}')
    files.append_jsonl(path, {"a": 2})
    assert files.read_jsonl(path) == [{"a": 1}, {"a": 2}]


def test_no_secret_and_no_lone_surrogate_reaches_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-planted-1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:pass-planted-2@host/v1")
    document = {
        "a": "sk-planted-1",
        "b": "pass-planted-2",
        "c": "https://u:pw@host/x",
        "d": "Bearer abcdefghij",
        "e": "\ud800",
    }
    files.write_json(tmp_path / "a.json", document)
    files.write_jsonl(tmp_path / "a.jsonl", [document])
    files.append_jsonl(tmp_path / "a.jsonl", document)
    for path in tmp_path.iterdir():
        text = path.read_text()
        assert "planted" not in text
        assert "u:pw" not in text
        assert "abcdefghij" not in text
        assert '"e": "?"' in text


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/x", "a/b", "a\\b", "a\nb", "x" * 300])
def test_a_name_never_leaves_its_folder(tmp_path, name):
    with pytest.raises(InputError, match="no name for a file"):
        files.child(tmp_path, name)


def test_a_symbolic_link_is_followed_before_a_name_is_believed(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "x").symlink_to(tmp_path)
    with pytest.raises(InputError, match="leads out of"):
        files.child(tmp_path / "runs", "x")
    assert files.child(tmp_path / "runs", "模型.1").name == "模型.1"


def test_what_nobody_recorded_is_not_replaced(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(InputError, match="no record says"):
        files.claim(tmp_path / "a", ours=False)
    files.claim(tmp_path / "a", ours=True)
    files.claim(tmp_path / "b", ours=False)


def test_a_lock_is_held_by_one_and_free_again(tmp_path):
    lock = tmp_path / "lock"
    with (
        files.locked(lock, "pretrain run"),
        pytest.raises(InputError, match=rf"at work there \(process {os.getpid()} on"),
        files.locked(lock, "pretrain run"),
    ):
        pass
    with files.locked(lock, "pretrain run"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_whatever_hides_it(tmp_path: Path, number: int) -> None:
    def write() -> None:
        try:
            raise OSError(number, "of the system")
        except OSError:
            raise RuntimeError("unexpected pos 12 vs 10")  # noqa: B904  (as torch does)

    with pytest.raises(IncompleteError, match="no space left"), files.room_for(tmp_path / "x"):
        write()
    with pytest.raises(IncompleteError, match="no space left"), files.room_for(tmp_path / "x"):
        raise ValueError(f"I/O error: of the system (os error {number})")  # as libraries in Rust do
    with pytest.raises(RuntimeError), files.room_for(tmp_path / "x"):
        raise RuntimeError("another fault (os error 2)")


def test_what_nobody_made_is_replaced_only_where_the_person_says_so(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.write_text("x")
    files.claim(path, ours=True)
    with pytest.raises(InputError, match="theirs: is there already"):
        files.claim(path, ours=False)
    try:
        assert files.overwrite(allowed=True)
        files.claim(path, ours=False)
    finally:
        files.overwrite(allowed=False)
    with pytest.raises(InputError, match="--overwrite"):
        files.claim(path, ours=False)
