"""What will be asked: prompts from items, repeats, groups and orders, each with the key under which it is paid for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from equiloss.errors import InputError
from equiloss.files import sha256_of
from judge.data.answers import JointAnswers
from judge.data.control_answers import KINDS, ControlAnswer, Kind, plan_control_answers
from judge.rubrics import LABELS, Item, Layout, Prompt, Rubric
from judge.scoring.orders import Groups, Orders, pairs

SEED = 20260101
BASE_TOKENS = 64
TOKENS_PER_WORD = 1.6


@dataclass(frozen=True)
class Slot:
    """An answer in a prompt, and the files (by index) that share it; or a control answer beside that of `host`."""

    text: str
    files: tuple[int, ...]
    control: Kind | None = None
    host: int | None = None


@dataclass(frozen=True)
class Ask:
    """One request to a judge: an item, and the answers in the order in which they are shown."""

    item: Item
    repeat: int
    slots: tuple[Slot, ...]

    def prompt(self, rubric: Rubric) -> Prompt:
        """The rendered prompt."""
        return rubric.render(self.item, [slot.text for slot in self.slots], self.repeat)

    @property
    def n_answers(self) -> int:
        """How many models' answers are judged by it, shared ones counted each, control answers not."""
        return sum(len(slot.files) for slot in self.slots)


@dataclass
class Options:
    """How to judge, apart from the judge. `group_size` is the most answers in one prompt, a control answer included."""

    layout: Layout
    repeats: int = 1
    seed: int = SEED
    group_size: int = 8
    control_answers: float = 0.1
    control_kinds: tuple[Kind, ...] = KINDS
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])

    def check(self) -> None:
        """Raises: InputError for values that make no sense."""
        if self.repeats < 1:
            raise InputError(f"--repeats {self.repeats} asks nothing", "give at least 1")
        if not 2 <= self.group_size <= len(LABELS):
            raise InputError(f"--group-size {self.group_size} is not from 2 to {len(LABELS)}", "8 is usual")
        if not 0 <= self.control_answers <= 1:
            raise InputError(f"--control-answers {self.control_answers:g} is not a share from 0 to 1", "0.1 is usual")


class Plan:
    """All requests for files judged together by a rubric, always in the same order, read from disk as it goes."""

    def __init__(self, answers: JointAnswers, rubric: Rubric, options: Options, order: Sequence[str] = ()) -> None:
        """`order` is the order of the items, where it is not that of the first file.

        Raises: InputError when the options are wrong, or the rubric needs references and there is none at all.
        """
        options.check()
        self.answers, self.rubric, self.options = answers, rubric, options
        self.ids = list(order or answers.ids)
        if rubric.front.reference == "required" and not any(answers.read(one)[0].reference.strip() for one in self.ids):
            raise InputError(
                f"rubric {rubric.name!r} needs reference answers, and no item has one",
                "use --rubric helpfulness, or add `reference` to the items",
            )
        self.control_answers: dict[str, ControlAnswer] = (
            plan_control_answers(
                self.ids, len(answers.files), options.control_answers, options.seed, options.control_kinds
            )
            if options.layout == "joint"
            else {}
        )

    @property
    def n_files(self) -> int:
        """How many models are judged."""
        return len(self.answers.files)

    def __iter__(self) -> Iterator[Ask]:
        """The requests, item by item: the same on every iteration, so that a resumed run asks what is left."""
        layout = self.options.layout
        orders = _JointOrders(self.n_files, self.options)
        others = _OtherAnswers(self.answers, self.ids)
        for id in self.ids:
            item, answers = self.answers.read(id)
            for repeat in range(self.options.repeats):
                if layout == "pairwise":
                    for a, b in pairs(self.n_files):
                        yield Ask(item, repeat, (Slot(answers[a], (a,)), Slot(answers[b], (b,))))
                elif layout == "pointwise":
                    for slot in _distinct(answers):
                        yield Ask(item, repeat, (slot,))
                else:
                    control = self._control_answer(id, item, answers, others) if repeat == 0 else None
                    for slots in orders.arrange(_distinct(answers), control):
                        yield Ask(item, repeat, slots)

    def _control_answer(self, id: str, item: Item, answers: Sequence[str], others: _OtherAnswers) -> Slot | None:
        planned = self.control_answers.get(id)
        if planned is None:
            return None
        reference = item.reference if self.rubric.front.reference != "none" else ""
        other = others.of(id, planned.host) if planned.kind == "other" else ""
        kind, text = planned.text(answers[planned.host], other, reference)
        return Slot(text, (), kind, planned.host)


