"""What real servers do wrong costs no paid reply, no other item, and no later run."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from equiloss.errors import BudgetError, EquilossError, IncompleteError, InputError
from judge import rubrics
from judge.cli.main import program
from judge.endpoints.provider import JudgeRequest, Reply
from judge.endpoints.reply import read_reply
from judge.rubrics import Item
from judge.scoring import executor, ledger
from judge.scoring.ledger import Ledger
from judge.scoring.replies import parse_reply

# The server -----------------------------------------------------------------------------------------------------------

Response = tuple[int, Mapping[str, str], Any]
Answering = Callable[[Any, int], Response]


@dataclass
class OddServer:
    """What was asked: bodies, paths and headers; and where."""

    url: str = ""
    bodies: list[Any] = field(default_factory=list[Any])
    paths: list[str] = field(default_factory=list[str])
    headers: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])


def labels_of(body: Any) -> list[str]:
    """The labels of the answers that a request shows."""
    return re.findall(r"^\[ANSWER ([A-Z]) [0-9a-f]{8}\]$", body["messages"][-1]["content"], re.MULTILINE)


def verdict(body: Any, value: object = 50, explanation: str = "fine") -> dict[str, Any]:
    """A verdict of the rubric `correctness` on all answers shown."""
    return {label: {"explanation": explanation, "correctness": value} for label in labels_of(body)}


def completion(content: Any, finish_reason: str = "stop", **fields: Any) -> dict[str, Any]:
    """A chat completion; `fields` replace parts of it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 200, "completion_tokens": 40, "total_tokens": 240}
    return {"id": "x", "object": "chat.completion", "model": "odd", "choices": [choice], "usage": usage, **fields}


def good(body: Any, **fields: Any) -> Response:
    """An answer as it should be."""
    return 200, {}, completion(json.dumps(verdict(body)), **fields)


def error(message: str, **fields: Any) -> dict[str, Any]:
    """An error in OpenAI's layout."""
    return {"error": {"message": message, **fields}}


@contextmanager
def odd_server(answer: Answering, latency_s: float = 0.0) -> Generator[OddServer]:
    """Serve on a free port; `answer` gets a request's body and its number from 1, and gives status, headers, document.

    A document of bytes is sent as it is.
    """
    served = OddServer()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                served.bodies.append(body)
                served.paths.append(self.path)
                served.headers.append({name.title(): value for name, value in self.headers.items()})
                number = len(served.bodies)
            time.sleep(latency_s)
            status, headers, document = answer(body, number)
            raw = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(raw)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


WriteAnswers = Callable[..., list[Path]]
LONG = "Name thing number 0."  # stands in the prompt of the first item alone


def score(server: OddServer, files: list[Path], out: Path, *options: str, url: str = "") -> dict[str, Any]:
    """The command's document for its judge. Raises what it raises, with the document as a note."""
    args = ["score", *map(str, files), "-o", str(out), "--json", "--canaries", "0", *options]
    result = CliRunner().invoke(program, [*args, "--judge", f"odd@{url or server.url}"])
    if result.exception is not None:
        if result.stdout.startswith("{"):
            result.exception.add_note(result.stdout)
        raise result.exception
    document = json.loads(result.stdout)
    return {**document["judges"][0], "warnings": document["warnings"]}


def failures_of(out: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for path in sorted(out.glob("a.*.failures.jsonl")) for line in path.read_text().splitlines()
    ]


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((400, {}, error("This model's maximum context length is 8192 tokens.")), "error"),
        ((403, {}, error("your input was flagged", code=403)), "refusal"),
        ((400, {}, error("Der Text gefällt uns nicht.")), "error"),  # in words that nobody collected
        ((200, {}, {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0}}), "refusal"),
    ],
)
def test_a_refusal_of_one_prompt_is_that_items_failure(
    write_answers: WriteAnswers, tmp_path: Path, answer: Any, reason: str, place: str
) -> None:
    files = write_answers(6)
    mark = LONG if place == "first" else "Name thing number 5."
    with odd_server(lambda body, _: answer if mark in body["messages"][-1]["content"] else good(body)) as server:
        found = score(server, files, tmp_path / "o")
        asked = len(server.bodies)
        again = score(server, files, tmp_path / "o")
    assert len(server.bodies) == asked
    assert [result["failures"] for result in found["results"]] == [1, 1] == [r["failures"] for r in again["results"]]
    assert found["endpoint"]["mode"] == "json_schema"
    assert found["endpoint"]["notes"] == []
    [failure] = failures_of(tmp_path / "o")
    assert failure["reason"] == reason
    assert answer[0] == 200 or answer[2]["error"]["message"][:40] in failure["detail"]


