"""Breaks things on purpose: at every statement of SQLite, and before and after every port call.

A boundary is a moment between two steps of an operation. A first, undisturbed run records their
names; then one cycle per boundary runs the operation again and lets one fault happen there.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast
from unittest import mock

from memora import _sqlite
from memora.errors import LLMConnectionError, VectorDBConnectionError, VectorDBError
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.testing.fakes import ScriptedBackendLLM
from memora.vector_db.base import BaseVectorDB

T = TypeVar("T")

KILLED = 9


class Fault(StrEnum):
    """What can happen, by the letters of the suite's description."""

    DEATH = "a_process_death"
    DATABASE = "b_database_exception"
    CANCELLED = "c_cancellation"
    VECTORS = "d_vector_store"
    UNKNOWN = "e_commit_unknown"
    DISK = "f_disk_full_or_locked"
    MODEL = "g_model"


@dataclass
class Injector:
    """Counts boundaries while it is armed, and at the chosen one lets the fault happen once.

    Concurrent calls may pass theirs in another order the next time, so each kind is counted apart.

    Attributes:
        at: Name of the boundary, and how many of that name come before; None only records.
        strike: What happens there; it gets the boundary's name, and raises or ends the process.
        seen: Names of the boundaries so far.
        struck: Name of the one where it happened.
    """

    at: tuple[str, int] | None = None
    strike: Callable[[str], None] = lambda _name: None
    armed: bool = False
    seen: list[str] = field(default_factory=list[str])
    struck: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, name: str) -> None:
        """Say that a boundary was reached."""
        with self._lock:
            if not self.armed or self.struck is not None:
                return
            found = (name, self.seen.count(name))
            self.seen.append(name)
            if found != self.at:
                return
            self.struck = name
        self.strike(name)

    @contextmanager
    def arm(self) -> Generator[None]:
        """Count, for a while."""
        self.armed = True
        try:
            yield
        finally:
            self.armed = False


def die(_name: str) -> None:
    """End the process as `kill -9` does: nothing is flushed, closed or rolled back."""
    os._exit(KILLED)


# SQLite: one boundary before every statement, and one after every commit


class _Connection(_sqlite.Connection):
    injector: Injector
    file: str

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # type: ignore[override] - all are passed on
        return self._run(super().execute, sql, *parameters)

    def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # type: ignore[override] - all are passed on
        return self._run(super().executemany, sql, *parameters)

    def _run(self, run: Callable[..., sqlite3.Cursor], sql: str, *parameters: Any) -> Any:
        name = f"sql {self.file} {_first_words(sql)}"
        try:
            self.injector.reach(name)
        except GaveUpError as error:
            # As SQLite does after some failures: the whole transaction is undone.
            if self.in_transaction:
                super().execute("ROLLBACK")
            raise error.reported from None
        result = run(sql, *parameters)
        if sql == "COMMIT":
            self.injector.reach(f"sql {self.file} committed")
        return result


@cache
def _first_words(sql: str) -> str:
    return " ".join(sql.split()[:2])


class GaveUpError(Exception):
    """The statement fails with this error of SQLite, and so does the transaction around it."""

    def __init__(self, reported: sqlite3.Error) -> None:
        super().__init__(str(reported))
        self.reported = reported


def sqlite_error(code: int, name: str) -> sqlite3.OperationalError:
    """Return an error as SQLite raises it."""
    error = sqlite3.OperationalError(name)
    error.sqlite_errorcode = code
    error.sqlite_errorname = name
    return error


