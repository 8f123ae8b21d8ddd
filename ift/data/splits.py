"""The held-out items: the same for every base model and every seed, and never asked in training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from equiloss.errors import InputError
from equiloss.records.response import Example, conversation_id
from ift.recipe import SplitRule

NAMES = ("train", "validation", "test")


def split_examples(examples: Sequence[Example], split: SplitRule) -> dict[str, list[Example]]:
    """Divide items into train, validation and test.

    By seed, an item's place depends on what it asks, the seed and how many items there are, not on the order of the
    file; items that ask the same stay together. By order, the file is cut as it stands: train, test, validation.
    Raises: InputError when nothing is left to train on, or a share above 0 gives no item.
    """
    if split.by == "given":
        return _given(examples)
    count = len(examples)
    test = round(count * split.test)
    validation = count - round(count * split.train) - test if split.validation else 0
    if split.by == "order":  # as the book cuts it: train and test are rounded down
        test = int(count * split.test)
        validation = count - int(count * split.train) - test if split.validation else 0
        train = count - test - validation
        parts = [*["train"] * train, *["test"] * test, *["validation"] * validation]
        place = {example.id: part for example, part in zip(examples, parts, strict=True)}
    else:
        place = _by_hash(examples, split.seed, {"test": test, "validation": validation})
    divided = {name: [one for one in examples if place[one.id] == name] for name in NAMES}
    for name, share in (("train", split.train), ("validation", split.validation), ("test", split.test)):
        if share and not divided[name]:
            raise InputError(f"{count} items leave none for {name}", f"give more data, or set split.{name}=0")
    return divided


def _by_hash(examples: Sequence[Example], seed: int, wanted: dict[str, int]) -> dict[str, str]:
    groups: dict[str, list[str]] = {}
    for example in examples:
        groups.setdefault(asked(example), []).append(example.id)
    order = sorted(groups, key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest())
    place: dict[str, str] = {}
    for key in order:
        ids = groups[key]
        part = next((name for name, left in wanted.items() if left >= len(ids)), "train")
        if part != "train":
            wanted[part] -= len(ids)
        place.update(dict.fromkeys(ids, part))
    return place


def asked(example: Example) -> str:
    """What an item asks, as a key: its id, but for the ids of others and the number that tells repeats apart."""
    return conversation_id(example.instruction, example.input, example.history, example.system)


def _given(examples: Sequence[Example]) -> dict[str, list[Example]]:
    for number, example in enumerate(examples, start=1):
        if example.split is None:
            raise InputError(f"item {number} has no split", 'give each item split: "train", "validation" or "test"')
    divided = {name: [one for one in examples if one.split == name] for name in NAMES}
    if not divided["train"]:
        raise InputError("no item's split is train", 'give each item split: "train", "validation" or "test"')
    return divided
