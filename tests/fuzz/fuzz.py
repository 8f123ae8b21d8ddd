"""The fuzzer: mutated files through the real programs; what ends in anything but a documented way is kept, minimised.

    python tests/fuzz/fuzz.py --minutes 60
    python tests/fuzz/fuzz.py --cases 25000 --seed 7

Cases run in forks of one warm process, so that a crash is seen and a hang can be ended; what goes wrong is tried again
in a fresh fork before it counts. A violation is a traceback, an undocumented exit code, a death by a signal, a hang
(more than 5 s of processor time, or a minute of waiting), a message without `error:`, a file left half-written or
temporary, an input that changed, and, after exit code 2, an output. The case number and the seed decide a case;
`progress.json` in the folder says where a next call goes on.
"""

from __future__ import annotations

import argparse
import csv
import faulthandler
import gc
import http.server
import importlib
import io
import json
import os
import pkgutil
import resource
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

import corpus  # noqa: E402
from mutate import mutate  # noqa: E402
from targets import TARGETS, Target  # noqa: E402

HANG_S = 5.0
WAIT_S = 60.0
"""Waiting is a hang only after so long: on a busy machine the server of replies, too, waits for a processor."""
MEMORY = 3 << 30
CODES = (0, 2, 3, 4, 5)
MAY_FAIL = ("judge score", "pretrain run", "ift run")
"""What may end with 1, as failed: no reply that could be read, a loss that is no number any more."""
LOCKS = (".lock", "/lock")
RUNS_OF_A_FORK = 50
MINIMISING_TRIES = 40
PACKAGES = ("equiloss", "pretrain", "ift", "judge", "study")
Snapshot = dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Ending:
    """How a forked program ended: its exit code, or minus a signal; 1000 for an exception, 1001 for a hang."""

    code: int
    error: str
    trace: str
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Violation:
    """What went wrong, in a word, at which place."""

    what: str
    detail: str

    @property
    def place(self) -> str:
        """The exception and the innermost lines of this project: what makes two violations one."""
        return f"{self.what}: {self.detail.splitlines()[-1][:300] if self.detail else ''}"


