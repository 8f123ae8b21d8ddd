"""What servers accept is found out once, recorded, and never costs a verdict: a server of each kind is imitated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from equiloss.errors import InputError
from equiloss.records.verdict import read_verdicts
from judge import rubrics
from judge.cli.main import program
from judge.endpoints.capabilities import Capabilities
from judge.endpoints.client import Endpoint
from judge.endpoints.judges import parse_judge
from judge.endpoints.payload import parse_payload
from judge.endpoints.refusals import Refusal
from judge.endpoints.reply import read_reply
from judge.scoring import executor
from judge.scoring.expected_scores import expected_scores
from judge.scoring.ledger import Ledger
from judge.simulate.quirks import SERVERS, check_server, logprobs_of
from judge.simulate.replies import Simulation
from judge.simulate.server import Server, Service, serving

WriteAnswers = Callable[..., list[Path]]
FORM = {
    "openai": "json_schema",
    "reasoning": "json_schema",
    "llama-cpp": "json_schema",
    "llama-cpp-python": "json_object_schema",
    "ollama": "json_schema",
    "vllm": "json_schema",
    "plain": "json_schema",
    "strict-plain": "text",
}


def score(server: Server, files: list[Path], out: Path, *options: str) -> dict[str, Any]:
    """The command in this process; its JSON document for the judge."""
    args = ["score", *map(str, files), "-o", str(out), "--json", "--judge", f"sim@{server.url}", *options]
    result = CliRunner().invoke(program, args)
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout)["judges"][0]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_form_is_found_by_all_workers_at_once_where_refusals_come_late(
    write_answers: WriteAnswers, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker waits for the first request: each meets the refusals, and none skips the form that works."""
    monkeypatch.setattr(executor, "_PROBE_S", 0.0)
    always_clean = property(lambda self: True, lambda self, value: None)
    monkeypatch.setattr(Endpoint, "clean", always_clean, raising=False)
    with serving(Service(server=kind)) as server:
        found = score(server, write_answers(40), tmp_path / "o", "--concurrency", "16")
        assert server.counts["200"] == 40
    assert found["endpoint"]["mode"] == FORM[kind]
    assert [one["failures"] for one in found["results"]] == [0, 0]


@pytest.mark.parametrize("kind", SERVERS)
def test_every_kind_of_server_judges(write_answers: WriteAnswers, tmp_path: Path, kind: str) -> None:
    files = write_answers(8)
    with serving(Service(server=kind, record=True)) as server:
        found = score(server, files, tmp_path / "o")
        asked = server.counts["requests"]
        assert server.counts["200"] == 8
        # What was learnt is in the ledger: another rubric on the same endpoint is asked in the right form at once.
        again = score(server, files, tmp_path / "o", "--rubric", "helpfulness")
        assert server.counts["requests"] == asked + 8
    assert found["endpoint"]["mode"] == FORM[kind] == again["endpoint"]["mode"]
    assert asked <= 8 + 5
    assert [one["failures"] for one in found["results"]] == [0, 0]
    with Ledger(tmp_path / "o/ledger.sqlite") as ledger:
        profile = ledger.capabilities(parse_judge(f"sim@{server.url}"))
        assert profile is not None
        assert profile["mode"] == FORM[kind]
        rows: list[Any] = list(ledger.rows())
        assert {row["sent"]["mode"] for row in rows} == {FORM[kind]}
    if kind == "reasoning":
        assert found["endpoint"]["limit"] == "max_completion_tokens"
        assert found["endpoint"]["dropped"] == ["temperature"]
    if kind == "llama-cpp-python":
        bodies: list[Any] = server.bodies
        forms = [body["response_format"] for body in bodies]
        assert forms[-1]["type"] == "json_object"
        assert "schema" in forms[-1]
    if kind in ("openai", "ollama"):
        assert asked == 8


def test_a_fault_is_not_taken_for_a_refused_form(write_answers: WriteAnswers, tmp_path: Path) -> None:
    with serving(Service(Simulation(seed=5), faults={"500": 0.3})) as server:
        found = score(server, write_answers(10), tmp_path / "o", "--concurrency", "2")
    assert found["endpoint"]["mode"] == "json_schema"


