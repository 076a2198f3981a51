"""Manners of work in the background: it heeds the provider, and lets live calls go first."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar, overload

from pydantic import BaseModel

from memora.errors import LLMConnectionError, LLMRateLimitError, RetryableError
from memora.llm_backends.base import BaseBackendLLM

T = TypeVar("T", bound=BaseModel)
Sleep = Callable[[float], Awaitable[None]]

_UNAVAILABLE = 503
# The longest pause, and how often in a row without any answer before an import gives up.
_LONGEST = 60.0
_SHORTEST = 0.01
_JITTER = 0.1
_REFUSALS = 60
# How long a background step waits for live calls at the most: they must not starve it.
_GIVE_WAY = 0.25
# After a live call the next one is expected for that long, in seconds.
_RECENT = 1.0


class Lane:
    """Knows when live calls are under way, so that background work can let them pass."""

    def __init__(self) -> None:
        self._live = 0
        self._ended_at = -_RECENT
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
            self._ended_at = asyncio.get_running_loop().time()
            if not self._live:
                self._free.set()

    @property
    def is_busy(self) -> bool:
        """Whether there is a live call, or was one a moment ago."""
        return self._live > 0 or asyncio.get_running_loop().time() - self._ended_at < _RECENT

    async def give_way(self) -> None:
        """Return when no live call is under way, or after a moment."""
        if self._free.is_set():
            return
        try:
            async with asyncio.timeout(_GIVE_WAY):
                await self._free.wait()
        except TimeoutError:
            return


@dataclass
class Turns:
    """Lets works pass one by one, in the order of their numbers, whichever of them fail before."""

    _next: int = 0
    _finished: set[int] = field(default_factory=set[int])
    _waiting: dict[int, asyncio.Event] = field(default_factory=dict[int, asyncio.Event])

    async def wait(self, number: int) -> None:
        """Return when all before this one are finished; numbers count from 0."""
        if number != self._next:
            event = self._waiting[number] = asyncio.Event()
            await event.wait()

    def finish(self, number: int) -> None:
        """Let the next one pass; one that never waited is passed over when its time comes."""
        self._finished.add(number)
        while self._next in self._finished:
            self._finished.remove(self._next)
            self._waiting.pop(self._next, None)
            self._next += 1
        waiting = self._waiting.get(self._next)
        if waiting is not None:
            waiting.set()


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
        self._told_at = -1.0
        self._resume_at = 0.0
        # Imports that were refused at the same moment do not come back at the same moment; nobody
        # has to guess when.
        self._random = random.Random()  # noqa: S311 - jitter, no secret

    async def ready(self) -> float:
        """Wait until calls may go on; return the time at which this one begins."""
        loop = asyncio.get_running_loop()
        while (left := self._resume_at - loop.time()) > 0:
            await self._sleep(left)
        return loop.time()

    def succeeded(self) -> None:
        """Note that the provider answered."""
        self._refusals = 0

    def refused(self, began: float, retry_after: float | None) -> bool:
        """Note that the provider wants fewer calls; False: it has refused for too long.

        Calls that were under way when the first of them was refused add nothing to the pause but
        what the provider names.

        Args:
            began: What `ready` returned for the call.
            retry_after: Seconds that the provider named, if it did.
        """
        now = asyncio.get_running_loop().time()
        pause = retry_after
        if began >= self._told_at:
            self._refusals += 1
            self._told_at = now
            if pause is None:
                # At least a moment: a base of 0 must not become a busy loop.
                doubled = max(self._base, _SHORTEST) * 2 ** min(self._refusals - 1, 10)
                pause = min(doubled, _LONGEST)
        pause = pause or 0.0
        # Once for all calls: one that is refused again must not hold up others that wait longer.
        self._resume_at = max(self._resume_at, now + pause + self._jitter(pause))
        return self._refusals <= _REFUSALS

    async def back_off(self, attempt: int) -> None:
        """Wait before the next attempt of one call; `attempt` counts from 0."""
        pause = min(self._base * 2**attempt, _LONGEST)
        await self._sleep(pause + self._jitter(pause))

    def _jitter(self, pause: float) -> float:
        return self._random.uniform(0, _JITTER * pause)


class PacedLLM(BaseBackendLLM):
    """A model as an import asks it: at the import's pace, with the import's retries.

    Args:
        model: The model; it stays open.
        pace: Shared by all calls of the import.
        lane: Live calls go first.
        max_retries: Further attempts after a passing failure; refusals for rate do not count.
    """

    def __init__(self, model: BaseBackendLLM, pace: Pace, lane: Lane, max_retries: int) -> None:
        self._model = model
        self._pace = pace
        self._lane = lane
        self._retries = max_retries
        self.provider = model.provider
        self.model = model.model
        self.context_window = model.context_window
        self.answer_tokens = model.answer_tokens

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
            await self._lane.give_way()
            began = await self._pace.ready()
            try:
                answer = await self._ask(messages, output_schema_model, deadline)
            except RetryableError as error:
                if _asks_for_fewer(error):
                    if not self._pace.refused(began, error.retry_after):
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
