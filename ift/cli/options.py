"""Options that several commands of `ift` take."""

from pathlib import Path
from typing import Annotated

from typer import Option

from equiloss.cli import output_option

Data = Annotated[str, Option("--data", help="Instruction data.")]
SkipBad = Annotated[bool, Option("--skip-bad", help="Leave out items that cannot be read or have no answer.")]
Model = Annotated[str, Option("--model", help="A directory of `ift run`, a checkpoint.pt, or a Hugging Face model.")]
Results = Annotated[Path, output_option("Where the answers go.")]
Template = Annotated[str | None, Option("--template", help="A template's name or path.", show_default="the model's")]