def test_what_is_learnt_needs_an_answer_is_told_once_and_can_be_forgotten(
    write_answers: WriteAnswers, tmp_path: Path
) -> None:
    def answer(body: Any, _: int) -> Any:
        if LONG in body["messages"][-1]["content"]:
            return 400, {}, error("prompt is too long")
        return (400, {}, error("temperature: nope", param="temperature")) if "temperature" in body else good(body)

    files, path = write_answers(4), tmp_path / "o/ledger.sqlite"
    with odd_server(answer) as server:
        first = score(server, files, tmp_path / "o")
        second = score(server, files, tmp_path / "o", "--repeats", "2")
        assert sum("no temperature" in warning for warning in first["warnings"]) == 1
        assert not any("no temperature" in warning for warning in second["warnings"])
        shown = CliRunner().invoke(program, ["ledger", "endpoints", str(path), "--json"])
        [endpoint] = json.loads(shown.stdout)["endpoints"]
        assert "nope" in endpoint["notes"][0]
        asked = len(server.bodies)
        score(server, files, tmp_path / "o", "--repeats", "3", "--forget-endpoint")
        assert "temperature" in server.bodies[asked]
        CliRunner().invoke(program, ["ledger", "endpoints", str(path), "--forget-endpoint", f"odd@{server.url}"])
        with Ledger(path) as opened:
            assert opened.endpoints() == []


def test_a_parameter_that_the_user_gave_is_not_dropped(write_answers: WriteAnswers, tmp_path: Path) -> None:
    def answer(body: Any, _: int) -> Any:
        too_hot = body.get("temperature", 0) > 2
        return (400, {}, error("Invalid 'temperature'", param="temperature")) if too_hot else good(body)

    with odd_server(answer) as server, pytest.raises(InputError, match=r"--param temperature=3"):
        score(server, write_answers(3), tmp_path / "o", "--param", "temperature=3")


def test_all_refused_is_bad_input(write_answers: WriteAnswers, tmp_path: Path) -> None:
    with odd_server(lambda *_: (400, {}, error("nein"))) as server, pytest.raises(InputError, match="nein"):
        score(server, write_answers(30), tmp_path / "o", "--concurrency", "2")
    assert len(server.bodies) < 80


# Replies --------------------------------------------------------------------------------------------------------------

RUBRIC = rubrics.load("correctness")
REQUEST = JudgeRequest(RUBRIC, Item("x", "Say it.", reference="x"), ("x", "y"))
GOOD = {"A": {"explanation": "fine", "correctness": 80}, "B": {"explanation": "no", "correctness": 3}}
DRAFT = json.dumps({"A": {"correctness": 1}, "B": {"correctness": 1}})


def scores(content: Any, finish_reason: str = "stop") -> list[float] | str:
    """The scores that a reply's content gives, or why it gives none."""
    parsed = parse_reply(REQUEST, read_reply(completion(content, finish_reason), {}, 300), asked_before=9)
    if parsed.verdict is None:
        return parsed.failure["reason"] if parsed.failure else "none"
    return [parsed.verdict[label].scores["correctness"] for label in "AB"]


@pytest.mark.parametrize(
    "content",
    [
        f"<think>{DRAFT}</think>{json.dumps(GOOD)}",
        f"{DRAFT} hm.\n</think>\n{json.dumps(GOOD)}",
        f"<thinking>{DRAFT}</thinking><thinking>again {DRAFT}</thinking>\n```json\n{json.dumps(GOOD)}\n```",
        f"<think></think><reasoning>{DRAFT}</reasoning>{json.dumps(GOOD)} Done.",
        f"[THINK]{DRAFT}[/THINK]{json.dumps(GOOD)}",
        f"<thinking budget=100>{DRAFT}</thinking >{json.dumps(GOOD)}",
        f"<inner_monologue>{DRAFT}</inner_monologue>{json.dumps(GOOD)}",
        f'<details type="reasoning">{DRAFT}</details>{json.dumps(GOOD)}',
        f"<|START_THINKING|>{DRAFT}<|END_THINKING|><|START_RESPONSE|>{json.dumps(GOOD)}<|END_RESPONSE|>",
        f"<|channel>thought\n{DRAFT}<channel|>{json.dumps(GOOD)}",
        f"<result>{json.dumps(GOOD)}</result>",
        json.dumps(GOOD).replace("80", '"80%"'),
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{json.dumps(GOOD)}",
        [{"type": "thinking", "thinking": DRAFT}, {"type": "text", "text": json.dumps(GOOD)}],
        json.dumps({**GOOD, "overall_comment": "fine"}),
        json.dumps({label.lower(): row for label, row in GOOD.items()}),
        json.dumps({f"ANSWER {label}": row for label, row in GOOD.items()}),
        json.dumps({"scores": GOOD}),
        json.dumps(GOOD)[:-1] + ",}",
        json.dumps(GOOD).replace("fine", "line\none\ttab"),
        json.dumps(GOOD).replace('"fine"', "null"),
        json.dumps(GOOD).replace("80", '"80/100"'),
        json.dumps(GOOD).replace("fine", "a stray </think> tag, or <think>"),
    ],
)
def test_the_verdict_is_what_follows_the_last_thought(content: Any) -> None:
    assert scores(content) == [80, 3]


