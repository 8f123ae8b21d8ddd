"""`judge score`: from files and options to verdicts, by one judge or a jury."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from equiloss import console
from equiloss.errors import BudgetError, EquilossError, IncompleteError, InputError
from equiloss.files import sha256_file, write_json
from equiloss.progress import ProgressBar
from equiloss.provenance import provenance
from judge import rubrics
from judge.data.answers import JointAnswers, open_jointly
from judge.data.verdicts import companion
from judge.endpoints import prices
from judge.endpoints.judges import parse_judge
from judge.endpoints.prices import PriceTable
from judge.endpoints.provider import Provider
from judge.rubrics import Layout, Rubric
from judge.scoring import anchor
from judge.scoring.ledger import Ledger
from judge.scoring.options import ScoreRequest
from judge.scoring.paths import verdict_paths
from judge.scoring.plan import Plan
from judge.scoring.scorer import Scorer


@dataclass
class ScoreResult:
    """What came of it, judge by judge. `stopped` is raised by the command after the summary was printed."""

    request: ScoreRequest
    rubric: Rubric
    layout: Layout
    answers: JointAnswers
    prices: PriceTable
    ledger: Path | None
    judges: list[Scorer] = field(default_factory=list[Scorer])
    warnings: list[str] = field(default_factory=list[str])
    stopped: EquilossError | None = None

    def all_warnings(self) -> list[str]:
        """The warnings of the whole, and of each judge."""
        warnings = list(self.warnings)
        for judge in self.judges:
            warnings += judge.control_summary["warnings"]
            warnings += _account_of(judge)
        return warnings


def _account_of(judge: Scorer) -> list[str]:
    """What a person should know of how a judge answered: what it cannot, what failed, and what was not counted."""
    provider, budget = judge.provider, judge.budget
    warnings = [f"{provider.name}: {note} (kept in the ledger: `judge ledger endpoints`)" for note in provider.news]
    if reasons := judge.failure_reasons():
        failures = sum(len(model.failures) for model in judge.written)
        warnings.append(
            f"{failures:,} answers have no verdict ({reasons}): see the .failures.jsonl files (--retry-failures)"
        )
    if budget.uncounted:
        cost = "; each is taken to have cost all that it could" if provider.price else ""
        warnings.append(f"{provider.name}: {budget.uncounted:,} replies came without a count of tokens{cost}")
    return warnings


def score_files(request: ScoreRequest) -> ScoreResult:
    """Judge files as asked, write the results, and return what the summary tells.

    Raises: InputError for bad input; IncompleteError when a judge could not be asked, with nothing lost.
    """
    request.check()
    rubric = rubrics.load(request.rubric)
    judged_before = anchor.read(request, rubric.name) if request.anchors else None
    if judged_before is not None:
        request = judged_before.request
    answers = open_jointly(request.files, request.generators)
    if judged_before is not None:
        answers = replace(answers, ids=[id for id in answers.ids if id in judged_before.ids])
    layout = rubric.layout_for(len(answers.files), request.layout)
    table = prices.load(request.prices)
    providers = _providers(request, table)
    warnings = [
        f"{name}: {count:,} items have no answer in the other files and are not judged"
        for name, count in answers.unmatched.items()
    ] + list(answers.warnings)
    for provider in providers:
        provider.check(rubric)
        warnings += [f"{provider.notice} ({provider.evidence})"] if provider.notice else []
        if provider.price is None and request.max_usd is None:
            console.warn(f"no price of {provider.model} is known, so no cost is counted; --price IN,OUT gives one")
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
    options = replace(result.request, layout=result.layout if provider.reads_prompts else "pointwise")
    if options.max_usd is not None:  # a jury shares the budget
        spent = sum(judge.budget.spent_usd for judge in result.judges)
        options = replace(options, max_usd=max(0.0, options.max_usd - spent))
    plan = Plan(result.answers, result.rubric, options)
    record = _record_of(result, provider)
    alike = [other for other in providers if other.model == provider.model]
    names = (provider.model, provider.name) if len(alike) == 1 else (provider.name,)
    paths = verdict_paths(result.answers.files, options.output, names, record)
    judge = Scorer(plan, provider, ledger, paths)
    judge.survey(_counter() if options.dry_run and not provider.is_free else None)
    if not options.dry_run:
        with ProgressBar(provider.name, judge.n_requests, judge.n_settled, unit="request") as progress:
            provider.tell = progress.line

            def settled(_: str) -> None:
                progress.update(progress.done + 1, *provider.losses)

            try:
                judge.run(settled)
            except IncompleteError as error:
                if len(providers) == 1:
                    raise
                result.warnings.append(f"{provider.name}: {error}")
                result.stopped = result.stopped or error
                return
        _write_records(record, judge)
    result.judges.append(judge)
    result.stopped = result.stopped or judge.stopped


def _providers(request: ScoreRequest, table: PriceTable) -> list[Provider]:
    judges: Sequence[str | None] = request.judges or (None,)
    providers = [parse_judge(text, to_ask=not request.dry_run, table=table) for text in judges]
    for provider in providers:
        provider.price = request.price or provider.price
    if len({provider.name for provider in providers}) < len(providers):
        raise InputError("the same judge is named twice", "use --repeats to ask it more often")
    return providers


def _counter() -> Callable[[str], int]:
    """Counts tokens as GPT-2 does, which is within a tenth or so of what other models count for English."""
    from equiloss.tokenizer import gpt2

    encoding = gpt2()

    @lru_cache(maxsize=4)
    def count_fixed(text: str) -> int:
        return len(encoding.encode_ordinary(text))

    return count_fixed


def _record_of(result: ScoreResult, provider: Provider) -> dict[str, object]:
    """What makes verdicts what they are, as far as it is known before a judge is asked."""
    request, rubric = result.request, result.rubric
    return {
        "format": "equiloss.score-record.v1",
        "judge": provider.name,
        "base_url": provider.base_url,
        "is_llm": provider.is_llm,
        "rubric": {**rubric.about, "layout": result.layout},
        "parameters": {**rubric.front.parameters, **request.parameters},
        "repeats": request.repeats,
        "seed": request.seed,
        "group_size": request.group_size,
        "canaries": request.control_answers,
        "expected_score": request.expected_score,
        "max_usd": request.max_usd,
        "price": provider.price if not provider.is_free else None,
        "prices_as_of": result.prices.as_of,
        "inputs": [
            {"path": str(file.path), "generator": file.generator, "sha256": sha256_file(file.path)}
            for file in result.answers.files
        ],
    }


def _write_records(record: Mapping[str, object], judge: Scorer) -> None:
    """Beside each verdict file, what made it: NAME.<rubric>.<judge>.score.json."""
    whole: dict[str, object] = {
        **record,
        "endpoint": judge.provider.capability_record,
        "early_stop": judge.early_stopping.report() if judge.early_stopping else None,
        "uncounted": judge.budget.uncounted,
        "complete": judge.stopped is None,
        "provenance": provenance(),
    }
    for model in judge.written:
        counts = {"generator": model.generator, "verdicts": model.n, "failures": len(model.failures)}
        write_json(companion(model.path, ".score.json"), {**whole, **counts})
