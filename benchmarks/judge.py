"""What `judge score` costs: throughput, CPU, memory, faults and tokens, side by side with bare loops and with peers.

    python benchmarks/judge.py                      # all of it, about ten minutes
    python benchmarks/judge.py --only throughput --peers /path/to/venv/bin/python

Every contender asks the same simulated judge, a lean server in a process of its own, on the same machine in the same
run, in turns. Rates are taken at the server, from the first request to the last reply, so that nobody's start-up
counts; CPU seconds are those of the whole process, start-up included. Peers (inspect-ai, alpaca-eval) that the
interpreter of `--peers` lacks are skipped, and that is said.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

HERE = Path(__file__).resolve().parent
sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != HERE]  # this file is no `judge` to import

from equiloss.tokenizer import gpt2  # noqa: E402
from judge import rubrics  # noqa: E402
from judge.data.answers import open_jointly  # noqa: E402
from judge.scoring.options import ScoreRequest  # noqa: E402
from judge.scoring.plan import Plan  # noqa: E402

LATENCY_S, CONCURRENCY = 0.2, 32
CEILING = CONCURRENCY / LATENCY_S
WORDS = (  # noqa: SIM905
    "the of and to in is that it was for on as with his be at by not this had are but from or have an they which one "
    "you were her all she there would their we him been has when who will more no if out so said what up its about "
    "into than them can only other new some could time these two may then do first any my now such like our over man "
    "water light market answer letter because between number people small large another"
).split()


@dataclass(frozen=True)
class Run:
    """One contender's measurement: judgements per second at the server, CPU seconds, peak memory."""

    per_s: float
    cpu_s: float
    peak_mib: float


class SimulatedServer:
    """`judge simulate` in a process of its own."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "judge", "simulate", "--seconds", "3600", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def __enter__(self) -> SimulatedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def stats(self) -> dict[str, Any]:
        """What it has counted since the last look."""
        with urlopen(self.url.replace("/v1", "/simulation"), timeout=30) as answer:
            return json.load(answer)


def main() -> None:
    """Measure, print a table, and fail when a figure that must be reached is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["throughput", "memory", "faults", "tokens"])
    parser.add_argument("--peers", default=sys.executable, help="the interpreter that has inspect-ai and alpaca-eval")
    parser.add_argument("--n", type=int, default=1500, help="judgements of each fast contender")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=50_000, help="items of the large run in `memory`")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "tokens": tokens,
        "throughput": lambda: throughput(options.peers, options.n, options.rounds),
        "faults": faults,
        "memory": lambda: memory(options.items),
    }
    found = {name: part() for name, part in parts.items() if options.only in (None, name)}
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    missed = [text for part in found.values() for text in part["missed"]]
    print("\n" + ("MISSED: " + "; ".join(missed) if missed else "every figure that must be reached is reached"))
    sys.exit(bool(missed))


