"""Reads that wait at the same moment: one wake-up of the reading thread, one of the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")

# Answers are kept back for the next ones for so long, in seconds.
_TOGETHER = 0.001


@dataclass(slots=True, eq=False, repr=False)
class _Read:
    """A read, and what its caller waits for; the answer has texts, so there is no repr."""

    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            self.error = error


class Reads:
    """Runs reads in one thread, in their order.

    Args:
        executor: The thread.
        state: Holds one state of the database for as long as it is entered.
    """

    def __init__(
        self, executor: ThreadPoolExecutor, state: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._executor = executor
        self._state = state
        self._lock = Lock()
        self._waiting: deque[_Read] = deque()

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on a state that has every write that was finished before the call."""
        loop = asyncio.get_running_loop()
        read = _Read(work, loop, loop.create_future())
        with self._lock:
            # Whatever waits is taken by a job that is yet to begin.
            is_first = not self._waiting
            self._waiting.append(read)
        if is_first:
            self._begin()
        return await read.answer

    def _begin(self) -> None:
        # Without the lock: an executor may do the job at once.
        try:
            self._executor.submit(self._work_off)
        except RuntimeError as error:
            with self._lock:
                waiting, self._waiting = self._waiting, deque()
            for read in waiting:
                read.error = error
            _tell(waiting)

    def _work_off(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        while waiting:
            part: list[_Read] = []
            try:
                with self._state():
                    until = time.monotonic() + _TOGETHER
                    while waiting and (not part or time.monotonic() < until):
                        part.append(waiting.popleft())
                        if not part[-1].answer.cancelled():
                            part[-1].run()
            except BaseException as error:  # noqa: BLE001 - the callers get it
                part = part or [waiting.popleft()]
                for read in part:
                    read.error = read.error or error
            _tell(part)


def _tell(reads: Iterable[_Read]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Read]] = defaultdict(list)
    for read in reads:
        by_loop[read.loop].append(read)
    for loop, answered in by_loop.items():
        # A loop that was closed has nobody who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, answered)


def _settle(reads: Sequence[_Read]) -> None:
    for read in reads:
        if read.answer.done():
            continue
        if read.error is not None:
            read.answer.set_exception(read.error)
        else:
            read.answer.set_result(read.result)
