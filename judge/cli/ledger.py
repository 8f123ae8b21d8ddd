"""The commands of `judge ledger`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, output_option, repeatable

commands = Typer()
ledger = Typer(help="Look at, export or prune the ledger of paid answers.")
commands.add_typer(ledger, name="ledger")

LedgerPath = Annotated[Path, Argument(metavar="PATH")]
DEFAULT = Path("results/ledger.sqlite")


@ledger.command()
def show(path: LedgerPath = DEFAULT, as_json: JsonFlag = False) -> None:
    """Sum up what was asked and paid, by judge and rubric.

    \b
      judge ledger show results/ledger.sqlite
    """
    from judge.cli.listings import emit_ledger
    from judge.scoring.ledger import Ledger

    with Ledger.existing(path) as opened:
        emit_ledger(opened, as_json=as_json)


@ledger.command()
def endpoints(
    path: LedgerPath = DEFAULT,
    *,
    forget: Annotated[list[str], repeatable("--forget-endpoint", "MODEL[@URL]", "Forget what was learnt of it.")],
    as_json: JsonFlag = False,
) -> None:
    """Show what was learnt about each endpoint, with the refusals that showed it. It is forgotten after 30 days.

    \b
      judge ledger endpoints results/ledger.sqlite
      judge ledger endpoints results/ledger.sqlite --forget-endpoint qwen@http://127.0.0.1:8080/v1
    """
    from judge.cli.listings import emit_endpoints
    from judge.scoring.ledger import Ledger

    with Ledger.existing(path) as opened:
        for name in forget:
            model, _, url = name.partition("@")
            console.say(f"forgot {opened.forget_endpoint(model, url or None):,} of {name}")
        emit_endpoints(opened, as_json=as_json)


@ledger.command()
def export(
    output: Annotated[Path, output_option("A JSON Lines file.")],
    path: LedgerPath = DEFAULT,
    _overwrite: Overwrite = False,
) -> None:
    """Write every reply, with what it settled, as JSON Lines.

    \b
      judge ledger export results/ledger.sqlite -o replies.jsonl
    """
    from equiloss.files import claim, write_jsonl
    from judge.scoring.ledger import Ledger

    claim(output, ours=False, hint="name another file, or add --overwrite")
    with Ledger.existing(path) as opened:
        write_jsonl(output, opened.rows())
    console.say(f"wrote {output}")


@ledger.command()
def prune(
    path: LedgerPath = DEFAULT,
    failures: Annotated[bool, Option("--failures", help="Only requests that ended in a failure.")] = False,
    judge: Annotated[str | None, Option(help="Only this judge's.")] = None,
    rubric: Annotated[str | None, Option(help="Only this rubric's.")] = None,
    before: Annotated[str | None, Option(metavar="DATE", help="Only what is older (2026-01-31).")] = None,
) -> None:
    """Forget replies, so that they are asked (and paid) again.

    \b
      judge ledger prune results/ledger.sqlite --failures
    """
    from judge.scoring.ledger import Ledger

    with Ledger.existing(path) as opened:
        count = opened.prune(failures=failures, judge=judge, rubric=rubric, before=before)
    console.say(f"forgot {count:,} requests")
