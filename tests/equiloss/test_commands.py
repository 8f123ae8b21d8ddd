"""Every command that is suggested parses with the real programs: the builders with odd names, and the code's texts."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from equiloss import commands

Parse = Callable[[str], dict[str, Any]]
ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("equiloss", "pretrain", "ift", "judge", "study")
ODD = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
"""Names of files and runs as a person may choose them: with blanks, quotes, dollars, a dash in front."""


@given(a=ODD, b=ODD)
def test_odd_names_reach_the_program_as_they_are(parse: Parse, a: str, b: str) -> None:
    first, second = f"runs/{a}", b
    plain = Path(f"./{second}" if second.startswith("-") else second)
    found = parse(commands.judge_score([first, second], judge=a, rubric=b, repeats=2, output=a, retry_failures=True))
    assert found["files"] == [Path(first), plain]
    assert (found["rubric"], found["repeats"], found["output"], found["retry_failures"]) == (b, 2, Path(a), True)
    assert parse(commands.judge_audit([first, second]))["files"] == [Path(first), plain]
    assert parse(commands.judge_score([], anchor=second, judge=a))["anchor"] == [Path(second)]
    found = parse(commands.judge_audit([first], against=b, output=a))
    assert (found["against"], found["output"]) == ([Path(b)], Path(a))
    found = parse(commands.judge_diagnose(first, second, results=a, rubric=b))
    assert (found["a"], Path(found["b"]), found["results"], found["rubric"]) == (first, plain, Path(a), b)
    found = parse(commands.ift_run(a, b, a, seeds=5, sets={"decoding.top_k": 3}))
    assert (found["base"], found["data"], found["name"], found["seeds"]) == (Path(a), b, a, 5)
    assert found["sets"] == ["decoding.top_k=3"]
    found = parse(commands.ift_respond(a, b, a, b, max_new_tokens=512, template=b, repetition_penalty=1.2))
    assert (found["model"], found["data"], found["name"], found["output"]) == (a, b, a, Path(b))
    assert (found["max_new_tokens"], found["template"], found["repetition_penalty"]) == (512, b, 1.2)
    found = parse(commands.ift_show(second))
    assert (found["file"], found["wrong"]) == (plain, True)
    found = parse(commands.pretrain_data(second, a, b))
    assert (found["output"], found["tokenizer"]) == (Path(a), b)
    found = parse(commands.pretrain_eval([first, second, first], a))
    assert found["checkpoints"] == list(dict.fromkeys([Path(first), plain]))
    assert parse(commands.pretrain_probe(second, a))["checkpoint"] == plain
    assert parse(commands.pretrain_run(second, a, b, 1))["name"] == b
    found = parse(commands.study_explain(first, second, only=a, seeds=4, results=b))
    assert (found["a"], found["only"], found["seeds"]) == (first, [a], 4)


def test_what_is_not_known_stands_in_capitals(parse: Parse) -> None:
    built = [
        commands.ift_run(None, None),
        commands.ift_respond(None, None, "a"),
        commands.pretrain_data(None, None, None),
        commands.pretrain_eval([None, None]),
        commands.pretrain_probe(None),
        commands.pretrain_run(None, None, "a", 1),
    ]
    assert built[3] == "pretrain eval CHECKPOINT --data DATA"
    for line in built:
        parse(line)
        assert set(re.findall(r"\b[A-Z]{3,}\b", line)) <= set(commands.PLACEHOLDERS)


def test_two_commands_stand_one_after_the_other_and_none_twice() -> None:
    assert commands.both("judge audit a", "judge audit b", "judge audit a") == "judge audit a && judge audit b"


def texts(tree: ast.AST) -> Iterator[str]:
    """The strings of a module that are no documentation; what an f-string fills in is `X`."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            inside |= {id(one.value) for one in body if isinstance(one, ast.Expr)}
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node) if part is not node}
            if id(node) not in inside:
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def known_commands() -> dict[str, Any]:
    """The commands of the four programs, by their names ("judge score"), also within a group ("judge ledger show")."""
    found: dict[str, Any] = {}

    def look(name: str, command: Any) -> None:
        found[name] = command
        for inner, inside in getattr(command, "commands", {}).items():
            look(f"{name} {inner}", inside)

    for program in PRODUCT[1:]:
        look(program, get_command(importlib.import_module(f"{program}.cli.main").program))
    return found


def in_product() -> Iterator[tuple[str, str]]:
    """The modules and the texts in them."""
    for package in PRODUCT:
        for path in (ROOT / package).rglob("*.py"):
            for text in texts(ast.parse(path.read_text())):
                yield str(path.relative_to(ROOT)), text


def with_arguments() -> re.Pattern[str]:
    """A command of ours that is followed by an argument, not by prose: a capital, a path, a quote or a flag."""
    names = "|".join(name for name in known_commands() if " " in name)
    return re.compile(rf"\b(?:{names}) (?=[-A-Z./'])[^`\"]*")


def test_no_other_module_writes_a_command_with_arguments() -> None:
    """A program and its command alone may be named in prose; with arguments it comes from `equiloss.commands`."""
    pattern = with_arguments()
    written = {
        (where, found[0])
        for where, text in in_product()
        if not where.startswith("study/zoo/")  # a study's cells: parsed with those of the other studies
        for found in pattern.finditer(text)
    }
    assert written - {("judge/cli/options.py", "judge score -o")} == set()


def test_every_flag_that_a_message_names_is_one() -> None:
    known = {
        flag
        for command in known_commands().values()
        for parameter in command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
    of_others = {"--help", "--head", "--max-restarts", "--nproc-per-node", "--porcelain", "--standalone"}
    named = {(flag, where) for where, text in in_product() for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)}
    assert sorted(one for one in named if one[0] not in known | of_others) == []


def test_a_command_written_by_hand_would_be_seen() -> None:
    tree = ast.parse('"""judge score x.jsonl in documentation."""\nx = 1\nhint = f"`judge score {x}` or judge score"')
    assert [with_arguments().findall(text) for text in texts(tree)] == [["judge score X"]]
