"""The command `study explain`."""

from pathlib import Path
from typing import Annotated

from typer import Option, Typer

from equiloss import console
from equiloss.cli import JsonFlag, Overwrite, positive, repeatable
from judge.cli.options import A, B, Judge, Results, Rubric, Verdicts

commands = Typer()


@commands.command()
def explain(
    a: A,
    b: B,
    *,
    results: Results = Path("results"),
    verdicts: Verdicts = None,
    rubric: Rubric = None,
    judge: Judge = None,
    seeds: Annotated[int, Option(min=2, help="Fine-tunings of each change.")] = 3,
    minutes: Annotated[float | None, Option(callback=positive, help="Stop after so long (exit code 4).")] = None,
    max_usd: Annotated[float | None, Option(min=0, help="Stop before the judge costs more (exit code 4).")] = None,
    only: Annotated[list[str], repeatable("--only", "CAUSE", "Try this factor, e.g. recipe-rate; may be repeated.")],
    everything: Annotated[bool, Option("--everything", help="Go on when the gap is explained.")] = False,
    base: Annotated[bool, Option("--base", help="Try the base models' text by continued pretraining.")] = False,
    base_share: Annotated[
        float | None, Option(max=1, callback=positive, help="Like --base, for this share of its steps.")
    ] = None,
    pretrain: Annotated[bool, Option("--pretrain", help="Pretrain again with each base field made equal.")] = False,
    ask: Annotated[str | None, Option(metavar="MODEL@URL", help="Who judges then.", show_default="as before")] = None,
    runs: Annotated[
        Path | None, Option(help="Folder of reruns that several explanations share.", show_default="its own")
    ] = None,
    as_json: JsonFlag = False,
    _overwrite: Overwrite = False,
) -> None:
    """Make one factor equal in both A and B, fine-tune and judge again, and measure what it makes of their gap.

    The factors are the recipe's fields that differ, the most suspected first. It stops when what is unexplained cannot
    hold another half of the gap. With --base, pretraining of the lower side's base is continued on the other's text,
    and as a control on its own; with --pretrain, it is pretrained again with each field that differs made equal.
    What was tried is in RESULTS/A.vs.B.explain.json, which `judge diagnose A B` reads; the same command goes on.

    \b
      study explain base-a base-b --seeds 3 --minutes 30 --max-usd 1
      study explain base-a base-b --base --seeds 3
      study explain base-a base-b --pretrain --only base-data
    """
    from equiloss.commands import judge_diagnose
    from study.counterfactual import tables
    from study.counterfactual.continued_pretraining import SHARE
    from study.counterfactual.explain import explain
    from study.counterfactual.reruns import RerunBudget

    tried, path = explain(
        a,
        b,
        results_dir=results,
        verdicts_dir=verdicts,
        seeds=seeds,
        budget=RerunBudget(minutes, max_usd),
        only=only,
        rubric=rubric,
        judge=judge,
        everything=everything,
        base_share=base_share or (SHARE if base else None),
        pretrain=pretrain,
        ask=ask,
        runs=runs,
    )
    if as_json:
        console.emit_json({"file": str(path), "tried": [attempt.model_dump(mode="json") for attempt in tried]})
        return
    tables.emit(tried)
    again = judge_diagnose(a, b, results=results, verdicts=verdicts, rubric=rubric, judge=judge)
    console.out().print(f"Next: {again}", markup=False, soft_wrap=True)
