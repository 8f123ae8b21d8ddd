"""What the zoo plants by a script: a fixed order, lost verdicts, longer answers, items in order."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from equiloss.records.response import Response, read_responses, write_responses
from judge.data.reference import agreement
from judge.data.verdicts import load_judged
from study.zoo import pairs


@pytest.fixture(scope="module")
def plant() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plant", pairs.directory() / "plant.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def biased() -> Iterator[str]:
    """The URL of a simulated judge that favours the first place."""
    command = [sys.executable, "-m", "judge", "simulate", "--position-bias", "0.4", "--seconds", "1200"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


def answers(path: Path, name: str, wrong: set[int], count: int = 40) -> Path:
    write_responses(
        path,
        [
            Response(
                id=f"item-{i}",
                instruction=f"Say {i}.",
                output="nothing" if i in wrong else f"word {i}",
                reference=f"word {i}",
                generator=name,
                finish_reason="stop",
                n_tokens=2,
                schema="equiloss.response.v1",
            )
            for i in range(count)
        ],
    )
    return path


def test_a_careless_script_shows_a_first_and_loses_wrong_answers_of_b(
    plant: ModuleType, tmp_path: Path, biased: str
) -> None:
    a = answers(tmp_path / "a.s1.jsonl", "a.s1", {0, 1})
    b = answers(tmp_path / "b.s1.jsonl", "b.s1", set(range(20)))
    plant.judge(a, b, biased, 0.8, tmp_path / "verdicts")
    files = sorted((tmp_path / "verdicts").glob("*.jsonl"))
    first, second = load_judged([a, b, *files])
    assert {v.position for v in first.verdicts} == {0}
    assert {v.position for v in second.verdicts} == {1}
    assert len(first.verdicts) == 40
    assert {f.id for f in second.failures} <= {f"item-{i}" for i in range(20)}
    assert 10 <= len(second.failures) < 20
    assert len(second.verdicts) + len(second.failures) == 40
    right = {v.id: v.value for v in second.verdicts}
    assert right["item-30"] < next(v.value for v in first.verdicts if v.id == "item-30"), "the judge is biased"


def test_longer_answers_agree_with_the_reference_as_before(plant: ModuleType, tmp_path: Path) -> None:
    path = answers(tmp_path / "short.s2.jsonl", "short.s2", set())
    plant.reword(path, "terse", "", " indeed", tmp_path)
    plant.reword(path, "wordy", " indeed it must be said", " indeed", tmp_path)
    terse, wordy = (read_responses(tmp_path / f"{name}.s2.jsonl") for name in ("terse", "wordy"))
    assert terse[0].generator == "terse.s2"
    for one, other in zip(terse, wordy, strict=True):
        assert len(other.output.split()) == len(one.output.split()) + 5
        assert agreement(one.output, one.reference) == agreement(other.output, other.reference)


def test_a_category_goes_to_the_front(plant: ModuleType, tmp_path: Path) -> None:
    items = [{"instruction": str(i), "category": "sort" if i % 3 == 0 else "copy"} for i in range(9)]
    (tmp_path / "items.json").write_text(json.dumps(items))
    plant.first(tmp_path / "items.json", "sort", tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert [one["instruction"] for one in found] == ["0", "3", "6", "1", "2", "4", "5", "7", "8"]


def test_the_first_validation_items_get_each_others_answers(plant: ModuleType, tmp_path: Path) -> None:
    items = [
        {
            "instruction": str(i),
            "output": f"answer {i}",
            "category": "recall" if i % 2 else "copy",
            "split": "validation" if i >= 10 else "train",
        }
        for i in range(20)
    ]
    (tmp_path / "items.json").write_text(json.dumps(items))
    plant.mislabel(tmp_path / "items.json", 3, tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert [(one["instruction"], one["output"]) for one in found[:3]] == [
        ("11", "answer 13"),
        ("13", "answer 15"),
        ("15", "answer 11"),
    ]
    assert sorted(one["instruction"] for one in found) == sorted(one["instruction"] for one in items)
    assert all(one["output"] == f"answer {one['instruction']}" for one in found[3:])


def test_answers_are_mixed_up_in_another_order_and_the_record_says_nothing(plant: ModuleType, tmp_path: Path) -> None:
    path = answers(tmp_path / "a.s1.jsonl", "a.s1", set())
    (tmp_path / "a.s1.run.json").write_text("{}")
    plant.mix(path, "b", 0.25, tmp_path)
    before, after = ({one.id: one for one in read_responses(tmp_path / f"{name}.s1.jsonl")} for name in "ab")
    assert list(before) != list(after)
    assert set(before) == set(after)
    assert sum(before[id].output != after[id].output for id in before) == 10
    assert {one.generator for one in after.values()} == {"b.s1"}
    assert (tmp_path / "b.s1.run.json").read_text() == "{}"
    plant.mix(path, "c", 0.0, tmp_path, "s21")
    assert {one.generator for one in read_responses(tmp_path / "c.s21.jsonl")} == {"c.s21"}


def test_verdicts_are_collected_as_one_judges_and_lowered(plant: ModuleType, tmp_path: Path) -> None:
    for folder, name, value in (("one", "a", 80.0), ("two", "b", 8.0)):
        (tmp_path / folder).mkdir()
        line = {"generator": f"{name}.s1", "judge": f"simulated@{folder}", "value": value}
        (tmp_path / folder / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    plant.collect([tmp_path / "one", tmp_path / "two"], "b", 12.0, tmp_path / "both")
    lines = [json.loads((tmp_path / "both" / f"{name}.jsonl").read_text()) for name in "ab"]
    assert [(line["judge"], line["value"]) for line in lines] == [("simulated", 80.0), ("simulated", 0.0)]


def test_only_the_held_items_are_kept(plant: ModuleType, tmp_path: Path) -> None:
    items = [{"instruction": str(i), "split": "test" if i % 3 == 0 else "train"} for i in range(9)]
    (tmp_path / "items.json").write_text(json.dumps(items))
    plant.held(tmp_path / "items.json", tmp_path / "held.json")
    assert [one["instruction"] for one in json.loads((tmp_path / "held.json").read_text())] == ["0", "3", "6"]


def test_points_of_two_factors_sum_to_the_gap(plant: ModuleType, tmp_path: Path) -> None:
    wrong = {"plain": 0, "one": 8, "other": 4, "both": 20}
    for name, count in wrong.items():
        for seed in (1, 2):
            answers(tmp_path / f"{name}.s{seed}.jsonl", f"{name}.s{seed}", set(range(count)))
    files = [str(path) for path in sorted(tmp_path.glob("*.jsonl"))]
    command = [sys.executable, "-m", "judge", "score", *files, "-o", str(tmp_path / "verdicts")]
    subprocess.run(command, check=True, capture_output=True)
    arms = {"aa": "plain", "ba": "one", "ab": "other", "bb": "both"}
    plant.points(tmp_path / "verdicts", tmp_path, arms, {"0": "recipe-rate", "1": ""}, tmp_path / "planted.json")
    found = json.loads((tmp_path / "planted.json").read_text())
    means, points = found["means"], [one["points"] for one in found["factors"]]
    assert sum(points) == pytest.approx(means["aa"] - means["bb"])
    assert points[0] == pytest.approx((means["aa"] - means["ba"] + means["ab"] - means["bb"]) / 2)
    assert points[0] > points[1] > 0
    assert found["interaction"] == pytest.approx(means["aa"] - means["ab"] - means["ba"] + means["bb"])
