"""Records that say little are read all the same: only what is there must be right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from equiloss.errors import InputError
from equiloss.records import evaluation
from equiloss.records.base_run import RunProgress
from equiloss.records.ift_run import IftRespond, read_run


def test_a_run_record_with_hardly_anything(tmp_path: Path) -> None:
    path = tmp_path / "a.run.json"
    base = {"path": "x.pt", "run": {"config": {"train": {"lr": 0.1}}}}
    path.write_text(json.dumps({"base": base, "seeds": {"order": 1, "dropout": None}, "weight_distance": {}}))
    record = read_run(path)
    assert record.seeds is not None
    assert (record.seeds.order, record.seeds.dropout, record.seeds.noise) == (1, None, None)
    path.write_text(json.dumps({"format": "equiloss.ift-respond.v1", "answers": {"all": {}}}))
    assert isinstance(read_run(path), IftRespond)
    path.write_text(json.dumps({"seeds": {"order": "first"}}))
    with pytest.raises(InputError, match=r"seeds\.order"):
        read_run(path)


def test_an_evaluation_without_its_means(tmp_path: Path) -> None:
    record = {
        "format": "equiloss.eval.v1",
        "checkpoint": {"name": "a"},
        "data": {"sha256": "d", "split": "test", "domains": ["d"]},
        "method": {"context_tokens": 8, "stride_tokens": 4, "precision": "fp32"},
    }
    (tmp_path / "x.eval.json").write_text(json.dumps(record))
    names = (*evaluation.PER_DOCUMENT, *evaluation.BREAKDOWNS, *evaluation.CONFIDENCE)
    np.savez(
        tmp_path / "x.eval.npz",
        allow_pickle=False,
        **{name: np.zeros((3, 1)[: 1 + (name not in evaluation.PER_DOCUMENT)]) for name in names},
    )
    loaded = evaluation.load(tmp_path / "x.eval.json")
    assert loaded.name == "a"
    assert loaded.record.domains == []


@pytest.mark.parametrize("interval", [None, 3, [None], [[[]]], "ab", [[1.0]]])
def test_steps_that_are_no_rows_of_numbers_are_refused(interval: object) -> None:
    with pytest.raises(ValueError, match="interval"):
        RunProgress.model_validate({"interval": interval})
    kept = RunProgress.model_validate({"interval": [[1.0, None, 0, 0]]})
    assert kept.model_dump(mode="json")["interval"] == [[1.0, None, 0.0, 0.0]]
