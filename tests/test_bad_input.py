"""What a person can do wrong: one line that says what to do, the documented exit code, and nothing half-written."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")


class Mark:
    """Unpickling this would create a file: proof that code ran."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def answers(*instructions: str, **extra: str) -> str:
    rows = [
        {"instruction": i, "input": "", "output": "an answer", "reference": "a reference"} | extra for i in instructions
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with every kind of bad file, as the working directory."""
    monkeypatch.chdir(tmp_path)
    files: dict[str, str] = {
        "empty.txt": "",
        "blank.jsonl": "\n\n",
        "broken.jsonl": '{"text": "fine"}\n{"text": \n',
        "cut.jsonl": answers("one", "two")[:-30],
        "broken.json": '[{"instruction": "a",\n"input"}]',
        "no-field.jsonl": '{"body": "some text"}\n',
        "instructions.json": json.dumps([{"instruction": "a", "input": "", "output": "b"}] * 4),
        "no-instruction.json": json.dumps([{"question": "a", "answer": "b"}]),
        "broken-config.toml": "[model\n",
        "typo.toml": "[train]\nlearning_rat = 0.1\n",
        "typo-model.toml": "[model]\nn_layers = 2\n",
        "bad-value.toml": "[train]\nlr = -1\n",
        "not-a-checkpoint.pt": "hello",
        "a.jsonl": answers("one", "two"),
        "b.jsonl": answers("three", "four"),
        "not-results.jsonl": '{"foo": 1}\n',
        "rubric.j2": "no front matter",
        "study.toml": "[study]\nname = 'x'\n[[cell]]\nname = 'c'\nrn = 'pretrain run'\n",
        "cycle.toml": (
            "[study]\nname = 'x'\n"
            "[[cell]]\nname = 'a'\nrun = 'judge rubrics'\ninputs = ['2']\noutputs = ['1']\n"
            "[[cell]]\nname = 'b'\nrun = 'judge rubrics'\ninputs = ['1']\noutputs = ['2']\n"
        ),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "latin1.txt").write_bytes("caf\xe9 au lait".encode("latin-1"))
    (tmp_path / "code.pt").write_bytes(pickle.dumps(Mark(str(tmp_path / "the-code-ran"))))
    (tmp_path / "empty-dir").mkdir()
    return tmp_path


CASES = [
    # pretrain data
    ("pretrain data missing.txt -o out", 2, r"missing\.txt.*no such"),
    ("pretrain data empty.txt -o out", 2, r"empty"),
    ("pretrain data blank.jsonl -o out", 2, r"empty"),
    ("pretrain data broken.jsonl -o out", 2, r"broken\.jsonl.*line 2"),
    ("pretrain data no-field.jsonl -o out", 2, r"text.*body|body.*text"),
    ("pretrain data latin1.txt -o out", 2, r"latin1\.txt.*UTF-8"),
    ("pretrain data empty-dir -o out", 2, r"empty-dir"),
    ("pretrain data world:nowhere -o out", 2, r"nowhere"),
    ("pretrain data a.jsonl -o out --tokenizer missing.json", 2, r"missing\.json"),
    # pretrain run
    ("pretrain run nosuch --data out", 2, r"nosuch.*tiny"),
    ("pretrain run broken-config.toml --data out", 2, r"broken-config\.toml.*TOML"),
    ("pretrain run typo.toml --data out", 2, r"learning_rat"),
    ("pretrain run typo-model.toml --data out", 2, r"n_layers.*did you mean 'n_layer'"),
    ("pretrain run bad-value.toml --data out", 2, r"train\.lr.*greater than 0"),
    ("pretrain run tiny --data out --set train.lr", 2, r"KEY=VALUE"),
    ("pretrain run tiny --data missing-dir", 2, r"missing-dir"),
    ("pretrain run tiny --data empty-dir", 2, r"empty-dir"),
    # checkpoints
    ("pretrain eval missing.pt --data out", 2, r"out.*no such data directory"),
    ("pretrain sample missing.pt hello", 2, r"missing\.pt.*no such"),
    ("pretrain sample not-a-checkpoint.pt hello", 2, r"not-a-checkpoint\.pt.*checkpoint"),
    ("pretrain sample code.pt hello", 2, r"code\.pt"),
    ("ift run --base missing.pt --data instructions.json", 2, r"missing\.pt.*no such"),
    ("ift run --base code.pt --data instructions.json", 2, r"code\.pt"),
    # judge
    ("judge score missing.jsonl", 2, r"missing\.jsonl.*no such"),
    ("judge score empty.txt", 2, r"empty"),
    ("judge score cut.jsonl", 2, r"cut\.jsonl.*line 2"),
    ("judge score broken.json", 2, r"broken\.json.*line 2"),
    ("judge score not-results.jsonl", 2, r"not-results\.jsonl.*instruction"),
    ("judge score a.jsonl b.jsonl", 2, r"no item|in common"),
    ("judge score a.jsonl --rubric nosuch", 2, r"nosuch.*correctness"),
    ("judge score a.jsonl --rubric rubric.j2", 2, r"rubric\.j2.*front matter"),
    ("judge score a.jsonl --judge some-model@http://127.0.0.1:9/v1", 3, r"127\.0\.0\.1:9"),
    ("judge compare missing.jsonl", 2, r"missing\.jsonl.*no such"),
    ("judge compare a.jsonl", 2, r"judge score"),
    ("judge report not-results.jsonl -o out", 2, r"not-results\.jsonl"),
    ("judge compare a.jsonl --labels missing.jsonl", 2, r"missing\.jsonl.*no such"),
    ("judge diagnose a.jsonl b.jsonl --verdicts empty-dir", 2, r"empty-dir.*no verdicts"),
    ("judge preview a.jsonl --item 9", 2, r"'9'.*1 to 2"),
    ("judge ledger show missing.sqlite", 2, r"missing\.sqlite.*no such"),
    ("judge ledger prune broken.json", 2, r"not a ledger"),
    ("judge exchange a.jsonl -o out", 2, r"--to KIND or --from KIND"),
    ("judge exchange a.jsonl --to scroll -o out", 2, r"scroll.*csv"),
    ("judge label a.jsonl --rubric nosuch -o out", 2, r"nosuch"),
    ("judge audit a.jsonl", 2, r"judge score"),
    # the command line itself
    ("judge", 2, r"Missing command.*`judge --help`"),
    ("judge nosuch", 2, r"nosuch.*`judge --help`"),
    ("judge scor a.jsonl", 2, r"Did you mean 'score'\? "),
    ("judge ledger", 2, r"Missing command.*`judge ledger --help`"),
    ("judge score", 2, r"name result files, or verdicts with --anchor.*`judge score --help`"),
    ("judge score a.jsonl --nosuch", 2, r"--nosuch.*`judge score --help`"),
    ("judge score a.jsonl --repeats often", 2, r"'--repeats'.*integer"),
    ("judge score a.jsonl --layout round", 2, r"'--layout': 'round' is not one of 'joint', 'pointwise', 'pairwise'"),
    ("judge compare a.jsonl --confidence 1", 2, r"'--confidence'.*0\.999"),
    ("ift run --data instructions.json", 2, r"Missing option '--base'"),
    ("ift respond --model m --data d --top-p 0", 2, r"'--top-p'.*greater than 0"),
    ("pretrain data a.jsonl", 2, r"Missing option '-o' / '--output'"),
    ("pretrain sample code.pt a b", 2, r"extra argument.*b"),
    ("pretrain sample code.pt --temperature -1", 2, r"'--temperature'.*0"),
    ("study explain a b --base 0.15", 2, r"extra argument.*0\.15"),
    ("study explain a b --base-share 2", 2, r"'--base-share'.*1"),
    ("study run study.toml --engine steam", 2, r"'steam' is not one of 'local', 'ray'"),
    ("study zoo --pairs nosuch", 2, r"nosuch"),
    # study
    ("study run missing.toml", 2, r"missing\.toml.*no such"),
    ("study run study.toml -o out", 2, r"rn.*did you mean 'run'"),
    ("study run cycle.toml -o out", 2, r"cycle|wait for each other"),
]


@pytest.mark.parametrize(("command", "code", "message"), CASES, ids=[case[0] for case in CASES])
def test_bad_input(command: str, code: int, message: str, here: Path, program: Callable[..., object]):
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    name, *arguments = command.split()
    outcome = program(name, *arguments)
    assert outcome.code == code, outcome  # type: ignore[attr-defined]
    error: str = outcome.err  # type: ignore[attr-defined]
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, error
    assert re.search(message, lines[0]), lines[0]
    assert error.rstrip().endswith(lines[0])
    assert outcome.out == ""  # type: ignore[attr-defined]
    after = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    # The ledger may remember that nothing was paid; nothing else is written.
    left = {str(path.relative_to(here)) for path in after.keys() - before.keys() if "ledger.sqlite" not in path.name}
    assert left <= ({"results"} if code == 3 else set()), left
    assert not (here / "the-code-ran").exists()
