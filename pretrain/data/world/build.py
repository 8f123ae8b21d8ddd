"""Documents and instructions of a world, each from random streams of their own, so that worlds can be compared."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import TypedDict

from equiloss.records.token_data import SplitName
from pretrain.data.document import Document
from pretrain.data.world import people, skills, topics
from pretrain.data.world.config import WorldConfig, parse


class WorldItem(TypedDict):
    """An Alpaca-style item, with its category ("recall", or a skill's name) and the split it belongs to."""

    instruction: str
    input: str
    output: str
    category: str
    split: SplitName


DOMAINS = ("known", "strangers", "topics", "skills")


def documents(name: str) -> Iterator[Document]:
    """Every document of the world `name`: test, validation, then training text, with domain and split set.

    Raises: InputError for a name that stands for no world.
    """
    config = parse(name)
    writer = _Writer(config)
    yield from writer.held_out("test", config.test_documents)
    yield from writer.held_out("validation", config.validation_documents)
    yield from writer.training()


class _Writer:
    """Writes a world's documents. Each kind of text draws from its own stream, named by seed, split and kind."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.known = known_people(config)
        taken = {person.name for person in self.known}
        self.strangers = [name for name in _names(config) if f"{name[0]} {name[1]}" not in taken]
        self.sizes = skill_sizes(config)
        self.skills = [skills.BY_NAME[name] for name in config.skills]

    def stream(self, *names: object) -> Random:
        return Random("/".join(map(str, ("world", self.config.seed, *names))))

    def training(self) -> Iterator[Document]:
        config = self.config
        kinds = self.stream("train", "kinds")
        weights = list(accumulate(self.shares()))
        who = self.stream("train", "who")
        leaking = self.stream("train", "leaks")
        leaks = self.leaks() if config.contamination else []
        streams = {domain: self.stream("train", domain) for domain in DOMAINS}
        for _ in range(config.documents):
            domain = kinds.choices(DOMAINS, cum_weights=weights)[0]
            if domain == "known":
                text = self.biography(self.known[who.randrange(len(self.known))], streams["known"])
            else:
                text = self.other(domain, streams[domain], held=False)
            yield Document(text, domain, "train")
            if leaks and leaking.random() < config.contamination:
                yield Document(leaking.choice(leaks), "leaks", "train")

    def held_out(self, split: str, count: int) -> Iterator[Document]:
        kinds = self.stream(split, "kinds")
        weights = list(accumulate(self.shares()[1:]))
        streams = {domain: self.stream(split, domain) for domain in DOMAINS}
        for _ in range(count):
            domain = kinds.choices(DOMAINS[1:], cum_weights=weights)[0]
            yield Document(self.other(domain, streams[domain], held=True), domain, split)
        if split == "test":
            for index in range(self.config.test_known):
                person = self.known[index % len(self.known)]
                text = people.biography(person, people.PHRASINGS, streams["known"])
                yield Document(text, "known", split)

    def leaks(self) -> list[str]:
        """Instructions with their answers, as a web page with the questions might have them."""
        items = [item for item in items_of(self.config) if item["split"] == self.config.leaked_split]
        return [
            f"Question: {' '.join(filter(None, (item['instruction'], item['input'])))}\nAnswer: {item['output']}"
            for item in items[: math.ceil(self.config.leaked_share * len(items))]
        ]

    def shares(self) -> tuple[float, float, float, float]:
        config = self.config
        skill_share = config.skill_share if self.skills else 0.0
        return config.known_share, config.stranger_share, config.topic_share, skill_share

    def biography(self, person: people.Person, rng: Random) -> str:
        """A known person's: one of `biographies` that never change, or a fresh one each time where that is 0."""
        if self.config.biographies:
            rng = self.stream("biography", person.name, rng.randrange(self.config.biographies))
        return people.biography(person, self.config.phrasings, rng)

    def other(self, domain: str, rng: Random, held: bool) -> str:
        config = self.config
        if domain == "strangers":
            person = people.draw_person(rng.choice(self.strangers), config.attributes, config.values, rng)
            return people.biography(person, people.PHRASINGS, rng)
        if domain == "topics":
            return topics.scene(rng)
        return skills.exercises(self.skills, rng, self.sizes, config.held_out_share, held)


def known_people(config: WorldConfig) -> tuple[people.Person, ...]:
    """The people that a world keeps telling of. More `people` adds to them; it changes nobody."""
    rng = Random(f"world/{config.seed}/people")
    names = rng.sample(_names(config), len(_names(config)))[: config.people]
    return tuple(
        people.draw_person(
            name, config.attributes, config.values, Random(f"world/{config.seed}/facts/{name[0]} {name[1]}")
        )
        for name in names
    )


def _names(config: WorldConfig) -> list[tuple[str, str, str]]:
    return people.all_names(config.first_names, config.last_names)


def skill_sizes(config: WorldConfig) -> skills.Sizes:
    """How large the inputs of the skills are in this world."""
    return skills.Sizes(config.list_words, config.longest_list, config.largest_number)


def instructions(name: str) -> list[WorldItem]:
    """Alpaca-style items about the world: instruction, input, output, category, split; no two ask the same.

    Facts about known people (each asked once), and skills on inputs that no training text holds. Shuffled; split by
    the world's `validation_share` and `test_share`. Raises: InputError for a name that stands for no world.
    """
    return items_of(parse(name))


def items_of(config: WorldConfig) -> list[WorldItem]:
    """The instructions of a world by its config (see `instructions`)."""
    drawn: list[tuple[str, str, str, str]] = []  # instruction, input, output, category
    rng = Random(f"world/{config.seed}/questions")
    facts = people.facts(known_people(config))
    for person, index in rng.sample(facts, len(facts))[: config.fact_items]:
        text, answer = people.question(person, index, rng)
        drawn.append((text, "", answer, "recall"))
    for skill_name in config.skills:
        skill = skills.BY_NAME[skill_name]
        rng = Random(f"world/{config.seed}/items/{skill_name}")
        chosen: dict[str, str] = {}
        for _ in range(100 * config.skill_items):  # a small pool may hold fewer
            if len(chosen) == config.skill_items:
                break
            x = skills.draw(skill.texts.kind, rng, skill_sizes(config), config.held_out_share, held=True)
            chosen.setdefault(x, skill.answer(x))
        for x, y in chosen.items():
            drawn.append((rng.choice(skill.texts.instructions), x, y, skill_name))
    Random(f"world/{config.seed}/shuffle").shuffle(drawn)
    test = round(len(drawn) * config.test_share, 6)  # 0.1 + 0.05 is a little more than 0.15
    held = round(len(drawn) * (config.test_share + config.validation_share), 6)
    return [
        WorldItem(
            instruction=instruction,
            input=x,
            output=y,
            category=category,
            split="test" if place < test else "validation" if place < held else "train",
        )
        for place, (instruction, x, y, category) in enumerate(drawn)
    ]
