"""Options that several commands of `pretrain` and `ift` take."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from equiloss.cli import finite, positive

Checkpoint = Annotated[Path, Argument(metavar="CHECKPOINT")]
DataDirectory = Annotated[Path, Option("--data", help="A data directory of `pretrain data`.")]
Device = Annotated[str, Option("--device", help="auto, cpu, cuda, cuda:1, ...")]
Seed = Annotated[int, Option("--seed", min=0, max=2**63 - 1, help="Of all that is random.")]

COUNT = Option("-n", "--count", min=1, help="How many.")

# Decoding.
MAX_NEW_TOKENS = Option("--max-new-tokens", min=1)
TEMPERATURE = Option("--temperature", min=0, callback=finite, help="0 is greedy.")
TOP_K = Option("--top-k", min=0, help="Sample from the K likeliest tokens; 0: all.")
TOP_P = Option("--top-p", max=1, callback=positive, help="Sample from the likeliest P of the mass.")
