"""`judge score` against a real HTTP server: verdicts, the ledger, failures, budget, and runs that break off."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from equiloss.errors import BudgetError, EquilossError, IncompleteError, InputError
from equiloss.records.verdict import read_verdicts
from judge import rubrics
from judge.cli.main import program
from judge.comparison.compare import compare
from judge.data.reference import agreement
from judge.data.verdicts import load_judged
from judge.endpoints.judges import parse_judge
from judge.endpoints.provider import JudgeRequest, Reply
from judge.rubrics import Item
from judge.scoring.ledger import Ledger
from judge.scoring.parse import ParsedReply
from judge.simulate.replies import Model, Personality, Simulation
from judge.simulate.server import Server, Service, serving

WriteAnswers = Callable[..., list[Path]]
PRICES = '[models]\nsim = { input = 1.0, output = 2.0 }\n"b" = { input = 1.0, output = 2.0 }\n'


def score(server: Server | None, files: list[Path], *options: str, out: Path, model: str = "sim") -> dict[str, Any]:
    """Run the command in this process; returns its JSON document. Raises what it raises."""
    args = ["score", *map(str, files), "-o", str(out), "--json", *options]
    if server is not None:
        args += ["--judge", f"{model}@{server.url}"]
    result = CliRunner().invoke(program, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        if isinstance(result.exception, EquilossError) and result.stdout:
            result.exception.add_note(result.stdout)
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def contents(out: Path) -> dict[str, bytes]:
    """The result files of a directory (not the records, which hold the time)."""
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.jsonl"))}


def test_joint_scores_are_those_of_the_judge(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(12, ("a", "b", "c"))
    with serving(Service(record=True)) as server:
        found = score(server, files, "--repeats", "2", "--canaries", "0", out=tmp_path / "o")
    assert found["layout"] == "joint"
    judge = found["judges"][0]
    assert (judge["requests"], judge["replies"], judge["lost"]) == (24, 24, 0)
    places: Counter[tuple[str, int]] = Counter()
    for path, name in zip(files, ("a", "b", "c"), strict=True):
        answers = {one.id: one for one in load_judged([path])[0].responses.values()}
        verdicts = read_verdicts(tmp_path / "o" / f"{name}.correctness.sim.jsonl")
        assert Counter((one.id, one.repeat) for one in verdicts) == {(id, r): 1 for id in answers for r in (0, 1)}
        for one in verdicts:
            assert one.value == round(100 * agreement(answers[one.id].output, answers[one.id].reference))
            assert one.group[one.position] == name == one.generator
            places[name, one.position] += len(one.group) == 3
    bodies: list[Any] = server.bodies
    for messages in (body["messages"] for body in bodies):
        assert not any(f'"{name}"' in message["content"] for message in messages for name in ("a", "b", "c"))
    for name in ("a", "b", "c"):
        counts = [places[name, position] for position in range(3)]
        assert max(counts) - min(counts) <= 2


def test_equal_answers_are_judged_once_and_shared(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(6, ("a", "b", "c"))
    with serving(Service(record=True)) as server:
        score(server, files, "--canaries", "0", out=tmp_path / "o")
    bodies: list[Any] = server.bodies
    shown = sum(message["content"].count("[ANSWER ") for body in bodies for message in body["messages"])
    judged = load_judged(files)
    distinct = sum(len({one.responses[id].output for one in judged}) for id in judged[0].responses)
    assert shown == distinct < 18
    verdicts = [one for name in "abc" for one in read_verdicts(tmp_path / "o" / f"{name}.correctness.sim.jsonl")]
    assert len(verdicts) == 18
    assert any(one.shared_with for one in verdicts)
    # Tokens of a request add up over its verdicts.
    total = sum(one.usage.prompt_tokens for one in verdicts)
    asked = sum(sum(len(m["content"]) for m in body["messages"]) // 4 for body in bodies)
    assert total == asked


def test_second_run_asks_nothing(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(10)
    with serving() as server:
        first = score(server, files, out=tmp_path / "o")
        before = contents(tmp_path / "o")
        asked = server.counts["requests"]
        second = score(server, files, out=tmp_path / "o")
        assert server.counts["requests"] == asked == first["judges"][0]["replies"]
    assert contents(tmp_path / "o") == before
    judge = second["judges"][0]
    assert (judge["from_ledger"], judge["replies"]) == (judge["requests"], 0)
    assert judge["saved"]["prompt_tokens"] == first["judges"][0]["tokens"]["prompt"] > 0


def test_faults_lose_nothing_and_change_no_score(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(80)
    model = Model(malformed=0.1)
    faults = {"429": 0.05, "500": 0.05, "reset": 0.05, "html": 0.03}
    with serving(Service(Simulation(seed=2))) as server:
        score(server, files, out=tmp_path / "calm")
    with serving(Service(Simulation(seed=2, default=model), faults=faults, retry_after_s=0.05)) as server:
        found = score(server, files, "--concurrency", "8", out=tmp_path / "rough")
        judge = found["judges"][0]
        assert server.counts["200"] == judge["replies"]
        assert judge["replies"] == judge["requests"] + judge["reasked"]
    assert judge["reasked"] > 0
    assert judge["retries"] > 0
    assert sum(one["failures"] for one in judge["results"]) == 0
    for name in "ab":
        calm, rough = (read_verdicts(tmp_path / where / f"{name}.correctness.sim.jsonl") for where in ("calm", "rough"))
        assert [(one.id, one.value, one.position) for one in calm] == [
            (one.id, one.value, one.position) for one in rough
        ]


@pytest.mark.parametrize(
    ("kind", "reason"), [("refusal", "refusal"), ("truncated", "truncated"), ("malformed", "unparsable")]
)
def test_what_is_no_verdict_is_a_failure_and_never_a_score(
    write_answers: WriteAnswers, tmp_path: Path, kind: str, reason: str
) -> None:
    files = write_answers(4)
    out = tmp_path / "o"
    service = Service(Simulation(default=replace(Model(), **{kind: 1.0})))
    with serving(service) as server:
        for _ in range(2):  # the second time nothing is asked by itself
            with pytest.raises(EquilossError, match=f"no verdict at all: 8 of 8: {reason}") as nothing:
                score(server, files, "--canaries", "0", out=out)
            assert nothing.value.exit_code == 1
        assert server.counts["200"] == 4 * (3 if kind == "malformed" else 1)
        assert (out / "a.correctness.sim.jsonl").read_text() == ""
        failures = [json.loads(line) for line in (out / "a.correctness.sim.failures.jsonl").read_text().splitlines()]
        assert {one["reason"] for one in failures} == {reason}
        assert all("value" not in one for one in failures)
        service.simulation.default = Model()  # a judge that works is asked again on demand
        again = score(server, files, "--canaries", "0", "--retry-failures", out=out)
    assert [one["failures"] for one in again["judges"][0]["results"]] == [0, 0]
    assert not (out / "a.correctness.sim.failures.jsonl").exists()


def test_retry_failures_asks_the_same_endpoint_again(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(3)
    service = Service(Simulation(default=Model(refusal=1.0)))
    with serving(service) as server:
        with pytest.raises(EquilossError, match="no verdict at all"):
            score(server, files, "--canaries", "0", out=tmp_path / "o")
        service.simulation.default = Model()
        found = score(server, files, "--canaries", "0", "--retry-failures", out=tmp_path / "o")
    assert found["judges"][0]["replies"] == 3
    assert sum(one["failures"] for one in found["judges"][0]["results"]) == 0


def test_budget_is_never_exceeded_and_can_be_raised(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(30)
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    out = tmp_path / "o"
    with serving() as server:
        whole = score(server, files, "--prices", str(prices), out=tmp_path / "whole")["judges"][0]["cost_usd"]
        budget = whole / 2
        with pytest.raises(BudgetError) as stop:
            score(server, files, "--prices", str(prices), "--max-usd", f"{budget}", out=out)
        first = json.loads(stop.value.__notes__[0])["judges"][0]
        assert 0.3 * whole < first["cost_usd"] <= budget
        with pytest.raises(BudgetError):
            score(server, files, "--prices", str(prices), "--max-usd", f"{budget}", out=out)
        rest = score(server, files, "--prices", str(prices), "--max-usd", "1", out=out)["judges"][0]
    assert rest["cost_usd"] + first["cost_usd"] <= whole * 1.01
    assert contents(out) == contents(tmp_path / "whole")


def test_budget_without_a_price_is_refused(write_answers: WriteAnswers, tmp_path: Path) -> None:
    with serving() as server, pytest.raises(InputError, match="--prices"):
        score(server, write_answers(3), "--max-usd", "1", out=tmp_path / "o")


def test_dry_run_asks_and_writes_nothing(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(8)
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    with serving() as server:
        found = score(server, files, "--dry-run", "--prices", str(prices), out=tmp_path / "o")
        assert "requests" not in server.counts
        real = score(server, files, "--prices", str(prices), out=tmp_path / "o2")
    judge = found["judges"][0]
    assert judge["to_ask"] == judge["requests"] == real["judges"][0]["requests"]
    assert judge["tokens"]["prompt"] > 0
    assert judge["cost_usd"] > 0
    assert not (tmp_path / "o").exists()


def test_unreachable_judge_loses_nothing(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(3)
    with serving() as server:
        url_gone = server
    with pytest.raises(IncompleteError, match="cannot reach the judge"):
        score(url_gone, files, out=tmp_path / "o")
    assert list((tmp_path / "o").glob("*.jsonl")) == []


def test_endpoint_that_dies_half_way(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(60)
    out = tmp_path / "o"
    with serving(Service(stop_after=20, latency_s=0.01)) as server:
        port = server.port
        with pytest.raises(IncompleteError, match=r"does not answer|settled"):
            score(server, files, "--concurrency", "4", out=out)
        assert contents(out) == {}
        done = server.counts["200"]
    assert 20 <= done < 60
    with serving(port=port) as again:
        judge = score(again, files, out=out)["judges"][0]
    assert done - 4 <= judge["from_ledger"] <= done  # what was in flight may have been cut off on its way
    assert judge["replies"] == judge["requests"] - judge["from_ledger"]


def test_wrong_key_and_unknown_model_are_input_errors(
    write_answers: WriteAnswers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(one) for one in write_answers(3)]
    with serving(Service(key="secret")) as server:
        for url, words in ((f"{server.url}", "refuses the key"), (f"{server.url}/nowhere", "not found")):
            server.service.key = None if "nowhere" in url else "secret"
            result = CliRunner().invoke(program, ["score", *files, "-o", str(tmp_path / "o"), "--judge", f"sim@{url}"])
            assert isinstance(result.exception, InputError)
            assert words in str(result.exception)
    with serving(Service(key="secret")) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        found = score(server, [Path(one) for one in files], out=tmp_path / "o")
    assert found["judges"][0]["lost"] == 0
    kept = b"".join(path.read_bytes() for path in (tmp_path / "o").iterdir())
    assert b"secret" not in kept


def test_items_in_common_are_judged_and_the_rest_reported(write_answers: WriteAnswers, tmp_path: Path) -> None:
    a, b = write_answers(10)
    b.write_text("".join(b.read_text().splitlines(keepends=True)[:7]))
    with serving() as server:
        found = score(server, [a, b], out=tmp_path / "o")
    assert found["items"] == 7
    assert found["files"][0]["not_judged"] == 3
    assert any("3 items" in one for one in found["warnings"])
    other = tmp_path / "other.jsonl"
    other.write_text('{"instruction": "Else?", "output": "yes", "reference": "yes"}\n')
    with pytest.raises(InputError, match="no item in common"):
        score(None, [a, other], out=tmp_path / "o")


def test_pairwise_asks_both_orders(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(6)
    biased = Simulation(default=Model(Personality(position_bias=3.0)))  # always the first
    with serving(Service(biased)) as server:
        found = score(server, files, "--rubric", "pairwise", out=tmp_path / "o")
    assert found["layout"] == "pairwise"
    assert [one["mean"]["preference"] for one in found["judges"][0]["results"]] == [0.5, 0.5]
    assert found["judges"][0]["requests"] == 12


def test_equal_answers_are_a_tie_that_is_not_asked_and_several_verdicts_an_item_are_compared(tmp_path: Path) -> None:
    outputs = {"a": ["red", "same", "one"], "b": ["green", "same", "two"], "c": ["blue", "other", "two"]}
    files = [tmp_path / f"{name}.jsonl" for name in outputs]
    for file, answers in zip(files, outputs.values(), strict=True):
        rows = [{"instruction": f"Say {i}.", "output": text, "reference": "red"} for i, text in enumerate(answers)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(Service(record=True)) as server:
        found = score(server, files, "--rubric", "pairwise", out=tmp_path / "o")
    # 18 places in prompts; two of each pair of equal answers are ties, two more are what was asked of the other one
    assert (found["judges"][0]["requests"], len(server.bodies)) == (18, 10)
    equal = [one for one in read_verdicts(tmp_path / "o/a.pairwise.sim.jsonl") if set(one.group) == {"a", "b"}]
    assert [one.value for one in equal if one.judge_resolved == ""] == [0.5, 0.5]
    judged = load_judged([*files, *(tmp_path / "o").glob("*.pairwise.sim.jsonl")])
    compared = compare(judged, draws=200)
    assert [row.n_scored for row in compared.models] == [3, 3, 3]
    assert not any("different models" in warning for warning in compared.warnings)


def test_more_models_than_fit_go_in_groups(write_answers: WriteAnswers, tmp_path: Path) -> None:
    names = tuple("abcdefg")
    files = write_answers(20, names)
    with serving(Service(record=True)) as server:
        score(server, files, "--group-size", "4", "--canaries", "0", out=tmp_path / "o")
    bodies: list[Any] = server.bodies
    assert all(sum(m["content"].count("[ANSWER ") for m in body["messages"]) <= 4 for body in bodies)
    for name in names:
        ids = {one.id for one in read_verdicts(tmp_path / "o" / f"{name}.correctness.sim.jsonl")}
        assert len(ids) == 20
    judged = load_judged([*files, *(tmp_path / "o").glob("*.correctness.sim.jsonl")])
    assert [row.n_scored for row in compare(judged, draws=200).models] == [20] * len(names)


def test_canaries_ride_along_and_are_kept_apart(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(40)
    gullible = Simulation(default=Model(Personality(susceptible=1.0)))
    with serving(Service(gullible)) as server:
        found = score(server, files, out=tmp_path / "o")
    canaries = found["judges"][0]["canaries"]
    assert set(canaries["kinds"]) == {"duplicate", "empty", "reference", "other", "injection"}
    assert canaries["kinds"]["empty"]["mean"] == 0
    assert canaries["kinds"]["duplicate"]["mean_abs_difference"] == 0
    assert any("ask for a high score" in one for one in found["warnings"])
    for name in "ab":
        assert len(read_verdicts(tmp_path / "o" / f"{name}.correctness.sim.jsonl")) == 40
    assert len(load_judged(files[:1])) == 1
    with serving() as server:
        honest = score(server, files, out=tmp_path / "o2")
    assert honest["judges"][0]["canaries"]["warnings"] == []


def test_several_criteria_locate_a_gap(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(6)
    with serving() as server:
        found = score(server, files, "--rubric", "instruction-following", out=tmp_path / "o")
    means = found["judges"][0]["results"][0]["mean"]
    assert set(means) == {"knowledge", "following", "fluency", "completeness"}
    assert means["fluency"] > means["knowledge"]


def test_jury_of_two_models_at_one_url(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(6)
    models = {"a": Model(), "b": Model(Personality(offset=-0.2))}
    with serving(Service(Simulation(models=models))) as server:
        judges = ["--judge", f"a@{server.url}", "--judge", f"b@{server.url}"]
        found = score(None, files, *judges, out=tmp_path / "o")
    first, second = (one["results"][0]["mean"]["correctness"] for one in found["judges"])
    assert first > second
    assert (tmp_path / "o/a.correctness.a.jsonl").exists()
    assert (tmp_path / "o/a.correctness.b.jsonl").exists()


def test_offline_judge_says_that_it_is_no_llm(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(5)
    found = score(None, files, out=tmp_path / "o")
    assert found["judges"][0]["is_llm"] is False
    assert any("not an LLM" in one for one in found["warnings"])
    verdicts = read_verdicts(tmp_path / "o/a.correctness.offline-reference.jsonl")
    assert all("Not an LLM" in one.explanation for one in verdicts)
    assert all(one.judge_is_llm is False for one in verdicts)
    table = CliRunner().invoke(program, ["score", *map(str, files), "-o", str(tmp_path / "o")])
    assert "not an LLM" in " ".join(table.stdout.split())
    assert not (tmp_path / "o/ledger.sqlite").exists()
    with pytest.raises(InputError, match="agreement with the reference"):
        score(None, files, "--rubric", "helpfulness", out=tmp_path / "o")


def test_the_diarys_file_as_it_is(shared_data: Path, tmp_path: Path) -> None:
    found = score(None, [shared_data / "alpaca/gpt2-medium-responses-110.json"], out=tmp_path)
    assert found["items"] == 110
    assert 30 < found["judges"][0]["results"][0]["mean"]["correctness"] < 70


@pytest.mark.parametrize(
    "arguments",
    [
        ["--repeats", "0"],
        ["--concurrency", "0"],
        ["--max-usd", "-1"],
        ["--canaries", "2"],
        ["--group-size", "1"],
        ["--rpm", "0"],
        ["--timeout", "0"],
        ["--param", "temperature"],
        ["--rubric", "none-such"],
        ["--rubric", "pairwise", "--layout", "joint"],
        ["--prices", "missing.toml"],
        ["--early-stop", "2"],
        ["--judge", "a b"],
        ["--judge", "gpt-4.1-mini"],
    ],
)
def test_bad_options_are_one_line(write_answers: WriteAnswers, tmp_path: Path, arguments: list[str]) -> None:
    files = write_answers(3)
    judge = [] if "--judge" in arguments else ["--judge", "sim@http://127.0.0.1:1/v1"]
    with pytest.raises(InputError):
        score(None, files, *judge, *arguments, out=tmp_path / "o")
    assert list((tmp_path / "o").glob("*.jsonl")) == []


# Killed -------------------------------------------------------------------------------------------------------------


def start(server: Server, files: list[Path], out: Path, *options: str) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "judge", "score", *map(str, files), "-o", str(out), "--judge", f"sim@{server.url}"]
    return subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_and_resume(kill_again: Any, write_answers: WriteAnswers, directory: Path, kills: int, n_items: int) -> None:
    """Kill runs again and again at random moments, let them finish, and compare with an undisturbed one."""
    files = write_answers(n_items, directory=directory)
    model = Model(malformed=0.05)
    concurrency = 8
    with serving(Service(Simulation(default=model), latency_s=0.02, latency_sigma=0.5)) as server:
        calm = start(server, files, directory / "calm", "--concurrency", str(concurrency))
        assert calm.wait() == 0
        undisturbed = server.counts["requests"]
    with serving(Service(Simulation(default=model), latency_s=0.02, latency_sigma=0.5), port=server.port) as server:

        def begin(place: Path) -> subprocess.Popen[bytes]:
            return start(server, files, place / "out", "--concurrency", str(concurrency))

        killed = kill_again(begin, lambda _: server.counts["requests"], kills)
        assert server.counts["requests"] - undisturbed * len(killed) <= kills * concurrency
    for place in killed:
        assert contents(place / "out") == contents(directory / "calm")


def test_killed_runs_resume_to_the_same_bytes(kill_again: Any, write_answers: WriteAnswers, tmp_path: Path) -> None:
    kill_and_resume(kill_again, write_answers, tmp_path, kills=2, n_items=80)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_at_fifty_moments(kill_again: Any, write_answers: WriteAnswers, tmp_path: Path) -> None:
    kill_and_resume(kill_again, write_answers, tmp_path, kills=50, n_items=150)


def test_two_processes_share_a_ledger_and_pay_once(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(60)
    with serving(Service(latency_s=0.03)) as server:
        options = ("--ledger", str(tmp_path / "ledger.sqlite"), "--concurrency", "4")
        both = [start(server, files, tmp_path / name, *options) for name in ("one", "two")]
        assert [one.wait() for one in both] == [0, 0]
        assert server.counts["requests"] == 60
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_what_another_process_settles_just_before_its_claim_is_free_is_not_asked_again(
    write_answers: WriteAnswers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_answers(6)
    claim = Ledger.claim
    looked: Counter[str] = Counter()

    def claim_late(self: Ledger, sha: str) -> bool:
        """Another process holds the third request; it settles it in the moment in which this one looks again."""
        looked[sha] += 1
        if list(looked).index(sha) == 2:
            if looked[sha] == 1:
                return False
            request = JudgeRequest(rubrics.load("correctness"), Item("x", "Say it."), ("x",))
            parsed = ParsedReply(failure={"reason": "refusal", "detail": "by the other process"})
            self.record(sha, parse_judge("sim@http://127.0.0.1:1/v1"), request, Reply("", "sim"), parsed, None)
        return claim(self, sha)

    monkeypatch.setattr(Ledger, "claim", claim_late)
    with serving() as server:
        score(server, files, "--concurrency", "1", out=tmp_path / "o")
        assert server.counts["requests"] == 5
    [failure] = (tmp_path / "o").glob("a.*.failures.jsonl")
    assert "by the other process" in failure.read_text()


def test_interrupt_is_130_and_nothing_is_lost(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(200)
    with serving(Service(latency_s=0.05)) as server:
        process = start(server, files, tmp_path / "o", "--concurrency", "4")
        while server.counts.get("200", 0) < 10:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 130
        assert process.stderr is not None
        assert process.stderr.read().decode().splitlines()[-1] == "error: interrupted"
        done = server.counts["200"]
        again = score(server, files, out=tmp_path / "o")["judges"][0]
    assert again["from_ledger"] >= done - 4


def test_scoring_never_imports_torch(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = [str(one) for one in write_answers(3)]
    with serving() as server:
        arguments = ["score", *files, "-o", str(tmp_path), "--judge", f"sim@{server.url}"]
        code = (
            "import sys; from judge.cli.main import program\n"
            f"program({arguments!r}, standalone_mode=False)\n"
            "assert 'torch' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


@pytest.mark.parametrize("how", ["a model without a key", "an endpoint that is down", "a URL that is down"])
def test_a_dry_run_needs_neither_key_nor_endpoint(how, write_answers, monkeypatch):
    files = write_answers()
    if how == "an endpoint that is down":
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    judge = {
        "a model without a key": ["--judge", "gpt-4.1-mini"],
        "a URL that is down": ["--judge", "x@http://127.0.0.1:9"],
    }
    args = ["score", *map(str, files), "--dry-run", "--json", *judge.get(how, [])]
    result = CliRunner().invoke(program, args)
    assert result.exit_code == 0, result.output
    [found] = json.loads(result.stdout)["judges"]
    assert found["to_ask"] == 12
    assert found["tokens"]["prompt"] > 1000
    assert (found["cost_usd"] is not None) == (how == "a model without a key")


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "~/\ud800", 7, None])
def test_a_record_that_names_an_odd_file_is_compared_by_its_hash(
    write_answers: WriteAnswers, tmp_path: Path, path: object
) -> None:
    files = write_answers(4)
    score(None, files, out=tmp_path)
    record = next(tmp_path.glob("a.*.score.json"))
    document = json.loads(record.read_text())
    for given in document["inputs"]:
        given["path"] = path
    record.write_text(json.dumps(document))
    score(None, files, out=tmp_path)  # the same answers: judged again in place
    for given in document["inputs"]:
        given["sha256"] = "0" * 64
    record.write_text(json.dumps(document))
    with pytest.raises(InputError, match="another set of answers"):
        score(None, files, out=tmp_path)


@pytest.mark.parametrize("change", ["no label", "no score", "off the scale"])
def test_a_ledger_whose_verdicts_were_changed_is_refused(
    write_answers: WriteAnswers, tmp_path: Path, change: str
) -> None:
    files = write_answers(4)
    with serving(Service()) as server:
        score(server, files, out=tmp_path / "o")
        with closing(sqlite3.connect(tmp_path / "o" / "ledger.sqlite")) as db, db:
            (name, text) = db.execute("SELECT reply, verdict FROM outcomes WHERE verdict IS NOT NULL").fetchone()
            verdict = json.loads(text)
            label = next(iter(verdict))
            if change == "no label":
                del verdict[label]
            elif change == "no score":
                verdict[label]["scores"] = {}
            else:
                verdict[label]["scores"] = dict.fromkeys(verdict[label]["scores"], 1e9)
            db.execute("UPDATE outcomes SET verdict = ? WHERE reply = ?", (json.dumps(verdict), name))
        with pytest.raises(InputError, match=r"ledger\.sqlite: request \w+: "):
            score(server, files, out=tmp_path / "o")
