"""An event loop in a thread of its own, for callers that do not await."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future, wait
from typing import Any, TypeVar, cast

from memora.errors import EngineClosedError

T = TypeVar("T")

_EXIT_SECONDS = 5.0
_SLICE_SECONDS = 0.2
_DONE = object()


class BackgroundLoop:
    """Runs coroutines for blocking callers, from any thread, with or without a loop of their own.

    The thread starts with the first call. A caller that is interrupted cancels its call and waits
    until that has ended.
    """

    def __init__(self) -> None:
        self._state = threading.Lock()
        self._closing = threading.Lock()
        self._closed = False
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end and return the result, or raise what it raised.

        Raises:
            EngineClosedError: The loop is closed.
            RuntimeError: It belongs to the process that forked this one, or waits for the very
                callback that makes this call.
        """
        outcome: Future[T] = Future()
        task: Future[asyncio.Task[None]] = Future()
        try:
            self._schedule(work, outcome, task)
            _wait(outcome)
            return outcome.result()
        except BaseException:
            if not outcome.done():
                # The interrupt hit the caller, not the call: take the call back, and let it end.
                self._take_back(work, outcome, task)
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Yield the items, each fetched when it is asked for; who stops early ends it there."""
        try:
            while (item := self.run(_next(items))) is not _DONE:
                yield cast("T", item)
        finally:
            if isinstance(items, AsyncGenerator) and not self._closed:
                self.run(_end_early(cast("AsyncGenerator[T]", items)))

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one last coroutine, cancel what still runs, and end the thread; again do nothing."""
        with self._closing:
            if self._closed:
                return
            try:
                self.run(last())
            finally:
                with self._state:
                    self._closed = True
                self._stop()

    def _schedule(
        self,
        work: Coroutine[Any, Any, T],
        outcome: Future[T],
        task: Future[asyncio.Task[None]],
    ) -> None:
        context = contextvars.copy_context()
        # Under the lock that close() takes: what is scheduled is always carried out or cancelled.
        with self._state:
            try:
                loop = self._checked()
            except RuntimeError as error:
                work.close()
                outcome.set_exception(error)
                return

            def start() -> None:
                task.set_result(loop.create_task(_carry(work, outcome), context=context))
                task.result().add_done_callback(lambda _done: _give_up(work, outcome))

            loop.call_soon_threadsafe(start)

    def _take_back(
        self,
        work: Coroutine[Any, Any, T],
        outcome: Future[T],
        task: Future[asyncio.Task[None]],
    ) -> None:
        if self._loop is None:
            work.close()
            return

        def cancel() -> None:
            if task.done():
                task.result().cancel()
            else:
                _give_up(work, outcome)

        self._loop.call_soon_threadsafe(cancel)
        _wait(outcome)

    def _checked(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            raise RuntimeError(f"opened by process {self._pid}; a fork of it has to open its own")
        if threading.current_thread() is self._thread:
            raise RuntimeError("a callback of the engine cannot wait for another call to it")
        if self._closed:
            raise EngineClosedError
        return self._loop or self._start()

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(
            target=_serve, args=(loop,), name="memora-background", daemon=True
        )
        # Also when the owner is forgotten, and before the interpreter takes its modules apart.
        self._stop = weakref.finalize(self, _end, loop, thread, self._pid)
        thread.start()
        self._loop, self._thread = loop, thread
        return loop


def _wait(outcome: Future[Any]) -> None:
    # In slices: an interrupt that comes just before a thread begins to wait, and on Windows any,
    # is only noticed between two of them.
    while not outcome.done():
        wait([outcome], _SLICE_SECONDS)


async def _carry(work: Coroutine[Any, Any, T], outcome: Future[T]) -> None:
    try:
        result = await work
    except asyncio.CancelledError:
        outcome.set_exception(CancelledError())
    except BaseException as error:  # noqa: BLE001 - the caller's thread gets it, whatever it is
        outcome.set_exception(error)
    else:
        outcome.set_result(result)


def _give_up(work: Coroutine[Any, Any, T], outcome: Future[T]) -> None:
    if not outcome.done():  # it never began
        work.close()
        outcome.set_exception(CancelledError())


async def _next(items: AsyncIterator[T]) -> T | object:
    return await anext(items, _DONE)


async def _end_early(items: AsyncGenerator[T]) -> None:
    await items.aclose()


async def _wind_up() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(_wind_up())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread, pid: int) -> None:
    if pid != os.getpid() or loop.is_closed():
        return
    loop.call_soon_threadsafe(loop.stop)
    if threading.current_thread() is not thread:
        thread.join(_EXIT_SECONDS)
