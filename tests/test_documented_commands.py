"""Every command line that is documented parses with the real programs: what was once shown, and what is shown now."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study import spec
from study.zoo.pairs import read_pairs
from study.zoo.plan import study_of

ROOT = Path(__file__).resolve().parent.parent
COMMAND = re.compile(r"(?:\$ )?((?:torchrun .*?-m |python -m )?(?:pretrain|ift|judge|study) .*)")


def commands_of(text: str) -> Iterator[str]:
    """The lines that are commands of the programs; joined where they go on, cut at pipes and comments."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if match := COMMAND.fullmatch(line.strip()):
            words = shlex.shlex(match[1], posix=True, punctuation_chars="|>&;")
            words.whitespace_split = True
            kept = []
            for word in words:
                if set(word) <= set("|>&;"):
                    break
                kept.append(word)
            yield shlex.join(kept)


def in_markdown() -> Iterator[str]:
    """Commands in the blocks of code, fenced or indented."""
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        text = path.read_text()
        fenced = re.findall(r"^```(?:console|sh|bash|text)?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        indented = re.findall(r"^ {4}.*(?:\\\n.*)*$", text, flags=re.MULTILINE)
        yield from commands_of("\n".join([*fenced, *indented]))


def in_docstrings() -> Iterator[str]:
    """Commands on lines of their own in the docstrings: the examples of `--help`, the modules that are programs."""
    for package in ("equiloss", "pretrain", "ift", "judge", "study", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    indented = re.findall(r"^ {2,}.*$", ast.get_docstring(node) or "", flags=re.MULTILINE)
                    yield from commands_of("\n".join(indented))


def in_studies() -> Iterator[str]:
    """Commands of the cells of the studies and pairs that are shipped."""
    studies = [spec.read(path, ()) for path in (*ROOT.glob("studies/*.toml"), *ROOT.glob("studies/real/*.toml"))]
    for study in (*studies, study_of(read_pairs(()), [0], ())):
        yield from commands_of("\n".join(cell.command for cell in study.cells))


def test_what_was_documented_still_parses(parse: Callable[[str], object]):
    lines = (ROOT / "tests" / "documented_commands.txt").read_text().splitlines()
    refused = refusals([line for line in lines if not line.startswith("#")], parse)
    assert not refused, "\n".join(refused)


@pytest.mark.parametrize(("shown", "at_least"), [(in_markdown, 30), (in_docstrings, 50), (in_studies, 100)])
def test_what_is_documented_parses(shown: Callable[[], Iterator[str]], at_least: int, parse: Callable[[str], object]):
    lines = sorted(set(shown()))
    assert len(lines) >= at_least
    refused = refusals([line for line in lines if "..." not in line and "…" not in line], parse)
    assert not refused, "\n".join(refused)


def refusals(lines: list[str], parse: Callable[[str], object]) -> list[str]:
    """Why lines are refused; a capital letter stands for a number of the reader's."""
    reasons = []
    for line in lines:
        try:
            parse(re.sub(r"(?<=--jobs )N\b", "1", line))
        except ValueError as error:
            reasons.append(str(error))
    return reasons


def test_a_command_line_that_is_wrong_does_not_parse(parse: Callable[[str], object]):
    assert parse("study explain a b --base") != parse("study explain a b")
    for line in ("study explain a b --base 0.15", "judge nosuch", "judge score", "ift respond --top-p 0", "judge"):
        with pytest.raises(ValueError, match=r"argument|command|option|value"):
            parse(line)