@pytest.mark.parametrize(
    ("content", "finish_reason", "reason"),
    [
        (f"<think>First {DRAFT} but", "length", "truncated"),
        (f"First {DRAFT} but", "length", "truncated"),
        (f"<think>First {DRAFT} but", "stop", "unparsable"),
        (f"<|channel|>analysis<|message|>{DRAFT}", "stop", "unparsable"),
        (json.dumps(GOOD)[:-3], "length", "truncated"),
        (json.dumps(GOOD).replace("80", "1" + "0" * 5000), "stop", "unparsable"),
        (json.dumps(GOOD).replace("80", "NaN"), "stop", "unparsable"),
        (json.dumps(GOOD).replace('"B"', '"a"'), "stop", "unparsable"),
        (None, "stop", "unparsable"),
        ("", "content_filter", "refusal"),
    ],
)
def test_a_draft_is_no_verdict(content: Any, finish_reason: str, reason: str) -> None:
    assert scores(content, finish_reason) == reason


def test_a_whole_object_counts_though_its_limit_was_reached() -> None:
    assert scores(json.dumps(GOOD), "length") == [80, 3]


def test_preferences_are_read_in_any_case() -> None:
    request = JudgeRequest(rubrics.load("pairwise"), Item("x", "Say it."), ("x", "y"))
    for text, value in (("Tie", 0.5), ("a", 1.0), ("ANSWER A", 1.0), ("(B)", 0.0)):
        reply = read_reply(completion(json.dumps({"explanation": "x", "preference": text})), {})
        parsed = parse_reply(request, reply, asked_before=9)
        assert parsed.verdict is not None, text
        assert parsed.verdict["A"].scores["preference"] == value


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 200, "completion_tokens": 40, "total_tokens": 5240}, (200, 5040)),
        (
            {"prompt_tokens": 200, "completion_tokens": 40, "completion_tokens_details": {"reasoning_tokens": 99}},
            (200, 139),
        ),
        ({"prompt_tokens": "200", "completion_tokens": 40.5}, (200, 41)),
        ({"prompt_tokens": 100, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 900}}, (100, 4)),
        ({"prompt_tokens": -5, "completion_tokens": 40}, None),
        ({"prompt_tokens": float("inf"), "completion_tokens": 40}, None),
        ({"prompt_tokens": 2**70, "completion_tokens": 40}, None),
        ({"prompt_tokens": "n/a"}, None),
        ([1, 2], None),
        (None, None),
    ],
)
def test_usage_is_believed_where_it_can_be(usage: Any, tokens: tuple[int, int] | None) -> None:
    reply = read_reply(completion("x", usage=usage), {})
    assert reply.has_usage == (tokens is not None)
    assert (reply.prompt_tokens, reply.completion_tokens) == (tokens or (0, 0))
    assert reply.cached_tokens <= reply.prompt_tokens


