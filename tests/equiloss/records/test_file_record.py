"""Records: unknown fields survive, and an error names the file and what is wrong in it."""

from __future__ import annotations

from typing import Literal

import pytest

from equiloss.errors import InputError
from equiloss.files import write_json
from equiloss.records.file_record import FileRecord, parse, read, shared


class Sheep(FileRecord):
    format: Literal["sheep.v1"] = "sheep.v1"
    legs: int
    weight: float = 0.0


def test_what_another_version_wrote_is_kept(tmp_path):
    write_json(tmp_path / "a.json", {"format": "sheep.v1", "legs": 4, "wool": True})
    assert read(Sheep, tmp_path / "a.json", "").model_dump() == {
        "format": "sheep.v1",
        "legs": 4,
        "weight": 0.0,
        "wool": True,
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"format": "sheep.v2", "legs": 4}, "farm: not of the format sheep.v1. shear"),
        ({"legs": 4}, "farm: not of the format sheep.v1. shear"),
        ([1], "farm: not of the format sheep.v1. shear"),
        ({"format": "sheep.v1"}, "farm: legs: Field required. shear"),
        ({"format": "sheep.v1", "legs": "many"}, "farm: legs: Input should be a valid integer"),
        ({"format": "sheep.v1", "legs": True}, "legs: true is no number"),
        ({"format": "sheep.v1", "legs": 4, "weight": "NaN"}, 'weight: "NaN" is no number'),
        ({"format": "sheep.v1", "legs": 4, "weight": " -Infinity"}, 'weight: " -Infinity" is no number'),
    ],
)
def test_an_error_names_the_place_and_the_field(document, message):
    with pytest.raises(InputError, match=message):
        parse(Sheep, document, "farm", "shear")


class Flock(FileRecord):
    owner: str
    note: str
    names: list[str]


def test_records_that_share_what_they_say_are_the_same_records():
    rows = [{"owner": "an " + "owner", "note": f"note {k}", "names": ["a", "b"], "more": {"k": k}} for k in range(2)]
    plain, pool = [Flock.model_validate(row) for row in rows], {}
    compact = [shared(one, pool, frozenset(("note",))) for one in plain]
    assert compact == plain
    assert [one.model_dump() for one in compact] == rows
    assert compact[0].names is compact[1].names
    assert compact[0].owner is compact[1].owner
    assert [one.model_extra for one in compact] == [{"more": {"k": 0}}, {"more": {"k": 1}}]
    assert compact[1].model_copy(update={"note": "x"}).model_dump() == {**rows[1], "note": "x"}
    bare = shared(Flock(owner="o", note="n", names=[]), pool, frozenset())
    assert (bare.model_extra, bare.model_fields_set) == ({}, {"owner", "note", "names"})