def warm() -> None:
    """Import all that commands import, so that a fork begins at once."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                with suppress(ImportError):
                    importlib.import_module(module.name)
    for library in (
        *("torch", "numpy", "scipy.stats", "pandas", "pyarrow.parquet", "openai", "aiohttp", "safetensors.torch"),
        *("matplotlib.figure", "matplotlib.backends.backend_agg", "datasets", "rich.table", "rich.progress"),
        *("transformers.models.gpt2.modeling_gpt2", "transformers.models.auto.tokenization_auto", "tokenizers"),
        *("sqlite3", "asyncio", "rapidfuzz.distance", "sacrebleu", "tiktoken_ext.openai_public"),
        *("pandas.io.formats.style", "transformers.generation.utils", "transformers.models.gpt2.tokenization_gpt2"),
    ):
        with suppress(ImportError):
            importlib.import_module(library)
    with suppress(Exception):
        importlib.import_module("equiloss.tokenizer").gpt2()
    gc.freeze()


class Runner:
    """A fork of this warm process that runs programs by their real entry points, one after the other."""

    def __init__(self, log: Path) -> None:
        self.trace, self.out, self.err = log / "trace", log / "out", log / "err"
        self.runs = 0
        self._orders, orders = os.pipe()
        endings, self._endings = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.child = os.fork()
        if self.child == 0:
            try:
                os.setsid()
                os.close(orders)
                os.close(endings)
                self._serve()
            finally:
                os._exit(0)
        os.close(self._orders)
        os.close(self._endings)
        self._orders, self._endings = orders, endings

    def run(self, argv: list[str], folder: Path, hang_s: float = HANG_S) -> Ending:
        """Run a program in a folder; a runner whose program did not end by itself can run no other."""
        self.runs += 1
        started = time.monotonic()
        computed, accounted = _times_s(self.child)
        os.write(self._orders, json.dumps([str(folder), *argv]).encode() + b"\n")
        while not select.select([self._endings], [], [], 0.25)[0]:
            now = _times_s(self.child)
            waited = time.monotonic() - started - (now[1] - accounted)
            if now[0] - computed > hang_s or waited > max(WAIT_S, hang_s):
                os.kill(self.child, signal.SIGUSR1)
                time.sleep(0.3)
                self.close()
                return Ending(1001, _text(self.err), _text(self.trace))
        text = os.read(self._endings, 100)
        if not text:
            _, status = os.waitpid(self.child, 0)
            self.child = 0
            return Ending(os.waitstatus_to_exitcode(status) or 255, _text(self.err), _text(self.trace))
        code, cpu = json.loads(text)
        return Ending(code, _text(self.err), _text(self.trace), cpu)

    def close(self) -> None:
        """End the fork, once."""
        if self._orders < 0:
            return
        os.close(self._orders)
        os.close(self._endings)
        self._orders = self._endings = -1
        if self.child:
            with suppress(ProcessLookupError):
                os.killpg(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
        self.child = 0

    def _serve(self) -> None:
        with os.fdopen(self._orders) as orders, self.trace.open("w") as trace:
            faulthandler.register(signal.SIGUSR1, trace)
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
            for line in orders:
                folder, *argv = json.loads(line)
                trace.seek(0)
                trace.truncate()
                os.chdir(folder)
                for number, path in ((0, Path(os.devnull)), (1, self.out), (2, self.err)):
                    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
                    os.dup2(opened, number)
                    os.close(opened)
                start = time.process_time()
                code = _ending(argv, trace)
                sys.stdout.flush()
                sys.stderr.flush()
                os.write(self._endings, json.dumps([code, time.process_time() - start]).encode())


def _ending(argv: list[str], trace: io.TextIOBase) -> int:
    sys.argv = argv
    try:
        if _before:
            _before()
        importlib.import_module(f"{argv[0]}.cli.main").main()
    except SystemExit as stop:
        return int(stop.code or 0)
    except BaseException:
        trace.write(traceback.format_exc())
        trace.flush()
    return 1000


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


_before: Callable[[], None] | None = None


def _times_s(child: int) -> tuple[float, float]:
    """Seconds that a process has computed, and those in which it computed or waited for a processor."""
    try:
        run, queued = (int(text) / 1e9 for text in Path(f"/proc/{child}/schedstat").read_text().split()[:2])
        clock = sum(int(text) for text in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13])
    except (OSError, ValueError):
        return 0.0, 0.0
    return max(run, clock / os.sysconf("SC_CLK_TCK")), run + queued


def snapshot(folder: Path) -> Snapshot:
    """Every file with its size, time and number; directories too, where they are empty."""
    seen: Snapshot = {}
    stack = [str(folder)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    stat = entry.stat(follow_symlinks=False)
                    seen[entry.path[len(str(folder)) + 1 :]] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return seen


def readable(path: Path) -> str:
    """Why a file is not whole, or nothing."""
    try:
        match path.suffix:
            case ".json":
                json.loads(path.read_text(encoding="utf-8"))
            case ".jsonl":
                text = path.read_text(encoding="utf-8")
                if text and not text.endswith("\n"):
                    return "its last line has no end"
                [json.loads(line) for line in text.splitlines()]
            case ".html":
                if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
                    return "it has no end"
            case ".csv":
                list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
            case ".npz":
                import numpy

                with numpy.load(path) as arrays:
                    [arrays[name] for name in arrays]
            case ".pt":
                import torch

                torch.load(path, weights_only=True)
            case ".safetensors":
                from safetensors.numpy import load_file

                load_file(path)
            case ".toml":
                import tomllib

                tomllib.loads(path.read_text(encoding="utf-8"))
            case _:
                return "it is temporary" if path.name.endswith(".tmp") else ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


class Place:
    """A folder with the corpus, a working copy of it that is mended after every case, and a server of replies."""

    def __init__(self, folder: Path) -> None:
        self.source, self.work, self.log = folder / "corpus", folder / "work", folder / "log"
        self.log.mkdir(parents=True, exist_ok=True)
        self._runner: Runner | None = None
        self.port = self._serve(folder / "port")
        if not self.source.exists():
            shutil.rmtree(self.work, ignore_errors=True)
            corpus.build(self.work, self._build)
            self.work.rename(self.source)
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.source, self.work)
        self.before = snapshot(self.work)

    def _build(self, argv: list[str], root: Path, before: Callable[[], None] | None = None) -> int:
        global _before
        _before = before
        runner = Runner(self.log)
        ending = runner.run([part.replace("{port}", str(self.port)) for part in argv], root, hang_s=300.0)
        runner.close()
        _before = None
        if ending.code not in (0, 130):
            sys.stderr.write(ending.error + ending.trace)
        return ending.code

    def _serve(self, kept: Path) -> int:
        """Answer every request with the working copy's reply.json, at the port that the ledger knows if it is free."""
        work = self.work

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                body = (work / "reply.json").read_bytes()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        wanted = int(kept.read_text()) if kept.exists() else 0
        try:
            server = http.server.ThreadingHTTPServer(("127.0.0.1", wanted), Handler)
        except OSError:
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        kept.write_text(str(server.server_address[1]))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]

    def mend(self) -> None:
        """Make the working copy the corpus again."""
        now = snapshot(self.work)
        for name in now.keys() - self.before.keys():
            (self.work / name).unlink()
        for name, stat in self.before.items():
            if now.get(name) != stat:
                path = self.work / name
                if path.is_dir():
                    shutil.rmtree(path)
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.source / name, path)
                fresh = path.lstat()
                self.before[name] = (fresh.st_size, fresh.st_mtime_ns, fresh.st_ino)
        shutil.rmtree(self.work / "out", ignore_errors=True)

    def check(self, target: Target, command: str, data: bytes) -> tuple[Violation | None, Ending]:
        """Run a command with a file of the corpus replaced; what went wrong, if anything did."""
        path = self.work / target.path
        path.write_bytes(data)
        before = snapshot(self.work)
        argv = command.replace("{path}", target.path).replace("{port}", str(self.port)).split()
        runner = self._runner if self._runner and self._runner.runs < RUNS_OF_A_FORK else Runner(self.log)
        if self._runner and runner is not self._runner:
            self._runner.close()
        ending = runner.run(argv, self.work, HANG_S)
        found = self._judge(target, command, ending, before)
        self._runner = runner if found is None else None
        if found is not None:
            runner.close()
        self.mend()
        if found is not None and runner.runs > 1:  # is it so in a fresh fork too?
            return self.check(target, command, data)
        return found, ending

    def _judge(self, target: Target, command: str, ending: Ending, before: Snapshot) -> Violation | None:
        if ending.code == 1000:
            return Violation("traceback", _place(ending.trace))
        if ending.code == 1001:
            return Violation("hang", _place(ending.trace, newest_first=True))
        if ending.code < 0:
            return Violation("signal", f"{signal.Signals(-ending.code).name}\n{ending.error[-200:]}")
        may_fail = command.startswith(MAY_FAIL) and "out of memory" not in ending.error
        if ending.code not in CODES and not (ending.code == 1 and may_fail):
            return Violation("exit code", f"{ending.code}\n{ending.error[-300:]}")
        if ending.code in (2, 3) and "error: " not in ending.error:
            return Violation("no message", f"{ending.code}\n{ending.error[-300:]}")
        if "Traceback" in ending.error:
            return Violation("traceback on stderr", ending.error[-300:])
        after = {name: stat for name, stat in snapshot(self.work).items() if not name.endswith(LOCKS)}
        before = {name: stat for name, stat in before.items() if not name.endswith(LOCKS)}
        for name in sorted(after.keys() | before.keys()):
            if after.get(name) == before.get(name) or name.startswith(target.may_change or "\0"):
                continue
            if not name.startswith("out/") and "ledger.sqlite" not in name:
                return Violation("input changed", name)
        for name in sorted(after.keys() - before.keys()):
            if name.endswith(".tmp"):
                return Violation("temporary file left", name)
            if why := readable(self.work / name):
                return Violation("half-written", f"{Path(name).name}: {why}")
            if ending.code == 2 and name.startswith("out/") and "ledger.sqlite" not in name:
                return Violation("output after exit code 2", f"{name}\n{ending.error[-300:]}")
        return None


