"""What moves a judge's scores though it should not: the same answers asked about with other words, labels or forms.

Each perturbation is asked about beside the unperturbed prompt, on the same answers in the same places, so that the
difference is the perturbation's, and the judge's noise, which `again` measures alone. All are made by fixed rules, so
that they are the same for every judge and cost no request: a paraphrase changes what `_PHRASES` has, no more.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np

from equiloss.errors import EquilossError
from equiloss.files import sha256_of
from equiloss.records.verdict import read_verdicts
from equiloss.statistics.estimate import Estimate, student
from equiloss.statistics.regression import standard_error
from judge import rubrics
from judge.comparison.document import ResultDocument
from judge.data.answers import JointAnswers, open_jointly
from judge.endpoints.judges import parse_judge
from judge.endpoints.provider import Provider
from judge.rubrics import LABELS, Rubric
from judge.scoring.ledger import Ledger
from judge.scoring.options import SEED, ScoreRequest
from judge.scoring.plan import Plan, PlannedRequest
from judge.scoring.scorer import Scorer

_PHRASES = (
    ("do not", "don't"), ("does not", "doesn't"), ("did not", "didn't"), ("is not", "isn't"), ("are not", "aren't"),
    ("cannot", "can't"), ("it is", "it's"), ("that is", "that's"), ("they are", "they're"), ("you are", "you're"),
    ("for example", "for instance"), ("because", "since"), ("such as", "like"), ("in order to", "to"),
    ("many", "a lot of"), ("large", "big"), ("begin", "start"), ("help", "assist"), ("important", "essential"),
    ("however", "yet"), ("therefore", "so"), ("people", "persons"), ("often", "frequently"), ("about", "roughly"),
)  # fmt: skip
_OTHER = {one: other for pair in _PHRASES for one, other in (pair, pair[::-1]) if other != "to" and one != "to"}
_ANY = re.compile(rf"\b({'|'.join(map(re.escape, sorted(_OTHER, key=len, reverse=True)))})\b", re.IGNORECASE)


def paraphrased(text: str) -> str:
    """The text in other words, as far as the fixed list of phrases goes, each for the other."""

    def other(match: re.Match[str]) -> str:
        words = _OTHER[match[0].lower()]
        return words.capitalize() if match[0][0].isupper() else words

    return _ANY.sub(other, text)


def formatted(text: str) -> str:
    """The text as a Markdown list of its sentences; a single one in bold."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+|\n+", text.strip()) if part]
    return "\n".join(f"- {part}" for part in sentences) if len(sentences) > 1 else f"**{text.strip()}**"


def verbose(text: str) -> str:
    """The text between an opening and a close that say nothing."""
    opening = "Certainly! Here is a clear and complete answer to your question."
    return f"{opening}\n\n{text}\n\nI hope this helps. Please let me know if you have any further questions."


ANSWERS: dict[str, Callable[[str], str]] = {"paraphrase": paraphrased, "format": formatted, "verbosity": verbose}
KINDS = ("again", "labels", "scale-order", *ANSWERS)


class Movement(ResultDocument):
    """What a perturbation does to scores, in points: their mean move and mean distance, over `n` answers."""

    kind: str
    n: int
    moves: Estimate | None
    distance: Estimate | None


class Perturbations(ResultDocument):
    """How far each perturbation moves a judge's scores; `again` is the same question asked anew."""

    judge: str
    rubric: str
    n_items: int
    kinds: list[Movement]


class PerturbedPlan(Plan):
    """A plan whose prompts are perturbed in one way: one answer of each prompt, or the prompt itself."""

    def __init__(self, answers: JointAnswers, rubric: Rubric, options: ScoreRequest, n_items: int, kind: str) -> None:
        super().__init__(answers, perturbed(rubric, kind), options, n_items)
        self._kind = kind

    def __iter__(self) -> Iterator[PlannedRequest]:
        for request in super().__iter__():
            if self._kind == "again":
                yield replace(request, repeat=1)  # another code in its fences, and no more
            elif (change := ANSWERS.get(self._kind)) is None:
                yield request
            else:
                slots, host = list(request.slots), host_of(request, len(self.generators))
                slots[host] = replace(slots[host], text=change(slots[host].text))
                if slots[host].text != request.slots[host].text:
                    yield replace(request, slots=tuple(slots), answers=tuple(slot.text for slot in slots))


