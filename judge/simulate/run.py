"""Runs the simulated judge as a process, from the command line's options."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace

from equiloss import console
from equiloss.errors import InputError
from judge.simulate.quirks import check_server
from judge.simulate.replies import Model, Personality, Simulation, parse_model
from judge.simulate.server import CONTENT_FAULTS, Server, Service


def run_simulation(
    *,
    port: int,
    seconds: float | None,
    requests: int | None,
    latency: float,
    latency_sigma: float,
    faults: Sequence[str],
    retry_after: float,
    rpm: int | None,
    tpm: int | None,
    server: str,
    models: Sequence[str],
    fallback: str,
    batch_seconds: float,
    seed: int,
    **personality: float,
) -> None:
    """Serve until the time or the number of requests is over, or the person interrupts.

    Raises: InputError for an option that makes no sense, or a port that is taken.
    """
    rates = dict(_fault(text) for text in faults)
    content = {kind: rates.pop(kind) for kind in CONTENT_FAULTS if kind in rates}
    default = replace(Model(Personality(**personality)), **content)
    simulation = Simulation(seed, default, dict(parse_model(text, default) for text in models), fallback)
    service = Service(
        simulation,
        latency,
        latency_sigma,
        rates,
        retry_after,
        check_server(server),
        rpm,
        tpm,
        batch_seconds,
        stop_after=requests,
    )
    asyncio.run(Server(service).run(port, seconds, _announce))


def _announce(server: Server) -> None:
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    console.say(f"the simulated judge listens on {server.url} (not an LLM; stop it with Ctrl-C)")


def _fault(text: str) -> tuple[str, float]:
    kind, equals, rate = text.partition("=")
    try:
        return kind, float(rate if equals else "nothing")
    except ValueError:
        raise InputError(f"--fault {text!r} is not KIND=RATE", "e.g. --fault 429=0.05") from None
