"""`judge score`: from files and options to verdicts, by one judge or a jury."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from equiloss import console
from equiloss.config import apply_sets
from equiloss.errors import BudgetError, EquilossError, IncompleteError, InputError
from equiloss.files import sha256_file, write_json
from equiloss.progress import ProgressBar
from equiloss.provenance import provenance
from judge import rubrics
from judge.data.answers import JointAnswers, open_jointly
from judge.data.control_answers import ControlSummary, summarise
from judge.endpoints import offline, prices
from judge.endpoints.client import Judge, parse_judge
from judge.endpoints.prices import PriceTable
from judge.rubrics import Rubric
from judge.scoring.early_stopping import shuffled
from judge.scoring.executor import Settings
from judge.scoring.ledger import Ledger
from judge.scoring.plan import Options, Plan
from judge.scoring.scorer import Scored, Scoring


@dataclass(frozen=True)
class Request:
    """What `judge score` was asked to do."""

    files: tuple[Path, ...]
    judges: tuple[str, ...] = ()
    rubric: str = "correctness"
    layout: str | None = None
    repeats: int = 1
    output: Path | None = None
    ledger: Path | None = None
    dry_run: bool = False
    prices: Path | None = None
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    expected_score: bool = False
    group_size: int = 8
    control_answers: float = 0.1
    early_stop: float | None = None
    seed: int = 20260101
    batch: bool = False
    batch_poll: float = 60.0
    settings: Settings = field(default_factory=Settings)


def parse_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """Parameters of the request from KEY=VALUE texts.

    Raises: InputError for a text that is not KEY=VALUE.
    """
    try:
        return apply_sets({}, texts)
    except InputError as error:
        raise InputError(error.message.replace("--set", "--param"), "e.g. --param temperature=0.7") from None


@dataclass
class Result:
    """What came of it. `stopped` is raised by the command after the summary was printed."""

    request: Request
    rubric: Rubric
    layout: str
    answers: JointAnswers
    scored: list[Scored]
    ledger: Path | None
    prices: PriceTable
    warnings: list[str] = field(default_factory=list[str])
    stopped: EquilossError | None = None

    def control_summary(self, scored: Scored) -> ControlSummary:
        """What a judge did with the control answers."""
        return summarise(scored.control_answers, self.rubric.front.scale.min, self.rubric.front.scale.max)

    def estimate_usd(self, scored: Scored) -> float | None:
        """What a dry run says that a judge would cost; None without a price."""
        if scored.judge.is_offline:
            return 0.0
        if scored.price is None:
            return None
        cost = scored.price.cost_usd(scored.survey.prompt_tokens, scored.survey.completion_tokens)
        return cost * (self.prices.batch_discount if self.request.batch else 1.0)

    def all_warnings(self) -> list[str]:
        """The warnings of the whole, and of each judge."""
        warnings = list(self.warnings)
        for scored in self.scored:
            warnings += self.control_summary(scored)["warnings"]
            if failures := sum(len(tally.failures) for tally in scored.tallies):
                warnings.append(
                    f"{failures:,} answers have no verdict: see the .failures.jsonl files (--retry-failures)"
                )
        return warnings


def score_files(request: Request) -> Result:
    """Judge files as asked, write the results, and return what the summary tells.

    Raises: InputError for bad input; IncompleteError when a judge could not be asked, with nothing lost.
    """
    answers = open_jointly(request.files)
    rubric = rubrics.load(request.rubric)
    judges = _judges(request.judges, to_ask=not request.dry_run)
    layout = rubric.layout_for(len(answers.files), request.layout)
    table = prices.load(request.prices)
    warnings = [
        f"{name}: {count:,} items have no answer in the other files and are not judged"
        for name, count in answers.unmatched.items()
    ]
    if request.batch and request.early_stop is not None:
        raise InputError("--batch and --early-stop exclude each other", "a batch cannot be stopped when it is settled")
    if request.batch_poll <= 0:
        raise InputError(f"--batch-poll {request.batch_poll:g} is not positive", "give seconds")
    online = any(not one.is_offline for one in judges)
    if any(one.is_offline for one in judges):
        check_offline(rubric)
        warnings.append(f"{offline.NOTICE} ({offline.EVIDENCE})")
    ledger_path = request.ledger or (request.output or request.files[0].parent) / "ledger.sqlite"
    result = Result(request, rubric, layout, answers, [], ledger_path if online else None, table, warnings)
    use_ledger = online and (ledger_path.exists() or not request.dry_run)
    with Ledger(ledger_path) if use_ledger else nullcontext() as ledger:
        for judge in judges:
            _score_one(result, judge, judges, ledger)
            if isinstance(result.stopped, BudgetError):
                break
    return result


def check_offline(rubric: Rubric) -> None:
    """Raises: InputError when the offline reference judge cannot judge by this rubric."""
    if rubric.front.reference != "required" or len(rubric.criteria) != 1:
        raise InputError(
            f"the {offline.NAME} judge measures agreement with the reference, which is not what rubric {rubric.name!r} "
            "asks",
            "use --rubric correctness, or set OPENAI_API_KEY, OPENAI_BASE_URL or --judge MODEL@URL",
        )


def _score_one(result: Result, judge: Judge, judges: Sequence[Judge], ledger: Ledger | None) -> None:
    request = result.request
    parameters = {**result.rubric.front.parameters, **request.parameters}
    if request.expected_score:
        parameters |= {"logprobs": True, "top_logprobs": 20}
    settings = replace(request.settings, parameters=parameters)
    if settings.max_usd is not None:  # a jury shares the budget
        spent = sum(one.survey.paid_usd + (one.spent.cost_usd or 0.0) for one in result.scored)
        settings = replace(settings, max_usd=max(0.0, settings.max_usd - spent))
    order = shuffled(result.answers.ids, request.seed) if request.early_stop is not None else ()
    options = Options(
        result.rubric.layout_for(len(result.answers.files), request.layout),
        request.repeats,
        request.seed,
        request.group_size,
        0.0 if judge.is_offline else request.control_answers,
    )
    if judge.is_offline:
        options.layout = "pointwise"
    plan = Plan(result.answers, result.rubric, options, order)
    scoring = Scoring(
        plan,
        judge,
        None if judge.is_offline else ledger,
        settings,
        result.prices,
        _file_name(judge, judges),
        request.expected_score,
        None if judge.is_offline else request.early_stop,
        request.batch_poll if request.batch else None,
        console.say,
    )
    survey = scoring.survey(_counter() if request.dry_run and not judge.is_offline else None)
    if request.dry_run:
        result.scored.append(Scored.planned(judge, survey, scoring.price))
        return
    with ProgressBar(judge.name, survey.requests, survey.settled, unit="request") as progress:
        try:
            scored = scoring.run(request.output, progress.advance, survey)
        except IncompleteError as error:
            if len(judges) == 1:
                raise
            result.warnings.append(f"{judge.name}: {error}")
            result.stopped = result.stopped or error
            return
    result.scored.append(scored)
    result.stopped = result.stopped or scored.stopped
    _write_records(result, scored)


def _judges(texts: Sequence[str], *, to_ask: bool) -> list[Judge]:
    judges = [parse_judge(text, to_ask=to_ask) for text in texts or (None,)]
    if len({one.name for one in judges}) < len(judges):
        raise InputError("the same judge is named twice", "use --repeats to ask it more often")
    return judges


def _file_name(judge: Judge, judges: Sequence[Judge]) -> str:
    """A judge's name in file names: its model, or with its URL where two judges are the same model."""
    return judge.model if [one.model for one in judges].count(judge.model) == 1 else judge.name


