"""What a server's refusal means, whatever words it uses: a form, a prompt, a key, an account, a pause, or the server.

Servers agree on few codes, so words decide as well: those of OpenAI, Azure, Anthropic, Gemini, OpenRouter, Mistral,
Groq, DeepSeek, Moonshot, Zhipu, vLLM, llama.cpp, Ollama and TGI were collected. A refusal in other words teaches
nothing by itself: `judge.endpoints.client` tries other forms of the same request, and believes only what then works.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from judge.endpoints.payload import objects_of, parse_payload, part_of
from judge.endpoints.rate_limits import stated_wait_s

RefusalKind = Literal["key", "missing", "credit", "too-long", "filtered", "wait", "form", "forbidden", "server"]

_KEY = re.compile(
    r"(invalid|incorrect|missing|expired|valid|no|wrong|your) .{0,12}(api|access|secret)[ _-]?key|unauthori[sz]ed"
    r"|invalid[_-]api[_-]key|api[ _-]?key.{0,20}(invalid|not valid|incorrect|missing|expired|required|revoked)"
    r"|authenticat|(invalid|expired)[ _](token|credentials)|token (has |is )?(expired|invalid|revoked)"
    r"|permission[ _]denied",
    re.IGNORECASE,
)
_CREDIT = re.compile(
    r"insufficient[ _](quota|credit|balance|fund)|exceeded[ _](your[ _])?current[ _]quota|billing|credit balance"
    r"|(out of|no|used all( of)?( your)?( available| included)?|your \w+( included)?) credits|credits? (limit|exhaust)"
    r"|(spend|spending|usage|monthly|key) limits?\b|account.{0,20}(not active|suspended|deactivated|disabled)"
    r"|(balance|credits?|budget|free tier)\b.{0,30}(insufficient|exhausted|depleted|exceeded|used up|too low|negative)"
    r"|exhausted (its|your|the) (\w+ )?(balance|credits?|budget)|add (more )?(funds|credits)|budget_exceeded|arrearage"
    r"|in arrears|payment required|top[ -]up|recharge|欠费|余额|充值",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _-]?(length|window|size)|exceed_context|n_ctx|maximum (input|prompt|sequence|model) ?len|max_model_len"
    r"|(prompt|inputs?|request|messages?|content|text|query|payload|entity)\b.{0,40}\btoo[ _](long|large|big)"
    r"|reduce (the|your) (length|size|prompt|input|message)|inputs?` (tokens|must)|string_above_max_length|input length"
    r"|(prompt|inputs?)\b.{0,40}\bexceeds?\b|too many (input |prompt )?tokens"
    r"|input token count|exceeds the (maximum number of|limit of) tokens",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content[ _-]?(filter|management|policy|exists risk|moderation|safety|inspection)|moderat|flagged|safety|unsafe"
    r"|usage polic|responsible ?ai|prohibited|inappropriate|sensitive[ _](content|information|word)|contentFilter"
    r"|data_inspection|high risk|guardrail|invalid[ _]prompt|violat.{0,30}(polic|terms|guideline)|risk control"
    r"|jailbreak|(hate|use|safety) (speech )?polic|blocked\b.{0,40}(polic|filter|detect)|敏感|违规",
    re.IGNORECASE,
)
_FORM = re.compile(
    r"response_format|json_schema|json_object|schema|grammar|structured|guided|requested parameters|tool_choice",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"(not a valid|unknown|invalid|no such) model\b|model[_ ]not[_ ](found|exist|available)"
    r"|model\b.{0,60}(does not exist|not exist\b|not found|is not available)",
    re.IGNORECASE,
)
_RATE = re.compile(r"rate[ _-]?limit|too many requests|call rate|token rate", re.IGNORECASE)
_DAILY = re.compile(r"per[ -]day|daily|\bRPD\b|\bTPD\b|per[ -]month|monthly", re.IGNORECASE)


class Refusal(NamedTuple):
    """A server's error: status, its message, the parameter it names, its codes in one string, and the wait it asks."""

    status: int
    message: str
    param: str | None = None
    code: str = ""
    wait_s: float | None = None

    @property
    def words(self) -> str:
        """The refusal on one short line."""
        return f"HTTP {self.status} {' '.join(self.message.split())[:300]}".strip()

    @property
    def is_about_format(self) -> bool:
        """Whether the form of the output is what it is about."""
        return _FORM.search(f"{self.param or ''} {self.message}") is not None

    @property
    def is_daily(self) -> bool:
        """Whether the limit that was reached is one of a day or a month, which no short pause mends."""
        return _DAILY.search(self.message) is not None

    @property
    def kind(self) -> RefusalKind:
        """What it is about: the form of the request, this one prompt, the key, the account, a pause, or the server."""
        status, words = self.status, f"{self.code} {self.param or ''} {self.message}"
        if status == 401 or (status in (400, 403) and _KEY.search(words) and not _FILTERED.search(words)):
            return "key"
        is_pace = status == 429 and (self.wait_s is not None or _RATE.search(words) is not None)
        if status == 402 or _CREDIT.search(self.code) or (_CREDIT.search(words) and status < 500 and not is_pace):
            return "missing" if status == 404 else "credit"
        too_long = _TOO_LONG.search(words)
        if status in (413, 414) or (too_long and (status not in (404, 405, 429) or not _RATE.search(too_long[0]))):
            return "too-long"
        if status == 451 or (status in (400, 403, 406, 409, 412, 422) and _FILTERED.search(words)):
            return "filtered"
        if status in (429, 529) or (status == 503 and self.wait_s is not None):
            return "wait"
        if (status in (404, 405) and not (self.is_about_format or self.param)) or (
            status in (400, 422) and _NO_MODEL.search(words)
        ):
            return "missing"
        if status == 403:
            return "forbidden"
        return "form" if (400 <= status < 500 and status not in (408, 409, 425)) or status == 501 else "server"


