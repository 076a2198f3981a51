"""One SQLite file, owned by one process; under both embedded stores.

One thread writes, on the only connection that can; another one reads, so that a read does not
wait for the disk flush of somebody's write. Reads that wait at the same moment share one state of
the database. Writes that wait at the same moment share one commit,
each in its own savepoint, so that the flush is paid once for all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
)
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from memora import _sqlite_schema
from memora._process_lock import ProcessLock
from memora._sqlite_backup import check_no_backup
from memora._sqlite_reads import Reads
from memora._sqlite_snapshot import Snapshot
from memora.errors import (
    GraphDBConnectionError,
    GraphDBError,
    MemoraError,
    SchemaVersionError,
)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_logger = logging.getLogger("memora")
_told_about_version = False

NOT_OPEN = "the store is not open: use it inside `async with` (blocking: `with`), or call setup()"

_BUSY_SECONDS = 10.0  # in `_commit_waiting` too, as milliseconds
_BATCH = 64
_CHECKPOINT_EVERY = 1000
# Page caches, in KiB. Pages that are written come back so seldom that a larger one makes no import
# faster.
_WRITER_CACHE = "PRAGMA cache_size = -4096"
_READER_CACHE = "PRAGMA cache_size = -8192"
_RESET_RACE_FIXED = (3, 51, 3)

# Primary result codes that may pass when the call is made again, and those that will not.
_MAY_PASS = {
    sqlite3.SQLITE_BUSY: "the database is locked by another program",
    sqlite3.SQLITE_LOCKED: "the database is locked",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write",
    sqlite3.SQLITE_NOMEM: "memory ran out",
    sqlite3.SQLITE_INTERRUPT: "the statement was interrupted",
}
_WILL_NOT_PASS = {
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_PERM: "the database may not be accessed",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is not a database",
    sqlite3.SQLITE_TOOBIG: "a value is too large",
}


class Connection(sqlite3.Connection):
    """A connection of a store.

    Attributes:
        guard: What the store was given to watch over its connections.
        failure: Why a function of ours failed; SQLite's own error says only that one did.
    """

    guard: Guard | None = None
    failure: MemoraError | None = None


class Guard(Protocol):
    """Watches over the connections of a store, all in the store's threads."""

    def admit(self, connection: Connection, version: int) -> None:
        """Raise if the store may not be opened; nothing was read or written so far.

        Args:
            connection: The one that will write.
            version: Of the schema before migrations; 0 is a new store.
        """
        ...

    def check(self, connection: Connection, version: int) -> None:
        """Raise as `admit` would, of a file that is still to become the store."""
        ...

    def attach(self, connection: Connection, *, writes: bool) -> None:
        """Prepare a connection of the migrated store."""
        ...

    def attach_to_copy(self, connection: Connection) -> None:
        """Prepare a connection that keeps to one state of the store."""
        ...

    def detach(self, connection: Connection) -> None:
        """Take back what `attach` did; nothing else runs on the connection meanwhile."""
        ...