def test_no_reply_of_ten_thousand_raises_anything(tmp_path: Path) -> None:
    """Bodies of completions with parts replaced by anything: each is a verdict, a failure or a problem, and is kept."""
    rng = random.Random(14)
    junk: list[Any] = [None, True, -1, 10**400, 1e308, float("nan"), "", "\ud83d", "\x00", [], {}, [{}], {"a": [None]},
                       "9" * 5000, "{" * 3000, "[" * 3000, DRAFT, "</think>", json.dumps(GOOD), "A"]  # fmt: skip
    whole = completion(json.dumps(GOOD))
    whole["choices"][0]["logprobs"] = {"content": [{"token": "80", "logprob": None, "top_logprobs": None}]}

    def spoil(part: Any, depth: int = 0) -> Any:
        if rng.random() < 0.12:
            return rng.choice(junk)
        if isinstance(part, dict):
            return {key: spoil(value, depth + 1) for key, value in part.items() if rng.random() > 0.03}
        if isinstance(part, list):
            return [spoil(value, depth + 1) for value in part]
        if isinstance(part, str) and len(part) > 20 and rng.random() < 0.6:
            place = rng.randrange(len(part))
            return part[:place] + str(rng.choice(junk))[:50] + part[place + rng.randrange(4) :]
        return part

    from judge.endpoints.judges import parse_judge

    provider = parse_judge("odd@http://127.0.0.1:1/v1")
    kinds: dict[str, int] = {}
    with Ledger(None) as kept:
        for number in range(10_000):
            try:
                reply = read_reply(spoil(whole), {})
            except ValueError:  # not the API's: asked again, then a failure with the body
                kinds["no completion"] = kinds.get("no completion", 0) + 1
                reply = Reply("body \ud83d", "", failure={"reason": "unparsable", "detail": "\ud83d"}, has_usage=False)
            parsed = parse_reply(REQUEST, reply, asked_before=rng.randrange(3))
            kept.record(f"{number:064x}", provider, REQUEST, reply, parsed, None)
            kind = "verdict" if parsed.verdict else parsed.failure["reason"] if parsed.failure else "problem"
            kinds[kind] = kinds.get(kind, 0) + 1
        assert sum(1 for _ in kept.rows()) == 10_000
    assert min(kinds[kind] for kind in ("verdict", "problem", "unparsable", "refusal", "no completion")) > 100


@pytest.mark.parametrize(
    "body", [b"<html>", b"[" * 5000, b'{"choices": 1}', b'{"choices": ' + b"9" * 5000 + b"}", b"null"]
)
def test_a_200_that_is_no_completion_is_kept_as_a_failure(
    write_answers: WriteAnswers, tmp_path: Path, body: bytes
) -> None:
    files = write_answers(4)
    with odd_server(
        lambda asked, _: (200, {}, body) if "number 2." in asked["messages"][-1]["content"] else good(asked)
    ) as server:
        found = score(server, files, tmp_path / "o")
        asked = len(server.bodies)
        score(server, files, tmp_path / "o")
    assert len(server.bodies) == asked == 3 + 3
    assert [result["failures"] for result in found["results"]] == [1, 1]
    [failure] = failures_of(tmp_path / "o")
    assert failure["reason"] == "unparsable"
    assert failure["text"][:4] == body.decode()[:4]


def test_a_stream_that_was_not_asked_for_is_read_and_a_broken_one_is_a_failure(
    write_answers: WriteAnswers, tmp_path: Path
) -> None:
    def streaming(asked: Any, _: int) -> Response:
        content = json.dumps(verdict(asked))
        deltas = [{"content": content[i : i + 9]} for i in range(0, len(content), 9)]
        chunks: list[Any] = [{"model": "m", "choices": [{"delta": delta}]} for delta in deltas]
        usage = {"prompt_tokens": 200, "completion_tokens": 40}
        chunks.append({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage})
        events = [": ping", *(f"data: {json.dumps(chunk)}" for chunk in chunks), "data: [DONE]"]
        if "number 2." in asked["messages"][-1]["content"]:
            events = events[:3]
        return 200, {"content-type": "text/event-stream"}, "\n\n".join(events).encode()

    with odd_server(streaming) as server:
        found = score(server, write_answers(4), tmp_path / "o")
    assert [result["failures"] for result in found["results"]] == [1, 1]
    assert [result["verdicts"]["correctness"] for result in found["results"]] == [3, 3]
    [failure] = failures_of(tmp_path / "o")
    assert failure["reason"] == "unparsable"


# Money, waiting, secrets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "limit"), [(None, 0.2), ({"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 50_000}, 6)]
)
def test_the_limit_holds_where_usage_is_unknown_or_beyond_what_was_allowed(
    write_answers: WriteAnswers, tmp_path: Path, usage: Any, limit: float
) -> None:
    with odd_server(lambda body, _: good(body, usage=usage)) as server, pytest.raises(BudgetError) as stop:
        score(server, write_answers(12), tmp_path / "o", "--price", "1,100", "--max-usd", str(limit))
    document = json.loads(stop.value.__notes__[0])
    assert 0 < document["judges"][0]["cost_usd"] <= limit
    assert any("without a count" in warning for warning in document["warnings"]) == (usage is None)


