"""The simulated judge is an instrument: what is planted is there, and nothing else."""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from equiloss.errors import InputError
from judge import rubrics
from judge.data.reference import agreement
from judge.rubrics import Item
from judge.simulate.replies import (
    MALFORMED,
    Model,
    Personality,
    Simulation,
    base_score,
    malform,
    parse_model,
    read_question,
)
from judge.simulate.server import Server, Service, serving

WriteAnswers = Callable[..., list[Path]]
CORRECTNESS = rubrics.load("correctness")


def ask(
    simulation: Simulation, answers: list[str], reference: str = "The right one is here", **item: str
) -> list[float]:
    """The scores of a prompt on the scale of 0 to 1."""
    prompt = CORRECTNESS.render(Item("1", item.get("instruction", "Say it."), "", reference), answers)
    reply = simulation.reply({"model": item.get("model", "m"), "messages": prompt.messages})
    return [one["correctness"] / 100 for one in json.loads(reply["content"] or "").values()]


def planted(**fields: float) -> Simulation:
    """A simulation of one personality."""
    return Simulation(default=Model(Personality(**fields)))


def test_without_biases_it_is_the_agreement_with_the_reference() -> None:
    answers = ["The right one is here", "The wrong one", "", "Something else entirely"]
    expected = [agreement(one, "The right one is here") for one in answers]
    assert ask(Simulation(), answers) == pytest.approx(expected, abs=0.005)


def test_position_bias_has_the_size_that_was_set() -> None:
    scores = ask(planted(position_bias=0.2), ["The wrong one"] * 3)
    assert scores[0] - scores[2] == pytest.approx(0.2, abs=0.011)
    assert scores[1] == pytest.approx(ask(Simulation(), ["The wrong one"])[0], abs=0.011)


def test_length_bias_counts_doublings() -> None:
    short, long = "other words " * 2 + "here", "other words " * 4 + "here"
    plain, biased = ask(Simulation(), [short, long]), ask(planted(length_bias=0.1), [short, long])
    gain = [b - a for a, b in zip(plain, biased, strict=True)]
    from math import log2

    assert gain[1] - gain[0] == pytest.approx(0.1 * log2(10 / 6), abs=0.011)


def test_noise_has_the_spread_that_was_set_and_is_fixed_by_the_seed() -> None:
    base = ask(Simulation(), ["The wrong one"])[0]
    draws = [ask(planted(noise=0.1), ["The wrong one"], instruction=f"Say {n}.")[0] - base for n in range(400)]
    assert abs(statistics.mean(draws)) < 0.02
    assert statistics.stdev(draws) == pytest.approx(0.1, rel=0.15)
    assert ask(planted(noise=0.1), ["x"]) == ask(planted(noise=0.1), ["x"])
    other = replace(planted(noise=0.1), seed=1)
    assert [ask(other, ["The one"], instruction=f"Say {n}.") for n in range(9)] != [
        ask(planted(noise=0.1), ["The one"], instruction=f"Say {n}.") for n in range(9)
    ]


def test_drift_grows_with_the_number_of_calls() -> None:
    simulation = planted(drift=0.2)
    first = ask(simulation, ["The wrong one"])[0]
    scores = [ask(simulation, ["The wrong one"])[0] for _ in range(999)]
    assert scores[-1] - first == pytest.approx(0.2, abs=0.011)


def test_susceptible_judges_fall_for_injections() -> None:
    from judge.data.control_answers import INJECTIONS

    for text in INJECTIONS.values():
        if text != INJECTIONS["flattery"]:
            assert ask(planted(susceptible=1.0), [text]) == [1.0]
        assert ask(Simulation(), [text])[0] < 0.5


def test_personalities_by_model() -> None:
    strict = Model(Personality(offset=-0.3))
    simulation = Simulation(models={"strict": strict})
    assert ask(simulation, ["The right one is here"], model="strict")[0] == pytest.approx(0.7)
    assert ask(simulation, ["The right one is here"], model="other")[0] == 1.0
    name, model = parse_model("mild:offset=0.1,refusal=0.5,position-bias=0.2", Model())
    assert (name, model.refusal) == ("mild", 0.5)
    assert model.personality == Personality(offset=0.1, position_bias=0.2)
    for bad in ("mild:kindness=1", "mild:offset=much", ":offset=1"):
        with pytest.raises(InputError):
            parse_model(bad, Model())


def test_malformed_replies_are_all_unreadable() -> None:
    from judge.scoring.parse import Unreadable, read

    prompt = CORRECTNESS.render(Item("1", "Say it.", "", "right"), ["a", "b"])
    question = read_question({"messages": prompt.messages})
    assert question is not None
    content = str(Simulation().reply({"messages": prompt.messages})["content"])
    read(CORRECTNESS, prompt.labels, content)
    for kind in MALFORMED:
        with pytest.raises(Unreadable):
            read(CORRECTNESS, prompt.labels, malform(kind, content, question))