@dataclass(slots=True, eq=False)
class _Write(Generic[T]):
    """A write that waits for its turn, then for the commit that it shares."""

    work: Work[T]
    durable: bool
    future: Future[T] = field(default_factory=Future[T])
    result: T | None = None
    error: BaseException | None = None

    def run(
        self,
        connection: Connection,
        translated: Callable[[sqlite3.Error | UnicodeEncodeError, Connection], MemoraError],
    ) -> None:
        connection.execute("SAVEPOINT one_write")
        try:
            self.result = self.work(connection)
        except BaseException as error:
            if not connection.in_transaction:
                raise  # SQLite gave up the whole transaction: nobody's write is in
            connection.execute("ROLLBACK TO one_write")
            is_sqlites = isinstance(error, sqlite3.Error | UnicodeEncodeError)
            self.error = translated(error, connection) if is_sqlites else error
        connection.execute("RELEASE one_write")

    def settle(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(cast("T", self.result))


class SqliteStore:
    """A migrated database with one writing and one reading connection.

    Usable from any event loop, but only in the process that opened it. A cancelled write leaves
    no half transaction: either it never starts, or its caller goes on when it is committed.

    Args:
        path: The database file; None keeps everything in memory.
        part_of: Directory of the whole store, where that is not the file's own.
        application_id: Stamp that tells this kind of store from others.
        migrations: Package with the files `migrations/0001_<what>.sql`, ...; each sets
            `user_version` to its number, the first one `application_id` too.
        prepare: Done in a transaction each time the database has been opened.
        guard: Watches over the connections.
        backend: Name of the store in errors.
        error: Class of errors that stay; connection_error: of those that may pass.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        application_id: int,
        migrations: str,
        part_of: Path | None = None,
        prepare: Work[None] | None = None,
        guard: Guard | None = None,
        backend: str = "sqlite",
        error: Callable[[str, str], MemoraError] = GraphDBError,
        connection_error: Callable[[str, str], MemoraError] = GraphDBConnectionError,
    ) -> None:
        self._path = path
        self._part_of = part_of
        self._application_id = application_id
        self._migrations = migrations
        self._prepare = prepare
        self._guard = guard
        self._backend = backend
        self._error = error
        self._connection_error = connection_error
        self._executor: ThreadPoolExecutor | None = None
        self._reader: _Reader | None = None
        self._pid = 0
        self._connection: Connection | None = None
        self._is_ready = False
        self._resources = ExitStack()
        self._queue: deque[_Write[Any]] = deque()
        self._closing: Future[None] | None = None
        self._writes = 0
        # The open file, and its device and number: its path can be given to another one meanwhile.
        self._file: tuple[Path, tuple[int, int]] | None = None
        self._snapshots = 0
        self._owes_checkpoint = False

    async def open(self, *, as_is: bool = False) -> None:
        """Open the database, creating or migrating it; on an open store, do nothing.

        Args:
            as_is: Where it cannot be migrated because it is damaged, leave it as it is: `defects`
                and `mend` work then, and opening it again goes on from there.

        Raises:
            StoreLockedError: A process (this one too) has it open.
            SchemaVersionError: It is newer than this memora, or no such store at all.
            InvalidInputError: It lies in a backup.
        """
        if self._executor is None:
            await self.close()  # one that is still on its way comes first
        if self._executor is None:
            self._pid = os.getpid()
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"memora-{self._backend}")
            self._closing = None
        await asyncio.wrap_future(self._submit(lambda: self._open(as_is)))

    async def close(self) -> None:
        """Finish what is queued, then close file and lock; a second call does nothing."""
        if self._executor is not None and self._pid == os.getpid():
            self._closing = self._executor.submit(self._close)
            self._executor.shutdown(wait=False)
            self._executor = None
        if self._closing is not None and self._pid == os.getpid():
            await asyncio.shield(asyncio.wrap_future(self._closing))

    async def read(self, work: Work[T]) -> T:
        """Run `work` on one state of the database; it cannot write.

        It sees every write that was finished before the call.
        """
        executor, reader = self._check_usable(), self._reader
        if reader is not None:
            return await reader.reads.run(lambda: self._read(work, reader))
        return await asyncio.wrap_future(executor.submit(self._read, work, None))

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Run `work` in a transaction, and return when it is committed.

        An exception in `work` undoes what it did and is raised.

        Args:
            work: What to do; called once.
            durable: Whether the commit waits for the disk. False is for bookkeeping that may be
                lost in a power failure because it is repeated then.
        """
        waiting = _Write(work, durable)
        self._check_usable()
        self._queue.append(waiting)
        self._submit(self._commit_waiting)
        return await _settled(waiting.future)

    async def checkpoint(self) -> bool:
        """Move everything into the database file and empty its log.

        While a snapshot is held the log cannot be emptied: the last one to go makes up for it.

        Returns:
            Whether the log is empty: somebody who reads for long keeps it.
        """
        if self._snapshots:
            self._owes_checkpoint = True
            return False
        return await asyncio.wrap_future(self._submit(lambda: self._try_checkpoint(self._opened())))

    async def scrub(self) -> bool:
        """Empty the log and the page caches: both may hold what was deleted.

        Returns:
            Whether the log is empty.
        """
        await self.read(_shrink)
        if self._snapshots:
            self._owes_checkpoint = True
            return False
        return await asyncio.wrap_future(self._submit(self._scrub))

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[Snapshot]:
        """Hold the present state, with every write that was finished before; writes go on."""
        self._check_usable()
        thread = ThreadPoolExecutor(1, thread_name_prefix="memora-snapshot")
        self._snapshots += 1
        try:
            connection = await asyncio.wrap_future(thread.submit(self._hold))
            try:
                yield Snapshot(connection, thread, lambda: self._errors_translated(connection))
            finally:
                thread.submit(connection.close)
        finally:
            thread.shutdown(wait=False)
            self._snapshots -= 1
            if self._owes_checkpoint and not self._snapshots and self._executor is not None:
                self._owes_checkpoint = False
                await self.checkpoint()

    async def replace(self, path: Path, check: Work[None] | None = None) -> None:
        """Become the database in the file, in one transaction; one of an older schema is migrated.

        Args:
            path: The file.
            check: Raises where this database must not be replaced; no write comes between.

        Raises:
            SchemaVersionError: It is newer than this memora, or no such store at all.
        """
        await _settled(self._submit(lambda: self._replace(path, check)))

    async def defects(self) -> list[_sqlite_schema.Defect]:
        """Return what the migrations make and the database does not have."""
        return await self.read(
            lambda connection: _sqlite_schema.defects(connection, self._scripts())
        )

    async def mend(self, name: str, *, replace: bool = False) -> bool:
        """Make one table, index, view or stamp again; return whether anything changed.

        What is in the way of a unique index raises the class of errors that stay.

        Args:
            name: Of the object.
            replace: Also drop a table that is different, with its rows.
        """

        def work(connection: sqlite3.Connection) -> bool:
            with self._unguarded(self._opened()):
                return _sqlite_schema.mend(connection, self._scripts(), name, replace=replace)

        return await self.write(work)

    def _scripts(self) -> list[str]:
        migrations = _migrations(self._migrations)
        return [migrations[number] for number in sorted(migrations)]

    async def compact(self) -> None:
        """Write the whole file anew, without what was deleted or replaced, and empty its log."""
        await asyncio.wrap_future(self._submit(self._compact))

    async def attach_guard(self) -> None:
        """Have the guard attach itself once more to the open connections, the reading one first."""
        executor, reader = self._check_usable(), self._reader
        if reader is not None:
            await asyncio.wrap_future(reader.executor.submit(reader.attach_guard))
        await asyncio.wrap_future(executor.submit(self._attach_guard))

    def _check_usable(self) -> ThreadPoolExecutor:
        if self._executor is None:
            raise self._error(self._backend, NOT_OPEN)
        if self._pid != os.getpid():
            raise self._error(
                self._backend,
                f"the store was opened by process {self._pid} and cannot be used in a fork of it",
            )
        return self._executor

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        return self._check_usable().submit(work)

    # What follows runs in the store's threads.

    def _read(self, work: Work[T], reader: _Reader | None) -> T:
        connection = self._opened() if reader is None else reader.connection
        with self._errors_translated(connection):
            return work(connection) if reader is None else reader.run(work)

    def _opened(self) -> Connection:
        if self._connection is None:
            raise self._error(self._backend, NOT_OPEN)
        return self._connection

    def _commit_waiting(self) -> None:
        batch: list[_Write[Any]] = []
        while self._queue and len(batch) < _BATCH:
            waiting = self._queue.popleft()
            if waiting.future.set_running_or_notify_cancel():
                batch.append(waiting)
        if not batch:
            return
        try:
            connection = self._opened()
            durable = any(write.durable for write in batch)
            with self._errors_translated(), _transaction(connection, durable=durable):
                for write in batch:
                    write.run(connection, self._translated)
            # Before anybody is told that it is stored.
            self._check_file()
        except BaseException as error:  # noqa: BLE001 - every caller gets it
            for write in batch:
                write.future.set_exception(error)
            return
        for write in batch:
            write.settle()
        self._writes += len(batch)
        if self._writes >= _CHECKPOINT_EVERY:
            self._writes = 0
            # Nobody waits here for a long read: there will be another time.
            connection.execute("PRAGMA busy_timeout = 100")
            self._try_checkpoint(connection)
            connection.execute("PRAGMA busy_timeout = 10000")

    def _check_file(self) -> None:
        """Raise if what is written goes to a file that nobody finds again."""
        if self._file is None:
            return
        path, identity = self._file
        try:
            is_there = _identity(path) == identity
        except OSError:
            is_there = False
        if not is_there:
            reason = "the database file was deleted or replaced while it was open"
            raise self._error(self._backend, reason)

    def _scrub(self) -> bool:
        connection = self._opened()
        with self._errors_translated():
            _shrink(connection)
        return self._try_checkpoint(connection)

    def _try_checkpoint(self, connection: sqlite3.Connection) -> bool:
        try:
            busy, *_pages = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            # Everything is committed; the log only stays long until the next try.
            _logger.warning("%s: no checkpoint: %s", self._backend, self._translated(error))
            return False
        return not busy

    def _compact(self) -> None:
        connection = self._opened()
        with self._errors_translated():
            # VACUUM would take the guard's views for the tables.
            with self._unguarded(connection):
                connection.execute("VACUUM")
            if self._snapshots:
                self._owes_checkpoint = True
            else:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _attach_guard(self) -> None:
        if self._guard is not None:
            self._guard.attach(self._opened(), writes=True)

    @contextmanager
    def _unguarded(self, connection: Connection) -> Generator[None]:
        """Have all names mean what the file has."""
        if self._guard is None:
            yield
            return
        self._guard.detach(connection)
        try:
            yield
        finally:
            self._guard.attach(connection, writes=True)

    def _checkpoint_at_end(self, connection: sqlite3.Connection) -> None:
        # What a snapshot holds cannot be moved; waiting for it would only be waiting.
        if not self._snapshots:
            self._try_checkpoint(connection)

    def _open(self, as_is: bool) -> None:  # noqa: FBT001 - runs in the store's thread
        if self._connection is None:
            with ExitStack() as stack, self._errors_translated():
                target = ":memory:" if self._path is None else self._prepare_file(self._path, stack)
                connection = _connect(target, self._guard)
                stack.enter_context(closing(connection))
                self._is_ready = False
                self._bring_up(connection, as_is=as_is)
                _tell_about_version()
                if self._path is not None:
                    self._file = Path(target), _identity(Path(target))
                stack.callback(self._checkpoint_at_end, connection)
                if self._path is not None:
                    self._reader = stack.enter_context(
                        _Reader(Path(target), self._guard, self._errors_translated)
                    )
                self._connection = connection
                self._resources = stack.pop_all()
        elif not self._is_ready:
            with self._errors_translated():
                self._bring_up(self._connection, as_is=as_is)

    def _bring_up(self, connection: Connection, *, as_is: bool) -> None:
        """Migrate and prepare; a damaged database is left as it is if that is what is wanted."""
        version = self._check_version(connection, as_is=as_is)
        if self._guard is not None:
            self._guard.admit(connection, version)
        _configure(connection)
        try:
            self._bring_up_to_date(connection)
        except sqlite3.Error as error:
            damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_ERROR
            if not (as_is and damaged):
                raise
            return
        self._is_ready = True

    def _bring_up_to_date(self, connection: Connection) -> None:
        migrations = _migrations(self._migrations)
        version = _scalar(connection, "PRAGMA user_version")
        with self._unguarded(connection):
            for number in range(version + 1, max(migrations) + 1):
                _migrate(connection, number, migrations[number])
        if self._prepare is not None:
            with _transaction(connection, durable=False):
                self._prepare(connection)

    def _hold(self) -> Connection:
        """Open a connection of its own on the present state."""
        with self._errors_translated():
            if self._path is None:
                # Nobody else can read it: the state is copied.
                connection = _connect(":memory:", self._guard, check_same_thread=False)
                self._submit(lambda: self._opened().backup(connection)).result()
            else:
                connection = connect_to_read(self._path, self._guard)
                connection.execute("BEGIN")
                # A transaction's state is that of its first look.
                _scalar(connection, "SELECT count(*) FROM sqlite_master")
            if self._guard is not None:
                self._guard.attach_to_copy(connection)
            return connection

    def _replace(self, path: Path, check: Work[None] | None) -> None:
        with self._errors_translated(), closing(self._connect_to_copy(path)) as source:
            version = self._check_version(source)
            if self._guard is not None:
                self._guard.check(source, version)
            connection = self._opened()
            if check is not None:
                check(connection)
            connection.execute("PRAGMA synchronous = FULL")
            source.backup(connection)
            if self._guard is not None:
                self._guard.admit(connection, version)
            self._bring_up_to_date(connection)
            self._try_checkpoint(connection)

    def _connect_to_copy(self, path: Path) -> Connection:
        try:
            return connect_to_read(path)
        except ValueError as error:  # a NUL or a lone surrogate
            raise self._error(self._backend, f"{str(path)!r}: no file can be called so") from error

    def _prepare_file(self, path: Path, stack: ExitStack) -> str:
        check_no_backup(path.parent)
        if self._part_of is not None:
            check_no_backup(self._part_of)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = path.resolve()
            stack.enter_context(ProcessLock(path))
            if not path.exists():
                # Made by hand only while it is not there: SQLite would take the umask's mode, and
                # closing a file that SQLite has open would drop its locks.
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            elif path.stat().st_mode & 0o077:
                path.chmod(0o600)
        except OSError as error:
            raise self._error(self._backend, f"{path}: {error.strerror}") from error
        except ValueError as error:  # a NUL or a lone surrogate
            raise self._error(self._backend, f"{str(path)!r}: no file can be called so") from error
        return str(path)

    def _check_version(self, connection: sqlite3.Connection, *, as_is: bool = False) -> int:
        """Return the version of the schema; 0 is a new store."""
        latest = max(_migrations(self._migrations))
        try:
            application_id = _scalar(connection, "PRAGMA application_id")
            version = _scalar(connection, "PRAGMA user_version")
            tables = _scalar(connection, "SELECT count(*) FROM sqlite_master")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
                raise self._refused("a file that is not a database", latest) from error
            raise
        is_new = (application_id, version, tables) == (0, 0, 0)
        # Whoever asks for it as it is also gets one that lost its stamp: its tables tell.
        is_unmarked = as_is and application_id == 0 and self._has_own_tables(connection)
        if application_id != self._application_id and not (is_new or is_unmarked):
            raise self._refused(f"a database of another kind (id {application_id:#x})", latest)
        if version > latest:
            raise self._refused(f"schema {version}", latest)
        return 0 if is_new else max(version, 1)

    def _has_own_tables(self, connection: sqlite3.Connection) -> bool:
        wrong = _sqlite_schema.defects(connection, self._scripts())
        tables = [each for each in wrong if each.kind == "table"]
        return not any(each.exists for each in tables) and len(tables) <= 1

    def _refused(self, found: str, latest: int) -> SchemaVersionError:
        store = f"{self._backend} store {self._path}"
        return SchemaVersionError(store, found=found, supported=f"schemas 1 to {latest}")

    def _close(self) -> None:
        if self._connection is None:
            return
        self._connection = None
        self._reader = None
        with self._errors_translated():
            self._resources.close()

    @contextmanager
    def _errors_translated(self, connection: Connection | None = None) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._translated(error, connection) from error
        except UnicodeEncodeError as error:
            # Not chained: the error carries the text.
            raise self._translated(error) from None

    def _translated(
        self, error: sqlite3.Error | UnicodeEncodeError, connection: Connection | None = None
    ) -> MemoraError:
        """Return memora's error; its text names the kind of failure and quotes nothing."""
        if isinstance(error, UnicodeEncodeError):
            return self._error(self._backend, "a text that is not valid Unicode")
        if connection is not None and connection.failure is not None:
            failure, connection.failure = connection.failure, None
            return failure
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _MAY_PASS:
            return self._connection_error(self._backend, _MAY_PASS[code])
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        reason = _WILL_NOT_PASS.get(code, f"SQLite refused the statement ({name})")
        return self._error(self._backend, reason)


async def _settled(future: Future[T]) -> T:
    """Return the outcome; when cancelled, do not leave before it is decided what it is."""
    waiting = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        if not future.cancel():
            waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.wait([waiting])
        raise


class _Reader:
    """A connection that cannot write, in a thread of its own.

    It neither writes nor checkpoints, so the file still has one connection that does.
    """

    def __init__(
        self,
        path: Path,
        guard: Guard | None,
        errors_translated: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._path = path
        self._guard = guard
        self._errors_translated = errors_translated
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="memora-read")
        self.reads = Reads(self.executor, self._state)

    def __enter__(self) -> _Reader:
        self.connection = self.executor.submit(self._connect).result()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.executor.submit(self.connection.close).result()
        self.executor.shutdown()

    def run(self, work: Work[T]) -> T:
        """Run `work` on the state that is held, or on the present one if none is."""
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN")
        return work(self.connection)

    @contextmanager
    def _state(self) -> Generator[None]:
        """Hold one state; it is that of the first look."""
        with self._errors_translated():
            _end_transaction(self.connection)
            try:
                yield
            finally:
                _end_transaction(self.connection)

    def attach_guard(self) -> None:
        """Have the guard attach itself once more."""
        if self._guard is not None:
            self._guard.attach(self.connection, writes=False)

    def _connect(self) -> Connection:
        connection = connect_to_read(self._path, self._guard)
        if self._guard is not None:
            self._guard.attach(connection, writes=False)
        return connection


def connect_to_read(path: Path, guard: Guard | None = None) -> Connection:
    """Open a connection that cannot write."""
    connection = _connect(f"{path.resolve().as_uri()}?mode=ro", guard, uri=True)
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(_READER_CACHE)
    return connection


def _end_transaction(connection: sqlite3.Connection) -> None:
    """Undo the transaction that is open, if there is one: also one whose end failed before."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _connect(
    target: str, guard: Guard | None, *, uri: bool = False, check_same_thread: bool = True
) -> Connection:
    connection = sqlite3.connect(
        target,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=check_same_thread,
        factory=Connection,
        cached_statements=256,
        uri=uri,
    )
    connection.guard = guard
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection, *, durable: bool) -> Generator[None]:
    _end_transaction(connection)
    connection.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
    try:
        # Inside: when it is interrupted, it may have begun all the same.
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        _end_transaction(connection)
        raise


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(_WRITER_CACHE)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _shrink(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA shrink_memory")


def _scalar(connection: sqlite3.Connection, query: str) -> int:
    return connection.execute(query).fetchone()[0]


@cache
def _migrations(package: str) -> dict[int, str]:
    """Return the migration scripts of a package by number."""
    folder = files(package).joinpath("migrations")
    return {
        int(file.name[:4]): file.read_text("utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    }


def _migrate(connection: sqlite3.Connection, number: int, script: str) -> None:
    """Run one migration, stamp included, in one transaction: a crash leaves all of it or none."""
    with _transaction(connection, durable=True):
        for statement in _sqlite_schema.statements(script):
            connection.execute(statement)
        stamp = _scalar(connection, "PRAGMA user_version")
        if stamp != number:
            raise ValueError(f"migration {number} stamps version {stamp}")


def _tell_about_version() -> None:
    global _told_about_version  # noqa: PLW0603 - once per process is the promise
    if _told_about_version or sqlite3.sqlite_version_info >= _RESET_RACE_FIXED:
        return
    _told_about_version = True
    _logger.info(
        "SQLite %s has the WAL-reset race that 3.51.3 fixes; memora opens one connection per file "
        "under an exclusive lock, which keeps clear of it",
        sqlite3.sqlite_version,
    )
