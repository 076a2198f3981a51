"""What every language model backend keeps, as a suite to subclass.

`LLMContract` holds for any backend, fakes included; `LLMHttpContract` adds what the built-in ones
promise about bad answers and failing providers. A subclass gives the fixtures:

- `provider`: a `ProviderScript`, which plays the planned turns and keeps the requests;
- `llm`: the backend under test, talking to that provider, with `SECRET_KEY` as its key;
- for `LLMHttpContract` also `naps`, the list that collects the seconds of the backend's waits
  instead of its sleeping, and `hasty_llm`, a backend that gives an attempt a fraction of a second.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pytest
from pydantic import BaseModel, ConfigDict, Field

from memora.errors import (
    InvalidInputError,
    LLMAuthError,
    LLMConnectionError,
    LLMError,
    LLMRateLimitError,
    LLMResponseError,
    LLMTimeoutError,
    RetryableError,
)
from memora.llm_backends.base import BaseBackendLLM, TokenUsage

SECRET_KEY = "sk-canary-7f3a9b2c1d"  # noqa: S105 - a canary, no key of anybody
PROMPT_CANARY = "canary-prompt-51c2"
ANSWER_CANARY = "canary-answer-90de"
PROMPT_TOKENS = 11
COMPLETION_TOKENS = 7

TurnKind = Literal[
    "answer",
    "truncated",
    "refusal",
    "filtered",
    "status",
    "html",
    "error_body",
    "dropped",
    "slow",
    "dripping",
]


@dataclass(frozen=True)
class Turn:
    """What the provider does with one request.

    Attributes:
        kind: `answer` sends `text`; `truncated` sends it as cut off; `status` fails over HTTP;
            `error_body` sends an error with status 200; `dropped` breaks off in the body; `slow`
            never answers; `dripping` sends a byte now and then, without end.
        text: The model's text.
        status: HTTP status of a `status` turn.
        headers: Further headers of a `status` turn.
        error: Fields of the error in a `status` or `error_body` turn.
    """

    kind: TurnKind = "answer"
    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    error: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class SeenRequest:
    """One request as it reached the provider; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


class ProviderScript(Protocol):
    """A scripted provider."""

    @property
    def requests(self) -> Sequence[SeenRequest]:
        """The requests so far, oldest first."""
        ...

    def plan(self, *turns: Turn) -> None:
        """Play these turns for the next requests, in this order."""
        ...


