"""The Batch API of the simulated judge: files, batches, results out of order, and requests that fail or expire."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any, cast

from judge.simulate.replies import Simulation, uniform

_Answer = tuple[int, Any]
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')


@dataclass
class _Batch:
    id: str
    input_file_id: str
    created: float
    ready_at: float
    status: str = "in_progress"
    output_file_id: str | None = None
    error_file_id: str | None = None
    counts: tuple[int, int, int] = (0, 0, 0)


class Batches:
    """Uploaded files and submitted batches. A batch is done `seconds` after it was submitted."""

    def __init__(self, simulation: Simulation, faults: dict[str, float], seconds: float) -> None:
        self._simulation, self._faults, self._seconds = simulation, faults, seconds
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, _Batch] = {}
        self._attempts: dict[str, int] = {}

    def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> _Answer:
        """Answer a request to /files or /batches."""
        parts = path.strip("/").split("/")
        parts = parts[parts.index("files" if "files" in parts else "batches") :]
        if parts[0] == "files":
            return self._on_files(method, parts[1:], headers, body)
        if method == "POST" and len(parts) == 1:
            return self._create(body)
        if method == "GET" and len(parts) == 1:
            rows = [_view(one) for one in reversed(self.batches.values())]
            return 200, {"object": "list", "data": rows, "has_more": False}
        batch = self.batches.get(parts[1]) if len(parts) > 1 else None
        if batch is None:
            return 404, _error("no such batch")
        if method == "POST" and parts[2:] == ["cancel"]:
            batch.status = "cancelled"
        self._advance(batch)
        return 200, _view(batch)

    def _on_files(self, method: str, rest: list[str], headers: dict[str, str], body: bytes) -> _Answer:
        if method == "POST" and not rest:
            content = _multipart_file(headers.get("content-type", ""), body)
            if content is None:
                return 400, _error("no file in the form")
            return 200, self._keep(content, "batch")
        if not rest or rest[0] not in self.files:
            return 404, _error("no such file")
        if method == "DELETE":
            del self.files[rest[0]]
            return 200, {"id": rest[0], "object": "file", "deleted": True}
        if rest[1:] == ["content"]:
            return 200, self.files[rest[0]]
        return 200, _file(rest[0], len(self.files[rest[0]]), "batch")

    def _keep(self, content: bytes, purpose: str) -> dict[str, Any]:
        name = f"file-{len(self.files) + 1}"
        self.files[name] = content
        return _file(name, len(content), purpose)

    def _create(self, body: bytes) -> _Answer:
        document: dict[str, Any] = json.loads(body)
        file = str(document.get("input_file_id"))
        if file not in self.files:
            return 400, _error("no such input file")
        now = time.time()
        batch = _Batch(f"batch_{len(self.batches) + 1}", file, now, now + self._seconds)
        lines = [line for line in self.files[file].splitlines() if line.strip()]
        identifiers = {json.loads(line)["custom_id"] for line in lines}
        if len(lines) > 50_000 or len(identifiers) < len(lines):
            batch.status = "failed"
        self.batches[batch.id] = batch
        return 200, _view(batch)

    def _advance(self, batch: _Batch) -> None:
        if batch.status != "in_progress" or time.time() < batch.ready_at:
            return
        done: list[bytes] = []
        failed: list[bytes] = []
        expired = False
        for line in self.files[batch.input_file_id].splitlines():
            if not line.strip():
                continue
            request = json.loads(line)
            name = str(request["custom_id"])
            attempt = self._attempts.get(name, 0)
            self._attempts[name] = attempt + 1
            lot = uniform(self._simulation.seed, "batch", name, attempt)
            if lot < self._faults.get("batch-expired", 0.0):
                expired = True
                error = {"code": "batch_expired", "message": "This request could not be executed in time."}
                failed.append(_line({"custom_id": name, "response": None, "error": error}))
            elif lot < self._faults.get("batch-expired", 0.0) + self._faults.get("batch-error", 0.0):
                response = {"status_code": 500, "body": _error("the simulated server failed")}
                failed.append(_line({"custom_id": name, "response": response, "error": None}))
            else:
                response = {"status_code": 200, "body": self._complete(request["body"])}
                done.append(_line({"custom_id": name, "response": response, "error": None}))
        batch.counts = (len(done) + len(failed), len(done), len(failed))
        batch.status = "expired" if expired else "completed"
        if done:
            batch.output_file_id = self._keep(b"".join(reversed(done)), "batch_output")["id"]  # order is not kept
        if failed:
            batch.error_file_id = self._keep(b"".join(failed), "batch_output")["id"]

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        reply = self._simulation.reply(body)
        message = {"role": "assistant", "content": reply["content"], "refusal": reply.get("refusal")}
        messages = cast("list[dict[str, Any]]", body.get("messages") or [])
        usage = {
            "prompt_tokens": sum(len(str(one.get("content"))) for one in messages) // 4,
            "completion_tokens": len(reply["content"] or "") // 4 + 1,
        }
        choice = {"index": 0, "message": message, "finish_reason": reply["finish_reason"]}
        return {"id": "b", "object": "chat.completion", "created": 0, "model": body.get("model"), "choices": [choice],
                "usage": usage}  # fmt: skip


def _view(batch: _Batch) -> dict[str, Any]:
    total, completed, failed = batch.counts
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created),
        "request_counts": {"total": total, "completed": completed, "failed": failed},
    }


def _multipart_file(content_type: str, body: bytes) -> bytes | None:
    found = _BOUNDARY.search(content_type)
    if not found:
        return None
    for part in body.split(b"--" + found.group(1).encode()):
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return content.removesuffix(b"\r\n")
    return None


def _file(name: str, size: int, purpose: str) -> dict[str, Any]:
    return {"id": name, "object": "file", "bytes": size, "created_at": 0, "filename": "batch.jsonl",
            "purpose": purpose, "status": "processed"}  # fmt: skip


def _line(document: Any) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