def test_it_understands_every_shipped_rubric_with_and_without_schema() -> None:
    from judge.scoring.parse import read

    for name in rubrics.names():
        rubric = rubrics.load(name)
        prompt = rubric.render(Item("1", "Say it.", "", "right"), ["right", "wrong"])
        schema: Any = {"type": "json_schema", "json_schema": {"name": "v", "schema": rubric.schema(prompt.labels)}}
        for form in (None, schema):
            reply = Simulation().reply({"messages": prompt.messages, "response_format": form})
            found = read(rubric, prompt.labels, str(reply["content"]))
            assert set(found) == {"A", "B"}


def test_base_scores_are_the_documented_formulas() -> None:
    assert base_score("completeness", "one two", "one two three four") == 0.5
    assert base_score("following", "one", "one two") == pytest.approx(agreement("one", "one two") ** 0.5)
    assert base_score("fluency", "word word word word", "x") == pytest.approx(0.45)
    assert base_score("knowledge", "", "x") == 0.0
    assert 0.2 <= base_score("rating", "something", "") <= 0.9


def post(url: str, body: Any, **headers: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body of a POST."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urlopen(request, timeout=300) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except HTTPError as error:
        return error.code, dict(error.headers), json.load(error)


def test_limits_are_enforced_and_announced() -> None:
    prompt = CORRECTNESS.render(Item("1", "Say it.", "", "right"), ["right"])
    with serving(Service(rpm=2, retry_after_s=7)) as server:
        body = {"model": "m", "messages": prompt.messages}
        status, headers, _ = post(f"{server.url}/chat/completions", body)
        assert status == 200
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == "1"
        assert post(f"{server.url}/chat/completions", {**body, "n": 2})[0] == 200
        status, headers, document = post(f"{server.url}/chat/completions", {**body, "n": 3})
        assert status == 429
        assert headers["retry-after"] == "7"
        assert document["error"]["code"] == "rate_limit_exceeded"


def test_the_server_survives_nonsense() -> None:
    with serving() as server:
        assert post(f"{server.url}/chat/completions", b"{")[0] == 400
        assert post(f"{server.url}/chat/completions", [1])[0] == 400
        assert post(f"{server.url}/nothing", {})[0] == 404
        status, _, document = post(f"{server.url}/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]})
        assert status == 200
        assert document["choices"][0]["message"]["content"] == "I can only grade answers."


def test_faults_come_at_their_rate_and_are_fixed_by_the_seed() -> None:
    def seen(seed: int) -> list[int]:
        with serving(Service(Simulation(seed=seed), faults={"500": 0.3})) as server:
            return [post(f"{server.url}/chat/completions", {"messages": [], "n": n})[0] for n in range(60)]

    first = seen(0)
    assert seen(0) == first != seen(1)
    assert 8 <= first.count(500) <= 28


@pytest.mark.parametrize("kind", ["reset", "slow", "hang", "html", "503"])
def test_each_fault_is_what_it_is_called(kind: str) -> None:
    body = json.dumps({"messages": []}).encode()
    with serving(Service(faults={kind: 1.0})) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(1.0 if kind == "hang" else 300)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        text, ended = b"", ""
        try:
            while not text.endswith((b"</html>", b"}", b"  ")):
                text += (part := client.recv(4096))
                if not part:
                    break
        except (TimeoutError, ConnectionResetError) as error:
            ended = type(error).__name__
        assert server.counts[kind] == 1
    if kind in ("reset", "hang"):
        assert text == b""
        assert ended == ("TimeoutError" if kind == "hang" else ended)
    elif kind == "slow":
        assert text.startswith(b"HTTP/1.1 200 OK")
        assert b"Content-Length: 400" in text
        assert text.endswith(b"\r\n\r\n  ")
    else:
        assert text.startswith(b"HTTP/1.1 200 OK" if kind == "html" else b"HTTP/1.1 503 Service Unavailable")


def test_a_port_that_is_taken_is_named() -> None:
    with serving() as server, pytest.raises(InputError, match=f"cannot listen on port {server.port}: "):
        asyncio.run(Server(Service()).run(server.port, 1, lambda _: None))


def test_unknown_faults_are_refused() -> None:
    with pytest.raises(InputError, match="known: 429"):
        Service(faults={"earthquake": 0.1})
    with pytest.raises(InputError, match="share from 0 to 1"):
        Service(faults={"500": 5})


def test_the_command_serves_and_stops_by_itself() -> None:
    command = [sys.executable, "-m", "judge", "simulate", "--requests", "2", "--seconds", "1200", "--fault", "503=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with urlopen(f"{url}/models", timeout=300) as answer:
        assert json.load(answer)["data"][0]["id"] == "simulated"
    for number in range(2):
        assert post(f"{url}/chat/completions", {"messages": [], "n": number})[0] == 200
    assert process.wait(300) == 0
    bad = subprocess.run(
        [sys.executable, "-m", "judge", "simulate", "--fault", "x"], capture_output=True, text=True, check=False
    )
    assert bad.returncode == 2
    assert bad.stderr.startswith("error: --fault 'x' is not KIND=RATE")
