"""Files that version 0.1.0 wrote (tests/golden): each is still read, and every field of it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from equiloss.files import read_json, read_jsonl
from equiloss.records import evaluation, probe
from equiloss.records.base_run import TrainingState
from equiloss.records.evaluation import EvaluationRecord
from equiloss.records.file_record import FileRecord, read
from equiloss.records.metrics import read_metrics, read_samples
from equiloss.records.probe import ProbeRecord
from equiloss.records.token_data import TokenData

GOLDEN = Path(__file__).parents[2] / "golden"
RUN = GOLDEN / "runs" / "base"


@pytest.mark.parametrize(
    ("record", "path"),
    [
        (TokenData, GOLDEN / "data" / "world" / "data.json"),
        (TrainingState, RUN / "state" / "step-00000003" / "state.json"),
        (EvaluationRecord, RUN / "world.test.eval.json"),
        (ProbeRecord, RUN / "checkpoint.probe.json"),
    ],
)
def test_a_record_is_read_to_the_letter(record: type[FileRecord], path: Path) -> None:
    assert read(record, path, "").model_dump(mode="json", exclude_unset=True) == read_json(path)


def test_evaluations_and_probes_are_found_beside_their_checkpoint() -> None:
    (found,) = evaluation.find(RUN / "checkpoint.pt")
    assert found.name == "base"
    assert found.arrays["nats"].sum() / found.arrays["tokens"].sum() == pytest.approx(found.record.loss_nats.value)
    assert evaluation.find(RUN / "checkpoint.pt", "another") == []
    probed = probe.find(RUN / "checkpoint.pt", found.record.checkpoint.sha256)
    assert probed is not None
    assert probed[0].measures["cloze.stored_loss"].n == 12
    assert (probed[0].item_domains or {})["What is the job of Ella Chase?"] == "strangers"
    assert probe.find(RUN / "checkpoint.pt", "another") is None


def test_metrics_and_samples_are_read_line_by_line() -> None:
    train, validation = read_metrics(RUN / "metrics.jsonl")
    assert [row.step for row in train] == [2, 4, 6]
    assert [row.step for row in validation] == [3, 6]
    lines = [row.model_dump() for row in sorted([*train, *validation], key=lambda row: row.step)]
    assert lines == read_jsonl(RUN / "metrics.jsonl")
    assert [row.prompt for row in read_samples(RUN / "samples.jsonl")] == ["The list is"] * 2
