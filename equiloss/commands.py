"""Every command that a message, a report or a verdict suggests. What is suggested runs: tests parse all of it.

Paths and names are quoted for a shell. A word in capitals (DATA, CHECKPOINT) stands for what nobody here can know.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

Word = str | Path
Value = Word | int | float | None

DATA = "DATA"
CHECKPOINT = "CHECKPOINT"
CONFIG = "CONFIG"
MODEL = "MODEL"
NAME = "NAME"
RUBRIC = "RUBRIC"
SOURCE = "SOURCE"
DIR = "DIR"
FILE = "FILE"
PLACEHOLDERS = (DATA, CHECKPOINT, CONFIG, MODEL, NAME, RUBRIC, SOURCE, DIR, FILE)


def judge_score(
    files: Sequence[Word],
    *,
    judge: str | None = None,
    rubric: str | None = None,
    repeats: int | None = None,
    output: Word | None = None,
    retry_failures: bool = False,
    anchor: Word | None = None,
) -> str:
    """Judge these files, together; or the answers of an anchor set once more."""
    options: dict[str, Value] = {"anchor": anchor, "judge": judge, "rubric": rubric, "repeats": repeats}
    options |= {"output": output}
    return _line("judge score", files, options, flags=["--retry-failures"] if retry_failures else [])


def judge_exchange(file: Word, origin: str, output: Word = DIR) -> str:
    """Read another tool's file into result files."""
    return _line("judge exchange", [file], {"from": origin, "output": output})


def judge_audit(files: Sequence[Word], *, against: Word | None = None, output: Word | None = None) -> str:
    """See how far the judge of these files can be trusted, or hold another judging of them against it."""
    return _line("judge audit", files, {"against": against, "output": output})


def judge_diagnose(a: Word, b: Word, **options: Value) -> str:
    """Say why two runs score differently."""
    kept = {name: value for name, value in options.items() if (name, str(value)) != ("results", "results")}
    return _line("judge diagnose", [a, b], kept)


def ift_run(
    base: Word | None,
    data: Word | None,
    name: str = NAME,
    *,
    seeds: int | None = None,
    sets: Mapping[str, object] | None = None,
    skip_bad: bool = False,
) -> str:
    """Fine-tune a base model."""
    options = {"base": base or CHECKPOINT, "data": data or DATA, "name": name, "seeds": seeds}
    return _line("ift run", [], options, sets, flags=["--skip-bad"] if skip_bad else [])


def ift_respond(model: Word | None, data: Word | None, name: str, output: Word | None = None, **options: Value) -> str:
    """Answer the items of `data` (instructions, or a results file with answers to the same items) once more."""
    given = {"model": model or MODEL, "data": data or DATA, "name": name, "output": output, **options}
    return _line("ift respond", [], given)


def ift_show(file: Word, count: int = 10) -> str:
    """Look at the answers that differ from their references."""
    return _line("ift show", [file], {"count": count}, flags=["--wrong"])


def pretrain_data(source: Word | None, output: Word | None, tokenizer: Word | None) -> str:
    """Tokenize text with a tokenizer that is there."""
    return _line("pretrain data", [source or SOURCE], {"output": output or DIR, "tokenizer": tokenizer or FILE})


def pretrain_eval(checkpoints: Sequence[Word | None], data: Word | None = None) -> str:
    """Measure the loss of base models, document by document."""
    known = dict.fromkeys(checkpoint or CHECKPOINT for checkpoint in checkpoints)
    return _line("pretrain eval", list(known), {"data": data or DATA})


def pretrain_probe(checkpoint: Word | None, data: Word | None = None, text: Word | None = None) -> str:
    """Measure what the loss of a base model does not show."""
    return _line("pretrain probe", [checkpoint or CHECKPOINT], {"data": data, "text": text})


def pretrain_run(config: Word | None, data: Word | None, name: str, seed: int) -> str:
    """Train a base model."""
    return _line("pretrain run", [config or CONFIG], {"data": data or DATA, "name": name, "seed": seed})


def study_explain(a: Word, b: Word, **options: Value) -> str:
    """Make a factor equal (`only`), run again with `seeds`, and see how much of the gap closes."""
    return _line("study explain", [a, b], options)


def both(*commands: str) -> str:
    """One command after the other; what stands twice runs once."""
    return " && ".join(dict.fromkeys(commands))


def usage(command: str) -> str:
    """How to see what a command takes."""
    return f"{command} --help"


def _line(
    command: str,
    arguments: Sequence[Word],
    options: Mapping[str, Value] | None = None,
    sets: Mapping[str, object] | None = None,
    flags: Sequence[str] = (),
) -> str:
    """The command with its arguments, those options that have a value, and flags."""
    words = command.split()
    # What begins with a dash would be taken for an option.
    words += [f"./{word}" if str(word).startswith("-") else str(word) for word in arguments]
    for name, value in (options or {}).items():
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    for key, value in (sets or {}).items():
        words += ["--set", f"{key}={value}"]
    return shlex.join([*words, *flags])
