"""The ledger: every paid reply in SQLite, keyed by what was asked, so that nothing is paid for twice.

A reply is committed before its score is used. The write-ahead log makes a commit survive the death of the process at
any moment; a power cut may cost the last moments' commits, never the file. Several processes may share a ledger: who
is asking is written down too, so that two do not pay for the same request at once.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import FiniteFloat, TypeAdapter

from equiloss.errors import IncompleteError, InputError
from equiloss.files import parse_json, reading
from judge.endpoints.capabilities import CapabilityRecord
from judge.endpoints.provider import Draft, JudgeRequest, Provider, Reply, RequestFailure
from judge.scoring.parse import ParsedReply, Reading

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
  id INTEGER PRIMARY KEY, request_sha TEXT NOT NULL, created TEXT NOT NULL, judge TEXT NOT NULL, base_url TEXT NOT NULL,
  resolved TEXT NOT NULL, rubric TEXT NOT NULL, item TEXT NOT NULL, repeat INTEGER NOT NULL, text TEXT NOT NULL,
  problem TEXT, finish_reason TEXT, sent TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, cost_usd REAL);
CREATE INDEX IF NOT EXISTS replies_by_request ON replies (request_sha);
CREATE TABLE IF NOT EXISTS outcomes (
  request_sha TEXT PRIMARY KEY, reply INTEGER NOT NULL REFERENCES replies (id), failure TEXT, verdict TEXT,
  asks INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS endpoints (base_url TEXT, model TEXT, profile TEXT NOT NULL, PRIMARY KEY (base_url, model));
CREATE TABLE IF NOT EXISTS owners (owner TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, start TEXT);
CREATE TABLE IF NOT EXISTS beats (owner TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (request_sha TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
  id TEXT PRIMARY KEY, base_url TEXT NOT NULL, model TEXT NOT NULL, state TEXT NOT NULL, created TEXT NOT NULL,
  requests INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS batched (request_sha TEXT PRIMARY KEY, batch TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS batched_by_batch ON batched (batch);
"""
_VERSION = 2
BEAT_S = 5.0  # how often a process that asks says that it lives
HINT = "name another with --ledger, or delete it: what it holds is then asked and paid for again"
SOUND = (
    "prompt_tokens >= 0 AND typeof(prompt_tokens) = 'integer' AND completion_tokens >= 0 "
    "AND typeof(completion_tokens) = 'integer' AND cached_tokens >= 0 AND typeof(cached_tokens) = 'integer' "
    "AND (cost_usd IS NULL OR cost_usd >= 0 AND typeof(cost_usd) IN ('real', 'integer'))"
)
"""Whether a reply's tokens and dollars are amounts: SQLite itself counts a text as 0."""
DAMAGED = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT)
FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
"""What SQLite says of a full disk, and of a spent quota."""
ROOM_HINT = "make room; the same command then goes on from here"
LEASE_S = 30.0  # how long one on another host may be silent before its requests are taken over


class LedgerEntry(NamedTuple):
    """What the ledger has of a request: the verdict by label or the failure that settled it, and what it cost so far.

    `resolved` and `text` are of the reply that settled it.
    """

    verdict: dict[str, Reading] | None
    failure: RequestFailure | None
    resolved: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: FiniteFloat | None


class LedgerTotal(NamedTuple):
    """What was asked of a judge by a rubric: settled and failed requests, replies, dollars, first and last time."""

    judge: str
    rubric: str
    requests: int
    replies: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: FiniteFloat | None
    first: str
    last: str
    failures: int


_ENTRY, _TOTAL, _DRAFT = TypeAdapter(LedgerEntry), TypeAdapter(LedgerTotal), TypeAdapter(Draft)
_CAPABILITIES, _TEXT = TypeAdapter(CapabilityRecord), TypeAdapter(str)
_REPLY = TypeAdapter(dict[str, str | int | FiniteFloat | None])