def test_expected_scores_where_there_are_log_probabilities(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(8)
    kinds: dict[str, list[float]] = {}
    for kind in ("openai", "ollama", "llama-cpp-python", "strict-plain"):
        with serving(Service(server=kind, record=True)) as server:
            score(server, files, tmp_path / kind, "--expected-score", "--canaries", "0")
        if kind == "openai":
            bodies: list[Any] = server.bodies
            assert all(body["logprobs"] and body["top_logprobs"] == 20 for body in bodies)
        kinds[kind] = [one.value for one in read_verdicts(tmp_path / kind / "a.correctness.sim.jsonl")]
    assert any(one != int(one) for one in kinds["openai"])
    assert all(one == int(one) for one in kinds["ollama"])  # it gives none
    assert all(abs(a - b) < 1 for a, b in zip(kinds["openai"], kinds["ollama"], strict=True))
    assert kinds["strict-plain"] == kinds["ollama"]


def test_expected_score_is_the_weighted_mean() -> None:
    rubric = rubrics.load("correctness")
    text = '{"A": {"explanation": "the score is 7", "correctness": 80}, "B": {"correctness": 3}}'
    logprobs: Any = logprobs_of(text, 0)
    found = expected_scores(rubric, text, logprobs)
    index = next(i for i, one in enumerate(logprobs) if one["token"] == "80")
    import math

    weights = {int(one["token"]): math.exp(one["logprob"]) for one in logprobs[index]["top_logprobs"]}
    mean = sum(value * weight for value, weight in weights.items()) / sum(weights.values())
    assert found["A"]["correctness"] == pytest.approx(mean)
    assert set(found) == {"A", "B"}
    # Digit by digit there is no distribution over scores above nine.
    by_digits: Any = logprobs_of(text, 0, "llama-cpp")
    assert set(expected_scores(rubric, text, by_digits)) <= {"B"}
    assert expected_scores(rubric, text + " ", logprobs) == {}


def refuse(
    form: Capabilities, message: str, param: str | None = None, kept: tuple[str, ...] = (), **parameters: int
) -> Capabilities | None:
    """The form that follows a 400 to a request in this one."""
    return form.after(Refusal(400, message, param), form.body("m", [], {}, dict(parameters), 100), kept)


def test_a_refused_parameter_is_swapped_or_dropped_once() -> None:
    swapped = refuse(Capabilities(), "Unsupported parameter: 'max_tokens'", "max_tokens")
    assert swapped is not None
    assert swapped.limit == "max_completion_tokens"
    dropped = refuse(swapped, "temperature does not support 0 with this model", temperature=0)
    assert dropped is not None
    assert dropped.dropped == ("temperature",)
    assert len(dropped.notes) == 2
    assert "does not support 0" in dropped.notes[1]
    assert "temperature" not in dropped.body("m", [], {}, {"temperature": 0}, 100)
    assert Capabilities.of({**dropped.form, "settled": True, "notes": list(dropped.notes)}) == dropped
    assert refuse(swapped, "temperature does not support 0", kept=("temperature",), temperature=0) is None


def test_an_endpoint_may_accept_no_structured_output_at_all() -> None:
    form: Capabilities | None = Capabilities()
    for mode in ("json_object_schema", "json_object", "text"):
        assert form is not None
        form = refuse(form, "response_format is not supported")
        assert form is not None
        assert form.mode == mode
    assert form is not None
    assert refuse(form, "response_format is not supported") is None


def test_a_template_without_a_system_role_gets_it_in_the_first_turn() -> None:
    form = refuse(Capabilities(), "System role not supported")
    assert form is not None
    messages = [{"role": "system", "content": "Grade."}, {"role": "user", "content": "This."}]
    assert form.body("m", messages, {}, {}, 1)["messages"] == [{"role": "user", "content": "Grade.\n\nThis."}]
    assert form.form.get("system") is False


def test_own_limit_of_tokens_counts_under_either_name() -> None:
    body = Capabilities(limit="max_completion_tokens").body("m", [], {}, {"max_tokens": 7}, 100)
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"choices": 1}', b"[1]", b"null"])
def test_a_body_that_is_no_completion(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_reply(parse_payload(body.decode()), {})


def test_judges_by_name_url_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not parse_judge(None).is_llm
    assert parse_judge("offline-reference").name == "offline-reference"
    judge = parse_judge("org/qwen:7b@http://user:pass@127.0.0.1:8080/v1/")
    assert (judge.model, judge.base_url) == ("org/qwen:7b", "http://127.0.0.1:8080/v1")
    assert "pass" not in judge.name
    with pytest.raises(InputError, match="no endpoint"):
        parse_judge("gpt-4.1-mini")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert parse_judge("gpt-4.1-mini").base_url == "https://api.openai.com/v1"
    assert parse_judge(None).is_llm
    with serving(Service()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert parse_judge(None).model == "simulated"  # the only one that it offers
        server.service.simulation.models = {"a": Simulation().default, "b": Simulation().default}
        with pytest.raises(InputError, match="offers 2 models"):
            parse_judge(None)


def test_unknown_server_kind() -> None:
    with pytest.raises(InputError, match="llama-cpp-python"):
        check_server("nginx")
