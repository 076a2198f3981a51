"""The chat call that every built-in backend shares: retries, deadline, schema, one repair turn."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, overload

from pydantic import BaseModel

from memora.errors import LLMError, LLMResponseError, LLMTimeoutError
from memora.llm_backends._failures import (
    SAMPLING,
    HttpProblem,
    error_in_body,
    problem_of,
    read_body,
    refused,
    translate,
    unsupported,
)
from memora.llm_backends._parse import Unusable, as_object, parse_answer
from memora.llm_backends._prompt import Message, checked_messages, repair_turn, with_schema
from memora.llm_backends._retry import Patience, Sleep, with_retries
from memora.llm_backends._settings import Settings
from memora.llm_backends.base import BaseBackendLLM

T = TypeVar("T", bound=BaseModel)

PROMPT_ONLY = "prompt"
_STOPS = {
    "refusal": "the model refused to answer",
    "truncated": "the answer was cut off at the token limit",
    "filtered": "the answer was stopped by a content filter",
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Connection:
    """An opened SDK client, reduced to what the shared call needs.

    Attributes:
        post: Sends one request body and returns the raw body of the answer.
        errors: Base class of what the SDK raises.
        close: Closes the client; `None` where it belongs to the caller.
    """

    post: Callable[[dict[str, Any]], Awaitable[bytes]]
    errors: type[Exception]
    close: Callable[[], Awaitable[None]] | None


@dataclass(frozen=True)
class Request:
    """What one request asks for.

    Attributes:
        prompt: The messages, with the schema in words where `mode` needs it.
        schema: The schema that the answer must fit.
        mode: How the provider is told the schema.
        used: Settings that the provider may reject, the mode among them.
    """

    prompt: list[Message] = field(repr=False)
    schema: type[BaseModel] | None
    mode: str
    used: frozenset[str]


@dataclass(frozen=True)
class Reply:
    """One answer of the model; `stop` is empty, or the kind of `LLMResponseError` it ends in."""

    text: str = field(repr=False)
    stop: str = ""


def hush(package: str) -> None:
    """Keep whole requests, prompts included, out of an SDK's DEBUG log, unless it was asked for."""
    sdk_logger = logging.getLogger(package)
    if sdk_logger.level == logging.NOTSET:
        sdk_logger.setLevel(logging.INFO)


