"""The peculiarities of real servers that the simulated one can imitate, and its log-probabilities."""

from __future__ import annotations

import math
import re
from typing import Any, cast

from equiloss.errors import InputError
from judge.simulate.replies import uniform

# What each server is known for; docs/judges.md describes them.
SERVERS = ("openai", "reasoning", "llama-cpp", "llama-cpp-python", "ollama", "vllm", "plain", "strict-plain")
_TOKEN = re.compile(r"\d{1,3}|\w+|\s+|[^\w\s]")


def check_server(name: str) -> str:
    """The name of a server that can be imitated.

    Raises: InputError naming those that can.
    """
    if name not in SERVERS:
        raise InputError(f"--server {name!r} is not known", f"known: {', '.join(SERVERS)}")
    return name


def refuse_form(server: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
    """The error with which a server refuses a form of request that it does not take; None when it takes it.

    `reasoning`: no temperature, no max_tokens. `llama-cpp-python`: 500 for json_schema, but a schema in json_object.
    `vllm`: 400 for a schema outside json_schema. `strict-plain`: 400 for any response_format and for logprobs, naming
    neither. `plain` takes and ignores everything, as `ollama` does with logprobs.
    """
    form: dict[str, Any] = cast("dict[str, Any]", body.get("response_format") or {})
    kind = form.get("type")
    if server == "reasoning":
        if "max_tokens" in body:
            message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return 400, _error(message, "max_tokens", "unsupported_parameter")
        for name in ("temperature", "top_p", "logprobs", "top_logprobs"):
            if name in body:
                return 400, _error(f"Unsupported parameter: '{name}' is not supported with this model.", name)
    if server == "llama-cpp-python" and kind == "json_schema":
        return 500, {"error": {"message": "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type')}]"}}
    if server == "vllm" and kind == "json_object" and "schema" in form:
        return 400, {"object": "error", "message": "response_format: extra field 'schema'", "code": 400}
    if server == "strict-plain" and (form or body.get("logprobs")):
        return 400, {"detail": "Bad request"}
    return None


def logprobs_of(text: str, seed: int, server: str = "openai") -> list[dict[str, Any]]:
    """Log-probabilities of a reply's tokens: a number has its neighbours as alternatives, other tokens none.

    On llama.cpp's servers numbers are split into digits, so that no score above nine has a distribution of its own.
    """
    pattern = re.compile(r"\d|[^\d]+") if server.startswith("llama-cpp") else _TOKEN
    entries: list[dict[str, Any]] = []
    for index, token in enumerate(pattern.findall(text)):
        choices = [(token, 0.97)]
        if token.isdigit():
            low = 0.1 + 0.1 * uniform(seed, "logprobs", text, index)
            value = int(token)
            choices = [(token, 0.95 - 2 * low), (str(max(0, value - 1)), low), (str(value + 1), low)]
        top = [{"token": name, "logprob": math.log(p), "bytes": list(name.encode())} for name, p in choices]
        entries.append({**top[0], "top_logprobs": top})
    return entries


def _error(message: str, param: str, code: str = "unsupported_value") -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