class _OtherAnswers:
    """The answer of the same model to the next item that is not answered alike."""

    def __init__(self, answers: JointAnswers, ids: Sequence[str]) -> None:
        self._answers, self._ids = answers, ids
        self._place = {one: index for index, one in enumerate(ids)}

    def of(self, id: str, host: int) -> str:
        own = self._answers.files[host][id].output
        for step in range(1, min(len(self._ids), 20)):
            other = self._ids[(self._place[id] + step) % len(self._ids)]
            text = self._answers.files[host][other].output
            if text.strip() and text != own:
                return text
        return "No other answer."


class _JointOrders:
    """Groups and orders of joint prompts, balanced over the whole run."""

    def __init__(self, n_files: int, options: Options) -> None:
        self._n, self._options = n_files, options
        self._groups: dict[int, Groups] = {}
        self._orders: dict[tuple[str, int], Orders] = {}
        self._placed: Counter[tuple[int, int, int]] = Counter()

    def arrange(self, distinct: Sequence[Slot], control: Slot | None) -> list[tuple[Slot, ...]]:
        """The prompts for one item: slots in the order shown. A control answer joins the first group."""
        size = self._options.group_size - (1 if control else 0)
        groups = [list(distinct)]
        if len(distinct) > size:
            maker = self._groups.setdefault(size, Groups(max(2, size), self._options.seed))
            by_file = {slot.files[0]: slot for slot in distinct}
            groups = [[by_file[one] for one in group] for group in maker.next(sorted(by_file))]
        if control:
            groups[0] = [*groups[0], control]
        return [self._ordered(group, control is not None and index == 0) for index, group in enumerate(groups)]

    def _ordered(self, slots: list[Slot], with_control: bool) -> tuple[Slot, ...]:
        k = len(slots)
        name = "canary" if with_control else "plain"
        orders = self._orders.setdefault((name, k), Orders(k, self._options.seed, name))
        if k - with_control == self._n:
            order = orders.next()  # all models are in it: exactly balanced
        else:
            order = min(orders.all(), key=lambda one: self._crowding(slots, one))
        for position, index in enumerate(order):
            self._placed[k, _who(slots[index]), position] += 1
        return tuple(slots[index] for index in order)

    def _crowding(self, slots: Sequence[Slot], order: Sequence[int]) -> int:
        k = len(slots)
        return sum(self._placed[k, _who(slots[index]), position] ** 2 for position, index in enumerate(order))


def request_sha(
    prompt: Prompt, model: str, base_url: str, rubric: Rubric, repeat: int, parameters: dict[str, Any]
) -> str:
    """The key of a request: equal requests are paid for once. The form that a server accepts is no part of it."""
    return sha256_of(
        {
            "messages": prompt.messages,
            "model": model,
            "base_url": base_url,
            "parameters": parameters,
            "rubric_sha": rubric.sha,
            "repeat": repeat,
        }
    )


def reply_limit_tokens(rubric: Rubric, n_answers: int) -> int:
    """A generous limit on the tokens of a reply: three times what the rubric asks for."""
    words = rubric.front.output.explanation_words if rubric.front.output.explanation else 0
    per_answer = words * TOKENS_PER_WORD + 12 + 8 * len(rubric.criteria)
    entries = 1 if rubric.front.output.type == "preference" else n_answers
    return BASE_TOKENS + round(3 * per_answer * entries)


def reply_estimate_tokens(rubric: Rubric, n_answers: int) -> int:
    """The tokens that a reply will probably have, for estimates of cost."""
    words = rubric.front.output.explanation_words * 0.6 if rubric.front.output.explanation else 0
    entries = 1 if rubric.front.output.type == "preference" else n_answers
    return round((words * TOKENS_PER_WORD + 10 + 6 * len(rubric.criteria)) * entries)


def _distinct(answers: Sequence[str]) -> list[Slot]:
    """Equal answers share a slot, in the order of the first file that gives each."""
    files: dict[str, list[int]] = {}
    for index, text in enumerate(answers):
        files.setdefault(text, []).append(index)
    return [Slot(text, tuple(who)) for text, who in files.items()]


def _who(slot: Slot) -> int:
    return slot.files[0] if slot.files else -1
