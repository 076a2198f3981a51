"""A lock that one process holds, and that dies with it."""

from __future__ import annotations

import os
import sys
import weakref
from pathlib import Path
from typing import ClassVar

from memora.errors import StoreLockedError

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        # Windows keeps others from reading what is locked, so the byte lies far behind the pid.
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class ProcessLock:
    """Exclusive lock on a file beside the database; the system frees it when the owner dies."""

    # Copies of the lock that forked children hold would outlive the owner.
    _held: ClassVar[weakref.WeakSet[ProcessLock]] = weakref.WeakSet()
    _fork_handled: ClassVar[bool] = False

    def __init__(self, database: Path) -> None:
        self._directory = database.parent
        path = database.with_name(database.name + ".lock")
        self._file = os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "r+")

    def __enter__(self) -> ProcessLock:
        try:
            _lock(self._file.fileno())
        except OSError as error:
            owner = self._file.read(20).strip()
            self._file.close()
            pid = int(owner) if owner.isdigit() else None
            raise StoreLockedError(str(self._directory), pid) from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()
        self._close_in_forks()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._file.truncate(0)
        self._file.close()

    def _close_in_forks(self) -> None:
        self._held.add(self)
        if not ProcessLock._fork_handled and hasattr(os, "register_at_fork"):
            ProcessLock._fork_handled = True
            os.register_at_fork(after_in_child=_close_inherited_locks)

    @classmethod
    def close_inherited(cls) -> None:
        """Close this process's copies of the locks that its parent holds."""
        for lock in cls._held:
            lock._file.close()


def _close_inherited_locks() -> None:
    ProcessLock.close_inherited()
