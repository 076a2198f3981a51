"""Trying again: how long to wait, and when to stop waiting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_exponential,
    wait_random,
)

from memora.errors import LLMTimeoutError, RetryableError

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

MAX_WAIT = 60.0

logger = logging.getLogger(__name__)
_backoff = wait_exponential(multiplier=0.5, max=8) + wait_random(0, 0.5)
_jitter = wait_random(0, 0.25)


@dataclass(frozen=True)
class Patience:
    """What one call may spend on trying again.

    Attributes:
        retries: Further attempts for each answer.
        until: Event loop time at which the call must be over.
    """

    retries: int
    until: float | None


async def with_retries(
    attempt: Callable[[], Coroutine[Any, Any, T]],
    patience: Patience,
    *,
    provider: str,
    sleep: Sleep,
) -> T:
    """Run `attempt` until it succeeds, fails for good, or patience runs out.

    Raises:
        LLMTimeoutError: The next wait would end after the deadline.
    """

    def give_up(state: RetryCallState) -> bool:
        error = _failure(state)
        named = error.retry_after or 0.0
        return (
            state.attempt_number > patience.retries
            or named > MAX_WAIT
            or _too_late(state, patience)
        )

    def last_error(state: RetryCallState) -> T:
        error = _failure(state)
        if state.attempt_number <= patience.retries and _too_late(state, patience):
            late = LLMTimeoutError(provider, "the next attempt would be after the deadline")
            late.retry_after = error.retry_after
            raise late
        raise error

    def log_wait(state: RetryCallState) -> None:
        logger.info(
            "%s: attempt %d failed with %s, next in %.2f s",
            provider,
            state.attempt_number,
            type(_failure(state)).__name__,
            state.upcoming_sleep,
        )

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(RetryableError),
        wait=_wait,
        stop=give_up,
        sleep=sleep,
        before_sleep=log_wait,
        retry_error_callback=last_error,
    )
    return await retrying(attempt)


def _failure(state: RetryCallState) -> RetryableError:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, RetryableError):
        raise TypeError("only retryable errors are tried again")
    return error


def _wait(state: RetryCallState) -> float:
    named = _failure(state).retry_after
    return _backoff(state) if named is None else named + _jitter(state)


def _too_late(state: RetryCallState, patience: Patience) -> bool:
    if patience.until is None:
        return False
    return asyncio.get_running_loop().time() + state.upcoming_sleep >= patience.until