class Finding(BaseModel):
    """Part of the schema that the clauses ask for."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(description="One short sentence.")
    weight: int


class Findings(BaseModel):
    """The schema that the clauses ask for."""

    model_config = ConfigDict(extra="forbid")

    findings: list[Finding]


MESSAGES = [
    {"role": "system", "content": "You list findings."},
    {"role": "user", "content": f"What is in this text? {PROMPT_CANARY}"},
]
GOOD = json.dumps({"findings": [{"text": f"ein Käse 🧀 {ANSWER_CANARY}", "weight": 3}]})
BAD = json.dumps({"findings": [{"text": ANSWER_CANARY, "weight": ANSWER_CANARY}]})


def trail(error: BaseException) -> str:
    """Everything that an error report could show: the error, its repr and its whole chain."""
    shown: list[str] = []
    link: BaseException | None = error
    while link is not None:
        shown += [str(link), repr(link), repr(link.args), repr(vars(link))]
        link = link.__cause__ or link.__context__
    return "\n".join([*shown, *traceback.format_exception(error)])


class LLMContract:
    """The port's promises."""

    async def test_text_answer_is_a_str(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        provider.plan(Turn(text="two cheeses 🧀"))
        assert await llm(MESSAGES) == "two cheeses 🧀"

    async def test_s11_schema_answer_is_an_instance(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        provider.plan(Turn(text=GOOD))
        answer = await llm(MESSAGES, Findings)
        assert isinstance(answer, Findings)
        assert answer.findings[0].weight == 3
        assert answer.findings[0].text.startswith("ein Käse 🧀")

    async def test_usage_counts_answers(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        provider.plan(Turn(text="hello"), Turn(text=GOOD))
        before = llm.usage
        await llm(MESSAGES)
        await llm(MESSAGES, Findings)
        assert (llm.usage - before).calls == 2

    async def test_b42_close_twice_is_harmless(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        provider.plan(Turn(text="hello"))
        async with llm as entered:
            assert entered is llm
            await llm(MESSAGES)
        await llm.close()
        await llm.close()

    async def test_repr_names_provider_and_model_only(self, llm: BaseBackendLLM) -> None:
        assert llm.provider in repr(llm)
        assert llm.model in repr(llm)
        assert SECRET_KEY not in repr(llm)
        assert llm.context_window is None or llm.context_window > 0


class LLMHttpContract(LLMContract):
    """The promises about bad answers and failing providers."""

    async def test_one_repair_turn_shows_the_answer_and_its_problems(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        provider.plan(Turn(text=BAD), Turn(text=GOOD))
        answer = await llm(MESSAGES, Findings)
        assert answer.findings[0].weight == 3
        assert len(provider.requests) == 2
        first, second = (json.dumps(r.body["messages"]) for r in provider.requests)
        assert ANSWER_CANARY not in first
        assert ANSWER_CANARY in second
        assert "findings.0.weight" in second

    async def test_b35_only_one_repair_turn(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        provider.plan(Turn(text=BAD), Turn(text="no json at all"))
        with pytest.raises(LLMResponseError) as raised:
            await llm(MESSAGES, Findings)
        assert raised.value.kind == "schema"
        assert len(provider.requests) == 2

    async def test_b89_error_object_is_not_an_answer(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        class AllOptional(BaseModel):
            memories: list[str] = []
            tags: list[str] | None = None

        body = json.dumps({"error": {"message": "overloaded"}})
        provider.plan(Turn(text=body), Turn(text=body))
        with pytest.raises(LLMResponseError) as raised:
            await llm(MESSAGES, AllOptional)
        assert raised.value.kind == "schema"

    @pytest.mark.parametrize("text", ["", " \n\t"])
    async def test_empty_text_is_no_answer(
        self, llm: BaseBackendLLM, provider: ProviderScript, text: str
    ) -> None:
        provider.plan(Turn(text=text))
        with pytest.raises(LLMResponseError) as raised:
            await llm(MESSAGES)
        assert raised.value.kind == "empty"
        assert len(provider.requests) == 1

    async def test_empty_answer_to_a_schema_is_asked_again_once(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        provider.plan(Turn(text=""), Turn(text=GOOD), Turn(text=""), Turn(text=" "))
        assert (await llm(MESSAGES, Findings)).findings
        with pytest.raises(LLMResponseError) as raised:
            await llm(MESSAGES, Findings)
        assert raised.value.kind == "empty"
        assert len(provider.requests) == 4
        for request in provider.requests:
            assert all(message["content"] for message in request.body["messages"])

    async def test_usage_counts_every_answer(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        assert llm.usage == TokenUsage()
        provider.plan(Turn(text="hello"), Turn(text=BAD), Turn(text=GOOD))
        await llm(MESSAGES)
        before = llm.usage
        assert before == TokenUsage(1, PROMPT_TOKENS, COMPLETION_TOKENS)
        await llm(MESSAGES, Findings)
        assert llm.usage - before == TokenUsage(2, 2 * PROMPT_TOKENS, 2 * COMPLETION_TOKENS)

    async def test_messages_are_checked_before_anything_is_sent(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        broken = [{"role": "user", "content": f"{PROMPT_CANARY} \ud83d"}]
        unknown = [{"role": "tool", "content": PROMPT_CANARY}]
        for messages in ([], broken, unknown):
            with pytest.raises(InvalidInputError) as raised:
                await llm(messages)
            assert raised.value.field == "messages"
            assert PROMPT_CANARY not in trail(raised.value)
        assert not provider.requests

    async def test_closed_backend_says_so(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        await llm.close()
        with pytest.raises(LLMError, match="closed"):
            await llm(MESSAGES)
        assert not provider.requests

    @pytest.mark.parametrize("kind", ["truncated", "refusal", "filtered"])
    async def test_stopped_answer_is_raised_not_repaired(
        self, llm: BaseBackendLLM, provider: ProviderScript, kind: TurnKind
    ) -> None:
        provider.plan(Turn(kind, text=GOOD), Turn(kind, text=GOOD))
        for schema in (Findings, None):
            with pytest.raises(LLMResponseError) as raised:
                await (llm(MESSAGES, schema) if schema else llm(MESSAGES))
            assert raised.value.kind == kind
        assert len(provider.requests) == 2

    async def test_cut_answer_is_counted(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        provider.plan(Turn("truncated", text=GOOD))
        with pytest.raises(LLMResponseError):
            await llm(MESSAGES, Findings)
        assert llm.usage == TokenUsage(1, PROMPT_TOKENS, COMPLETION_TOKENS)

    async def test_refusal_in_the_repair_turn_is_a_refusal(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        provider.plan(Turn(text=BAD), Turn("refusal"))
        with pytest.raises(LLMResponseError) as raised:
            await llm(MESSAGES, Findings)
        assert raised.value.kind == "refusal"

    @pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
    async def test_passing_error_is_tried_again(
        self, llm: BaseBackendLLM, provider: ProviderScript, naps: list[float], status: int
    ) -> None:
        provider.plan(Turn("status", status=status), Turn(text=GOOD))
        assert (await llm(MESSAGES, Findings)).findings
        assert len(provider.requests) == 2
        assert len(naps) == 1
        assert naps[0] > 0
        assert llm.usage.calls == 1

    @pytest.mark.parametrize(
        ("status", "leaf"),
        [
            (408, LLMTimeoutError),
            (409, LLMConnectionError),
            (429, LLMRateLimitError),
            (500, LLMConnectionError),
        ],
    )
    async def test_max_retries_bounds_the_attempts(
        self,
        llm: BaseBackendLLM,
        provider: ProviderScript,
        naps: list[float],
        status: int,
        leaf: type[LLMError],
    ) -> None:
        provider.plan(*[Turn("status", status=status)] * 4)
        with pytest.raises(leaf) as raised:
            await llm(MESSAGES, max_retries=2)
        assert raised.value.status == status
        assert isinstance(raised.value, RetryableError)
        assert len(provider.requests) == 3
        assert len(naps) == 2
        with pytest.raises(leaf):
            await llm(MESSAGES, max_retries=0)
        assert len(provider.requests) == 4
        assert len(naps) == 2

    async def test_waits_grow(
        self, llm: BaseBackendLLM, provider: ProviderScript, naps: list[float]
    ) -> None:
        provider.plan(*[Turn("status", status=500)] * 5)
        with pytest.raises(LLMConnectionError):
            await llm(MESSAGES, max_retries=4)
        assert naps == sorted(naps)
        assert len(set(naps)) == 4

    @pytest.mark.parametrize(
        "headers", [{"retry-after": "7"}, {"retry-after-ms": "7000", "retry-after": "9"}]
    )
    @pytest.mark.parametrize("status", [429, 503])
    async def test_retry_after_is_honoured(
        self,
        llm: BaseBackendLLM,
        provider: ProviderScript,
        naps: list[float],
        status: int,
        headers: dict[str, str],
    ) -> None:
        provider.plan(Turn("status", status=status, headers=headers), Turn(text="hello"))
        assert await llm(MESSAGES) == "hello"
        assert len(naps) == 1
        assert 7 <= naps[0] < 8

    async def test_retry_after_may_be_a_date(
        self, llm: BaseBackendLLM, provider: ProviderScript, naps: list[float]
    ) -> None:
        now = 1_700_000_000
        headers = {
            "date": email.utils.formatdate(now, usegmt=True),
            "retry-after": email.utils.formatdate(now + 12, usegmt=True),
        }
        provider.plan(Turn("status", status=429, headers=headers), Turn(text="hello"))
        assert await llm(MESSAGES) == "hello"
        assert 12 <= naps[0] < 13

    async def test_long_retry_after_is_handed_to_the_caller(
        self, llm: BaseBackendLLM, provider: ProviderScript, naps: list[float]
    ) -> None:
        provider.plan(Turn("status", status=429, headers={"retry-after": "86400"}))
        with pytest.raises(LLMRateLimitError) as raised:
            await llm(MESSAGES)
        assert raised.value.retry_after == 86_400
        assert not naps

    @pytest.mark.parametrize(
        ("turn", "leaf", "kind"),
        [
            (Turn("status", status=400), LLMResponseError, "request"),
            (Turn("status", status=404), LLMResponseError, "request"),
            (Turn("status", status=413), LLMResponseError, "too_long"),
            (Turn("status", status=422), LLMResponseError, "request"),
            (
                Turn("status", status=400, error={"code": "context_length_exceeded"}),
                LLMResponseError,
                "too_long",
            ),
            (
                Turn("status", status=400, error={"code": "content_filter"}),
                LLMResponseError,
                "filtered",
            ),
            (Turn("status", status=401), LLMAuthError, None),
            (Turn("status", status=402), LLMAuthError, None),
            (Turn("status", status=403), LLMAuthError, None),
            (Turn("status", status=429, error={"code": "insufficient_quota"}), LLMAuthError, None),
        ],
    )
    async def test_b35_permanent_error_is_tried_once(
        self,
        llm: BaseBackendLLM,
        provider: ProviderScript,
        naps: list[float],
        turn: Turn,
        leaf: type[LLMError],
        kind: str | None,
    ) -> None:
        provider.plan(turn)
        with pytest.raises(leaf) as raised:
            await llm(MESSAGES, Findings)
        assert raised.value.status == turn.status
        assert getattr(raised.value, "kind", None) == kind
        assert not isinstance(raised.value, RetryableError)
        assert len(provider.requests) == 1
        assert not naps

    @pytest.mark.parametrize(
        "turn", [Turn("html"), Turn("error_body", error={"message": PROMPT_CANARY})]
    )
    async def test_b89_page_or_error_with_status_200_is_an_error(
        self, llm: BaseBackendLLM, provider: ProviderScript, turn: Turn
    ) -> None:
        provider.plan(turn, turn)
        with pytest.raises(LLMResponseError) as raised:
            await llm(MESSAGES, Findings)
        assert raised.value.kind == "schema"
        assert PROMPT_CANARY not in trail(raised.value)
        with pytest.raises(LLMResponseError):
            await llm(MESSAGES)
        assert len(provider.requests) == 2

    async def test_error_with_status_200_may_name_its_own_status(
        self, llm: BaseBackendLLM, provider: ProviderScript, naps: list[float]
    ) -> None:
        provider.plan(Turn("error_body", error={"code": 502}), Turn(text="hello"))
        assert await llm(MESSAGES) == "hello"
        assert len(naps) == 1

    async def test_broken_connection_is_tried_again(
        self, llm: BaseBackendLLM, provider: ProviderScript, naps: list[float]
    ) -> None:
        provider.plan(Turn("dropped"), Turn(text="hello"), Turn("dropped"))
        assert await llm(MESSAGES) == "hello"
        assert len(naps) == 1
        with pytest.raises(LLMConnectionError):
            await llm(MESSAGES, max_retries=0)

    async def test_b36_late_answer_of_a_slow_attempt_is_not_taken(
        self, hasty_llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        provider.plan(Turn("slow", text="late"), *[Turn(text="in time")] * 3)
        assert await hasty_llm(MESSAGES) == "in time"

    @pytest.mark.parametrize("kind", ["slow", "dripping"])
    async def test_b36_slow_attempts_time_out(
        self,
        kind: TurnKind,
        hasty_llm: BaseBackendLLM,
        provider: ProviderScript,
        naps: list[float],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        provider.plan(Turn(kind), Turn(kind))
        with caplog.at_level(logging.DEBUG), pytest.raises(LLMTimeoutError) as raised:
            await hasty_llm(MESSAGES, max_retries=1)
        assert len(naps) == 1
        assert PROMPT_CANARY not in f"{trail(raised.value)}\n{caplog.text}"

    async def test_b36_deadline_bounds_the_whole_call(
        self, llm: BaseBackendLLM, provider: ProviderScript, naps: list[float]
    ) -> None:
        provider.plan(*[Turn("slow")] * 9)
        with pytest.raises(LLMTimeoutError, match="no answer before the deadline"):
            await llm(MESSAGES, Findings, deadline=0.05, max_retries=8)
        assert len(provider.requests) <= 1
        assert not naps

    async def test_b36_no_wait_ends_after_the_deadline(
        self, llm: BaseBackendLLM, provider: ProviderScript, naps: list[float]
    ) -> None:
        provider.plan(Turn("status", status=429, headers={"retry-after": "50"}))
        with pytest.raises(LLMTimeoutError) as raised:
            await llm(MESSAGES, deadline=5)
        assert raised.value.retry_after == 50
        assert not naps

    @pytest.mark.parametrize("deadline", [0, -1])
    async def test_b36_spent_deadline_sends_nothing(
        self, llm: BaseBackendLLM, provider: ProviderScript, deadline: float
    ) -> None:
        with pytest.raises(LLMTimeoutError):
            await llm(MESSAGES, deadline=deadline)
        assert not provider.requests

    async def test_cancelling_a_call_leaves_a_usable_backend(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        provider.plan(Turn("slow"), Turn(text="hello"))
        call = asyncio.create_task(llm(MESSAGES))
        while not provider.requests:  # noqa: ASYNC110 - a script has no event to wait for
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await llm(MESSAGES) == "hello"

    async def test_calls_at_once_do_not_mix(
        self, llm: BaseBackendLLM, provider: ProviderScript
    ) -> None:
        provider.plan(*[Turn(text="hello")] * 6)
        assert await asyncio.gather(*[llm(MESSAGES) for _ in range(6)]) == ["hello"] * 6
        assert llm.usage.calls == 6

    @pytest.mark.parametrize(
        "turns",
        [
            [Turn("status", status=400, error={"message": f"{SECRET_KEY} {PROMPT_CANARY}"})],
            [Turn("status", status=401, error={"code": SECRET_KEY, "message": SECRET_KEY})],
            [Turn("status", status=500, error={"type": PROMPT_CANARY})] * 2,
            [Turn(text=BAD), Turn(text=BAD)],
            [Turn(text=f'{{"{ANSWER_CANARY}": 1}}'), Turn(text=ANSWER_CANARY)],
            [Turn("refusal", text=ANSWER_CANARY)],
            [Turn("truncated", text=ANSWER_CANARY)],
            [Turn("dropped")] * 2,
        ],
    )
    async def test_b86_no_key_and_no_content_in_errors_and_logs(
        self,
        llm: BaseBackendLLM,
        provider: ProviderScript,
        caplog: pytest.LogCaptureFixture,
        turns: list[Turn],
    ) -> None:
        provider.plan(*turns)
        with caplog.at_level(logging.DEBUG), pytest.raises(LLMError) as raised:
            await llm(MESSAGES, Findings, max_retries=1)
        assert len(provider.requests) == len(turns)
        shown = f"{trail(raised.value)}\n{caplog.text}\n{llm!r}"
        for secret in (SECRET_KEY, PROMPT_CANARY, ANSWER_CANARY):
            assert secret not in shown
