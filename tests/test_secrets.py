"""No secret of the environment, of a URL, a header or a server's echo is in what any command writes or says."""

from __future__ import annotations

import http.server
import importlib
import io
import json
import shutil
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

pytest.importorskip("torch")

SECRETS = ("sk-planted-key", "planted-user", "planted-pass", "planted-query", "planted-hub")
PAIR = "results/gentle.s1.jsonl results/brisk.s1.jsonl"
CHECKPOINT = "runs/base/checkpoint.pt"
SMALL = "--set train.steps=2 --set train.eval_tokens=64"
RESPOND = f"--model {CHECKPOINT} --data items.json --template plain --max-new-tokens 2"
STUDY = """
[study]
name = "s"
[[cell]]
name = "scored"
run = "judge score {here}/results/gentle.s1.jsonl --judge m@URL -o v"
outputs = ["v"]
[[cell]]
name = "told"
run = "python -c 'import os; print(dict(os.environ))'"
stdout = "told.txt"
show = true
"""
COMMANDS = {
    "pretrain data": "a.txt -o new/data --tokenizer data/world/tokenizer.json --workers 1",
    "pretrain world": "demo?people=50 -o new/items.json",
    "pretrain overlap": "data/world data/world",
    "pretrain run": f"runs/base/config.toml --data data/world --name r -o new/runs {SMALL}",
    "pretrain fit": f"runs/base/config.toml --data data/world --memory 64 {SMALL}",
    "pretrain compare": "runs/base -o new/compare.html",
    "pretrain eval": f"{CHECKPOINT} --data data/world -o new/evals --documents 2",
    "pretrain probe": f"{CHECKPOINT} --data data/world --only weights -o new/x.probe.json",
    "pretrain sample": f"{CHECKPOINT} The --max-new-tokens 3",
    "pretrain export": f"{CHECKPOINT} new/hf",
    "pretrain import": "new/hf -o new/imported.pt",
    "ift run": f"--base {CHECKPOINT} --data items.json --recipe recipe.toml --name t -o new/results --models new/m",
    "ift respond": f"{RESPOND} --name a -o new/answers",
    "ift preview": f"--data items.json --tokenizer {CHECKPOINT} --template plain",
    "ift show": "results/gentle.s1.jsonl",
    "ift chat": f"{CHECKPOINT} --template plain",
    "judge score": f"{PAIR} --judge m@URL -o new/scored",
    "judge compare": f"{PAIR} --draws 100",
    "judge report": f"{PAIR} -o new/report",
    "judge audit": f"{PAIR} --perturb m@URL --items 2",
    "judge diagnose": "gentle brisk -o new/diagnosis",
    "judge gate": f"{PAIR} --log new/log.json --junit new/gate.xml --summary new/summary.md",
    "judge label": f"{PAIR} -o new/labels.jsonl",
    "judge simulate": "--port 0 --seconds 1",
    "judge exchange": "results/gentle.s1.jsonl --to csv -o new/x.csv",
    "judge ledger show": "new/scored/ledger.sqlite",
    "judge ledger endpoints": "new/scored/ledger.sqlite",
    "judge ledger export": "new/scored/ledger.sqlite -o new/replies.jsonl",
    "judge ledger prune": "new/scored/ledger.sqlite --failures",
    "judge rubrics": "",
    "judge preview": PAIR,
    "study run": "s.toml -o new/study",
    "study zoo": "--pairs knowledge-extraction -o new/zoo --dry-run",
    "study effects": "new/evals -o new/effects.html --document new/effects.json",
    "study explain": "gentle brisk --ask m@URL --seeds 2 --minutes 0.001",
    "study noise": "results/gentle.s1.jsonl results/gentle.s2.jsonl -o new/noise.json",
}


def leaves(path: str, command: Any) -> list[str]:
    inner = getattr(command, "commands", None)
    return [leaf for name, one in inner.items() for leaf in leaves(f"{path} {name}", one)] if inner else [path]


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers every other request with a refusal, and the rest with scores; both repeat all that was sent."""

    count = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        sent = f"{dict(self.headers)} {self.path}"
        scores = {label: {"explanation": sent, "correctness": 5} for label in "AB"}
        content = json.dumps(scores)
        Echo.count += 1
        refused = Echo.count % 2 == 1
        document: dict[str, Any] = {"error": {"message": f"temperature: bad {sent}", "param": "temperature"}}
        if not refused:
            document = {"model": "m", "choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
        body = json.dumps(document).encode()
        self.send_response(400 if refused else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Generator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://planted-user:planted-pass@127.0.0.1:{server.server_address[1]}/v1?api_key=planted-query"
    server.shutdown()
    server.server_close()


def test_no_command_writes_or_says_a_secret(
    url: str, program: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [leaf for name in ("pretrain", "ift", "judge", "study") for leaf in leaves(name, _command(name))]
    assert sorted(every) == sorted(COMMANDS), "a command without a line here"
    shutil.copytree(Path(__file__).parent / "golden", tmp_path / "g")
    monkeypatch.chdir(tmp_path / "g")
    for name, value in {"OPENAI_API_KEY": SECRETS[0], "OPENAI_BASE_URL": url, "HF_TOKEN": SECRETS[4]}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdin", io.StringIO("q\n"))
    Path("new").mkdir()
    Path("a.txt").write_text("some text\n\nand more of it\n" * 40)
    items = [{"instruction": f"Say {number}.", "input": "", "output": str(number)} for number in range(12)]
    Path("items.json").write_text(json.dumps(items))
    Path("recipe.toml").write_text('template = "plain"\nepochs = 1\n[decoding]\nmax_new_tokens = 2\n')
    Path("s.toml").write_text(STUDY.replace("URL", url).replace("{here}", str(Path.cwd())))
    said: dict[str, str] = {}
    for name, line in COMMANDS.items():
        outcome = program(*name.split(), *line.replace("URL", url).split())
        said[name] = outcome.out + outcome.err
        assert "Traceback" not in outcome.err
        assert outcome.code in (0, 2, 3, 4, 5), outcome
    reached = [name for name in COMMANDS if "error: " not in said[name]]
    assert len(reached) > 25, said
    for name, text in said.items():
        for secret in SECRETS:
            assert secret not in text, f"{name} says it: {text}"
    for path in Path().rglob("*"):
        if path.is_file() and path.name != "s.toml":
            for secret in SECRETS:
                assert secret.encode() not in path.read_bytes(), path


def _command(name: str) -> Any:
    return get_command(importlib.import_module(f"{name}.cli.main").program)
