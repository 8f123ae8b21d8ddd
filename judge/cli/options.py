"""Arguments and options that several commands of `judge` and `study` take."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from equiloss.cli import finite, repeatable

Files = Annotated[list[Path], Argument(metavar="FILES")]

# Which verdicts are meant, where there are several.
Rubric = Annotated[str | None, Option("--rubric", help="The rubric to use, where there are several.")]
Criterion = Annotated[str | None, Option("--criterion", help="One criterion of the rubric.", show_default="the whole")]
Judge = Annotated[str | None, Option("--judge", help="The judge to use, where there are several.")]
Labels = Annotated[Path | None, Option("--labels", help="A person's ratings, by `judge label`.")]
Noise = Annotated[Path | None, Option("--noise", help="A noise ledger, by `study noise`, where seeds are too few.")]
Evidence = Annotated[
    list[Path], repeatable("--evidence", "FILE", "An against.json: two judgings that may stand in one table.")
]

# How they are compared.
Confidence = Annotated[float, Option("--confidence", min=0.5, max=0.999, callback=finite)]
Draws = Annotated[int, Option("--draws", min=100, help="Bootstrap draws.")]
DrawsSeed = Annotated[int, Option("--seed", min=0, help="Seed of the draws.")]

# What a judge is sent.
AskedRubric = Annotated[str, Option("--rubric", help="A shipped rubric's name, or a path.")]
Layout = Annotated[
    Literal["joint", "pointwise", "pairwise"] | None,
    Option("--layout", show_default="joint, or pointwise for one file"),
]
GroupSize = Annotated[int, Option("--group-size", help="Most answers in one prompt.")]
ControlAnswers = Annotated[float, Option("--control-answers", "--canaries", help="Share of items with one planted.")]
OrderSeed = Annotated[int, Option("--seed", help="Seed of orders and control answers.")]

# Two runs.
A = Annotated[str, Argument(metavar="A")]
B = Annotated[str, Argument(metavar="B")]
Results = Annotated[Path, Option("--results", help="Where runs are looked for by name.")]
Verdicts = Annotated[
    Path | None, Option("--verdicts", help="Where `judge score -o` put them.", show_default="beside the answers")
]
