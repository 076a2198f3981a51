"""A state of a SQLite store that is read or copied at leisure, while the store goes on."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# Pages between two looks at whether somebody waits for the interpreter: 4 MiB.
_STEP = 1024


class Snapshot:
    """One state of a database, on a connection and a thread of its own.

    In a write-ahead log a reader keeps its state and holds nobody up, however long it reads.

    Args:
        connection: In a transaction that has read; made by the snapshot's own thread.
        thread: That thread.
        translated: Turns SQLite's errors into the store's.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        thread: ThreadPoolExecutor,
        translated: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._connection = connection
        self._thread = thread
        self._translated = translated

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the snapshot's thread."""
        return await asyncio.wrap_future(self._thread.submit(self._run, work))

    async def copy_to(self, path: Path) -> None:
        """Write the state into a new file that only its owner may read, and flush it."""
        await self.run(lambda connection: _copy(connection, path))

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._translated():
            return work(self._connection)


def _copy(connection: sqlite3.Connection, path: Path) -> None:
    # Made here: SQLite would take the umask's mode.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        # Steps of one transaction of the source, which is open: nothing starts again when
        # somebody writes. It also takes the page that says that the database has a log.
        connection.backup(copy, pages=_STEP)
        # A copy is one file.
        copy.execute("PRAGMA journal_mode = DELETE")
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