def _counter() -> Callable[[str], int]:
    """Counts tokens as GPT-2 does, which is within a tenth or so of what other models count for English."""
    from equiloss.tokenizer import gpt2

    encoding = gpt2()

    @lru_cache(maxsize=4)
    def count_fixed(text: str) -> int:
        return len(encoding.encode_ordinary(text))

    return count_fixed


def _write_records(result: Result, scored: Scored) -> None:
    """Beside each verdict file, what made it: NAME.<rubric>.<judge>.score.json."""
    request, options = result.request, result.request.settings
    if scored.written is None:
        return
    record: dict[str, Any] = {
        "format": "equiloss.score-record.v1",
        "judge": scored.judge.name,
        "base_url": scored.judge.base_url,
        "is_llm": not scored.judge.is_offline,
        "endpoint": scored.profile.record() if scored.profile else None,
        "rubric": {
            "name": result.rubric.name,
            "version": result.rubric.front.version,
            "sha256": result.rubric.sha,
            "layout": result.layout,
        },
        "parameters": {**result.rubric.front.parameters, **request.parameters},
        "repeats": request.repeats,
        "seed": request.seed,
        "group_size": request.group_size,
        "canaries": request.control_answers,
        "early_stop": scored.early,
        "expected_score": request.expected_score,
        "max_usd": options.max_usd,
        "price": scored.price.model_dump() if scored.price else None,
        "prices_as_of": result.prices.as_of,
        "inputs": [
            {"path": str(file.path), "generator": file.generator, "sha256": sha256_file(file.path)}
            for file in result.answers.files
        ],
        "complete": scored.stopped is None,
        "provenance": provenance(),
    }
    for tally in scored.written.tallies:
        path = tally.path.with_name(tally.path.name.removesuffix(".jsonl") + ".score.json")
        write_json(path, {**record, "generator": tally.generator, "verdicts": tally.n, "failures": len(tally.failures)})
