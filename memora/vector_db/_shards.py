"""Where the engine runs, and the folders of its shards."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from memora._sqlite import NOT_OPEN
from memora.errors import StoreLockedError, VectorDBConnectionError, VectorDBError
from memora.vector_db._open_shard import OpenShard
from memora.vector_db._shard import Shard, engine
from memora.vector_db._shard_calls import ShardState
from memora.vector_db._shard_process import RemoteShard, ShardProcess

T = TypeVar("T")

# Seconds for the process of shards to end behind a store that was killed: for one call of it, and
# until then it holds the lock.
_LAST_CALL = 5.0
_ASK_AGAIN = 0.05
# Seconds that a machine in trouble may take to start a process.
_START = 60.0


class Shards:
    """Shards in numbered folders; what happens to them happens in one thread or process, in turn.

    Args:
        path: Directory of the store; None: a temporary one, deleted at the end.
        own_process: Whether the engine runs in a process of its own.
    """

    def __init__(self, path: Path | None, *, own_process: bool = False) -> None:
        self._path = path
        self._own_process = own_process
        self._thread: ThreadPoolExecutor | None = None
        self._process: ShardProcess | None = None
        self._pid = 0
        self.directory = self._folder = Path()

    async def open(self) -> None:
        """Start the thread; on an open object, do nothing."""
        if self._thread is None:
            self._pid = os.getpid()
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="memora-vectors")
            self.directory, self._folder = await self.run(_directories, self._path)

    async def close(self) -> None:
        """End thread and process when they have done what waits; a second call does nothing."""
        thread, self._thread = self._thread, None
        process, self._process = self._process, None
        self._pid = 0
        if thread is not None:
            if process is not None:
                thread.submit(process.stop)
            if self._path is None:
                thread.submit(shutil.rmtree, self.directory, ignore_errors=True)
            await asyncio.to_thread(thread.shutdown)

    @property
    def is_ours(self) -> bool:
        """Whether this process may use the store: not a fork of the one that opened it."""
        return self._pid in {0, os.getpid()}

    def check_process(self) -> None:
        """Refuse to go on in a fork of the process that opened the store."""
        if not self.is_ours:
            reason = f"the store was opened by process {self._pid} and cannot be used in a fork"
            raise VectorDBError("embedded", reason)

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Run work in the thread."""
        if self._thread is None:
            raise VectorDBError("embedded", NOT_OPEN)
        self.check_process()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    async def engine(self) -> str:
        """Return name and version of the engine; see `_shard.engine`."""
        if not self._own_process:
            return await self.run(engine)
        return (await (await self._running()).call(0, "engine")).value

    async def create(self, dimensions: int) -> tuple[int, OpenShard]:
        """Make an empty shard, and return it with its number."""
        number = await self.run(_free_number, self._folder)
        folder = self._folder / str(number)
        if self._own_process:
            return number, await RemoteShard.create(
                await self._running(), number, folder, dimensions
            )
        return number, LocalShard(self, await self.run(Shard.create, folder, dimensions))

    async def load(self, number: int, change: int) -> OpenShard:
        """Load a shard; see `Shard.load`. One that is locked is waited for, some seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _LAST_CALL
        while True:
            try:
                return await self._load(number, change)
            except StoreLockedError:
                if loop.time() > until:
                    raise
            await asyncio.sleep(_ASK_AGAIN)

    async def _load(self, number: int, change: int) -> OpenShard:
        folder = self._folder / str(number)
        if self._own_process:
            return await RemoteShard.load(await self._running(), number, folder, change)
        return LocalShard(self, await self.run(Shard.load, folder, change))

    async def keep_only(self, numbers: Collection[int]) -> None:
        """Delete all folders but these."""
        await self.run(_remove_others, self._folder, numbers)

    async def _running(self) -> ShardProcess:
        """Return the process of the shards, which is started where there is none."""
        process = self._process
        if process is None or process.has_ended:
            if process is not None:
                await self.run(process.stop)
            process = self._process = await self.run(ShardProcess)
            try:
                await asyncio.wait_for(process.call(0, "engine"), _START)
            except TimeoutError:
                # What `sys.executable` names is no Python interpreter, and waits for something.
                process.kill()
                reason = "the process of the index does not answer after its start"
                raise VectorDBConnectionError("embedded", reason) from None
        return process


class LocalShard(OpenShard):
    """A shard in the thread of its store."""

    def __init__(self, shards: Shards, shard: Shard) -> None:
        self._shards = shards
        self.loaded = shard

    @property
    def state(self) -> ShardState:
        shard = self.loaded
        return ShardState(shard.change, shard.flushed, shard.waiting, shard.applied)

    @property
    def is_lost(self) -> bool:
        return False

    async def _call(self, method: str, *arguments: Any) -> Any:
        return await self._shards.run(getattr(self.loaded, method), *arguments)


def _directories(path: Path | None) -> tuple[Path, Path]:
    """Return the directory of the store and, as every process finds it, that of the shards."""
    directory = Path(tempfile.mkdtemp(prefix="memora-")) if path is None else path
    return directory, directory.absolute() / "vectors"


def _shards(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _free_number(folder: Path) -> int:
    taken = (int(path.name) for path in _shards(folder) if path.name.isdecimal())
    return 1 + max(taken, default=0)


def _remove_others(folder: Path, numbers: Collection[int]) -> None:
    kept = {str(number) for number in numbers}
    for path in _shards(folder):
        if path.name not in kept:
            try:
                shutil.rmtree(path)
            except OSError as error:
                # It may hold what was erased: whoever erases must hear of it.
                reason = f"an old index stays in {path}: {error.strerror}"
                raise VectorDBConnectionError("embedded", reason) from error
