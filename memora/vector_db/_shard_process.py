"""The store's side of a process that its shards run in."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import weakref
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any, ClassVar, cast

from memora.errors import VectorDBConnectionError, VectorDBError
from memora.vector_db._open_shard import OpenShard
from memora.vector_db._shard_calls import Answer, Call, ShardState, frame, take_answers, unpack

# The worker finds memora where this process does, not in what happens to be the current directory.
_BOOT = (
    "import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from memora.vector_db._shard_worker import main; main()"
)
_AT_ONCE = 1 << 18
# Seconds for a worker to end after its last call; then it hangs.
_PATIENCE = 10.0

_Waiting = tuple[asyncio.AbstractEventLoop, asyncio.Future[Answer]]


class ShardProcess:
    """A process that runs shards, one call after the other, and ends with this one.

    Any number of calls may wait for their answers. Two threads wait for the pipes, so that the
    event loop never does.
    """

    _open: ClassVar[weakref.WeakSet[ShardProcess]] = weakref.WeakSet()
    _fork_handled: ClassVar[bool] = False

    def __init__(self) -> None:
        """Start the process; this blocks for some milliseconds.

        Raises:
            VectorDBError: There is no Python interpreter to start.
            VectorDBConnectionError: The system starts no process.
        """
        self._process = _started()
        self._calls: SimpleQueue[bytes | None] = SimpleQueue()
        self._calls.put(pickle.dumps(sys.path))
        self._numbers = count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._end: str | None = None
        self._threads = [
            Thread(target=work, name=f"memora-shards-{work.__name__.strip('_')}", daemon=True)
            for work in (self._send, self._receive)
        ]
        for thread in self._threads:
            thread.start()
        self._close_in_forks()

    @property
    def has_ended(self) -> bool:
        """Whether no call will be answered any more."""
        return self._end is not None

    async def call(self, shard: int, method: str, *arguments: Any) -> Answer:
        """Call a method of a shard.

        Up to the first wait, which is for the answer, the call takes its place behind the earlier
        ones.

        Raises:
            VectorDBConnectionError: The process has ended, before the call or meanwhile.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answer] = loop.create_future()
        number = next(self._numbers)
        sent = frame(Call(number, shard, method, arguments))
        self._waiting[number] = loop, answered
        # After it was noted: the thread that sees the end fails what is noted.
        if self._end is not None and self._waiting.pop(number, None) is not None:
            raise _ended(self._end)
        self._calls.put(sent)
        answer = await answered
        if answer.failure is not None:
            raise answer.failure.error()
        return answer

    def stop(self) -> None:
        """Let the process end behind its last call; this blocks until it has."""
        self._calls.put(None)
        self._wait()
        for thread in self._threads:
            thread.join()

    def kill(self) -> None:
        """End the process at once; calls that wait fail."""
        self._process.kill()

    def _wait(self) -> int:
        """Return the exit status, of a process that hangs after it was killed."""
        try:
            return self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _send(self) -> None:
        pipe = cast("IO[bytes]", self._process.stdin)
        with pipe:
            while (data := self._calls.get()) is not None:
                rest = memoryview(data)
                try:
                    while rest:
                        rest = rest[os.write(pipe.fileno(), rest) :]
                except OSError:
                    return  # it has ended, which the other thread tells

    def _receive(self) -> None:
        pipe = cast("IO[bytes]", self._process.stdout)
        received = bytearray()
        try:
            with pipe:
                while data := os.read(pipe.fileno(), _AT_ONCE):
                    received += data
                    self._settle(take_answers(received))
        except BaseException:
            # What comes is no answer: of another version of memora, which was installed meanwhile.
            self._process.kill()
            raise
        finally:
            self._end = f"exit status {self._wait()}"
            self._calls.put(None)
            self._settle([Answer(number) for number in list(self._waiting)])

    def _settle(self, answers: list[Answer]) -> None:
        """Hand answers over to those who wait for them, with one wake-up of their loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Answer], Answer]]] = {}
        for answer in answers:
            if (waiting := self._waiting.pop(answer.number, None)) is not None:
                by_loop.setdefault(waiting[0], []).append((waiting[1], answer))
        for loop, settled in by_loop.items():
            try:
                loop.call_soon_threadsafe(_set_results, settled, self._end)
            except RuntimeError:
                continue  # the loop is closed, and nobody waits

    def _close_in_forks(self) -> None:
        # With a copy of the pipe in a fork the worker would outlive its store.
        self._open.add(self)
        if not ShardProcess._fork_handled and hasattr(os, "register_at_fork"):
            ShardProcess._fork_handled = True
            os.register_at_fork(after_in_child=ShardProcess.close_inherited)

    @classmethod
    def close_inherited(cls) -> None:
        """Close this process's copies of the pipes of its parent."""
        for process in cls._open:
            for pipe in (process._process.stdin, process._process.stdout):
                if pipe is not None:
                    pipe.close()


class RemoteShard(OpenShard):
    """A shard in another process."""

    def __init__(self, process: ShardProcess, number: int, state: ShardState) -> None:
        self._process = process
        self._number = number
        self._state = state

    @classmethod
    async def create(
        cls, process: ShardProcess, number: int, folder: Path, dimensions: int
    ) -> RemoteShard:
        """Make an empty shard in a folder that is not there yet; see `Shard.create`."""
        answer = await process.call(number, "create", str(folder), dimensions)
        return cls(process, number, answer.state or ShardState())

    @classmethod
    async def load(
        cls, process: ShardProcess, number: int, folder: Path, change: int
    ) -> RemoteShard:
        """Load a shard; see `Shard.load`."""
        answer = await process.call(number, "load", str(folder), change)
        return cls(process, number, answer.state or ShardState())

    @property
    def state(self) -> ShardState:
        return self._state

    @property
    def is_lost(self) -> bool:
        return self._process.has_ended

    async def _call(self, method: str, *arguments: Any) -> Any:
        answer = await self._process.call(self._number, method, *arguments)
        self._state = answer.state or self._state
        return unpack(answer.value) if method == "search" else answer.value


def _started() -> subprocess.Popen[bytes]:
    # A frozen application would start itself.
    if not sys.executable or getattr(sys, "frozen", False):
        reason = "own_process needs a Python interpreter to start, and sys.executable names none"
        raise VectorDBError("embedded", reason)
    command = [sys.executable, "-P", "-c", _BOOT]
    # Out of reach of a Ctrl-C: the store closes its shards first.
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(  # noqa: S603 - our own interpreter
            command, bufsize=0, stdin=pipe, stdout=pipe, creationflags=flags, start_new_session=True
        )
    except OSError as error:
        reason = f"the process of the index was not started: {error.strerror}"
        raise VectorDBConnectionError("embedded", reason) from error


def _ended(how: str) -> VectorDBConnectionError:
    reason = f"the process of the index ended ({how}); the next call starts another one"
    return VectorDBConnectionError("embedded", reason)


def _set_results(settled: list[tuple[asyncio.Future[Answer], Answer]], end: str | None) -> None:
    """Set results, or the same failure of all where the process has come to its end."""
    for future, answer in settled:
        if future.done():
            continue  # cancelled meanwhile
        if end is None:
            future.set_result(answer)
        else:
            future.set_exception(_ended(end))
