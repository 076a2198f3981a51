"""Manners of work in the background: it heeds the provider, and lets live calls go first."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar, overload

from pydantic import BaseModel

from memora.errors import LLMConnectionError, LLMRateLimitError, RetryableError
from memora.llm_backends.base import BaseBackendLLM

T = TypeVar("T", bound=BaseModel)
Sleep = Callable[[float], Awaitable[None]]

_UNAVAILABLE = 503
# The longest pause, and how often in a row without any answer before an import gives up.
_LONGEST = 60.0
_REFUSALS = 60
# How long a background step waits for live calls at the most: they must not starve it.
_GIVE_WAY = 0.25


class Lane:
    """Knows when live calls are under way, so that background work can let them pass."""

    def __init__(self) -> None:
        self._live = 0
        self._free = asyncio.Event()
        self._free.set()

    @asynccontextmanager
    async def live(self) -> AsyncGenerator[None]:
        """Count a live call while it lasts."""
        self._live += 1
        self._free.clear()
        try:
            yield
        finally:
            self._live -= 1
            if not self._live:
                self._free.set()

    async def give_way(self) -> None:
        """Return when no live call is under way, or after a moment."""
        if self._free.is_set():
            return
        try:
            async with asyncio.timeout(_GIVE_WAY):
                await self._free.wait()
        except TimeoutError:
            return


class Pace:
    """One pace for all calls of an import: who is told to slow down slows all others down too.

    Args:
        base: First pause without an advice of the provider, in seconds; it doubles while no call
            succeeds.
        sleep: How to wait.
    """

    def __init__(self, base: float, sleep: Sleep = asyncio.sleep) -> None:
        self._base = base
        self._sleep = sleep
        self._refusals = 0
        self._resume_at = 0.0
        # Pauses spread out the calls that waited for the same moment; nobody has to guess them.
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    async def ready(self) -> None:
        """Wait until calls may go on."""
        loop = asyncio.get_running_loop()
        while (left := self._resume_at - loop.time()) > 0:
            await self._sleep(left)

    def succeeded(self) -> None:
        """Note that the provider answered."""
        self._refusals = 0

    def refused(self, retry_after: float | None) -> bool:
        """Note that the provider wants fewer calls; False: it has refused for too long."""
        self._refusals += 1
        pause = self._base * 2 ** min(self._refusals - 1, 10)
        named = min(pause, _LONGEST) if retry_after is None else retry_after
        until = asyncio.get_running_loop().time() + named + self._jitter(named)
        self._resume_at = max(self._resume_at, until)
        return self._refusals <= _REFUSALS

    async def back_off(self, attempt: int) -> None:
        """Wait before the next attempt of one call; `attempt` counts from 0."""
        pause = min(self._base * 2**attempt, _LONGEST)
        await self._sleep(pause + self._jitter(pause))

    def _jitter(self, pause: float) -> float:
        return self._random.uniform(0, 0.1 * pause)


class PacedLLM(BaseBackendLLM):
    """A model as an import asks it: at the import's pace, with the import's retries.

    Args:
        model: The model; it stays open.
        pace: Shared by all calls of the import.
        max_retries: Further attempts after a passing failure; refusals for rate do not count.
    """

    def __init__(self, model: BaseBackendLLM, pace: Pace, max_retries: int) -> None:
        self._model = model
        self._pace = pace
        self._retries = max_retries
        self.provider = model.provider
        self.model = model.model
        self.context_window = model.context_window

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
        max_retries: int | None = None,  # noqa: ARG002 - the import's own count
        deadline: float | None = None,
    ) -> str | T:
        failures = 0
        while True:
            await self._pace.ready()
            try:
                answer = await self._ask(messages, output_schema_model, deadline)
            except RetryableError as error:
                if _asks_for_fewer(error):
                    if not self._pace.refused(error.retry_after):
                        raise
                    continue
                if failures >= self._retries:
                    raise
                await self._pace.back_off(failures)
                failures += 1
                continue
            self._pace.succeeded()
            return answer

    async def _ask(
        self,
        messages: Sequence[Mapping[str, str]],
        output_schema_model: type[T] | None,
        deadline: float | None,
    ) -> str | T:
        if output_schema_model is None:
            return await self._model(messages, max_retries=0, deadline=deadline)
        return await self._model(messages, output_schema_model, max_retries=0, deadline=deadline)

    async def close(self) -> None:
        """The model belongs to the engine."""


def _asks_for_fewer(error: RetryableError) -> bool:
    return isinstance(error, LLMRateLimitError) or (
        isinstance(error, LLMConnectionError) and error.status == _UNAVAILABLE
    )