def throughput(peers: str, n: int, rounds: int) -> dict[str, Any]:
    """Judgements per second and CPU seconds per 1,000, in turns, medians over rounds."""
    print(f"\nthroughput: latency {LATENCY_S} s, concurrency {CONCURRENCY}, so at most {CEILING:.0f}/s")
    with tempfile.TemporaryDirectory() as name, SimulatedServer("--latency", str(LATENCY_S)) as server:
        directory = Path(name)
        answers = write_answers(directory / "a.jsonl", "a", n)
        slow = write_answers(directory / "slow.jsonl", "slow", 300)
        prompts = write_prompts(directory / "prompts.jsonl", answers)
        bare = [sys.executable, str(HERE / "peers/bare.py")]
        rest = [server.url, str(prompts), str(CONCURRENCY)]
        contenders: dict[str, tuple[list[str], int]] = {
            "judge score": (score_command(server.url, [answers], directory / "out"), n),
            "bare loop, openai": ([*bare, "openai", *rest], n),
            "bare loop, openai with aiohttp": ([*bare, "openai-aiohttp", *rest], n),
            "bare loop, aiohttp": ([*bare, "aiohttp", *rest], n),
        }
        runs: dict[str, list[Run]] = {label: [] for label in contenders}
        for turn in range(rounds):
            for label, (command, count) in contenders.items():
                fresh = [part.replace(str(directory / "out"), str(directory / f"out{turn}")) for part in command]
                runs[label].append(measure(fresh, server, count))
    for label, script, module in (
        ("Inspect, model_graded_qa", "inspect_peer.py", "inspect_ai"),
        ("AlpacaEval, its own annotator", "alpaca_peer.py", "alpaca_eval"),
    ):
        if not shutil.which(peers) or subprocess.run([peers, "-c", f"import {module}"], capture_output=True).returncode:
            print(f"  {label}: skipped, {module} is not installed for {peers}")
            continue
        with tempfile.TemporaryDirectory() as name:
            fallback = (
                "GRADE: C"
                if module == "inspect_ai"
                else "[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]"
            )
            with SimulatedServer("--latency", str(LATENCY_S), "--fallback", fallback) as server:
                slow = write_answers(Path(name) / "slow.jsonl", "slow", 300)
                command = [peers, str(HERE / "peers" / script), server.url, str(slow), str(CONCURRENCY)]
                runs[label] = [measure(command, server, 300)]
    counts = {label: contenders.get(label, ([], 300))[1] for label in runs}
    middle = {
        label: Run(*(statistics.median(getattr(one, key) for one in found) for key in ("per_s", "cpu_s", "peak_mib")))
        for label, found in runs.items()
    }
    for label, one in middle.items():
        cpu = 1000 * one.cpu_s / counts[label]
        print(f"  {label:32} {one.per_s:6.1f}/s  {cpu:5.1f} CPU s per 1,000  {one.peak_mib:5.0f} MiB")
    own = middle["judge score"]
    fastest = max(one.per_s for label, one in middle.items() if label.startswith("bare"))
    cpu = 1000 * own.cpu_s / n
    print(
        f"  judge score reaches {own.per_s / CEILING:.1%} of the ceiling and {own.per_s / fastest:.1%} of the fastest"
    )
    missed = [
        text
        for text, missing in (
            (f"{own.per_s / CEILING:.1%} of the ceiling, not 88 %", own.per_s < 0.88 * CEILING),
            (f"{own.per_s / fastest:.1%} of the fastest bare loop, not 95 %", own.per_s < 0.95 * fastest),
            (f"{cpu:.1f} CPU s per 1,000, not 4.5", cpu > 4.5),
        )
        if missing
    ]
    return {"missed": missed, "runs": {label: [vars(one) for one in found] for label, found in runs.items()}}


def faults() -> dict[str, Any]:
    """5 % 429, 2 % 500, 2 % resets and 3 % malformed content: nothing lost, nothing wrong, one request per re-ask."""
    print("\nfaults: 5 % 429, 2 % 500, 2 % resets, 3 % malformed content, 2,000 judgements")
    kinds = ["429=0.05", "500=0.02", "reset=0.02", "malformed=0.03"]
    planted = [part for kind in kinds for part in ("--fault", kind)]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        answers = write_answers(directory / "a.jsonl", "a", 2000)
        documents: list[dict[str, Any]] = []
        values: list[dict[str, float]] = []
        for label, extra in (("calm", []), ("rough", [*planted, "--retry-after", "0.05"])):
            with SimulatedServer(*extra) as server:
                out = directory / label
                done = subprocess.run(
                    [*score_command(server.url, [answers], out), "--json"], capture_output=True, text=True, check=True
                )
                documents.append(json.loads(done.stdout)["judges"][0])
                requests = server.stats()["counts"]
            lines = (out / "a.correctness.simulated.jsonl").read_text(encoding="utf-8").splitlines()
            values.append({row["id"]: row["value"] for row in map(json.loads, lines)})
    calm, rough = values
    lost = len(calm) - len(rough)
    wrong = sum(calm[key] != value for key, value in rough.items())
    paid = documents[1]["replies"] - documents[1]["requests"]
    print(f"  lost {lost}, wrong {wrong}; {documents[1]['reasked']} re-asks cost {paid} requests; server: {requests}")
    missed = [f"{lost} lost"] * (lost > 0) + [f"{wrong} wrong"] * (wrong > 0)
    missed += ["a re-ask cost more than one request"] * (paid != documents[1]["reasked"])
    return {"missed": missed, "lost": lost, "wrong": wrong, "reasked": documents[1]["reasked"], "server": requests}


