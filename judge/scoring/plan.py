"""What will be asked: requests made of items, repeats, groups and orders, always in the same order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from equiloss.errors import InputError
from judge.data.answers import JointAnswers
from judge.data.control_answers import Kind, plan_control_answers
from judge.endpoints.provider import JudgeRequest
from judge.rubrics import Item, Layout, Parameters, Rubric
from judge.scoring.options import ScoreRequest
from judge.scoring.orders import Groups, Orders, pairs


@dataclass(frozen=True)
class Slot:
    """An answer in a prompt, and the files (by index) that share it; or a control answer beside that of `host`."""

    text: str
    files: tuple[int, ...]
    control: Kind | None = None
    host: int | None = None


@dataclass(frozen=True)
class PlannedRequest(JudgeRequest):
    """A request whose answers are those of `slots`."""

    slots: tuple[Slot, ...] = ()

    @property
    def is_tie(self) -> bool:
        """Whether it asks which of two equal answers is better."""
        return self.rubric.front.output.type == "preference" and len(set(self.answers)) == 1


class Plan:
    """All requests for files judged together by a rubric, always in the same order, read from disk as it goes."""

    def __init__(
        self, answers: JointAnswers, rubric: Rubric, options: ScoreRequest, n_items: int | None = None
    ) -> None:
        """With `n_items`, of the first items only. Items come in a random order where judging may stop early.

        Raises: InputError when the options are wrong, or the rubric needs references and there is none at all.
        """
        options.check()
        self.answers, self.rubric, self.options = answers, rubric, options
        self.generators = [file.generator for file in answers.files]
        self.layout: Layout = rubric.layout_for(len(answers.files), options.layout)
        self.ids = list(answers.ids[:n_items])
        if options.early_stop is not None:
            random.Random(f"early-stop:{options.seed}").shuffle(self.ids)
        self._place = {id: index for index, id in enumerate(self.ids)}
        if rubric.front.reference == "required" and not any(answers.read(id)[0].reference.strip() for id in self.ids):
            raise InputError(
                f"rubric {rubric.name!r} needs reference answers, and no item has one",
                "use --rubric helpfulness, or add `reference` to the items",
            )
        share = options.control_answers if self.layout == "joint" else 0.0
        self.control_answers = plan_control_answers(
            self.ids, len(answers.files), share, options.seed, options.control_kinds
        )
        logprobs: Parameters = {"logprobs": True, "top_logprobs": 20} if options.expected_score else {}
        self._parameters = {**rubric.front.parameters, **options.parameters, **logprobs}

    def __iter__(self) -> Iterator[PlannedRequest]:
        """The requests, item by item: the same on every iteration, so that a resumed run asks what is left."""
        orders = _JointOrders(len(self.generators), self.options)
        for id in self.ids:
            item, outputs = self.answers.read(id)
            for repeat in range(self.options.repeats):
                for slots in self._prompts(item, outputs, repeat, orders):
                    texts = tuple(slot.text for slot in slots)
                    yield PlannedRequest(self.rubric, item, texts, repeat, self._parameters, slots)

    def _prompts(
        self, item: Item, outputs: Sequence[str], repeat: int, orders: _JointOrders
    ) -> Sequence[tuple[Slot, ...]]:
        """Who stands beside whom in the prompts of one item and repeat."""
        if self.layout == "pairwise":
            return [(Slot(outputs[a], (a,)), Slot(outputs[b], (b,))) for a, b in pairs(len(self.generators))]
        if self.layout == "pointwise":
            return [(slot,) for slot in _distinct(outputs)]
        return orders.arrange(_distinct(outputs), self._control_answer(item, outputs) if repeat == 0 else None)

    def _control_answer(self, item: Item, outputs: Sequence[str]) -> Slot | None:
        planned = self.control_answers.get(item.id)
        if planned is None:
            return None
        reference = item.reference if self.rubric.front.reference != "none" else ""
        other = self._other_answer(item.id, planned.host) if planned.kind == "other" else ""
        kind, text = planned.text(outputs[planned.host], other, reference)
        return Slot(text, (), kind, planned.host)

    def _other_answer(self, id: str, host: int) -> str:
        """The answer of the same model to the next item that is not answered alike."""
        file = self.answers.files[host]
        own = file[id].output
        for step in range(1, min(len(self.ids), 20)):
            text = file[self.ids[(self._place[id] + step) % len(self.ids)]].output
            if text.strip() and text != own:
                return text
        return "No other answer."


class _JointOrders:
    """Groups and orders of joint prompts, balanced over the whole run."""

    def __init__(self, n_files: int, options: ScoreRequest) -> None:
        self._n, self._options = n_files, options
        self._groups: dict[int, Groups] = {}
        self._orders: dict[tuple[str, int], Orders] = {}
        self._placed: Counter[tuple[int, int, int]] = Counter()

    def arrange(self, distinct: Sequence[Slot], control: Slot | None) -> list[tuple[Slot, ...]]:
        """The prompts for one item: slots in the order shown. A control answer joins the first group."""
        size = self._options.group_size - (1 if control else 0)
        groups = [list(distinct)]
        if len(distinct) > size:
            divider = self._groups.setdefault(size, Groups(max(2, size), self._options.seed))
            by_file = {slot.files[0]: slot for slot in distinct}
            groups = [[by_file[file] for file in group] for group in divider.next(sorted(by_file))]
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
            order = min(orders.all(), key=lambda order: self._crowding(slots, order))
        for position, index in enumerate(order):
            self._placed[k, _first_file(slots[index]), position] += 1
        return tuple(slots[index] for index in order)

    def _crowding(self, slots: Sequence[Slot], order: Sequence[int]) -> int:
        k = len(slots)
        return sum(self._placed[k, _first_file(slots[index]), position] ** 2 for position, index in enumerate(order))


def _distinct(outputs: Sequence[str]) -> list[Slot]:
    """Equal answers share a slot, in the order of the first file that gives each."""
    files: dict[str, list[int]] = {}
    for index, text in enumerate(outputs):
        files.setdefault(text, []).append(index)
    return [Slot(text, tuple(sharers)) for text, sharers in files.items()]


def _first_file(slot: Slot) -> int:
    return slot.files[0] if slot.files else -1
