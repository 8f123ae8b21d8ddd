"""What `judge score` was asked to do: one object from the command line to the plan, the executor and the records."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from equiloss.config import apply_sets
from equiloss.errors import InputError
from judge.data.control_answers import KINDS, Kind
from judge.endpoints.prices import Price
from judge.endpoints.provider import ConnectionSettings
from judge.rubrics import LABELS, Layout, Parameters

SEED = 20260101


@dataclass(frozen=True)
class ScoreRequest(ConnectionSettings):
    """Which answers to judge, by whom, and how. `layout` None: as the rubric and the number of files ask.

    group_size: the most answers in one prompt, a control answer included. control_answers: the share of items with one.
    early_stop: an error rate at which to end once all differences are settled. batch_poll_s: ask in batches, and look
    so often whether they are done. max_usd: bounds what these verdicts cost, earlier runs included. price: the judges'.
    generators: files by the names that their models get. forget_endpoint: find out anew what the endpoint accepts.
    anchors: verdicts whose answers are judged once more.
    """

    files: tuple[Path, ...] = ()
    judges: tuple[str, ...] = ()
    rubric: str = "correctness"
    layout: Layout | None = None
    repeats: int = 1
    output: Path | None = None
    ledger: Path | None = None
    dry_run: bool = False
    prices: Path | None = None
    price: Price | None = None
    generators: Mapping[str, Path] = field(default_factory=dict[str, Path])
    anchors: tuple[Path, ...] = ()
    forget_endpoint: bool = False
    expected_score: bool = False
    group_size: int = 8
    control_answers: float = 0.1
    control_kinds: tuple[Kind, ...] = KINDS
    early_stop: float | None = None
    seed: int = SEED
    batch_poll_s: float | None = None
    max_usd: float | None = None
    retry_failures: bool = False

    def check(self) -> None:
        """Raises: InputError for values that make no sense, or exclude each other."""
        if self.concurrency < 1:
            raise InputError(f"--concurrency {self.concurrency} asks nothing", "give at least 1")
        for name, value in (("--rpm", self.requests_per_minute), ("--tpm", self.tokens_per_minute)):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} {value:g} lets nothing pass", "leave it out or give a positive number")
        if not 0 < self.timeout_s < 1e6:
            raise InputError(f"--timeout {self.timeout_s:g} is no time to wait", "give seconds")
        if self.repeats < 1:
            raise InputError(f"--repeats {self.repeats} asks nothing", "give at least 1")
        if not 2 <= self.group_size <= len(LABELS):
            raise InputError(f"--group-size {self.group_size} is not from 2 to {len(LABELS)}", "8 is usual")
        if not 0 <= self.control_answers <= 1:
            raise InputError(f"--control-answers {self.control_answers:g} is not a share from 0 to 1", "0.1 is usual")
        if self.max_usd is not None and not 0 <= self.max_usd < math.inf:
            raise InputError(f"--max-usd {self.max_usd:g} is no budget", "give dollars")
        if self.batch_poll_s is not None and self.early_stop is not None:
            raise InputError("--batch and --early-stop exclude each other", "a batch cannot be stopped half way")
        if self.batch_poll_s is not None and self.batch_poll_s <= 0:
            raise InputError(f"--batch-poll {self.batch_poll_s:g} is not positive", "give seconds")


def parse_parameters(texts: Sequence[str]) -> Parameters:
    """Parameters of the request from KEY=VALUE texts.

    Raises: InputError for a text that is not KEY=VALUE.
    """
    try:
        parameters = apply_sets({}, texts)
        json.dumps(parameters, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise InputError(f"--param: {error}", "a request holds texts, numbers, true, false and lists") from None
    except InputError as error:
        raise InputError(error.message.replace("--set", "--param"), "e.g. --param temperature=0.7") from None
    return parameters


def parse_generators(texts: Sequence[str]) -> dict[str, Path]:
    """Models' names and files from NAME=FILE texts. Raises: InputError for a text that is not NAME=FILE."""
    pairs = [text.partition("=") for text in texts]
    if bad := next(("".join(pair) for pair in pairs if not (pair[0] and pair[2])), None):
        raise InputError(f"--generator {bad!r} is not NAME=FILE", "e.g. --generator base=results/run1.jsonl")
    return {name: Path(file) for name, _, file in pairs}
