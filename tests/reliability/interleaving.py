"""An event loop in which chance, with a seed, decides who goes on: the same seed, the same run.

Where the engine uses threads there is nothing to wait for: their work lies in a queue until it is
chosen, each thread's in its order. And where a client calls a port it stops until it is chosen.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from selectors import DefaultSelector, SelectorKey
from threading import get_ident
from typing import Any, TypeVar, cast
from unittest import mock

from memora.graph_db.base import BaseGraphDB

T = TypeVar("T")


class SteppedExecutor(Executor):
    """A thread's queue without the thread."""

    def __init__(self, loop: SteppedLoop) -> None:
        self._loop = loop
        self.waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        loop.executors.append(self)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        self.waiting.append((future, lambda: fn(*args, **kwargs)))
        if not self._loop.is_stepping:
            self.step()
        return future

    def step(self) -> None:
        """Do the first thing that waits."""
        future, work = self.waiting.popleft()
        if future.set_running_or_notify_cancel():
            # A thread has no loop, so what it does may block.
            running = asyncio._get_running_loop()
            asyncio._set_running_loop(None)
            try:
                result = work()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            finally:
                asyncio._set_running_loop(running)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        while self.waiting:
            self.step()


class _Selector(DefaultSelector):
    """Asks the system only when there is nothing else to do."""

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        return [] if timeout == 0 else super().select(timeout)


class SteppedLoop(asyncio.SelectorEventLoop):
    """When nobody can go on, it chooses one of those that wait.

    Attributes:
        is_stepping: False lets all work be done at once, as for opening a store.
    """

    def __init__(self, seed: int | str) -> None:
        super().__init__(_Selector())
        self.rng = random.Random(seed)
        self.executors: list[SteppedExecutor] = []
        self.is_stepping = False
        self._parked: list[asyncio.Future[None]] = []
        self._default = SteppedExecutor(self)
        self._thread = get_ident()

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> asyncio.Handle:
        """Spare a wake-up where the loop's own thread calls, which is awake."""
        if get_ident() == self._thread:
            return self.call_soon(*args, **options)
        return super().call_soon_threadsafe(*args, **options)

    async def pause(self) -> None:
        """Wait to be chosen."""
        if self.is_stepping:
            future = self.create_future()
            self._parked.append(future)
            await future

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        return super().run_in_executor(self._default if executor is None else executor, func, *args)

    def _run_once(self) -> None:
        # Some work wakes nobody: a commit that another one has done along with its own.
        while not self._ready and self._choose():  # type: ignore[attr-defined] - asyncio's own
            pass
        super()._run_once()  # type: ignore[misc] - asyncio's own

    def _choose(self) -> bool:
        busy = [executor for executor in self.executors if executor.waiting]
        if not busy and not self._parked:
            return False
        chosen = self.rng.randrange(len(busy) + len(self._parked))
        if chosen < len(busy):
            busy[chosen].step()
        else:
            future = self._parked.pop(chosen - len(busy))
            if not future.done():
                future.set_result(None)
        return True


@contextmanager
def stepped(seed: int | str) -> Generator[SteppedLoop]:
    """Give a loop in which stores that are opened have no threads."""
    loop = SteppedLoop(seed)

    def executor(*_args: Any, **_options: Any) -> SteppedExecutor:
        return SteppedExecutor(loop)

    try:
        with (
            mock.patch("memora._sqlite.ThreadPoolExecutor", executor),
            mock.patch("memora.embeddings.base.ThreadPoolExecutor", executor),
            mock.patch("memora.vector_db._shards.ThreadPoolExecutor", executor),
        ):
            yield loop
    finally:
        loop.close()


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run where nothing waits for a thread: what has no rival needs none, and is faster without."""
    with stepped(0) as loop:
        return loop.run_until_complete(work)


def _pausing(method: Any) -> Any:
    async def call(self: Any, *arguments: Any, **options: Any) -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppedLoop)
        await loop.pause()
        return await method(self, *arguments, **options)

    return call


def pausing(graph: type[T]) -> type[T]:
    """Return a subclass whose primitives wait until the loop chooses them."""
    names = BaseGraphDB.__abstractmethods__ - {"close", "setup"}
    methods = {name: _pausing(getattr(graph, name)) for name in sorted(names)}
    return cast("type[T]", type(f"Pausing{graph.__name__}", (graph,), methods))
