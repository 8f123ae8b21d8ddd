"""Splits: the diary's ratio, the same test items for everyone, no question on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equiloss.errors import InputError
from equiloss.files import read_json
from equiloss.records.response import Example, number_repeats
from ift.data.formats import read_examples
from ift.data.splits import asked, split_examples
from ift.recipe import SplitRule, load

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "alpaca"


def examples(names: list[str]) -> list[Example]:
    return [Example(id=id, instruction=name) for id, name in zip(number_repeats(names), names, strict=True)]


def test_the_diarys_ratio() -> None:
    parts = split_examples(examples([f"q{i}" for i in range(1100)]), SplitRule())
    assert {name: len(items) for name, items in parts.items()} == {"train": 935, "validation": 55, "test": 110}


@settings(deadline=None)
@given(
    st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), min_size=30, max_size=120), st.integers(0, 5), st.randoms()
)
def test_no_question_on_both_sides_and_no_matter_in_which_order(names: list[str], seed: int, random: object) -> None:
    split = SplitRule(seed=seed)
    try:
        parts = split_examples(examples(names), split)
    except InputError:
        return  # so many repeats that a part is left empty
    assert sum(map(len, parts.values())) == len(names)
    sides = {name: {asked(one) for one in items} for name, items in parts.items()}
    assert not sides["train"] & sides["test"]
    assert not sides["train"] & sides["validation"]
    assert not sides["validation"] & sides["test"]
    shuffled = sorted(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = split_examples(examples(shuffled), split)
    assert {name: sorted(one.id for one in items) for name, items in parts.items()} == {
        name: sorted(one.id for one in items) for name, items in again.items()
    }


def test_another_seed_is_another_split() -> None:
    items = examples([f"q{i}" for i in range(200)])
    one, two = (split_examples(items, SplitRule(seed=seed))["test"] for seed in (0, 1))
    assert one != two


def test_given_splits_are_kept_and_must_be_whole() -> None:
    items = [Example(id=str(i), instruction="x", split="test" if i else "train") for i in range(3)]
    assert [len(part) for part in split_examples(items, SplitRule(by="given")).values()] == [1, 0, 2]
    with pytest.raises(InputError, match="item 1 has no split"):
        split_examples(examples(["a"]), SplitRule(by="given"))


def test_too_few_items_are_refused() -> None:
    with pytest.raises(InputError, match="leave none for validation"):
        split_examples(examples(["a", "b", "c", "d", "e", "f"]), SplitRule())


@pytest.mark.skipif(not SHARED.exists(), reason="the real data is not here")
def test_by_order_gives_the_diarys_own_test_items() -> None:
    parts = split_examples(read_examples(str(SHARED / "instruction-data-1100.json")), load("diary").split)
    published = [row["instruction"] for row in read_json(SHARED / "gpt2-medium-responses-110.json")]
    assert [one.instruction for one in parts["test"]] == published


@pytest.mark.parametrize("count", [47, 1100, 1107])
def test_by_order_rounds_as_the_book_does(count: int) -> None:
    items = [Example(id=str(i), instruction=f"x{i}") for i in range(count)]
    train, test = int(count * 0.85), int(count * 0.1)
    parts = split_examples(items, load("diary").split)
    assert [len(parts[name]) for name in ("train", "test", "validation")] == [train, test, count - train - test]
