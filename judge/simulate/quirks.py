"""What a server answers: completions, log-probabilities, and the peculiarities of real ones that can be imitated."""

from __future__ import annotations

import math
import re

from equiloss.errors import InputError
from judge.simulate.replies import ChatRequest, Simulation, uniform

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


def error_body(message: str, code: str | None = None, param: str | None = None) -> dict[str, object]:
    """An error as the API words it."""
    kind = "invalid_request_error" if param or not code else code
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refuse_form(server: str, body: ChatRequest) -> tuple[int, dict[str, object]] | None:
    """The error with which a server refuses a form of request that it does not take; None when it takes it.

    `reasoning`: no temperature, no max_tokens. `llama-cpp-python`: 500 for json_schema, but a schema in json_object.
    `vllm`: 400 for a schema outside json_schema. `strict-plain`: 400 for any response_format and for logprobs, naming
    neither. `plain` takes and ignores everything, as `ollama` does with logprobs.
    """
    form = body.get("response_format") or {}
    kind = form.get("type")
    if server == "reasoning":
        if "max_tokens" in body:
            message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return 400, error_body(message, "unsupported_parameter", "max_tokens")
        for name in ("temperature", "top_p", "logprobs", "top_logprobs"):
            if name in body:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                return 400, error_body(message, "unsupported_value", name)
    if server == "llama-cpp-python" and kind == "json_schema":
        return 500, {"error": {"message": "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type')}]"}}
    if server == "vllm" and kind == "json_object" and "schema" in form:
        return 400, {"object": "error", "message": "response_format: extra field 'schema'", "code": 400}
    if server == "strict-plain" and (form or body.get("logprobs")):
        return 400, {"detail": "Bad request"}
    return None


def completion(simulation: Simulation, body: ChatRequest, key: str, server: str = "openai") -> dict[str, object]:
    """The answer to a chat request, as the server words it; `key` names the request."""
    reply = simulation.reply(body)
    text = reply["content"] or ""
    message = {"role": "assistant", "content": reply["content"], "refusal": reply.get("refusal")}
    if server == "llama-cpp":
        message.pop("refusal")
    choice: dict[str, object] = {"index": 0, "message": message, "finish_reason": reply["finish_reason"]}
    if body.get("logprobs") and server != "ollama":
        choice["logprobs"] = {"content": logprobs_of(text, simulation.seed, server)}
    prompt_tokens = sum(len(str(message.get("content"))) for message in body.get("messages") or []) // 4
    completion_tokens = len(text) // 4 + 1
    return {
        "id": f"chatcmpl-{key[:12]}",
        "object": "chat.completion",
        "created": 0,
        "model": str(body.get("model")),
        "choices": [choice],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def logprobs_of(text: str, seed: int, server: str = "openai") -> list[dict[str, object]]:
    """Log-probabilities of a reply's tokens: a number has its neighbours as alternatives, other tokens none.

    On llama.cpp's servers numbers are split into digits, so that no score above nine has a distribution of its own.
    """
    pattern = re.compile(r"\d|[^\d]+") if server.startswith("llama-cpp") else _TOKEN
    entries: list[dict[str, object]] = []
    for index, token in enumerate(pattern.findall(text)):
        choices = [(token, 0.97)]
        if token.isdigit():
            low = 0.1 + 0.1 * uniform(seed, "logprobs", text, index)
            value = int(token)
            choices = [(token, 0.95 - 2 * low), (str(max(0, value - 1)), low), (str(value + 1), low)]
        top = [{"token": name, "logprob": math.log(p), "bytes": list(name.encode())} for name, p in choices]
        entries.append({**top[0], "top_logprobs": top})
    return entries
