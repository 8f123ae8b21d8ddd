"""`judge score`: from files and options to verdicts, by one judge or a jury."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from equiloss import console
from equiloss.config import apply_sets
from equiloss.errors import BudgetError, EquilossError, IncompleteError, InputError
from equiloss.files import sha256_file, write_json
from equiloss.progress import ProgressBar
from equiloss.provenance import provenance
from judge import rubrics
from judge.data.answers import JointAnswers, open_jointly
from judge.data.control_answers import ControlSummary, summarise
from judge.data.verdicts import companion
from judge.endpoints import prices
from judge.endpoints.judges import parse_judge
from judge.endpoints.prices import PriceTable
from judge.endpoints.provider import Provider
from judge.rubrics import Layout, Parameters, Rubric
from judge.scoring.early_stopping import shuffled
from judge.scoring.executor import ExecutorSettings
from judge.scoring.ledger import Ledger
from judge.scoring.plan import SEED, Plan, PlanOptions
from judge.scoring.scorer import Scorer, ScoringResult


@dataclass(frozen=True)
class ScoreRequest:
    """What `judge score` was asked to do."""

    files: tuple[Path, ...]
    judges: tuple[str, ...] = ()
    rubric: str = "correctness"
    layout: Layout | None = None
    repeats: int = 1
    output: Path | None = None
    ledger: Path | None = None
    dry_run: bool = False
    prices: Path | None = None
    parameters: Parameters = field(default_factory=Parameters)
    expected_score: bool = False
    group_size: int = 8
    control_answers: float = 0.1
    early_stop: float | None = None
    seed: int = SEED
    batch: bool = False
    batch_poll: float = 60.0
    settings: ExecutorSettings = field(default_factory=ExecutorSettings)

    def check(self) -> None:
        """Raises: InputError for options that exclude each other."""
        if self.batch and self.early_stop is not None:
            raise InputError(
                "--batch and --early-stop exclude each other", "a batch cannot be stopped when it is settled"
            )
        if self.batch_poll <= 0:
            raise InputError(f"--batch-poll {self.batch_poll:g} is not positive", "give seconds")


@dataclass
class ScoreResult:
    """What came of it. `stopped` is raised by the command after the summary was printed."""

    request: ScoreRequest
    rubric: Rubric
    layout: Layout
    answers: JointAnswers
    prices: PriceTable
    ledger: Path | None
    judges: list[ScoringResult] = field(default_factory=list[ScoringResult])
    warnings: list[str] = field(default_factory=list[str])
    stopped: EquilossError | None = None

    def control_summary(self, judge: ScoringResult) -> ControlSummary:
        """What a judge did with the control answers."""
        return summarise(judge.control_answers, *self.rubric.span)

    def estimate_usd(self, judge: ScoringResult) -> float | None:
        """What a dry run says that a judge would cost; None without a price."""
        cost = judge.provider.cost_usd(judge.status.prompt_tokens, judge.status.completion_tokens)
        return cost * judge.provider.batch_discount if cost is not None and self.request.batch else cost

    def all_warnings(self) -> list[str]:
        """The warnings of the whole, and of each judge."""
        warnings = list(self.warnings)
        for judge in self.judges:
            warnings += self.control_summary(judge)["warnings"]
            if failures := sum(len(model.failures) for model in judge.written):
                warnings.append(
                    f"{failures:,} answers have no verdict: see the .failures.jsonl files (--retry-failures)"
                )
        return warnings


def parse_parameters(texts: Sequence[str]) -> Parameters:
    """Parameters of the request from KEY=VALUE texts.

    Raises: InputError for a text that is not KEY=VALUE.
    """
    try:
        return apply_sets({}, texts)
    except InputError as error:
        raise InputError(error.message.replace("--set", "--param"), "e.g. --param temperature=0.7") from None


def score_files(request: ScoreRequest) -> ScoreResult:
    """Judge files as asked, write the results, and return what the summary tells.

    Raises: InputError for bad input; IncompleteError when a judge could not be asked, with nothing lost.
    """
    answers = open_jointly(request.files)
    rubric = rubrics.load(request.rubric)
    table = prices.load(request.prices)
    providers = _providers(request, table)
    layout = rubric.layout_for(len(answers.files), request.layout)
    request.check()
    warnings = [
        f"{name}: {count:,} items have no answer in the other files and are not judged"
        for name, count in answers.unmatched.items()
    ]
    for provider in providers:
        provider.check(rubric)
        warnings += [f"{provider.notice} ({provider.evidence})"] if provider.notice else []
    path = request.ledger or (request.output or request.files[0].parent) / "ledger.sqlite"
    if all(provider.is_free for provider in providers):
        path = None
    result = ScoreResult(request, rubric, layout, answers, table, path, warnings=warnings)
    kept = path if path is not None and (path.exists() or not request.dry_run) else None
    with Ledger(kept) as ledger, Ledger(None) as scratch:
        for provider in providers:
            _score_with(result, provider, providers, scratch if provider.is_free else ledger)
            if isinstance(result.stopped, BudgetError):
                break
    return result


def _score_with(result: ScoreResult, provider: Provider, providers: Sequence[Provider], ledger: Ledger) -> None:
    request, settings = result.request, result.request.settings
    if settings.max_usd is not None:  # a jury shares the budget
        spent = sum(judge.budget.spent_usd for judge in result.judges)
        settings = replace(settings, max_usd=max(0.0, settings.max_usd - spent))
    options = PlanOptions(
        result.layout if provider.reads_prompts else "pointwise",
        request.repeats,
        request.seed,
        request.group_size,
        request.control_answers,
        parameters=_parameters(result),
    )
    order = shuffled(result.answers.ids, request.seed) if request.early_stop is not None else None
    scorer = Scorer(
        Plan(result.answers, result.rubric, options, order),
        provider,
        ledger,
        settings,
        _file_name(provider, providers),
        request.expected_score,
        request.early_stop,
        request.batch_poll if request.batch else None,
        console.say,
    )
    status = scorer.status(_counter() if request.dry_run and not provider.is_free else None)
    if request.dry_run:
        result.judges.append(scorer.planned(status))
        return
    with ProgressBar(provider.name, status.requests, status.settled, unit="request") as progress:
        try:
            judge = scorer.run(status, request.output, progress.advance)
        except IncompleteError as error:
            if len(providers) == 1:
                raise
            result.warnings.append(f"{provider.name}: {error}")
            result.stopped = result.stopped or error
            return
    result.judges.append(judge)
    result.stopped = result.stopped or judge.stopped
    _write_records(result, judge)


def _parameters(result: ScoreResult) -> Parameters:
    parameters = {**result.rubric.front.parameters, **result.request.parameters}
    return parameters | {"logprobs": True, "top_logprobs": 20} if result.request.expected_score else parameters


def _providers(request: ScoreRequest, table: PriceTable) -> list[Provider]:
    judges: Sequence[str | None] = request.judges or (None,)
    providers = [parse_judge(text, to_ask=not request.dry_run, table=table) for text in judges]
    if len({provider.name for provider in providers}) < len(providers):
        raise InputError("the same judge is named twice", "use --repeats to ask it more often")
    return providers


def _file_name(provider: Provider, providers: Sequence[Provider]) -> str:
    """A judge's name in file names: its model, or with its URL where two judges are the same model."""
    alike = [other for other in providers if other.model == provider.model]
    return provider.model if len(alike) == 1 else provider.name