class ChatBackend(BaseBackendLLM):
    """The shared call; a backend adds its client and the wire format of its provider."""

    # Ways to tell the provider the schema, best first; a model that rejects one gets the next.
    modes: ClassVar[tuple[str, ...]]
    # Put the schema into the prompt even if the provider is told it otherwise.
    explains_schema: ClassVar[bool] = False

    def __init__(self, provider: str, settings: Settings) -> None:
        self.provider = provider
        self.model = settings.model
        self.context_window = settings.window
        self.answer_tokens = settings.max_tokens
        self._settings = settings
        self._rejected: frozenset[str] = frozenset()
        self._connection: Connection | None = None
        self._closed = False
        self._opening = asyncio.Lock()
        self._sleep: Sleep = asyncio.sleep

    @abstractmethod
    def _connect(self) -> Connection:
        """Import the SDK and open its client; runs in a worker thread, as imports are slow."""

    @abstractmethod
    def _body(self, request: Request) -> dict[str, Any]:
        """The request in the provider's format."""

    @abstractmethod
    def _read(self, payload: Mapping[str, Any]) -> Reply | None:
        """The model's answer, or `None` if the payload is not one."""

    @abstractmethod
    def _count(self, payload: Mapping[str, Any]) -> tuple[int, int]:
        """Prompt and completion tokens that the provider reports."""

    def _salvage(self, problem: HttpProblem) -> Reply | None:
        """The model's answer, where a provider sends it as an HTTP error."""
        del problem
        return None

    @overload
    async def __call__(
        self,
        messages: Sequence[Mapping[str, str]],
        output_schema_model: None = None,
        *,
        max_retries: int | None = None,
        deadline: float | None = None,
    ) -> str: ...

    @overload
    async def __call__(
        self,
        messages: Sequence[Mapping[str, str]],
        output_schema_model: type[T],
        *,
        max_retries: int | None = None,
        deadline: float | None = None,
    ) -> T: ...

    async def __call__(
        self,
        messages: Sequence[Mapping[str, str]],
        output_schema_model: type[T] | None = None,
        *,
        max_retries: int | None = None,
        deadline: float | None = None,
    ) -> str | T:
        prompt = checked_messages(messages)
        retries = self._settings.max_retries if max_retries is None else max_retries
        until = None if deadline is None else asyncio.get_running_loop().time() + deadline
        try:
            async with asyncio.timeout_at(until):
                if deadline is None or deadline > 0:
                    patience = Patience(retries, until)
                    return await self._converse(prompt, output_schema_model, patience)
        except TimeoutError:
            pass  # raised below, without the SDK's exceptions: they may quote the prompt
        raise LLMTimeoutError(self.provider, "no answer before the deadline")

    async def close(self) -> None:
        async with self._opening:
            connection, self._connection, self._closed = self._connection, None, True
        if connection is not None and connection.close is not None:
            await connection.close()

    async def _converse(
        self, prompt: list[Message], schema: type[T] | None, patience: Patience
    ) -> str | T:
        first = await self._answer(prompt, schema, patience)
        if schema is None:
            if not first.text.strip():
                raise LLMResponseError(self.provider, "the answer is empty", kind="empty")
            return first.text
        result = parse_answer(first.text, schema)
        if not isinstance(result, Unusable):
            return result
        logger.info("%s: asking again: %s", self.provider, result.reason)
        repair = repair_turn(prompt, first.text, result.feedback)
        second = await self._answer(repair, schema, patience)
        result = parse_answer(second.text, schema)
        if not isinstance(result, Unusable):
            return result
        kind = "schema" if second.text.strip() else "empty"
        raise LLMResponseError(self.provider, result.reason, kind=kind)

    async def _answer(
        self, prompt: list[Message], schema: type[BaseModel] | None, patience: Patience
    ) -> Reply:
        async def attempt() -> Reply:
            return await self._attempt(prompt, schema)

        reply = await with_retries(attempt, patience, provider=self.provider, sleep=self._sleep)
        if reply.stop:
            raise LLMResponseError(self.provider, _STOPS[reply.stop], kind=reply.stop)
        return reply

    async def _attempt(self, prompt: list[Message], schema: type[BaseModel] | None) -> Reply:
        connection = await self._connected()
        request = self._request(prompt, schema)
        outcome: Reply | LLMError | None
        try:
            async with asyncio.timeout(self._settings.timeout):
                content = await connection.post(self._body(request))
        except TimeoutError:
            outcome = LLMTimeoutError(self.provider, "the request timed out")
        except connection.errors as error:
            outcome = self._outcome(error, request)
        else:
            outcome = self._understood(content)
        if outcome is None:
            return await self._attempt(prompt, schema)
        if isinstance(outcome, LLMError):
            raise outcome
        return outcome

    def _outcome(self, error: Exception, request: Request) -> Reply | LLMError | None:
        """What an SDK's exception means; `None` asks again, without what the model rejected."""
        problem = problem_of(error)
        if problem is None:
            return translate(self.provider, error)
        reply = self._salvage(problem)
        if reply is not None:
            self.record_usage()
            return reply
        rejected = request.used & unsupported(problem, request.mode)
        if rejected:
            logger.info("%s: %s does not take %s", self.provider, self.model, sorted(rejected))
            self._rejected |= rejected
            return None
        return refused(self.provider, problem)

    def _request(self, prompt: list[Message], schema: type[BaseModel] | None) -> Request:
        used = frozenset(SAMPLING) - self._rejected
        if schema is None:
            return Request(prompt, None, PROMPT_ONLY, used)
        mode = next((mode for mode in self.modes if mode not in self._rejected), PROMPT_ONLY)
        if mode in (PROMPT_ONLY, "json_object") or self.explains_schema:
            prompt = with_schema(prompt, schema)
        # Words in the prompt cannot be rejected: there is no next mode to try.
        return Request(prompt, schema, mode, used | ({mode} - {PROMPT_ONLY}))

    def _understood(self, content: bytes) -> Reply | LLMError:
        fields = as_object(read_body(content))
        prompt_tokens, completion_tokens = self._count(fields)
        self.record_usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        reply = self._read(fields)
        if reply is not None:
            return reply
        problem = error_in_body(fields)
        if problem is not None:
            return refused(self.provider, problem)
        reason = "the answer is not a chat completion"
        return LLMResponseError(self.provider, reason, kind="schema")

    async def _connected(self) -> Connection:
        async with self._opening:
            if self._closed:
                raise LLMError(self.provider, "the backend is closed")
            if self._connection is None:
                self._connection = await asyncio.to_thread(self._connect)
            return self._connection
