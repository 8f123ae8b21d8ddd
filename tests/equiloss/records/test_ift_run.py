"""The record beside answers: files of the first version are read and written again without a change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from equiloss.errors import InputError
from equiloss.files import sha256_of
from equiloss.records.ift_run import IftRespond, IftRun, plain_run, read_run, write_run

GOLDEN = Path(__file__).parents[2] / "golden" / "results"


@pytest.mark.parametrize("name", ["gentle.s1", "gentle.s2", "brisk.s1", "brisk.s2", "again"])
def test_a_file_of_the_first_version_is_read_whole(name: str, tmp_path: Path) -> None:
    path = GOLDEN / f"{name}.run.json"
    record = read_run(path)
    assert isinstance(record, IftRespond if name == "again" else IftRun)
    for part in (
        record,
        record.base,
        record.data,
        record.template,
        record.files,
        record.provenance,
        record.answers["all"],
    ):
        assert not part.model_extra, "every field has its place in the model"
    assert plain_run(record) == json.loads(path.read_text())
    write_run(tmp_path / "copy.run.json", record)
    assert read_run(tmp_path / "copy.run.json") == record


def test_what_a_run_record_says(tmp_path: Path) -> None:
    record = read_run(GOLDEN / "brisk.s1.run.json")
    assert isinstance(record, IftRun)
    assert record.recipe["lr"] == 0.02
    assert record.lr_sweep is not None
    assert record.lr_sweep.picked == record.lr_sweep.rates[1].lr == 0.02
    assert record.selected_epoch is not None
    assert record.epochs[record.selected_epoch - 1].validation_loss == record.selected_validation_loss
    assert record.seeds is not None
    assert (record.seeds.order, record.seeds.split) == (1, 0)
    assert len(record.data.split["test"]) == record.data.items["test"] == 12
    searched = read_run(GOLDEN / "gentle.s1.run.json").data.overlap
    assert searched is not None
    assert searched.corpus is not None
    assert searched.corpus.words == 8


def test_unknown_fields_are_kept_and_a_record_without_a_format_is_a_runs(tmp_path: Path) -> None:
    path = tmp_path / "a.run.json"
    path.write_text(json.dumps({"data": {"source": "x", "licence": "MIT"}, "mood": [1, 2]}))
    record = read_run(path)
    assert isinstance(record, IftRun)
    assert record.base.sha256 is None
    assert plain_run(record) == {"format": record.format, "data": {"source": "x", "licence": "MIT"}, "mood": [1, 2]}
    assert plain_run(record, without={"data": {"source"}})["data"] == {"licence": "MIT"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is not a run's record"),
        ('{"format": "equiloss.eval.v1"}', "not of the format equiloss.ift-run.v1"),
        ('{"epochs": [{"epoch": 1, "train_loss": "low"}]}', "epochs.0.train_loss"),
    ],
)
def test_something_else_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.run.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_run(path)


def test_the_fingerprint_of_answers_alone_is_of_the_same_fields() -> None:
    record = read_run(GOLDEN / "again.run.json")
    asked = {name: getattr(record, name) for name in ("name", "model", "data", "template", "decoding", "seed")}
    assert sha256_of(IftRespond(**asked).model_dump(mode="json", exclude_unset=True)) == record.fingerprint