def _counter() -> Callable[[str], int]:
    """Counts tokens as GPT-2 does, which is within a tenth or so of what other models count for English."""
    from equiloss.tokenizer import gpt2

    encoding = gpt2()

    @lru_cache(maxsize=4)
    def count_fixed(text: str) -> int:
        return len(encoding.encode_ordinary(text))

    return count_fixed


def _write_records(result: ScoreResult, judge: ScoringResult) -> None:
    """Beside each verdict file, what made it: NAME.<rubric>.<judge>.score.json."""
    request, rubric, provider = result.request, result.rubric, judge.provider
    record: dict[str, object] = {
        "format": "equiloss.score-record.v1",
        "judge": provider.name,
        "base_url": provider.base_url,
        "is_llm": provider.is_llm,
        "endpoint": judge.capabilities,
        "rubric": {
            "name": rubric.name,
            "version": rubric.front.version,
            "sha256": rubric.sha,
            "layout": result.layout,
        },
        "parameters": {**rubric.front.parameters, **request.parameters},
        "repeats": request.repeats,
        "seed": request.seed,
        "group_size": request.group_size,
        "canaries": request.control_answers,
        "early_stop": judge.early_stop,
        "expected_score": request.expected_score,
        "max_usd": request.settings.max_usd,
        "price": provider.price.model_dump() if provider.price else None,
        "prices_as_of": result.prices.as_of,
        "inputs": [
            {"path": str(file.path), "generator": file.generator, "sha256": sha256_file(file.path)}
            for file in result.answers.files
        ],
        "complete": judge.stopped is None,
        "provenance": provenance(),
    }
    for model in judge.written:
        counts = {"generator": model.generator, "verdicts": model.n, "failures": len(model.failures)}
        write_json(companion(model.path, ".score.json"), {**record, **counts})
