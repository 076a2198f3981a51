"""The thread that the engine runs in, and the folders of its shards."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from memora.errors import VectorDBConnectionError, VectorDBError
from memora.vector_db._shard import Shard

T = TypeVar("T")


class Shards:
    """Shards in numbered folders; what happens to them happens in one thread, in turn.

    Args:
        path: Directory of the store; None: a temporary one, deleted at the end.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._thread: ThreadPoolExecutor | None = None
        self._pid = 0
        self.directory = Path()

    async def open(self) -> None:
        """Start the thread; on an open object, do nothing."""
        if self._thread is None:
            self._pid = os.getpid()
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="memora-vectors")
            self.directory = await self.run(_directory, self._path)

    async def close(self) -> None:
        """End the thread when it has done what waits; a second call does nothing."""
        thread, self._thread = self._thread, None
        self._pid = 0
        if thread is not None:
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
            raise VectorDBError("embedded", "the store is not open: call setup()")
        self.check_process()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    async def create(self, dimensions: int) -> tuple[int, Shard]:
        """Make an empty shard, and return it with its number."""
        return await self.run(_create, self._folder, dimensions)

    async def load(self, number: int, change: int) -> Shard:
        """Load a shard; see `Shard.load`."""
        return await self.run(Shard.load, self._folder / str(number), change)

    async def keep_only(self, numbers: Collection[int]) -> None:
        """Delete all folders but these."""
        await self.run(_remove_others, self._folder, numbers)

    @property
    def _folder(self) -> Path:
        return self.directory / "vectors"


def _directory(path: Path | None) -> Path:
    return Path(tempfile.mkdtemp(prefix="memora-")) if path is None else path


def _shards(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _create(folder: Path, dimensions: int) -> tuple[int, Shard]:
    taken = (int(path.name) for path in _shards(folder) if path.name.isdecimal())
    number = 1 + max(taken, default=0)
    return number, Shard.create(folder / str(number), dimensions)


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