def read_refusal(status: int, headers: Mapping[str, str], text: str) -> Refusal:
    """An error response, in any of the layouts that servers use."""
    try:
        document: Any = parse_payload(text)
    except (ValueError, RecursionError):
        return Refusal(status, _text_of(text), wait_s=stated_wait_s(headers, text[:2000]))
    if isinstance(document, list):
        document = next(iter(document), None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return _refusal_of(status, headers, document)


def error_within(document: Any, headers: Mapping[str, str]) -> Refusal | None:
    """The error that a response of status 200 holds instead of an answer, or in its only choice; None where none is."""
    choices = objects_of(document, "choices")
    holder: Any = choices[0] if choices else document
    if not isinstance(holder, dict) or not holder.get("error"):  # pyright: ignore[reportUnknownMemberType]
        return None
    refusal = _refusal_of(502, headers, holder)
    code = next((int(number) for number in re.findall(r"\b[45]\d\d\b", refusal.code)), None)
    if code is None:
        words = f"{refusal.code} {refusal.message}"
        code = 429 if _RATE.search(words) else 502
        code = 400 if "invalid" in refusal.code or _FILTERED.search(words) else code
    return refusal._replace(status=code)


def _refusal_of(status: int, headers: Mapping[str, str], document: Any) -> Refusal:
    wait_s = stated_wait_s(headers, json.dumps(document)[:4000])
    error = part_of(document, "error") or (document if isinstance(document, dict) else {"message": document})  # pyright: ignore
    error: Any = part_of(error, "detail") or error
    rows = objects_of(error, "detail")  # as FastAPI has them
    detail = "; ".join(f"{'.'.join(map(str, row.get('loc') or ()))}: {row.get('msg')}" for row in rows)
    said = error.get("message") or detail or error.get("detail") or error.get("error") or error
    message = " ".join(str(part) for part in (said, part_of(error, "metadata").get("raw")) if part)
    codes = " ".join(str(error[name]) for name in ("code", "type", "status", "error_type") if error.get(name))
    return Refusal(status, _text_of(message), str(error.get("param") or "") or None, codes, wait_s)


def _text_of(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:1000]
