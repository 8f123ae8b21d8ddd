"""The commands that prepare and ask judges: `judge score`, `preview` and `rubrics`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter, Context, Option, Typer

from equiloss.cli import JsonFlag, output_option, repeatable
from judge.cli.options import AskedRubric, ControlAnswers, Files, GroupSize, Layout, OrderSeed

commands = Typer()


def _or_anchor(context: Context, files: list[Path] | None) -> list[Path] | None:
    """Refuse a command without files, unless --anchor says which answers are meant; a typer callback."""
    if not files and not context.params.get("anchor") and not context.resilient_parsing:
        raise BadParameter("name result files, or verdicts with --anchor")
    return files


@commands.command()
def score(
    files: Annotated[list[Path] | None, Argument(metavar="[FILES]", callback=_or_anchor)] = None,
    *,
    anchor: Annotated[
        list[Path],
        Option(
            metavar="VERDICTS",
            help="Judge these judged answers once more.",
            is_eager=True,
            default_factory=list,
            show_default=False,
        ),
    ],
    judges: Annotated[list[str], repeatable("--judge", "MODEL[@URL]", "The judge; several make a jury.")],
    rubric: AskedRubric = "correctness",
    layout: Layout = None,
    repeats: Annotated[int, Option(help="How often each item is judged.")] = 1,
    concurrency: Annotated[int, Option(help="Requests in flight at once.")] = 16,
    output: Annotated[Path | None, output_option("Where verdicts go.", "beside FILES")] = None,
    ledger: Annotated[Path | None, Option(help="The ledger.", show_default="ledger.sqlite there")] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Only say what would be asked, and what it would cost.")] = False,
    max_usd: Annotated[float | None, Option(help="Stop before these verdicts cost more (exit code 4).")] = None,
    prices: Annotated[Path | None, Option(help="A TOML file with prices.")] = None,
    price: Annotated[str, Option(metavar="IN,OUT", help="The judge's price, dollars per million tokens.")] = "",
    parameters: Annotated[list[str], repeatable("--param", "KEY=VALUE", "A parameter of the request.")],
    expected_score: Annotated[bool, Option("--expected-score", help="Score the mean over log-probabilities.")] = False,
    group_size: GroupSize = 8,
    control_answers: ControlAnswers = 0.1,
    early_stop: Annotated[
        float | None, Option(metavar="ALPHA", help="End once these answers' gaps are settled.")
    ] = None,
    rpm: Annotated[float | None, Option(help="Requests per minute.", show_default="learnt from the endpoint")] = None,
    tpm: Annotated[float | None, Option(help="Tokens per minute.", show_default="learnt from the endpoint")] = None,
    timeout: Annotated[float, Option(help="Seconds for one answer.")] = 300.0,
    batch: Annotated[bool, Option("--batch", help="Use the Batch API: half the price, up to a day.")] = False,
    batch_poll: Annotated[float, Option(help="Seconds between looks at a batch.")] = 60.0,
    retry_failures: Annotated[bool, Option("--retry-failures", help="Ask again what failed.")] = False,
    forget_endpoint: Annotated[bool, Option("--forget-endpoint", help="Find out anew what it accepts.")] = False,
    generators: Annotated[list[str], repeatable("--generator", "NAME=FILE", "The model's name, for a file.")],
    seed: OrderSeed = 20260101,
    as_json: JsonFlag = False,
) -> None:
    """Judge the answers in FILES: several files are judged together, answers to one item in one prompt.

    Without OPENAI_API_KEY, OPENAI_BASE_URL and --judge, the offline reference judge is used, which is not an LLM.

    \b
      judge score results/run1.jsonl results/run2.jsonl --judge gpt-4.1-mini --max-usd 1
      judge score results/run1.jsonl --judge qwen@http://127.0.0.1:8080/v1
      judge score --anchor results/run1.correctness.gpt-4.1-mini.jsonl --judge gpt-4.1-mini -o results/anchor
    """
    from judge.cli.score_output import emit
    from judge.endpoints.prices import parse_price
    from judge.scoring.options import ScoreRequest, parse_generators, parse_parameters
    from judge.scoring.score import score_files

    request = ScoreRequest(
        files=tuple(files or ()),
        anchors=tuple(anchor),
        judges=tuple(judges),
        rubric=rubric,
        layout=layout,
        repeats=repeats,
        output=output,
        ledger=ledger,
        dry_run=dry_run,
        prices=prices,
        price=parse_price(price) if price else None,
        generators=parse_generators(generators),
        forget_endpoint=forget_endpoint,
        parameters=parse_parameters(parameters),
        expected_score=expected_score,
        group_size=group_size,
        control_answers=control_answers,
        early_stop=early_stop,
        seed=seed,
        batch_poll_s=batch_poll if batch else None,
        concurrency=concurrency,
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
        timeout_s=timeout,
        max_usd=max_usd,
        retry_failures=retry_failures,
    )
    result = score_files(request)
    emit(result, as_json=as_json)
    if result.stopped is not None:
        raise result.stopped


@commands.command()
def preview(
    files: Files,
    rubric: AskedRubric = "correctness",
    layout: Layout = None,
    item: Annotated[str, Option(help="An item's place in the first file (from 1), or its id.")] = "1",
    group_size: GroupSize = 8,
    control_answers: ControlAnswers = 0.1,
    seed: OrderSeed = 20260101,
    as_json: JsonFlag = False,
) -> None:
    """Show exactly what a judge would be sent for an item, with its number of tokens.

    \b
      judge preview results/run1.jsonl results/run2.jsonl --item 3
    """
    from judge.cli.listings import emit_preview
    from judge.scoring.options import ScoreRequest
    from judge.scoring.preview import preview_item

    request = ScoreRequest(
        files=tuple(files),
        rubric=rubric,
        layout=layout,
        group_size=group_size,
        control_answers=control_answers,
        seed=seed,
    )
    prompts = preview_item(request, item)
    emit_preview(prompts, as_json=as_json)


@commands.command()
def rubrics(name: Annotated[str | None, Argument(metavar="NAME")] = None, as_json: JsonFlag = False) -> None:
    """List the shipped rubrics, or show one (or check your own, by its path).

    \b
      judge rubrics
      judge rubrics my/rubric.j2
    """
    from judge.cli.listings import emit_rubric, emit_rubrics

    if name is None:
        emit_rubrics(as_json=as_json)
    else:
        emit_rubric(name, as_json=as_json)
