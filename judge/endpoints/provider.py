"""What scoring asks of a judge, whoever it is: a model behind an endpoint, or the offline reference judge.

Scoring never asks which of them it has: it asks the provider what it costs and what it can do. `parse_judge` in
`judge.endpoints.judges` is where one is chosen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

from typing_extensions import TypedDict  # as pydantic wants it before Python 3.12

from judge.endpoints.address import Address
from judge.endpoints.capabilities import CapabilityRecord
from judge.endpoints.prices import Price
from judge.rubrics import Item, Message, Parameters, Prompt, Rubric

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class NoReplyError(Exception):
    """A request that got no answer after all retries, while the endpoint answers others. The message says why."""


class RefusedError(Exception):
    """A request that was refused in every form, before the endpoint answered any: whose fault it is, others show."""


class RequestFailure(TypedDict):
    """Why a request gave no verdict."""

    reason: Literal["refusal", "truncated", "unparsable", "error"]
    detail: str


class Draft(NamedTuple):
    """A reply that could not be read, and what was wrong with it."""

    text: str
    problem: str


@dataclass(frozen=True)
class JudgeRequest:
    """One request to a judge: an item, and answers to it in the order in which they are shown, by a rubric."""

    rubric: Rubric
    item: Item
    answers: tuple[str, ...]
    repeat: int = 0
    parameters: Parameters = field(default_factory=Parameters)

    @cached_property
    def prompt(self) -> Prompt:
        """The rendered prompt."""
        return self.rubric.render(self.item, self.answers, self.repeat)

    def messages(self, drafts: Sequence[Draft] = ()) -> list[Message]:
        """The prompt as chat messages; after drafts, with the last one and what was wrong with it."""
        if not drafts:
            return self.prompt.messages
        if not drafts[-1].text.strip():  # servers refuse an assistant's turn that is empty
            return self.prompt.messages
        again = f"That reply could not be used: {drafts[-1].problem[:2000]}. Reply again with the JSON object alone."
        return [
            *self.prompt.messages,
            {"role": "assistant", "content": drafts[-1].text[:20_000]},
            {"role": "user", "content": again},
        ]

    @property
    def labels(self) -> tuple[str, ...]:
        """How the answers are named in the prompt and in the reply."""
        return self.rubric.labels[: len(self.answers)]

    @property
    def reply_limit_tokens(self) -> int:
        """The most tokens that a reply is allowed."""
        return self.rubric.reply_limit_tokens(len(self.answers))


class TokenLogprob(TypedDict, total=False):
    """A token of a reply with its log-probability, and the likeliest ones in its place."""

    token: str
    logprob: float
    top_logprobs: list[TokenLogprob]


@dataclass(frozen=True)
class Reply:
    """What a judge sent back for one request: text or a reason for none, tokens, and who answered.

    `failure` says why the judge cannot judge this request at all, however often it is asked. `has_usage` is False where
    the server did not say what the reply took: it may have taken all that was allowed, `limit_tokens`.
    """

    text: str
    resolved: str
    finish_reason: str | None = None
    failure: RequestFailure | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    has_usage: bool = True
    limit_tokens: float | None = None
    sent: Mapping[str, object] | None = None
    logprobs: list[TokenLogprob] | None = None


@dataclass(frozen=True)
class ConnectionSettings:
    """How fast a provider may be asked; limits that are not given are learnt from its answers.

    parameters: those that the user gives a request, over the rubric's.
    """

    concurrency: int = 8
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout_s: float = 300.0
    parameters: Parameters = field(default_factory=Parameters)


class Provider(ABC):
    """A judge. `name` is how verdicts name it, `model` how files and prices do; `notice` goes with all its scores.

    is_llm: whether a language model judges; a formula says everywhere that it is none.
    is_free: asking costs neither money nor time worth saving, so nothing is kept in a ledger, batched or stopped early.
    reads_prompts: it reads what it is shown, so several answers can stand in a prompt, control answers among them.
    price: None where it is not known. retries: requests sent again. clean: nothing has gone wrong so far.
    settled: it has answered a request in its present form. tell: takes what a person should know at once.
    """

    name: str
    model: str
    base_url: str = ""
    price: Price | None = None
    batch_discount: float = 1.0
    is_llm: bool = True
    is_free: bool = False
    reads_prompts: bool = True
    notice: str = ""
    evidence: str = ""
    retries: int = 0
    clean: bool = True
    settled: bool = True
    tell: Callable[[str], object] = str

    def check(self, rubric: Rubric) -> None:  # noqa: B027 (most can)
        """Raises: InputError when this judge cannot judge by the rubric."""

    @abstractmethod
    def request_sha(self, request: JudgeRequest) -> str:
        """The key of a request: equal requests are asked and paid for once."""

    @abstractmethod
    def connect(self, settings: ConnectionSettings) -> AbstractAsyncContextManager[None]:
        """While it is open, several workers may `ask`."""

    @abstractmethod
    async def ask(self, request: JudgeRequest, drafts: Sequence[Draft] = ()) -> Reply:
        """Ask until there is an answer; `drafts` are the replies to this request that could not be read.

        Raises: NoReplyError after the last retry; RefusedError when no form of the request was taken, before any was;
        IncompleteError when the provider is down, or the account empty; InputError when it refuses the key, the model
        or a parameter that the user gave.
        """

    def cost_usd(self, prompt_tokens: int, completion_tokens: float, cached_tokens: int = 0) -> float | None:
        """What so many tokens cost; None where the price is not known."""
        return self.price.cost_usd(prompt_tokens, completion_tokens, cached_tokens) if self.price else None

    def worst_usd(self, request: JudgeRequest, drafts: Sequence[Draft] = ()) -> float:
        """The most that asking a request once can cost, infinite where no limit is sent; 0 without a price."""
        # A byte-level tokenizer never needs more tokens than bytes; half of that is beyond any text that is judged.
        tokens = sum(len(message["content"].encode()) // 2 + 8 for message in request.messages(drafts))
        limit = self.limit_tokens(request) if self.price and self.price.output else 0
        return self.cost_usd(tokens, limit) or 0.0

    def limit_tokens(self, request: JudgeRequest) -> float:
        """The most tokens that the judge may produce for a request, thoughts included; infinite without a limit."""
        return request.reply_limit_tokens

    @property
    def capability_record(self) -> CapabilityRecord | None:
        """What was found out about the endpoint, for the ledger; None where there is nothing to find out."""
        return None

    @property
    def losses(self) -> list[str]:
        """What its requests must do without, in words."""
        return []

    @property
    def news(self) -> list[str]:
        """What was found out about the endpoint in this run, each with the refusal that showed it."""
        return []

    def recall(self, record: CapabilityRecord | None) -> None:  # noqa: B027 (nothing was found out)
        """Take up what an earlier run found out about the endpoint, if anything."""


class BatchProvider(Provider):
    """A judge that also takes many requests in one file, as OpenAI's Batch API does."""

    address: Address

    @abstractmethod
    def client(self, timeout_s: float) -> AsyncOpenAI:
        """The official client of the endpoint."""

    @abstractmethod
    def body(self, request: JudgeRequest, drafts: Sequence[Draft] = ()) -> dict[str, object]:
        """The body of a chat completion."""

    @abstractmethod
    def read_batched(self, status: int, body: str) -> Reply:
        """The reply in a batch's result, or the failure that it is. Raises: ValueError when it says nothing final."""