@contextmanager
def watched_sqlite(injector: Injector) -> Iterator[None]:
    """Let every connection that is opened meanwhile report its statements."""
    connect = sqlite3.connect

    def watched(target: str | Path, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(target, *arguments, **{**options, "factory": _Connection})
        assert isinstance(connection, _Connection)
        connection.injector = injector
        connection.file = Path(str(target).partition("?")[0]).stem
        return connection

    with mock.patch.object(sqlite3, "connect", watched):
        yield


# Ports: one boundary before and one after every call


def _watched(name: str, method: Any) -> Any:
    async def call(self: Any, *arguments: Any, **options: Any) -> Any:
        self.injector.reach(f"port {name} before")
        result = await method(self, *arguments, **options)
        self.injector.reach(f"port {name} after")
        return result

    return call


def watched(store: type[T], port: type[Any], injector: Injector) -> type[T]:
    """Return a subclass whose primitives report themselves."""
    names = sorted(port.__abstractmethods__ - {"close"})
    title = "graph" if issubclass(port, BaseGraphDB) else "vectors"
    methods = {name: _watched(f"{title}.{name}", getattr(store, name)) for name in names}
    return cast(
        "type[T]", type(f"Watched{store.__name__}", (store,), {**methods, "injector": injector})
    )


def watched_graph(injector: Injector) -> type[SQLiteGraph]:
    """Return the embedded graph that reports its primitives."""
    return watched(SQLiteGraph, BaseGraphDB, injector)


def watched_vectors(store: type[T], injector: Injector) -> type[T]:
    """Return that vector store, reporting its primitives."""
    return watched(store, BaseVectorDB, injector)


class WatchedModel(ScriptedBackendLLM):
    """A scripted model that reports its calls; what happens meanwhile can be given."""

    injector: Injector
    meanwhile: Callable[[], Awaitable[Any]] | None = None

    async def __call__(self, *arguments: Any, **options: Any) -> Any:  # type: ignore[override] - all are passed on
        self.injector.reach("model before")
        if self.meanwhile is not None and self.injector.struck is not None:
            act, self.meanwhile = self.meanwhile, None
            await act()
        result = await super().__call__(*arguments, **options)
        self.injector.reach("model after")
        return result


# Cancellation at the k-th await


class _Steps(Awaitable[T]):
    """Runs a coroutine in the current task, and cancels that task at its k-th pause.

    Early: the pause has just begun, so what it waits for is still on its way. Late: what it waits
    for is there, and the task has not been told yet.
    """

    def __init__(self, work: Coroutine[Any, Any, T], at: int | None, *, late: bool) -> None:
        self._work = work
        self._at = at
        self._late = late
        self.pauses = 0

    def __await__(self) -> Generator[Any, Any, T]:
        task = asyncio.current_task()
        assert task is not None
        steps = self._work.__await__()
        error: BaseException | None = None
        while True:
            try:
                future = steps.throw(error) if error is not None else next(steps)
            except StopIteration as done:
                return done.value
            if self.pauses == self._at:
                if self._late and future is not None:
                    future.add_done_callback(lambda _done: task.cancel())
                else:
                    task.cancel()
            self.pauses += 1
            error = None
            try:
                yield future
            except BaseException as raised:
                error = raised


async def count_pauses(work: Coroutine[Any, Any, Any]) -> int:
    """Run to the end, and return at how many places the work waited."""
    steps = _Steps(work, None, late=False)
    await steps
    return steps.pauses


async def cancelled_at(work: Coroutine[Any, Any, T], at: int, *, late: bool) -> T:
    """Run, and be cancelled at pause number `at`."""
    task = asyncio.ensure_future(_drive(_Steps(work, at, late=late)))
    return await task


async def _drive(steps: _Steps[T]) -> T:
    return await steps


# What the other faults do at their boundary


def database_fails(_name: str) -> None:
    """The statement is refused; the transaction around it is still there."""
    raise sqlite_error(sqlite3.SQLITE_IOERR, "SQLITE_IOERR")


def disk_is_full(_name: str) -> None:
    """The statement finds the disk full, and SQLite undoes the transaction."""
    raise GaveUpError(sqlite_error(sqlite3.SQLITE_FULL, "SQLITE_FULL"))


def is_locked(_name: str) -> None:
    """Somebody else has the database."""
    raise sqlite_error(sqlite3.SQLITE_BUSY, "SQLITE_BUSY")


def vectors_are_down(_name: str) -> None:
    """The vector store's answer is lost; it may have done what it was asked to."""
    raise VectorDBConnectionError("rows", "HTTP 503")


def vectors_refuse(_name: str) -> None:
    """The vector store fails for a reason that does not pass by itself."""
    raise VectorDBError("rows", "HTTP 500")


def model_is_down(_name: str) -> None:
    """The provider cannot be reached, or its answer is lost."""
    raise LLMConnectionError("scripted", "HTTP 503")


def nothing(_name: str) -> None:
    """The boundary only marks a moment."""
