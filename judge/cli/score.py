"""The commands of `judge` that ask judges: score, rubrics, preview, ledger, simulate. They parse and call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from equiloss import console

FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
RUBRIC = click.option("--rubric", default="correctness", show_default=True, help="A shipped rubric's name, or a path.")
LAYOUT = click.option(
    "--layout",
    type=click.Choice(["joint", "pointwise", "pairwise"]),
    help="Default: joint for several files, pointwise for one.",
)
SEED = click.option("--seed", type=int, default=20260101, show_default=True, help="Seed of orders and control answers.")

CONTROL_ANSWERS = click.option(
    "--control-answers",
    "--canaries",
    type=float,
    default=0.1,
    show_default=True,
    help="Share of items with a planted control answer.",
)


@click.command()
@FILES
@click.option("--judge", "judges", multiple=True, metavar="MODEL[@URL]", help="The judge; several make a jury.")
@RUBRIC
@LAYOUT
@click.option("--repeats", type=int, default=1, show_default=True, help="How often each item is judged.")
@click.option("--concurrency", type=int, default=16, show_default=True, help="Requests in flight at once.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Where verdicts go [beside FILES]."
)
@click.option("--ledger", type=click.Path(path_type=Path, dir_okay=False), help="The ledger [ledger.sqlite there].")
@click.option("--dry-run", is_flag=True, help="Only say what would be asked, and what it would cost.")
@click.option("--max-usd", type=float, help="Stop before this much has been spent on these verdicts (exit code 4).")
@click.option("--prices", type=click.Path(path_type=Path, dir_okay=False), help="A TOML file with prices.")
@click.option("--param", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter of the request.")
@click.option("--expected-score", is_flag=True, help="Mean over the judge's log-probabilities, where it gives them.")
@click.option("--group-size", type=int, default=8, show_default=True, help="Most answers in one prompt.")
@CONTROL_ANSWERS
@click.option("--early-stop", type=float, metavar="ALPHA", help="End once all differences are settled at this level.")
@click.option("--rpm", type=float, help="Requests per minute [learnt from the endpoint].")
@click.option("--tpm", type=float, help="Tokens per minute [learnt from the endpoint].")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds for one answer.")
@click.option("--batch", is_flag=True, help="Use the endpoint's Batch API: half the price, up to a day.")
@click.option("--batch-poll", type=float, default=60.0, show_default=True, help="Seconds between looks at a batch.")
@click.option("--retry-failures", is_flag=True, help="Ask again what was refused, cut off or unreadable.")
@SEED
@console.option_json
def score(files: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Judge the answers in FILES: several files are judged together, answers to one item in one prompt.

    Without OPENAI_API_KEY, OPENAI_BASE_URL and --judge, the offline reference judge is used, which is not an LLM.

    \b
    Examples:
      judge score results/run1.jsonl results/run2.jsonl --judge gpt-4.1-mini --max-usd 1
      judge score results/run1.jsonl --judge qwen@http://127.0.0.1:8080/v1
    """
    from judge.cli.score_output import emit
    from judge.scoring.score import Request, score_files

    result = score_files(Request.of(files, options))
    emit(result, as_json=as_json)
    if result.stopped is not None:
        raise result.stopped


@click.command()
@click.argument("name", required=False)
@console.option_json
def rubrics(name: str | None, as_json: bool) -> None:
    """List the shipped rubrics, or show one (or check your own, by its path).

    \b
    Examples:
      judge rubrics
      judge rubrics my/rubric.j2
    """
    from judge.cli.score_output import emit_rubric, emit_rubrics

    if name is None:
        emit_rubrics(as_json=as_json)
    else:
        emit_rubric(name, as_json=as_json)


@click.command()
@FILES
@RUBRIC
@LAYOUT
@click.option("--item", default="1", show_default=True, help="An item's place in the first file (from 1), or its id.")
@click.option("--group-size", type=int, default=8, show_default=True, help="Most answers in one prompt.")
@CONTROL_ANSWERS
@SEED
@console.option_json
def preview(files: tuple[Path, ...], item: str, as_json: bool, **options: Any) -> None:
    """Show exactly what a judge would be sent for an item, with its number of tokens.

    \b
    Example:
      judge preview results/run1.jsonl results/run2.jsonl --item 3
    """
    from judge.cli.score_output import emit_preview
    from judge.scoring.preview import preview_item

    emit_preview(preview_item(files, item, **options), as_json=as_json)


@click.group()
def ledger() -> None:
    """Look at, export or prune the ledger of paid answers."""