def _place(trace: str, newest_first: bool = False) -> str:
    """A trace with its innermost lines of this project as the last line."""
    frames = [line.strip() for line in trace.splitlines() if line.lstrip().startswith('File "')]
    own = [line.replace(str(ROOT) + "/", "") for line in frames if any(f"{ROOT}/{name}/" in line for name in PACKAGES)]
    error = "" if newest_first else trace.strip().splitlines()[-1] if trace.strip() else ""
    inner = own[0] if newest_first and own else own[-1] if own else ""
    return f"{trace}\n{error.partition(':')[0]} at {inner}"


def minimised(place: Place, target: Target, command: str, data: bytes, violation: Violation) -> bytes:
    """Fewer bytes that still go wrong at the same place: lines, then pieces left out."""
    tries = 0
    text_like = target.form in ("json", "jsonl", "toml", "text", "csv") and violation.what != "hang"
    size = max(1, len(data) // 2)
    while size >= 1 and tries < MINIMISING_TRIES and text_like:
        start, shrunk = 0, False
        while start < len(data) and tries < MINIMISING_TRIES:
            smaller = data[:start] + data[start + size :]
            tries += 1
            found, _ = place.check(target, command, smaller)
            if found and found.place == violation.place:
                data, shrunk = smaller, True
            else:
                start += size
        size = size // 2 if not shrunk or size == 1 else min(size, max(1, len(data) // 2))
        if not shrunk and size == 0:
            break
    return data


def case(place: Place, seed: int, number: int) -> tuple[Target, str, bytes, str]:
    """The target, command, mutated bytes and mutations of a case."""
    rng = Random(f"{seed}:{number}")
    (target,) = rng.choices(TARGETS, [target.share for target in TARGETS])
    (command,) = rng.choices(target.commands, target.weights())
    data, how = mutate((place.source / target.path).read_bytes(), target.form, rng)
    return target, command, data, how


def unmutated(place: Place) -> list[str]:
    """Commands that do not even end with 0 on the corpus as it is."""
    wrong: list[str] = []
    for target in TARGETS:
        for command in target.commands:
            found, ending = place.check(target, command, (place.source / target.path).read_bytes())
            if os.environ.get("FUZZ_TIMES"):
                print(f"{ending.cpu_s:6.2f} {target.kind}: {command}", flush=True)
            if found or ending.code:
                wrong.append(f"{command}: {found or ending.code} {ending.error[-300:]}")
    return wrong


def fuzz(
    place: Place, folder: Path, seed: int, first: int, stop: Callable[[int], bool], kinds: Iterable[str] = ()
) -> list[Violation]:
    """Run cases until `stop` says so; keep each new violation, minimised, in folder/violations."""
    wanted, seen, found = set(kinds), Counter[str](), dict[str, Violation]()
    codes, drawn, number, done, began = Counter[int](), Counter[str](), first, 0, time.monotonic()
    slowest = (0.0, "")
    while not stop(done):
        target, command, data, how = case(place, seed, number)
        number += 1
        if wanted and target.kind not in wanted:
            continue
        done += 1
        violation, ending = place.check(target, command, data)
        codes[ending.code] += 1
        drawn[target.kind] += 1
        slowest = max(slowest, (ending.cpu_s, f"case {number - 1}: {command}"))
        if violation is not None:
            seen[violation.place] += 1
            if violation.place not in found:
                found[violation.place] = violation
                small = minimised(place, target, command, data, violation)
                keep(folder, len(found), target, command, small, violation, f"seed {seed}, case {number - 1}: {how}")
                print(f"[{number - 1}] {target.kind}: {command}\n    {how}\n    {violation.place}", flush=True)
        if done % 250 == 0:
            write_progress(folder, seed, number)
            rate = done / (time.monotonic() - began)
            print(
                f"-- {done} cases, {rate:.1f} a second, {sum(seen.values())} wrong at {len(found)} places", flush=True
            )
    write_progress(folder, seed, number)
    minutes = (time.monotonic() - began) / 60
    covered = f"{done} over {len(drawn)} kinds"
    print(f"seed {seed}, cases {first} to {number - 1}: {covered} in {minutes:.1f} min")
    print(f"exit codes: {dict(sorted(codes.items()))}; slowest: {slowest[0]:.1f} s of processor, {slowest[1]}")
    print("cases: " + ", ".join(f"{kind} {count}" for kind, count in sorted(drawn.items())))
    for where, count in seen.most_common():
        print(f"{count:6} {where}")
    print(f"{sum(seen.values())} violations at {len(found)} places")
    return list(found.values())


def keep(folder: Path, number: int, target: Target, command: str, data: bytes, violation: Violation, how: str) -> None:
    """Write a violation's file and what it takes to see it again."""
    where = folder / "violations" / f"{number:03}"
    where.mkdir(parents=True, exist_ok=True)
    (where / Path(target.path).name).write_bytes(data)
    (where / "violation.txt").write_text(
        f"{command}\n{target.path}\n{how}\n{violation.what}\n{violation.detail}\n", errors="replace"
    )


def write_progress(folder: Path, seed: int, number: int) -> None:
    """Where the next call goes on."""
    (folder / "progress.json").write_text(json.dumps({"seed": seed, "next": number}))


def main() -> int:
    """The command line; 1 when there is a violation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / ".fuzz", help="the corpus, progress and violations")
    parser.add_argument("--seed", type=int, default=None, help="default: go on where the last call ended")
    parser.add_argument("--first", type=int, default=0, help="the first case")
    parser.add_argument("--cases", type=int, default=None, help="how many cases")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long, where --cases is not given")
    parser.add_argument("--kind", action="append", default=[], help="only this kind of file; may be repeated")
    parser.add_argument("--unmutated", action="store_true", help="check the corpus as it is, and end")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "JUDGE_API_KEY"):
        os.environ.pop(name, None)
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "NO_COLOR": "1"}
    warm()
    if options.unmutated:
        wrong = unmutated(Place(options.folder))
        print("\n".join(wrong) or "every command reads the corpus as it is")
        return bool(wrong)
    seed, first = options.seed, options.first
    progress = options.folder / "progress.json"
    if seed is None:
        known = json.loads(progress.read_text()) if progress.exists() else {"seed": 0, "next": 0}
        seed, first = known["seed"], known["next"]
    place = Place(options.folder.resolve())
    end = time.monotonic() + options.minutes * 60
    stop = (lambda done: done >= options.cases) if options.cases is not None else (lambda _: time.monotonic() > end)
    return bool(fuzz(place, options.folder, seed, first, stop, options.kind))


if __name__ == "__main__":
    sys.exit(main())