def memory(items: int) -> dict[str, Any]:
    """Peak memory of judging 500 and many items."""
    print(f"\nmemory: 500 and {items:,} items")
    peaks: dict[int, float] = {}
    for n in (500, items):
        with tempfile.TemporaryDirectory() as name, SimulatedServer() as server:
            answers = write_answers(Path(name) / "a.jsonl", "a", n)
            run = measure(score_command(server.url, [answers], Path(name) / "out"), server, n)
            peaks[n] = run.peak_mib
            print(f"  {n:6,} items: {run.peak_mib:.0f} MiB at most, {1000 * run.cpu_s / n:.1f} CPU s per 1,000")
    missed = [f"{peaks[items]:.0f} MiB, not 150"] * (peaks[items] > 150)
    return {"missed": missed, "peak_mib": peaks}


def tokens() -> dict[str, Any]:
    """Tokens per judged answer, joint against pointwise, for answers of several lengths."""
    print("\ntokens per judged answer (as GPT-2 counts), joint against pointwise")
    encoding = gpt2()
    rubric = rubrics.load("correctness")
    shares: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for words in (25, 60, 200):
            paths = [write_answers(Path(name) / f"{words}-{m}.jsonl", f"m{m}", 60, words, seed=m) for m in range(8)]
            for k in (2, 4, 6, 8):
                spent: dict[str, int] = {}
                answers = open_jointly(paths[:k])
                for layout in ("joint", "pointwise"):
                    plan = Plan(answers, rubric, ScoreRequest(layout=layout, control_answers=0.0))  # pyright: ignore[reportArgumentType]
                    prompts = [request.prompt for request in plan]
                    spent[layout] = sum(len(encoding.encode_ordinary(p.system + p.user)) for p in prompts)
                share = spent["joint"] / spent["pointwise"]
                shares[f"{words} words, k={k}"] = share
                print(f"  answers of {words:3} words, k = {k}: {share:.0%} of pointwise")
    missed = [f"{shares['25 words, k=6']:.0%} of pointwise at k = 6, not 45 %"] * (shares["25 words, k=6"] > 0.45)
    return {"missed": missed, "shares": shares}


def measure(command: Sequence[str], server: SimulatedServer, n: int) -> Run:
    """Run a command; its CPU and peak memory, and the rate that the server saw."""
    server.stats()
    environment = {**os.environ, "OPENAI_API_KEY": "none"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{said.decode()[-2000:]}")
    stats = server.stats()
    if stats["counts"].get("200", 0) < n:
        raise SystemExit(f"{command[0]} asked {stats['counts']} times, not {n}")
    return Run(stats["counts"]["200"] / stats["span_s"], _cpu_s(usage), usage.ru_maxrss / 1024)


def score_command(url: str, files: Sequence[Path], out: Path) -> list[str]:
    """The command under test."""
    return [
        sys.executable, "-m", "judge", "score", *map(str, files), "-o", str(out), "--judge", f"simulated@{url}",
        "--concurrency", str(CONCURRENCY), "--layout", "pointwise",
    ]  # fmt: skip


def write_answers(path: Path, generator: str, n: int, words: int = 25, seed: int = 0) -> Path:
    """A results file of random answers of about the length of Alpaca's."""
    rng = random.Random(f"{generator}:{seed}")
    shared = random.Random(0)
    with path.open("w", encoding="utf-8") as f:
        for number in range(n):
            reference = shared.choices(WORDS, k=words)
            output = [one if rng.random() < 0.7 else rng.choice(WORDS) for one in reference]
            row = {
                "instruction": f"Task {number}: {' '.join(shared.choices(WORDS, k=12))}.",
                "input": "",
                "output": " ".join(output),
                "reference": " ".join(reference),
                "generator": generator,
            }
            f.write(json.dumps(row) + "\n")
    return path


def write_prompts(path: Path, answers: Path) -> Path:
    """The very prompts that `judge score` sends, for the bare loops."""
    rubric = rubrics.load("correctness")
    plan = Plan(open_jointly([answers]), rubric, ScoreRequest(layout="pointwise"))
    path.write_text("".join(json.dumps(request.messages()) + "\n" for request in plan), encoding="utf-8")
    return path


def _cpu_s(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    started = time.monotonic()
    try:
        main()
    finally:
        print(f"took {time.monotonic() - started:.0f} s")