def perturbed(rubric: Rubric, kind: str) -> Rubric:
    """The rubric with labels 1, 2, ... for A, B, ..., or with its scale told from the top; else as it is."""
    if kind == "labels":
        text = re.sub(r"\bA (and|or|with) B\b", r"1 \1 2", rubric.text)
        labels = tuple(str(place) for place in range(1, len(LABELS) + 1))
        return replace(rubric, text=text, labels=labels, sha=sha256_of([rubric.sha, kind]))
    if kind == "scale-order":
        return replace(rubric, best_first=True, sha=sha256_of([rubric.sha, kind]))
    return rubric


def host_of(request: PlannedRequest, n_files: int) -> int:
    """Which answer of a prompt is perturbed: one model's in all prompts about an item, each model's about as often."""
    file = crc32(request.item.id.encode()) % n_files
    return next((place for place, slot in enumerate(request.slots) if file in slot.files), 0)


def measure(
    files: Sequence[Path], judge: str, *, rubric: str = "correctness", n_items: int = 50, seed: int = SEED
) -> Perturbations:
    """Ask a judge about the first items once as they are, and once in each perturbed form.

    What it asks is in the ledger beside the first file, so that asking again is free.
    Raises: InputError for bad files or a rubric that the judge cannot use; what stopped the judging, if anything did.
    """
    provider, loaded = parse_judge(judge), rubrics.load(rubric)
    provider.check(loaded)
    answers = open_jointly(files)
    layout = None if provider.reads_prompts else "pointwise"
    options = ScoreRequest(files=tuple(files), seed=seed, control_answers=0.0, layout=layout)
    with Ledger(None if provider.is_free else files[0].parent / "ledger.sqlite") as ledger:
        base = Plan(answers, loaded, options, n_items)
        hosts = {
            (base.generators[file], one.item.id)
            for one in base
            for file in one.slots[host_of(one, len(base.generators))].files
        }
        before = _values(base, provider, ledger)
        kinds: list[Movement] = []
        for kind in KINDS:
            if kind == "scale-order" and loaded.front.output.type == "preference":
                continue
            after = _values(PerturbedPlan(answers, loaded, options, n_items, kind), provider, ledger)
            kinds.append(_movement(kind, before, after, hosts if kind in ANSWERS else None))
    return Perturbations(judge=provider.name, rubric=loaded.name, n_items=len(base.ids), kinds=kinds)


_Values = dict[tuple[str, str], float]


def _values(plan: Plan, provider: Provider, ledger: Ledger) -> _Values:
    """The mean score of every answer of a plan, judged if the ledger does not have it."""
    given: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{place}.jsonl" for place in range(len(plan.generators))]
        scorer = Scorer(plan, provider, ledger, paths)
        scorer.survey()
        if not scorer.n_requests:
            return {}
        scorer.run()
        if scorer.stopped is not None and type(scorer.stopped) is not EquilossError:
            raise scorer.stopped
        for path in paths:
            for line in read_verdicts(path) if path.stat().st_size else ():
                given.setdefault((line.generator, line.id), []).append(line.value)
    return {key: float(np.mean(values)) for key, values in given.items()}


def _movement(kind: str, before: _Values, after: _Values, hosts: set[tuple[str, str]] | None) -> Movement:
    keys = [key for key in after if key in before and (hosts is None or key in hosts)]
    moves = np.array([after[key] - before[key] for key in keys])
    place = {id: number for number, id in enumerate(dict.fromkeys(id for _, id in keys))}
    items = np.array([place[id] for _, id in keys], dtype=np.intp)

    def estimate(values: np.ndarray) -> Estimate | None:
        error = standard_error(values, items) if len(values) else None
        return None if error is None else student(float(values.mean()), error, len(place) - 1, unit="points")

    return Movement(kind=kind, n=len(keys), moves=estimate(moves), distance=estimate(np.abs(moves)))
