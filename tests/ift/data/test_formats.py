"""Instruction data in its layouts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equiloss.errors import InputError
from equiloss.files import write_jsonl
from equiloss.records.response import Turn, item_id, read_responses
from ift.data import formats
from ift.data.splits import asked

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def read(tmp_path: Path, rows: Any, name: str = "data.json") -> list[Any]:
    path = tmp_path / name
    path.write_text(json.dumps(rows) if name.endswith(".json") else "\n".join(json.dumps(row) for row in rows))
    return formats.read_examples(str(path))


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_alpaca(tmp_path: Path, name: str) -> None:
    one, two = read(tmp_path, [{"instruction": "Add.", "input": "1 2", "output": 3}, {"instruction": "Hi"}], name)
    assert (one.instruction, one.input, one.reference, one.id) == ("Add.", "1 2", "3", item_id("Add.", "1 2"))
    assert (two.input, two.reference, two.category) == ("", "", None)


def test_sharegpt_and_messages_are_the_same_conversation(tmp_path: Path) -> None:
    said = [("system", "Be kind."), ("human", "A?"), ("gpt", "B."), ("human", "C?"), ("gpt", "D.")]
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    (one,) = read(tmp_path, [{"conversations": [{"from": who, "value": what} for who, what in said]}])
    (two,) = read(tmp_path, [{"messages": [{"role": roles[who], "content": what} for who, what in said]}])
    assert one == two
    assert (one.system, one.instruction, one.reference) == ("Be kind.", "C?", "D.")
    assert [(turn.instruction, turn.response) for turn in one.history] == [("A?", "B.")]
    assert one.id != item_id("C?", "")


def test_an_unanswered_conversation_has_no_reference(tmp_path: Path) -> None:
    (one,) = read(tmp_path, [{"messages": [{"role": "user", "content": "A?"}]}])
    assert (one.instruction, one.reference, one.id) == ("A?", "", item_id("A?", ""))


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "data.parquet"
    rows = [{"instruction": "Add.", "input": "", "output": "3", "split": "test"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    (one,) = formats.read_examples(str(path))
    assert (one.reference, one.split) == ("3", "test")


@pytest.mark.parametrize("name", ["data.parquet.gz", "data", "data.PARQUET"])
def test_parquet_is_told_by_its_content_and_nan_is_missing(tmp_path: Path, name: str) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / name
    table = pyarrow.table({"instruction": ["Add.", "Say."], "input": [float("nan")] * 2, "output": ["3", "a"]})
    pyarrow.parquet.write_table(table, path)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert [(one.input, one.reference) for one in formats.read_examples(str(path))] == [("", "3"), ("", "a")]


def test_a_results_file_read_as_data_keeps_ids_and_histories(tmp_path: Path) -> None:
    turn = Turn(instruction="And?", response="so")
    rows = [
        {"id": id, "instruction": f"Say {n}.", "output": "mine", "reference": "r", "generator": "m", "history": [turn]}
        for n, id in enumerate(["q-1", "q-2", 7, "q-1"])
    ]
    path = tmp_path / "m.jsonl"
    write_jsonl(path, rows)
    examples = formats.read_examples(str(path))
    assert [one.id for one in examples] == [one.id for one in read_responses(path)] == ["q-1", "q-2", "7", "q-1-2"]
    assert all(one.history == (turn,) and one.reference == "r" for one in examples)
    assert len({asked(one) for one in examples}) == 4  # ids of others say nothing of what is asked


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"words": "x"}, {"instruction": " "}], "none of 2 items can be used: item 1 has words"),
        ([{"instruction": "x", "output": " "}], "none of 1 items can be used: item 1 has no answer"),
        (["x", 5], "none of 2 items can be used: item 1 is not an object"),
    ],
)
def test_only_bad_items_are_told_as_such(tmp_path: Path, rows: Any, message: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(InputError, match=message):
        formats.read_examples(str(path), skip_bad=True)


def test_conversations_in_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    said = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."}]
    told = [{"from": "human", "value": "A?"}, {"from": "gpt", "value": "B."}]
    for number, row in enumerate([{"messages": said}, {"conversations": told}]):
        path = tmp_path / f"{number}.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
        (one,) = formats.read_examples(str(path))
        assert (one.instruction, one.reference) == ("A?", "B.")


def test_a_data_set_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        "train": [{"instruction": "A", "output": "a"}, {"instruction": "B", "output": "b"}],
        "dev": [{"instruction": "C", "output": "c"}],
        "extra": [{"instruction": "D", "output": "d"}],
    }
    asked: list[tuple[str, str | None, str | None]] = []

    def load_dataset(name: str, config: str | None, *, split: str | None, streaming: bool) -> Any:
        assert streaming
        asked.append((name, config, split))
        if name == "no/such":
            raise FileNotFoundError("Dataset 'no/such' doesn't exist on the Hub\nmore lines")
        if name == "one/split":
            return {"train": rows["train"]}
        return rows[split] if split else rows

    monkeypatch.setattr(pytest.importorskip("datasets"), "load_dataset", load_dataset)

    def splits(source: str) -> list[tuple[str, str | None]]:
        return [(one.instruction, one.split) for one in formats.read_examples(source)]

    assert splits("hub:a/b") == [("A", "train"), ("B", "train"), ("C", "validation"), ("D", None)]
    assert splits("hub:one/split") == [("A", None), ("B", None)]
    assert splits("hub:a/b::dev") == [("C", None)]
    assert splits("hub:a/b:en:train") == [("A", None), ("B", None)]
    assert asked == [("a/b", None, None), ("one/split", None, None), ("a/b", None, "dev"), ("a/b", "en", "train")]
    with pytest.raises(InputError, match="hub:no/such: Dataset 'no/such' doesn't exist"):
        formats.read_examples("hub:no/such")


def test_a_results_file_gives_its_references(tmp_path: Path) -> None:
    ours = {"instruction": "A", "output": "answer", "reference": "right", "generator": "m", "category": "c"}
    diary = {"instruction": "B", "input": "", "output": "right", "model_response": "answer"}
    assert [one.reference for one in read(tmp_path, [ours, diary])] == ["right", "right"]


def test_items_that_ask_the_same_get_numbered_ids(tmp_path: Path) -> None:
    ids = [one.id for one in read(tmp_path, [{"instruction": "A"}, {"instruction": "A"}])]
    assert ids == [item_id("A", ""), f"{item_id('A', '')}-2"]


def test_the_built_in_world() -> None:
    examples = formats.read_examples("world:tiny")
    assert {"recall", "copy"} <= {one.category for one in examples}
    assert all(one.reference for one in examples)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"words": "x"}], "item 1 has words"),
        ([{"instruction": "ok"}, {"instruction": "  "}], "item 2: the instruction is empty"),
        ([{"instruction": ["x"]}], "instruction is not text"),
        ([{"instruction": "x", "split": "dev2"}], "split is 'dev2'"),
        ([{"messages": [{"role": "user"}]}], "messages 1 has no 'role' and 'content'"),
        ([{"messages": [{"role": "tool", "content": "x"}]}], "unknown role 'tool'"),
        ([{"messages": []}], "nobody asks"),
        ([{"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]}], "take turns"),
        (["x"], "item 1 is not an object"),
        ([], "holds no items"),
    ],
)
def test_bad_items_are_named(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, rows)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hub:tatsu-lab/alpaca"):
        formats.read_examples("tatsu-lab/alpaca")
    (tmp_path / "broken.jsonl").write_text('{"instruction": "a"}\n{"instr')
    with pytest.raises(InputError, match="line 2"):
        formats.read_examples(str(tmp_path / "broken.jsonl"))
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(InputError, match="not a Parquet file"):
        formats.read_examples(str(tmp_path / "bad.parquet"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["instruction", "input", "output", "messages", "conversations", "category", "split", "system"])


@settings(deadline=None)
@given(st.dictionaries(keys, json_values, max_size=5))
def test_any_object_is_an_item_or_a_plain_error(row: dict[str, Any]) -> None:
    problem = ""
    try:
        assert formats.example(row, "item").id
    except InputError as error:
        problem = str(error)
    assert problem == "" or problem.startswith("item")


@pytest.mark.skipif(not SHARED.exists(), reason="the real data is not here")
def test_the_real_items() -> None:
    examples = formats.read_examples(str(SHARED / "alpaca" / "instruction-data-1100.json"))
    assert len(examples) == 1100
    assert len({one.id for one in examples}) == 1100