def test_the_worst_case_is_of_the_limit_that_is_sent(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files, options = write_answers(3), ("--price", "1,1000", "--max-usd", "1")
    with odd_server(lambda body, _: good(body)) as server:
        with pytest.raises(BudgetError):
            score(server, files, tmp_path / "o", *options, "--param", "max_tokens=4000")
        assert server.bodies == []

    def unlimited(body: Any, _: int) -> Any:
        names = [name for name in ("max_tokens", "max_completion_tokens") if name in body]
        return (400, {}, error(f"{names[0]} is unknown", param=names[0])) if names else good(body)

    with odd_server(unlimited) as server, pytest.raises(BudgetError, match="any sum"):
        score(server, files, tmp_path / "p", *options)


def test_a_wait_of_a_day_ends_at_once_for_all_workers(write_answers: WriteAnswers, tmp_path: Path) -> None:
    def answer(body: Any, number: int) -> Any:
        if number <= 4:
            return good(body)
        return (429, {"Retry-After": "86400"}, error("daily")) if number % 2 else (500, {}, error("overloaded"))

    started = time.monotonic()
    with odd_server(answer) as server, pytest.raises(IncompleteError, match=r"asks to wait 1 d 00:00"):
        score(server, write_answers(12), tmp_path / "o", "--concurrency", "4")
    assert time.monotonic() - started < 10


def test_an_empty_account_is_asked_once(write_answers: WriteAnswers, tmp_path: Path) -> None:
    empty = (429, {}, error("no", type="insufficient_quota"))
    with odd_server(lambda *_: empty) as server, pytest.raises(IncompleteError, match="no credit left"):
        score(server, write_answers(12), tmp_path / "o")
    assert len(server.bodies) == 1


def test_a_429_within_a_200_is_waited_for(write_answers: WriteAnswers, tmp_path: Path) -> None:
    limited = {"error": {"message": "Rate limit exceeded", "code": 429}}
    with odd_server(lambda body, number: (200, {}, limited) if number < 3 else good(body)) as server:
        assert score(server, write_answers(3), tmp_path / "o")["lost"] == 0


def test_secrets_are_sent_and_kept_nowhere(
    write_answers: WriteAnswers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(body: Any, number: int) -> Any:
        echoed = f"no temperature for {server.headers[-1].get('Authorization')} at {server.paths[-1]}"
        return (400, {}, error(echoed, param="temperature")) if "temperature" in body else good(body)

    out = tmp_path / "o"
    with odd_server(answer) as server:
        monkeypatch.setenv("JUDGE_API_KEY", " sk-very-secret\n")
        score(server, write_answers(3), out)
        assert server.headers[0]["Authorization"] == "Bearer sk-very-secret"
        url = server.url.replace("//", "//me:passw0rd@") + "?api-version=1&api_key=topsecret"
        score(server, write_answers(3), tmp_path / "p", url=url)
        assert server.headers[-1]["Authorization"] == "Basic bWU6cGFzc3cwcmQ="
        assert server.paths[-1] == "/v1/chat/completions?api-version=1&api_key=topsecret"
    kept = b"".join(path.read_bytes() for folder in (out, tmp_path / "p") for path in folder.iterdir())
    for secret in (b"very-secret", b"passw0rd", b"topsecret", b"bWU6cGFzc3cwcmQ"):
        assert secret not in kept
    monkeypatch.setenv("JUDGE_API_KEY", "“curly”")
    with pytest.raises(InputError, match="no header can carry"):
        score(server, write_answers(3), tmp_path / "q")


def test_claims_of_a_silent_host_are_taken_over_and_the_wait_is_told(
    write_answers: WriteAnswers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, path = write_answers(3), tmp_path / "o/ledger.sqlite"
    monkeypatch.setattr(ledger, "LEASE_S", 1.0)
    monkeypatch.setattr(executor, "LEASE_S", 1.0)
    with odd_server(lambda body, _: good(body)) as server:
        score(server, files, tmp_path / "first")
        other = Ledger(path)
        with Ledger(tmp_path / "first/ledger.sqlite") as asked:
            for row in list(asked.rows()):
                assert other.claim(str(row["request_sha"]))
        other._db.execute("UPDATE owners SET host = 'another'")  # pyright: ignore[reportPrivateUsage]
        args = ["score", *map(str, files), "-o", str(tmp_path / "o"), "--canaries", "0", "--judge", f"odd@{server.url}"]
        result = CliRunner().invoke(program, args)
    assert result.exit_code == 0, result.output
    assert len(server.bodies) == 6


# Files ----------------------------------------------------------------------------------------------------------------


def test_verdicts_of_other_judges_rubrics_and_parameters_are_not_overwritten(
    write_answers: WriteAnswers, tmp_path: Path
) -> None:
    files, out, rubric = write_answers(3), tmp_path / "o", tmp_path / "own.j2"
    rubric.write_text(RUBRIC.text.replace("name: correctness\nversion", "name: own\nversion"))
    with odd_server(lambda body, _: good(body)) as server:
        for model in ("org/m", "org-m", "org:m"):
            args = [
                "score",
                *map(str, files),
                "-o",
                str(out),
                "--judge",
                f"{model}@{server.url}",
                "--rubric",
                str(rubric),
            ]
            assert CliRunner().invoke(program, args).exit_code == 0
        written = [path for path in out.glob("a.*.jsonl") if ".canaries" not in path.name]
        assert len(written) == 3
        assert len({json.loads(path.read_text().splitlines()[0])["judge"] for path in written}) == 3
        asked = len(server.bodies)
        for change in (["--param", "temperature=1"], ["--expected-score"]):
            score(server, files, tmp_path / change[0], "--rubric", str(rubric), *change)
            with pytest.raises(InputError, match="would be lost"):
                score(server, files, tmp_path / change[0], "--rubric", str(rubric))
        rubric.write_text(rubric.read_text().replace("how well", "how very well"))
        with pytest.raises(InputError, match="another text of the rubric"):
            score(server, files, tmp_path / "--param", "--rubric", str(rubric), "--param", "temperature=1")
        assert len(server.bodies) == asked + 2 * 3


def test_models_of_one_file_name_get_files_of_their_own(write_answers: WriteAnswers, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    x, y = tmp_path / "x/out.jsonl", tmp_path / "y/out.jsonl"
    for path, source in zip((x, y), write_answers(3), strict=True):
        source.rename(path)
    assert CliRunner().invoke(program, ["score", str(x), str(y), "-o", str(tmp_path / "o")]).exit_code == 0
    names = {json.loads(path.read_text().splitlines()[0])["generator"] for path in (tmp_path / "o").glob("*.jsonl")}
    assert names == {"a", "b"}
    # A second model of the same name in the same directory is refused.
    rows = [{**json.loads(line), "generator": "a", "output": "else"} for line in x.read_text().splitlines()]
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = CliRunner().invoke(
        program, ["score", str(other), "-o", str(tmp_path / "o"), "--generator", "c=" + str(other)]
    )
    assert result.exit_code == 0
    assert (tmp_path / "o/other.correctness.offline-reference.jsonl").exists()


def test_one_id_for_two_questions_is_refused_and_two_references_are_told(
    write_answers: WriteAnswers, tmp_path: Path
) -> None:
    a, b = write_answers(3)
    rows = [json.loads(line) for line in b.read_text().splitlines()]
    b.write_text("".join(json.dumps({**row, "reference": "another"}) + "\n" for row in rows))
    result = CliRunner().invoke(program, ["score", str(a), str(b), "-o", str(tmp_path / "o"), "--json"])
    assert any("3 items have different references" in line for line in json.loads(result.stdout)["warnings"])
    rows[1]["instruction"] = "Something else"
    b.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=rf"item '{rows[1]['id']}' .* different things"):
        score(OddServer("http://127.0.0.1:1/v1"), [a, b], tmp_path / "p")


def test_verdict_files_among_the_files_are_left_out(write_answers: WriteAnswers, tmp_path: Path) -> None:
    files = write_answers(3)
    for _ in range(2):
        everything = [str(path) for path in sorted(tmp_path.glob("*.json*"))]
        result = CliRunner().invoke(program, ["score", *everything, "--json"])
        assert result.exit_code == 0, result.output
        assert [file["path"] for file in json.loads(result.stdout)["files"]] == [str(path) for path in files]


def test_nothing_answered_is_a_failure(write_answers: WriteAnswers, tmp_path: Path) -> None:
    with (
        odd_server(lambda *_: (200, {}, completion("", "length"))) as server,
        pytest.raises(EquilossError, match=r"6 of 6: truncated: the reply reached its limit of \d+ tokens") as none,
    ):
        score(server, write_answers(3), tmp_path / "o")
    assert none.value.exit_code == 1
    assert verdict({"messages": [{"content": ""}]}) == {}
