"""Fifty thousand items and two models: what reading, comparing and showing them takes, command by command.

    python benchmarks/load.py
    python benchmarks/load.py --items 5000 --keep /tmp/load

The answers are made here: random words as frequent as a language's, about as long as the diary's instructions and
answers, a judge's verdict on each with a sentence of explanation. Memory is the greatest resident size of a command's
process and its children, processor seconds are its own and theirs, as the kernel counts them (wait4). The page is
written with all items in it. Planning is what `judge score` does before it asks: it is measured alone, on the same
files. It fails above 10 MB of page, 400 MB, 15 s or 1 ms an item.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from measured import measure

HERE = Path(__file__).resolve().parent
sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != HERE]  # judge.py here is no `judge` to import

from equiloss.records.response import Response, item_id, write_responses  # noqa: E402
from equiloss.records.verdict import Verdict, file_name, write_verdicts  # noqa: E402
from judge import rubrics  # noqa: E402
from judge.data.answers import open_jointly  # noqa: E402
from judge.scoring.options import ScoreRequest  # noqa: E402
from judge.scoring.plan import Plan  # noqa: E402

PAGE_MB, MEMORY_MB, CPU_S, PLANNING_MS = 10.0, 400.0, 15.0, 1.0
MODELS = ("base-a", "base-b")
JUDGE, RUBRIC = "gpt-4.1-mini", "correctness"


def main() -> None:
    """Make the files, measure each command, print a table, and fail where a wanted figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--keep", type=Path, help="make the files in this directory, and leave them there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = options.keep or Path(name)
        answers = write_files(directory, options.items)
        missed = [*commands(answers, directory / "out"), *planning(answers)]
    print("\n" + ("MISSED: " + "; ".join(missed) if missed else "every figure that must be reached is reached"))
    sys.exit(bool(missed))


def commands(answers: Sequence[Path], out: Path) -> Iterator[str]:
    """Measure the commands that read what was judged; what is missed."""
    names = [str(path) for path in answers]
    print("| command | peak memory | processor | wall clock |\n| --- | ---: | ---: | ---: |")
    for command in (
        ["compare", *names],
        ["audit", *names, "--overwrite", "-o", str(out / "audit")],
        ["diagnose", *names, "--overwrite", "-o", str(out / "diagnose")],
        ["report", *names, "--overwrite", "-o", str(out / "report")],
    ):
        run = measure(["judge", *command])
        label = f"`judge {command[0]}`"
        print(f"| {label} | {run.peak_bytes / 1e6:.0f} MB | {run.cpu_s:.1f} s | {run.wall_s:.1f} s |", flush=True)
        if run.peak_bytes / 1e6 > MEMORY_MB:
            yield f"{label}: {run.peak_bytes / 1e6:.0f} MB, not {MEMORY_MB:.0f}"
        if run.cpu_s > CPU_S:
            yield f"{label}: {run.cpu_s:.1f} s, not {CPU_S:.0f}"
    for page in sorted(out.glob("*/*.html")):
        size = page.stat().st_size / 1e6
        print(f"{page.parent.name}/{page.name}: {size:.1f} MB")
        if size > PAGE_MB:
            yield f"{page.name}: {size:.1f} MB, not {PAGE_MB:.0f}"


def planning(answers: Sequence[Path]) -> Iterator[str]:
    """Measure the plan of judging the answers together, requests with their prompts; what is missed."""
    started = time.process_time()
    joint = open_jointly(answers)
    requests = sum(1 for _ in Plan(joint, rubrics.load(RUBRIC), ScoreRequest()))
    ms = 1000 * (time.process_time() - started) / len(joint.ids)
    print(f"planning: {ms:.2f} ms an item ({requests:,} requests)")
    if ms > PLANNING_MS:
        yield f"planning: {ms:.2f} ms an item, not {PLANNING_MS:.0f}"


def write_files(directory: Path, items: int) -> list[Path]:
    """Results files of two models with a judge's verdicts beside them."""
    directory.mkdir(parents=True, exist_ok=True)
    rng, text = random.Random(0), Text(random.Random(1))
    asked = [(f"{text(7)} {number}?", text(2) if rng.random() < 0.5 else "", text(9)) for number in range(items)]
    sha = rubrics.load(RUBRIC).sha
    paths: list[Path] = []
    for place, generator in enumerate(MODELS):
        responses = [
            Response(
                id=item_id(instruction, input),
                instruction=instruction,
                input=input,
                output=reference if rng.random() < 0.2 else text(9),
                reference=reference,
                generator=generator,
                category=f"kind {number % 8}",
                finish_reason="stop",
                n_tokens=12,
                seed=0,
            )
            for number, (instruction, input, reference) in enumerate(asked)
        ]
        verdicts = (
            Verdict(
                id=response.id,
                generator=generator,
                criterion="correctness",
                value=float(rng.randrange(0, 101, 5)),
                explanation=text(12),
                repeat=0,
                position=place,
                group=list(MODELS),
                rubric=RUBRIC,
                rubric_sha=sha,
                judge=JUDGE,
                judge_resolved=f"{JUDGE}-2025-04-14",
                request_sha=item_id(response.id, "request") * 4,
                scale=(0.0, 100.0),
                weight=1.0,
                judge_is_llm=True,
            )
            for response in responses
        )
        path = directory / f"{generator}.jsonl"
        write_responses(path, responses)
        write_verdicts(directory / file_name(generator, RUBRIC, JUDGE), verdicts)
        paths.append(path)
    return paths


class Text:
    """Random words of 2 to 9 letters, the k-th most frequent in the proportion 1/k."""

    def __init__(self, rng: random.Random, words: int = 5000) -> None:
        self.rng = rng
        self.words = ["".join(rng.choices("etaoinshrdlucmfw", k=2 + min(7, number // 300))) for number in range(words)]
        self.weights = list(accumulate(1 / (number + 1) for number in range(words)))

    def __call__(self, mean: int) -> str:
        """A text of about `mean` words."""
        count = max(1, round(self.rng.gauss(mean, mean / 3)))
        return " ".join(self.rng.choices(self.words, cum_weights=self.weights, k=count)).capitalize()


if __name__ == "__main__":
    main()
