"""The built-in world: what worlds share, what is kept out of training text, and that every reference is right."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equiloss.errors import InputError
from pretrain.data.world import documents, instructions, known_people, parse, people, skills


def texts(name: str, split: str, domain: str | None = None) -> list[str]:
    return [d.text for d in documents(name) if d.split == split and domain in (None, d.domain)]


def test_same_name_same_world_and_another_seed_another_world() -> None:
    assert list(documents("tiny")) == list(documents("tiny"))
    assert instructions("tiny") == instructions("tiny")
    assert texts("tiny", "test") != texts("tiny?seed=1", "test")


def test_telling_known_people_another_way_changes_nothing_else() -> None:
    varied, frozen = list(documents("tiny")), list(documents("tiny?biographies=1"))
    assert len(varied) == len(frozen)
    changed = {(a.domain, b.domain, a.split) for a, b in zip(varied, frozen, strict=True) if a != b}
    assert changed == {("known", "known", "train")}
    assert instructions("tiny") == instructions("tiny?biographies=1")


@pytest.mark.parametrize("biographies", [1, 3])
def test_a_known_person_has_no_more_biographies_than_said(biographies: int) -> None:
    config = parse(f"tiny?biographies={biographies}")
    seen = Counter(text for text in texts(f"tiny?biographies={biographies}&documents=2000", "train", "known"))
    per_person = Counter(next(p.name for p in known_people(config) if text.startswith(p.name)) for text in seen)
    assert per_person == {p.name: biographies for p in known_people(config)}


def test_a_frozen_and_a_fresh_biography_tell_the_same_facts() -> None:
    person = known_people(parse("tiny"))[0]
    for seed in range(20):
        text = people.biography(person, people.PHRASINGS, Random(seed))
        assert text.startswith(person.name + " ")
        assert all(value in text for value in person.values)


def test_more_people_are_added_to_the_same_ones_and_strangers_are_none_of_them() -> None:
    few, many = known_people(parse("tiny")), known_people(parse("tiny?people=20"))
    assert many[: len(few)] == few
    names = {person.name for person in few}
    for text in texts("tiny", "train", "strangers"):
        assert " ".join(text.split()[:2]) not in names


def test_the_instructions_are_split_by_the_worlds_shares() -> None:
    usual, other = instructions("demo"), instructions("demo?test_share=0.2&validation_share=0.1")
    counts = [Counter(item["split"] for item in items) for items in (usual, other)]
    assert [counts[0][one] for one in ("test", "validation")] == [87, 43]  # of 863
    assert [counts[1][one] for one in ("test", "validation")] == [173, 86]
    assert [item["instruction"] for item in usual] == [item["instruction"] for item in other]
    with pytest.raises(InputError, match="leave no instructions"):
        instructions("demo?test_share=0.6&validation_share=0.4")


def test_test_documents_are_in_no_other_split() -> None:
    by_split = {split: set(texts("tiny?documents=3000", split)) for split in ("train", "validation", "test")}
    assert not by_split["test"] & (by_split["train"] | by_split["validation"])


def test_held_out_inputs_are_in_no_training_text() -> None:
    training = " ".join(texts("tiny?documents=6000&largest_number=8", "train", "skills"))
    seen = set(re.findall(r"The list is ([a-z ]+)\.|(\d+ plus \d+ plus \d+)|(\d+ more than \d+)", training))
    inputs = {one for groups in seen for one in groups if one}
    assert len(inputs) > 500
    items = [i["input"] for i in instructions("tiny?skill_items=60&largest_number=8") if i["category"] != "recall"]
    assert len(items) > 300
    assert not inputs & set(items)


@pytest.mark.parametrize("held", [True, False])
def test_practice_draws_from_the_held_out_inputs_or_from_the_others(held: bool) -> None:
    sizes = skills.Sizes(words=24, longest=4, largest=5)
    for kind in ("list", "sum", "pair"):
        drawn = [skills.draw(kind, Random(seed), sizes, 0.2, held) for seed in range(100)]
        assert all(skills.held_out(x, 0.2) == held for x in drawn)


lists = st.lists(st.sampled_from(["apple", "box", "cup", "door", "egg"]), min_size=1, max_size=5, unique=True)


@given(lists)
def test_list_skills_answer_right(words: list[str]) -> None:
    x = " ".join(words)
    assert skills.BY_NAME["copy"].answer(x) == x
    assert skills.BY_NAME["reverse"].answer(x) == " ".join(words[::-1])
    assert skills.BY_NAME["count"].answer(x) == str(len(words))
    assert skills.BY_NAME["upper-case"].answer(x) == x.upper()
    assert skills.BY_NAME["sort"].answer(x).split() == sorted(words)


@given(st.integers(0, 99), st.integers(0, 99))
def test_number_skills_answer_right(a: int, b: int) -> None:
    arithmetic, compare = skills.BY_NAME["arithmetic"].answer, skills.BY_NAME["compare"].answer
    assert arithmetic(f"{a} plus {b} plus {a}") == str(2 * a + b)
    assert (compare(f"{a} more than {b}") == "yes") == (a > b)


def test_instructions_ask_nothing_twice_and_fill_every_category() -> None:
    items = instructions("demo")
    asked = [(i["instruction"], i["input"]) for i in items]
    assert len(set(asked)) == len(asked)
    facts = Counter(i["category"] for i in items)
    config = parse("demo")
    assert facts["recall"] == min(config.fact_items, config.people * config.attributes)
    assert set(facts) == {"recall", *config.skills}
    assert all(facts[name] >= 25 for name in config.skills)


def test_answers_to_questions_are_the_facts_of_the_world() -> None:
    people_by_name = {person.name: person for person in known_people(parse("tiny"))}
    recall = [i for i in instructions("tiny") if i["category"] == "recall"]
    for item in recall:
        person = next(p for name, p in people_by_name.items() if name in item["instruction"])
        assert item["output"] in person.values


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "no world named 'nowhere'"),
        ("tiny?poeple=3", "did you mean 'people'?"),
        ("tiny?people", "'people' is not KEY=VALUE"),
        ("tiny?people=many", "people: "),
        ("tiny?skills=fly", "unknown skill 'fly'"),
        ("tiny?held_out_share=1", "held_out_share: "),
    ],
)
def test_a_wrong_name_says_what_is_wrong(name: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        parse(name)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_contamination_adds_test_items_to_the_training_text_and_changes_nothing_else() -> None:
    clean, dirty = list(documents("tiny")), list(documents("tiny?contamination=0.2"))
    assert [d for d in dirty if d.domain != "leaks"] == clean
    leaked = [d.text for d in dirty if d.domain == "leaks"]
    assert 0.1 * 300 < len(leaked) < 0.3 * 300
    tests = {
        f"{i['instruction']} {i['input']}".strip(): i["output"] for i in instructions("tiny") if i["split"] == "test"
    }
    for text in leaked:
        question, answer = text.removeprefix("Question: ").split("\nAnswer: ")
        assert tests[question] == answer
    others = [d.text for d in documents("tiny?contamination=0.2&leaked_split=train") if d.domain == "leaks"]
    assert len(others) == len(leaked)
    assert not set(others) & set(leaked)
    half = list(documents("tiny?contamination=0.2&leaked_share=0.5"))
    assert [d for d in half if d.domain != "leaks"] == clean
    assert 0 < len({d.text for d in half if d.domain == "leaks"}) <= -(-len(tests) // 2)


def test_the_splits_of_the_instructions_are_85_5_and_10_percent() -> None:
    counts = Counter(item["split"] for item in instructions("demo"))
    total = sum(counts.values())
    assert counts["test"] == pytest.approx(0.10 * total, abs=1)
    assert counts["validation"] == pytest.approx(0.05 * total, abs=1)