class Ledger:
    """An open ledger. Use it as a context manager; the file and its directory are made if needed."""

    def __init__(self, path: Path | None) -> None:
        """Without a path, a private one that ends with the process: for a dry run, or replies not worth keeping.

        Raises: InputError when the file is not a ledger, or a newer version's.
        """
        self.path = path
        self.owner = uuid.uuid4().hex
        self.holder = ""  # the host of the process that held the last request that could not be claimed
        self._registered = False
        self._beats: dict[str, tuple[int, float]] = {}  # by owner on another host: its last beat, and when it was seen
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # One thread uses it; the timeout is how long it waits for another process's commit.
            self._db = sqlite3.connect(path or "", timeout=60, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise InputError(f"{path}: a ledger of a newer version", "update equiloss")
            if version < _VERSION:
                self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter where a damaged name is in a message
            if _code(error) in FULL:
                raise IncompleteError(f"no space left for {path}", ROOM_HINT) from None
            raise InputError(f"{path}: is not a ledger: {error}", "name another with --ledger") from None

    @classmethod
    def existing(cls, path: Path) -> Ledger:
        """Open a ledger that must be there. Raises: InputError when it is not."""
        if not path.is_file():
            raise InputError(f"{path}: no such file", "a ledger lies where `judge score` put the verdicts")
        return cls(path)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up all claims and close the file."""
        if self._registered:
            with self._write():
                self._db.execute("DELETE FROM claims WHERE owner = ?", (self.owner,))
                for table in ("owners", "beats"):
                    self._db.execute(f"DELETE FROM {table} WHERE owner = ?", (self.owner,))
        self._db.close()

    def entry(self, request_sha: str) -> LedgerEntry:
        """What there is of a request; tokens and dollars are those of all its replies."""
        (row,) = self._select(
            "SELECT o.verdict, o.failure, COALESCE(r.resolved, ''), COALESCE(r.text, ''), s.* FROM "
            "(SELECT COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0), SUM(cost_usd), "
            f"COALESCE(MIN({SOUND}), 1) FROM replies WHERE request_sha = ?) s "
            "LEFT JOIN outcomes o ON o.request_sha = ? LEFT JOIN replies r ON r.id = o.reply",
            (request_sha, request_sha),
        )
        with self._reading():
            return _ENTRY.validate_python((self._parsed(row[0]), self._parsed(row[1]), *self._sound(row[2:])))

    def is_settled(self, request_sha: str, retry_failures: bool = False) -> bool:
        """Whether nothing needs to be asked: a verdict is there, or a failure that is not to be asked again."""
        rows = self._select("SELECT failure FROM outcomes WHERE request_sha = ?", (request_sha,))
        return bool(rows) and not (retry_failures and rows[0][0] is not None)

    def drafts(self, request_sha: str) -> list[Draft]:
        """Replies that could not be read, with the problem, since the request was settled last: a re-ask goes on."""
        rows = self._select(
            "SELECT text, problem FROM replies WHERE request_sha = ? AND problem IS NOT NULL "
            "AND id > COALESCE((SELECT reply FROM outcomes WHERE request_sha = ?), 0) ORDER BY id",
            (request_sha, request_sha),
        )
        with self._reading():
            return [_DRAFT.validate_python(row) for row in rows]

    def record(
        self,
        request_sha: str,
        provider: Provider,
        request: JudgeRequest,
        reply: Reply,
        parsed: ParsedReply,
        cost_usd: float | None,
    ) -> None:
        """Commit a reply, and what it amounts to if that settles the request."""
        with self._write():
            row = (
                request_sha, _now(), provider.name, provider.base_url, reply.resolved, request.rubric.name,
                request.item.id, request.repeat, reply.text, parsed.problem, reply.finish_reason, _json(reply.sent),
                reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens, cost_usd,
            )  # fmt: skip
            row = tuple(_storable(cell) if isinstance(cell, str) else cell for cell in row)
            cursor = self._db.execute(
                "INSERT INTO replies (request_sha, created, judge, base_url, resolved, rubric, item, repeat, text, "
                "problem, finish_reason, sent, prompt_tokens, completion_tokens, cached_tokens, cost_usd) "
                "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                row,
            )
            self._db.execute("DELETE FROM batched WHERE request_sha = ?", (request_sha,))
            if parsed.problem is None:
                readings = {label: _row_of(reading) for label, reading in (parsed.verdict or {}).items()}
                self._db.execute(
                    "INSERT OR REPLACE INTO outcomes (request_sha, reply, failure, verdict, asks) VALUES (?, ?, ?, ?, "
                    "(SELECT COUNT(*) FROM replies WHERE request_sha = ?))",
                    (
                        request_sha,
                        cursor.lastrowid,
                        _json(parsed.failure) if parsed.failure else None,
                        _json(readings) if readings else None,
                        request_sha,
                    ),
                )
                self._db.execute("DELETE FROM claims WHERE request_sha = ? AND owner = ?", (request_sha, self.owner))

    def claim(self, request_sha: str) -> bool:
        """Say that this process is about to ask a request; False when another living process said so first."""
        with self._write():
            self._register()
            row = self._db.execute(
                "SELECT c.owner, o.host, o.pid, o.start, b.count FROM claims c LEFT JOIN owners o ON o.owner = c.owner "
                "LEFT JOIN beats b ON b.owner = c.owner WHERE c.request_sha = ?",
                (request_sha,),
            ).fetchone()
            if row is not None and row[0] != self.owner and self._is_alive(*row):
                self.holder = row[1]
                return False
            self._db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (request_sha, self.owner))
        return True

    def release(self, request_sha: str) -> None:
        """Give up a claim on a request that was not settled."""
        with self._write():
            self._db.execute("DELETE FROM claims WHERE request_sha = ? AND owner = ?", (request_sha, self.owner))

    def beat(self) -> None:
        """Say that this process lives, to those on other hosts that wait for it: every `BEAT_S`."""
        with self._write():
            self._db.execute(
                "INSERT INTO beats VALUES (?, 1) ON CONFLICT (owner) DO UPDATE SET count = count + 1", (self.owner,)
            )

    def endpoints(self) -> list[tuple[str, str, CapabilityRecord]]:
        """URL, model, and what was found out, of every endpoint that was asked."""
        rows = self._select("SELECT base_url, model, profile FROM endpoints ORDER BY base_url, model")
        with self._reading():
            return [
                (_TEXT.validate_python(url), _TEXT.validate_python(model), self._profile(p)) for url, model, p in rows
            ]

    def forget_endpoint(self, model: str, base_url: str | None = None) -> int:
        """Forget what was found out about a model's endpoint, at one URL or at all; returns of how many."""
        with self._write():
            return self._db.execute(
                "DELETE FROM endpoints WHERE model = ? AND base_url = COALESCE(?, base_url)", (model, base_url)
            ).rowcount

    def capabilities(self, provider: Provider) -> CapabilityRecord | None:
        """What was found out about an endpoint, if anything was."""
        rows = self._select(
            "SELECT profile FROM endpoints WHERE base_url = ? AND model = ?", (provider.base_url, provider.model)
        )
        with self._reading():
            return self._profile(rows[0][0]) if rows else None

    def keep_capabilities(self, provider: Provider) -> None:
        """Remember what was found out about an endpoint that has answered."""
        if provider.settled and (record := provider.capability_record) is not None:
            row = (provider.base_url, provider.model, _json(record))
            with self._write():
                self._db.execute("INSERT OR REPLACE INTO endpoints VALUES (?, ?, ?)", row)

    # Batches --------------------------------------------------------------------------------------------------------

    def keep_batch(self, file_id: str, provider: Provider, shas: Sequence[str]) -> None:
        """Remember an uploaded file of requests, which is about to become a batch."""
        with self._write():
            row = (file_id, provider.base_url, provider.model, "uploaded", _now(), len(shas))
            self._db.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?)", row)
            self._db.executemany("INSERT OR REPLACE INTO batched VALUES (?, ?)", ((sha, file_id) for sha in shas))

    def submitted(self, file_id: str, batch_id: str) -> None:
        """An uploaded file has become a batch."""
        with self._write():
            self._db.execute(
                "UPDATE OR REPLACE batches SET id = ?, state = 'submitted' WHERE id = ?", (batch_id, file_id)
            )
            self._db.execute("UPDATE OR REPLACE batched SET batch = ? WHERE batch = ?", (batch_id, file_id))

    def batches(self, provider: Provider, state: Literal["uploaded", "submitted"]) -> list[str]:
        """Uploaded files that are no batches yet, or batches that were submitted and not collected, oldest first."""
        rows = self._select(
            "SELECT id FROM batches WHERE base_url = ? AND model = ? AND state = ? ORDER BY created, id",
            (provider.base_url, provider.model, state),
        )
        return [_TEXT.validate_python(id) for (id,) in rows]

    def close_batch(self, id: str, state: str) -> None:
        """Mark a batch as collected, failed or expired; its unanswered requests are free to be asked again."""
        with self._write():
            self._db.execute("UPDATE batches SET state = ? WHERE id = ?", (state, id))
            self._db.execute("DELETE FROM batched WHERE batch = ?", (id,))

    def in_batch(self, request_sha: str) -> bool:
        """Whether a request waits in a batch for its result."""
        return bool(self._select("SELECT 1 FROM batched WHERE request_sha = ?", (request_sha,)))

    # What people look at --------------------------------------------------------------------------------------------

    def totals(self) -> list[LedgerTotal]:
        """What was asked and paid, by judge and rubric."""
        rows = self._select(
            "SELECT r.judge, r.rubric, COUNT(DISTINCT r.request_sha), COUNT(*), SUM(r.prompt_tokens), "
            "SUM(r.completion_tokens), SUM(r.cost_usd), MIN(r.created), MAX(r.created), "
            "(SELECT COUNT(*) FROM outcomes o JOIN replies f ON f.id = o.reply WHERE o.failure IS NOT NULL "
            f"AND f.judge = r.judge AND f.rubric = r.rubric), MIN({SOUND}) FROM replies r GROUP BY r.judge, r.rubric "
            "ORDER BY r.judge, r.rubric"
        )
        with self._reading():
            return [_TOTAL.validate_python(self._sound(row)) for row in rows]

    def rows(self) -> Iterator[dict[str, object]]:
        """Every reply, oldest first, with the verdict or failure that it settled its request with."""
        with self._reading():
            cursor = self._db.execute(
                f"SELECT r.*, o.verdict, o.failure, {SOUND} FROM replies r "
                "LEFT JOIN outcomes o ON o.reply = r.id ORDER BY r.id"
            )
            names = [column[0] for column in cursor.description][:-1]
            for row in cursor:
                reply = _REPLY.validate_python(dict(zip(names, self._sound(row), strict=True)))
                parsed = {name: self._parsed(reply[name]) for name in ("sent", "verdict", "failure")}
                yield {**reply, **parsed}

    def prune(
        self, *, failures: bool = False, judge: str | None = None, rubric: str | None = None, before: str | None = None
    ) -> int:
        """Delete replies and outcomes that fit all conditions given; returns how many requests were forgotten.

        Raises: InputError when no condition is given.
        """
        if not (failures or judge or rubric or before):
            raise InputError("nothing says what to forget", "give --failures, --judge, --rubric or --before")
        conditions, values = ["1 = 1"], list[str]()
        for column, value in (("r.judge = ?", judge), ("r.rubric = ?", rubric), ("r.created < ?", before)):
            if value is not None:
                conditions.append(column)
                values.append(value)
        if failures:
            conditions.append("o.failure IS NOT NULL")
        with self._write():
            shas = self._db.execute(
                "SELECT DISTINCT r.request_sha FROM replies r LEFT JOIN outcomes o ON o.request_sha = r.request_sha "
                f"WHERE {' AND '.join(conditions)}",
                values,
            ).fetchall()
            for table in ("outcomes", "replies", "claims"):
                self._db.executemany(f"DELETE FROM {table} WHERE request_sha = ?", shas)
        with self._written():
            self._db.execute("VACUUM")
        return len(shas)

    def _select(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._reading():
            return self._db.execute(query, values).fetchall()

    def _reading(self) -> AbstractContextManager[None]:
        """What a damaged file raises, as an InputError."""
        return reading(self.path or "the ledger", "a ledger", HINT)

    def _sound(self, row: Sequence[Any]) -> Sequence[Any]:
        """A row without its last column, which says whether its tokens and dollars are amounts (see SOUND)."""
        if not row[-1]:
            raise InputError(f"{self.path}: not a ledger, or damaged: tokens or dollars that are no amount", HINT)
        return row[:-1]

    def _parsed(self, cell: Any) -> Any:
        """The JSON of a cell; None of an empty one."""
        return parse_json(cell, str(self.path), HINT) if cell else None

    def _profile(self, cell: Any) -> CapabilityRecord:
        return _CAPABILITIES.validate_python(self._parsed(cell))

    @contextmanager
    def _write(self) -> Generator[None]:
        with self._written():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _written(self) -> Generator[None]:
        """What a damaged file raises in writing, as an InputError; a full disk and the like as an IncompleteError."""
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if isinstance(error, UnicodeDecodeError) or _code(error) in DAMAGED:
                raise InputError(f"{self.path}: not a ledger, or damaged: {error}", HINT) from None
            if isinstance(error, sqlite3.OperationalError):  # a full disk, a file that may not be written
                full = _code(error) in FULL
                what = f"no space left for {self.path}" if full else f"{self.path}: {error}"
                raise IncompleteError(what, ROOM_HINT if full else "then the same command goes on from here") from None
            raise

    def _register(self) -> None:
        if not self._registered:
            pid = os.getpid()
            row = (self.owner, socket.gethostname(), pid, _start_of(pid))
            self._db.execute("INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?)", row)
            self._registered = True

    def _is_alive(self, owner: str, host: str | None, pid: int | None, start: str | None, beat: int | None) -> bool:
        """Whether the process that made a claim still runs; one on another host does while it says so."""
        if host is None or pid is None:
            return False
        if host != socket.gethostname():
            seen = self._beats.get(owner)
            if seen is None or seen[0] != (beat or 0):
                seen = self._beats[owner] = (beat or 0, time.monotonic())
            return time.monotonic() - seen[1] < LEASE_S
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return start is None or start == _start_of(pid)


def _start_of(pid: int) -> str | None:
    """When a process started, in clock ticks since boot, so that a re-used pid is told apart; None without /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _code(error: Exception) -> int:
    """The primary result code of SQLite that an error has; 0 of none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _row_of(reading: Reading) -> dict[str, object]:
    row: dict[str, object] = {"scores": reading.scores, "explanation": reading.explanation}
    return row | {"expected": reading.expected} if reading.expected else row


def _json(document: object) -> str:
    return _storable(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def _storable(text: str) -> str:
    """A text as UTF-8 holds it: half a surrogate pair, as models write, becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
