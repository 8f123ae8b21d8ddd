"""Level 0 over several texts: on which the premise holds, whose own text one is, and test documents that were read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equiloss.loss_comparison import summary
from equiloss.records.diagnosis import Diagnosis
from equiloss.records.evaluation import EvaluatedCheckpoint, EvaluatedData, Evaluation, EvaluationMethod, load, save
from judge.diagnose.diagnose import diagnose

Make = Callable[..., dict[str, Any]]
DOCUMENTS, TOKENS = 80, 100


def base(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name / "checkpoint.pt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"weights")
    return {"path": str(path), "sha256": name, "config": {"n_layer": 2}, "run": {"config": {"train": {"seed": 0}}}}


def evaluated(
    folder: Path, name: str, text: str, loss: float, *, own: float | None = None, seen: np.ndarray | None = None
) -> None:
    """Losses of the base `name` on `text` beside its checkpoint: half a nat lower on documents that it has `seen`."""
    rng = np.random.default_rng(len(text))
    tokens = np.full(DOCUMENTS, TOKENS)
    per_token = loss + rng.normal(0, 0.3, DOCUMENTS) + np.random.default_rng(len(name)).normal(0, 0.01, DOCUMENTS)
    arrays: dict[str, Any] = {
        "index": np.arange(DOCUMENTS), "domain": np.zeros(DOCUMENTS, int), "tokens": tokens,
        "nats": (per_token - (0.5 * seen if seen is not None else 0)) * tokens,
        "bytes": tokens * 4, "correct": tokens // 2,
        "decile_tokens": np.tile(tokens[:, None] // 10, 10), "decile_nats": np.ones((DOCUMENTS, 10)),
        "position_tokens": tokens[:, None], "position_nats": np.ones((DOCUMENTS, 1)),
        "confidence_tokens": np.ones((DOCUMENTS, 15)), "confidence_sum": np.ones((DOCUMENTS, 15)),
        "confidence_correct": np.ones((DOCUMENTS, 15)),
    }  # fmt: skip
    if seen is not None:
        arrays["seen"] = seen
    count = None if seen is None else int(seen.sum())
    checkpoint = EvaluatedCheckpoint(name=name, path="", sha256=name, own_share=own, seen_documents=count)
    data = EvaluatedData(path=f"data/{text}", sha256=text, split="test", documents=DOCUMENTS, domains=["all"])
    record = summary(checkpoint, data, EvaluationMethod(context_tokens=8, stride_tokens=4, precision="fp32"), arrays)
    save(Evaluation(record, arrays), folder / name / f"{text}.test")


@pytest.fixture
def diagnosed(pair: Any, make_record: Make) -> Callable[..., Diagnosis]:
    def run(**more: Any) -> Diagnosis:
        a, b = base(pair.folder, "one"), base(pair.folder, "other")
        runs = [
            *pair.seeds("a", lambda i: 0.8, run=make_record(base=a, **more.get("a", {}))),
            *pair.seeds("b", lambda i: 0.6, run=make_record(base=b, **more.get("b", {})), first=40),
        ]
        pair.judge(runs)
        return diagnose("a", "b", results_dir=pair.folder)

    return run


def test_the_premise_may_hold_on_one_text_alone(pair: Any, diagnosed: Callable[..., Diagnosis]) -> None:
    for name, edu in (("one", 3.0), ("other", 3.0)):
        (pair.folder / name).mkdir()
        evaluated(pair.folder, name, "edu", edu)
        evaluated(pair.folder, name, "fineweb", 3.13 if name == "one" else 3.0)
    level = diagnosed().level(0)
    assert level.status == "undetermined"
    assert "depends on the text" in level.says
    assert "nats worse on fineweb" in level.says
    assert "equivalent on edu" in level.says
    assert level.effect is not None
    assert level.effect.value == pytest.approx(0.13 / 2, abs=0.01)
    rows = {row["text"]: row for row in level.tables["losses"]}
    assert rows["fineweb"]["difference"] == pytest.approx(0.13, abs=0.01)
    assert rows["edu"]["difference"] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("gap", "status"), [(0.0, "clear"), (0.3, "accounts")])
def test_what_holds_on_every_text_decides(
    pair: Any, diagnosed: Callable[..., Diagnosis], gap: float, status: str
) -> None:
    for name, more in (("one", gap), ("other", 0.0)):
        (pair.folder / name).mkdir()
        for text in ("edu", "fineweb", "wiki"):
            evaluated(pair.folder, name, text, 3 + more)
    level = diagnosed().level(0)
    assert level.status == status
    assert ("on every text" in level.says) == (status == "clear")


def test_ones_own_text_is_named_and_does_not_decide(pair: Any, diagnosed: Callable[..., Diagnosis]) -> None:
    for name in ("one", "other"):
        (pair.folder / name).mkdir()
        evaluated(pair.folder, name, "fineweb", 3.0 if name == "one" else 3.2, own=0.45 if name == "one" else 0.0)
    alone = diagnosed().level(0)
    assert alone.status == "undetermined", "a lower loss on one's own text decides nothing"
    assert "fineweb is 45 % of the text that A's base was trained on, and none of B's" in alone.says
    assert "decides nothing" in alone.says
    assert alone.command is not None
    assert alone.command.startswith("pretrain eval")
    for name in ("one", "other"):
        evaluated(pair.folder, name, "wiki", 3.0, own=0.0)
    level = diagnosed().level(0)
    assert level.status == "clear", "the neutral text decides"
    assert "nats better on fineweb" in level.says
    assert "equivalent on wiki" in level.says


def test_of_several_base_runs_a_side_the_first_ones_loss_is_told(pair: Any, make_record: Make) -> None:
    sides = {"a": ("one", "two"), "b": ("one", "other")}
    for name in ("one", "two", "other"):
        (pair.folder / name).mkdir()
        evaluated(pair.folder, name, "edu", 3.0)
    runs: list[Any] = []
    for seed, (side, names) in enumerate(sides.items()):
        for turn, name in enumerate(names, start=1):
            run = make_record(base=base(pair.folder, name))
            answers = pair.answers(f"{side}.s{turn}", lambda i: 0.7, 10 * seed + turn)
            pair.write(f"{side}.s{turn}", answers, run)
            runs.append(answers)
    pair.judge(runs)
    level = diagnose("a", "b", results_dir=pair.folder).level(0)
    assert "same base model" not in level.says
    assert "Of the several base runs of a and b, these are the losses of the first." in level.says


def test_a_higher_loss_on_ones_own_text_does_count(pair: Any, diagnosed: Callable[..., Diagnosis]) -> None:
    for name in ("one", "other"):
        (pair.folder / name).mkdir()
        evaluated(pair.folder, name, "fineweb", 3.3 if name == "one" else 3.0, own=1.0 if name == "one" else 0.0)
    assert diagnosed().level(0).status == "accounts"


def test_test_documents_that_one_has_read_are_a_cause_of_the_equal_loss(
    pair: Any, diagnosed: Callable[..., Diagnosis]
) -> None:
    seen = np.arange(DOCUMENTS) % 4 == 0  # 0.125 nats of the mean
    for name in ("one", "other"):
        (pair.folder / name).mkdir()
        own = seen if name == "one" else np.zeros(DOCUMENTS, bool)
        evaluated(pair.folder, name, "fineweb", 3.12 if name == "one" else 3.0, seen=own)
    assert load(pair.folder / "one" / "fineweb.test.eval.json").seen.sum() == 20
    found = diagnosed()
    level = found.level(0)
    assert level.status == "accounts", "without the documents that A has read the loss is not equal"
    (cause,) = level.causes
    assert (cause.id, cause.status) == ("contaminated-loss", "possible")
    assert "20 stand in A's training text and 0 in B's" in cause.says
    assert "With them it was another" in cause.says
    assert level.effect is not None
    assert level.effect.value == pytest.approx(0.12, abs=0.01)
    assert level.tables["losses"][0]["seen_by_a"] == 20
    assert any(one.cause == "contaminated-loss" for one in found.contributions)


def test_documents_that_change_nothing_are_excluded_as_a_cause(pair: Any, diagnosed: Callable[..., Diagnosis]) -> None:
    seen = np.arange(DOCUMENTS) < 2
    for name in ("one", "other"):
        (pair.folder / name).mkdir()
        evaluated(pair.folder, name, "fineweb", 3.0, seen=seen)
    (cause,) = diagnosed().level(0).causes
    assert cause.status == "excluded"


def test_the_references_before_fine_tuning_are_shown(pair: Any, diagnosed: Callable[..., Diagnosis]) -> None:
    for name in ("one", "other"):
        (pair.folder / name).mkdir()
        evaluated(pair.folder, name, "fineweb", 3.0)
    level = diagnosed(a={"base_validation_loss": 2.5}, b={"base_validation_loss": 2.25}).level(0)
    evidence = next(one for one in level.evidence if "references" in one.name)
    assert (evidence.a, evidence.b) == (2.5, 2.25)
    assert "2.50 nats a token with A's base and 2.25 with B's" in evidence.says
    assert level.tables["losses"][-1]["a"] == 2.5
    other_items = {"base_validation_loss": 2.25, "data": {"sha256": "e" * 64}}
    level = diagnosed(a={"base_validation_loss": 2.5}, b=other_items).level(0)
    assert not any("references" in one.name for one in level.evidence), "other items: the losses are not comparable"