LEDGER = click.argument(
    "path", default=Path("results/ledger.sqlite"), type=click.Path(path_type=Path, exists=True, dir_okay=False)
)


@ledger.command("show")
@LEDGER
@console.option_json
def ledger_show(path: Path, as_json: bool) -> None:
    """Sum up what was asked and paid, by judge and rubric.

    \b
    Example:
      judge ledger show results/ledger.sqlite
    """
    from judge.cli.score_output import emit_ledger
    from judge.scoring.ledger import Ledger

    with Ledger(path) as opened:
        emit_ledger(opened, as_json=as_json)


@ledger.command("export")
@LEDGER
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="A JSON Lines file."
)
def ledger_export(path: Path, output: Path) -> None:
    """Write every reply, with what it settled, as JSON Lines.

    \b
    Example:
      judge ledger export results/ledger.sqlite -o replies.jsonl
    """
    from equiloss.files import write_jsonl
    from judge.scoring.ledger import Ledger

    with Ledger(path) as opened:
        write_jsonl(output, opened.rows())
    console.say(f"wrote {output}")


@ledger.command("prune")
@LEDGER
@click.option("--failures", is_flag=True, help="Only requests that ended in a failure.")
@click.option("--judge", help="Only this judge's.")
@click.option("--rubric", help="Only this rubric's.")
@click.option("--before", metavar="DATE", help="Only what is older (2026-01-31).")
def ledger_prune(path: Path, failures: bool, judge: str | None, rubric: str | None, before: str | None) -> None:
    """Forget replies, so that they are asked (and paid) again.

    \b
    Example:
      judge ledger prune results/ledger.sqlite --failures
    """
    from equiloss.errors import InputError
    from judge.scoring.ledger import Ledger

    if not (failures or judge or rubric or before):
        raise InputError("nothing says what to forget", "give --failures, --judge, --rubric or --before")
    with Ledger(path) as opened:
        count = opened.prune(failures=failures, judge=judge, rubric=rubric, before=before)
    console.say(f"forgot {count:,} requests")


@click.command()
@click.option("--port", type=int, default=0, show_default=True, help="A port on 127.0.0.1; 0 takes a free one.")
@click.option("--latency", type=float, default=0.0, show_default=True, help="Seconds until an answer.")
@click.option("--latency-sigma", type=float, default=0.0, show_default=True, help="Its log-normal spread.")
@click.option("--fault", "faults", multiple=True, metavar="KIND=RATE", help="A fault and its share of requests.")
@click.option("--retry-after", type=float, default=1.0, show_default=True, help="What a 429 asks for, in seconds.")
@click.option("--rpm", type=int, help="Requests per minute, enforced and announced.")
@click.option("--tpm", type=int, help="Tokens per minute, enforced and announced.")
@click.option("--server", default="openai", show_default=True, help="The server whose peculiarities to imitate.")
@click.option("--position-bias", type=float, default=0.0, help="Share of the scale from last to first place.")
@click.option("--length-bias", type=float, default=0.0, help="Share of the scale per doubling of the length.")
@click.option("--noise", type=float, default=0.0, help="Standard deviation, as a share of the scale.")
@click.option("--drift", type=float, default=0.0, help="Share of the scale per 1,000 calls.")
@click.option("--offset", type=float, default=0.0, help="Leniency, as a share of the scale.")
@click.option("--susceptible", type=float, default=0.0, help="Share of injections that it falls for.")
@click.option("--model", "models", multiple=True, metavar="NAME:KEY=X,...", help="A model of its own personality.")
@click.option("--fallback", default="I can only grade answers.", help="The reply to any other request.")
@click.option("--batch-seconds", type=float, default=0.0, show_default=True, help="How long a batch takes.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of noise and faults.")
@click.option("--requests", type=int, help="Stop after so many answers.")
@click.option("--seconds", type=float, help="Stop after so long.")
def simulate(**options: Any) -> None:
    """Serve a simulated judge on 127.0.0.1: OpenAI-compatible, deterministic, with the biases and faults you set.

    It scores by agreement with the reference answer in the prompt. Prints its base URL on stdout once it listens.
    Faults: 429, 500, 503, reset, slow, html, hang; refusal, malformed, truncated; batch-error, batch-expired.
    Servers: openai, reasoning, llama-cpp, llama-cpp-python, ollama, vllm, plain, strict-plain.

    \b
    Example:
      judge simulate --port 8123 --latency 0.2 --fault 429=0.05 --position-bias 0.1 --seconds 600
    """
    from judge.simulate.run import run_simulation

    run_simulation(**options)


COMMANDS: tuple[click.Command, ...] = (score, rubrics, preview, ledger, simulate)
