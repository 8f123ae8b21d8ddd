"""What can be wrong with an answer as a text, whatever it says: unfinished, empty, looping, echoing the prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass

from equiloss.records.response import Response

KINDS = ("run-on", "truncated", "repetition", "empty", "echo")
TITLES = {
    "run-on": "answers that run on",
    "truncated": "answers cut off",
    "repetition": "answers that repeat themselves",
    "empty": "empty answers",
    "echo": "answers that repeat the prompt",
}
_WORD = re.compile(r"\S+")
_HEADER = re.compile(r"^\s*(###\s|<\|im_|<\|endoftext\|>|(Instruction|Response|Input)\s*:)", re.MULTILINE)


@dataclass(frozen=True)
class Look:
    """An answer's faults as a text and its length in words."""

    faults: frozenset[str]
    words: int


def look(response: Response, taught_to_end: bool = True) -> Look:
    """Which faults an answer has. `taught_to_end`: the model's fine-tuning had loss on the end of text.

    `run-on`: ended at the token limit, or wherever the model was not taught to end, with more than half again (and 3
    words more) than the reference has; `truncated`: ended at the limit otherwise; neither where it loops. `repetition`:
    immediate repeats make up half of 6 or more words, or a third of fewer, and not in the reference; `echo`: it holds
    a prompt's header, or begins with the instruction (where the reference does not).
    """
    words = response.output.split()
    wanted = response.reference.split()
    faults: set[str] = set()
    if not words:
        return Look(frozenset({"empty"}), 0)
    loops = looping(words) and not looping(wanted)
    at_limit = response.finish_reason == "length"
    if not loops and (at_limit or not taught_to_end):
        if wanted and len(words) > 1.5 * len(wanted) + 3:
            faults.add("run-on")
        elif at_limit:
            faults.add("truncated")
    if loops:
        faults.add("repetition")
    asked = " ".join(response.instruction.split()).lower()
    begins = len(asked.split()) >= 3 and " ".join(words).lower().startswith(asked)
    if _HEADER.search(response.output) or (begins and not " ".join(wanted).lower().startswith(asked)):
        faults.add("echo")
    return Look(frozenset(faults), len(words))


def looping(words: list[str]) -> bool:
    """Whether immediate repeats (of 1 to 8 words) make up half of 6 or more words, or a third of fewer."""
    enough = len(words) / (2 if len(words) >= 6 else 3)
    if not words or len(words) - len(set(words)) < enough:  # what is lost is said elsewhere
        return False
    return len(words) - len(collapse(words)) >= enough


def collapse(words: list[str]) -> list[str]:
    """The words with every immediate repeat of a phrase (1 to 8 words, twice or more) reduced to one."""
    kept = list(words)
    for size in range(1, 9):
        i, result = 0, list[str]()
        while i < len(kept):
            phrase = kept[i : i + size]
            result += phrase
            i += size
            while len(phrase) == size and kept[i : i + size] == phrase:
                i += size
        kept = result
    return kept


def first_words(text: str, count: int) -> str:
    """The first `count` words of a text."""
    found = list(_WORD.finditer(text))
    return text if len(found) <= count else text[: found[count - 1].end()] if count else ""


def before_header(text: str) -> str:
    """The text up to the first prompt header in it: what a reader would take as the answer."""
    match = _HEADER.search(text)
    return text[: match.start()].rstrip() if match and match.start() > 0 else text


def count_words(text: str) -> int:
    """How many words a text has."""
    return len(text.split())
