"""The command `judge label`."""

from pathlib import Path
from typing import Annotated

from typer import Option, Typer

from equiloss import console
from judge.cli.options import AskedRubric, Files

commands = Typer()


@commands.command()
def label(
    files: Files,
    output: Annotated[Path, Option("-o", "--output")] = Path("labels.jsonl"),
    count: Annotated[int, Option("-n", min=1, help="Answers to rate.")] = 50,
    retest: Annotated[float, Option(min=0, max=1, help="Share rated twice.")] = 0.2,
    rubric: AskedRubric = "correctness",
    rater: Annotated[str, Option(help="Who rates, where several do.")] = "",
    web: Annotated[bool, Option("--web", help="Rate in a page on 127.0.0.1, by keyboard.")] = False,
    port: Annotated[int, Option(help="The page's port; 0 takes a free one.")] = 0,
    idle: Annotated[float, Option(min=1, help="Seconds until the page ends.")] = 1800.0,
    no_browser: Annotated[bool, Option("--no-browser", help="Only print the page's address.")] = False,
    seed: Annotated[int, Option(help="Seed of the sample.")] = 0,
) -> None:
    """Rate a blind sample of the answers in FILES yourself, on the rubric's scale; the same command goes on later.

    `judge compare --labels` and `judge audit --labels` use the ratings.

    \b
      judge label results/run1.jsonl results/run2.jsonl -n 50 -o labels.jsonl
      judge label results/run1.jsonl results/run2.jsonl --web
    """
    from judge import rubrics
    from judge.data.verdicts import load_judged
    from judge.labelling.label import LabellingSession, rate, sample
    from judge.labelling.terminal import prompt
    from judge.labelling.web import announcing, serve

    tasks = sample(load_judged(files), count, retest, seed)
    session = LabellingSession(tasks, output, rubrics.load(rubric), rater)
    rated = serve(session, announcing(not no_browser), port, idle) if web else rate(session, prompt(session))
    console.say(f"{output}: {session.done:,} of {len(session.tasks):,} rated, {rated:,} of them now")
