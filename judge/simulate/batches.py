"""The Batch API of the simulated judge: files, batches, results out of order, and requests that fail or expire."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from aiohttp import web

from judge.simulate.quirks import completion, error_body
from judge.simulate.replies import Simulation, uniform


@dataclass
class SubmittedBatch:
    """A batch as the API shows it."""

    id: str
    input_file_id: str
    created_at: float
    status: str = "in_progress"
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: dict[str, int] = field(default_factory=lambda: {"total": 0, "completed": 0, "failed": 0})
    object: str = "batch"
    endpoint: str = "/v1/chat/completions"
    completion_window: str = "24h"

    def view(self) -> web.Response:
        """What the API answers about it."""
        return web.json_response({**asdict(self), "created_at": int(self.created_at)})


class Batches:
    """Uploaded files and submitted batches. A batch is done `seconds` after it was submitted."""

    def __init__(self, simulation: Simulation, faults: Mapping[str, float], seconds: float) -> None:
        self._simulation, self._faults, self._seconds = simulation, faults, seconds
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, SubmittedBatch] = {}
        self._attempts: Counter[str] = Counter()
        self._numbers = itertools.count(1)

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """What the API answers, below a prefix such as /v1."""
        files, batches = f"{prefix}/files", f"{prefix}/batches"
        return [
            web.post(files, self._upload),
            web.get(f"{files}/{{id}}", self._file),
            web.delete(f"{files}/{{id}}", self._delete),
            web.get(f"{files}/{{id}}/content", self._content),
            web.post(batches, self._create),
            web.get(batches, self._list),
            web.get(f"{batches}/{{id}}", self._show),
            web.post(f"{batches}/{{id}}/cancel", self._cancel),
        ]

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not isinstance(file := form.get("file"), web.FileField):
            return web.json_response(error_body("no file in the form"), status=400)
        return web.json_response(self._view_file(self._keep(file.file.read())))

    async def _file(self, request: web.Request) -> web.Response:
        return web.json_response(self._view_file(self._known(request, self.files)))

    async def _delete(self, request: web.Request) -> web.Response:
        del self.files[name := self._known(request, self.files)]
        return web.json_response({"id": name, "object": "file", "deleted": True})

    async def _content(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[self._known(request, self.files)])

    async def _create(self, request: web.Request) -> web.Response:
        file = str((await request.json()).get("input_file_id"))
        if file not in self.files:
            return web.json_response(error_body("no such input file"), status=400)
        batch = SubmittedBatch(f"batch_{len(self.batches) + 1}", file, time.time())
        lines = self._lines(batch)
        if len(lines) > 50_000 or len({json.loads(line)["custom_id"] for line in lines}) < len(lines):
            batch.status = "failed"
        self.batches[batch.id] = batch
        return batch.view()

    async def _list(self, _: web.Request) -> web.Response:
        rows = [asdict(batch) for batch in reversed(self.batches.values())]
        return web.json_response({"object": "list", "data": rows, "has_more": False})

    async def _show(self, request: web.Request) -> web.Response:
        batch = self.batches[self._known(request, self.batches)]
        if batch.status == "in_progress" and time.time() >= batch.created_at + self._seconds:
            self._run(batch)
        return batch.view()

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self.batches[self._known(request, self.batches)]
        batch.status = "cancelled"
        return batch.view()

    def _run(self, batch: SubmittedBatch) -> None:
        expired, broken = (self._faults.get(f"batch-{kind}", 0.0) for kind in ("expired", "error"))
        done: list[bytes] = []
        failed: list[bytes] = []
        batch.status = "completed"
        for line in self._lines(batch):
            request = json.loads(line)
            name = str(request["custom_id"])
            lot = uniform(self._simulation.seed, "batch", name, self._attempts[name])
            self._attempts[name] += 1
            if lot < expired:
                batch.status = "expired"
                error = {"code": "batch_expired", "message": "This request could not be executed in time."}
                failed.append(_result(name, None, error))
            elif lot < expired + broken:
                failed.append(_result(name, {"status_code": 500, "body": error_body("the simulated server failed")}))
            else:
                body = completion(self._simulation, request["body"], name)
                done.append(_result(name, {"status_code": 200, "body": body}))
        batch.request_counts = {"total": len(done) + len(failed), "completed": len(done), "failed": len(failed)}
        batch.output_file_id = self._keep(b"".join(reversed(done))) if done else None  # order is not kept
        batch.error_file_id = self._keep(b"".join(failed)) if failed else None

    def _lines(self, batch: SubmittedBatch) -> list[bytes]:
        return [line for line in self.files[batch.input_file_id].splitlines() if line.strip()]

    def _keep(self, content: bytes) -> str:
        name = f"file-{next(self._numbers)}"
        self.files[name] = content
        return name

    def _view_file(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "file", "bytes": len(self.files[name]), "created_at": 0, "purpose": "batch",
                "filename": "batch.jsonl", "status": "processed"}  # fmt: skip

    @staticmethod
    def _known(request: web.Request, things: Mapping[str, object]) -> str:
        """The id in the path. Raises: HTTPNotFound when there is nothing of that name."""
        if (name := request.match_info["id"]) not in things:
            raise web.HTTPNotFound
        return name


def _result(name: str, response: object, error: object = None) -> bytes:
    return json.dumps({"custom_id": name, "response": response, "error": error}).encode() + b"\n"
