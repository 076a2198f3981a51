"""The SQLite store under both embedded stores: ownership, transactions, migrations, errors."""

import asyncio
import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import asynccontextmanager

import pytest

from memora import _sqlite
from memora._sqlite import SqliteStore
from memora.errors import (
    GraphDBConnectionError,
    GraphDBError,
    SchemaVersionError,
    StoreLockedError,
    VectorDBConnectionError,
    VectorDBError,
)

APPLICATION_ID = 0x7E57
FIRST = f"""-- Comment; with a semicolon
CREATE TABLE item (name TEXT NOT NULL PRIMARY KEY, size INTEGER) STRICT;
CREATE TRIGGER item_checked BEFORE INSERT ON item WHEN new.size < 0 BEGIN
  SELECT raise(ABORT, 'negative');
END;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = 1;
"""
SECOND = "ALTER TABLE item ADD COLUMN note TEXT;\nPRAGMA user_version = 2;\n"


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    """A package with one migration, importable for this test only."""
    name = f"migrations_{abs(hash(request.node.nodeid))}"
    folder = tmp_path / "packages" / name / "migrations"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "0001_init.sql").write_text(FIRST)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    return name


@pytest.fixture
def migrations(package, tmp_path):
    return tmp_path / "packages" / package / "migrations"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder é" / "store.db"


@pytest.fixture
async def store(path, package):
    store = SqliteStore(path, application_id=APPLICATION_ID, migrations=package)
    await store.open()
    yield store
    await store.close()


def write_migration(file, script):
    """Write the file as another build has it: the scripts of one build never change."""
    file.write_text(script)
    _sqlite._migrations.cache_clear()


def insert(name, size=1):
    return lambda connection: connection.execute("INSERT INTO item VALUES (?, ?)", (name, size))


def names(connection):
    return [row[0] for row in connection.execute("SELECT name FROM item ORDER BY name")]


@asynccontextmanager
async def busy(store):
    """Keeps the writing thread busy, so that what is written inside waits for the same commit."""
    started, release = threading.Event(), threading.Event()

    def hold(connection):
        started.set()
        release.wait(5)

    held = asyncio.create_task(store.write(hold))
    await asyncio.to_thread(started.wait, 5)
    yield
    await asyncio.sleep(0)
    release.set()
    await held


def pragma(name):
    return lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0]


async def test_a_new_store_is_stamped_private_and_durable(store, path):
    assert await store.read(pragma("application_id")) == APPLICATION_ID
    assert await store.read(pragma("user_version")) == 1
    assert await store.read(pragma("journal_mode")) == "wal"
    assert await store.write(pragma("secure_delete")) == 1
    assert await store.write(pragma("foreign_keys")) == 1
    assert await store.write(pragma("synchronous")) == 2
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == [
        "store.db", "store.db-shm", "store.db-wal", "store.db.lock",
    ]  # fmt: skip
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_an_existing_file_becomes_private(store, path, package):
    await store.close()
    path.chmod(0o644)
    await store.open()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_writes_are_kept_across_reopening_and_close_may_be_repeated(store, path):
    await store.write(insert("a"))
    await store.close()
    await store.close()
    assert not path.with_name("store.db-wal").exists()
    await store.open()
    await store.open()
    assert await store.read(names) == ["a"]


async def test_in_memory_store_needs_no_file(package):
    store = SqliteStore(None, application_id=APPLICATION_ID, migrations=package)
    await store.open()
    await store.write(insert("a"))
    assert await store.read(names) == ["a"]
    await store.checkpoint()
    await store.close()


async def test_a_failing_write_is_undone_and_its_error_raised(store):
    def fail(connection):
        insert("a")(connection)
        raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        await store.write(fail)
    assert await store.read(names) == []
    await store.write(insert("b"))
    assert await store.read(names) == ["b"]


async def test_writes_that_wait_together_share_a_commit_but_not_their_fate(store):
    commits = []

    def count(connection):
        connection.set_trace_callback(
            lambda statement: commits.append(statement) if statement == "COMMIT" else None
        )

    async with busy(store):
        tasks = [
            asyncio.create_task(store.write(work))
            for work in (count, insert("a"), insert("b"), insert("a"), insert("c"))
        ]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "NoneType", "Cursor", "Cursor", "GraphDBError", "Cursor",
    ]  # fmt: skip
    assert await store.read(names) == ["a", "b", "c"]
    assert commits == ["COMMIT"]


async def test_a_transaction_that_sqlite_gives_up_fails_every_write_in_it(store):
    def give_up(connection):
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("gave up")

    async with busy(store):
        tasks = [asyncio.create_task(store.write(work)) for work in (insert("a"), give_up)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [GraphDBError, GraphDBError]
    assert await store.read(names) == []
    await store.write(insert("b"))


async def test_bookkeeping_does_not_wait_for_the_disk_unless_a_durable_write_is_with_it(store):
    async def synchronous(*durable):
        level = pragma("synchronous")
        async with busy(store):
            tasks = [asyncio.create_task(store.write(level, durable=each)) for each in durable]
        return await asyncio.gather(*tasks)

    assert await synchronous(False, False) == [1, 1]
    assert await synchronous(False, True) == [2, 2]


async def test_b15_a_cancelled_write_is_whole_or_absent_and_the_store_goes_on(store):
    started, release = threading.Event(), threading.Event()

    def slow(connection):
        insert("a")(connection)
        started.set()
        release.wait(5)
        insert("b")(connection)

    running = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(started.wait, 5)
    waiting = asyncio.create_task(store.write(insert("c")))
    await asyncio.sleep(0)
    running.cancel()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not running.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await store.read(names) == ["a", "b"]


async def test_b15_a_cancelled_write_that_fails_is_undone_quietly(store):
    started, release = threading.Event(), threading.Event()

    def slow(connection):
        insert("a")(connection)
        started.set()
        release.wait(5)
        raise LookupError("on purpose")

    running = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(started.wait, 5)
    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0)
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    await store.write(insert("b"))
    assert await store.read(names) == ["b"]


async def test_a_read_sees_one_state_and_does_not_wait_for_a_write(store):
    started, release = threading.Event(), threading.Event()

    def slow(connection):
        insert("a")(connection)
        started.set()
        release.wait(5)

    def twice(connection):
        before = names(connection)
        release.set()
        written.wait(5)
        return before, names(connection)

    writing = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(started.wait, 5)
    assert await store.read(names) == []
    written = threading.Event()
    reading = asyncio.create_task(store.read(twice))
    await writing
    written.set()
    assert await reading == ([], [])
    assert await store.read(names) == ["a"]


async def test_a_read_cannot_write(store):
    with pytest.raises(GraphDBError, match="read-only"):
        await store.read(insert("a"))
    assert await store.read(names) == []


async def test_close_finishes_what_is_queued(store):
    tasks = [asyncio.create_task(store.write(insert(name))) for name in "abc"]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    await asyncio.gather(*tasks)
    await store.open()
    assert await store.read(names) == ["a", "b", "c"]


async def test_a_cancelled_close_still_frees_the_store(store, path, package):
    async with busy(store):
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    await store.close()
    other = SqliteStore(path, application_id=APPLICATION_ID, migrations=package)
    await other.open()
    await other.close()


async def test_a_closed_or_unopened_store_says_so(store, path, package):
    await store.close()
    with pytest.raises(GraphDBError, match=r"not open: use it inside `async with` .* setup\(\)"):
        await store.read(names)
    with pytest.raises(GraphDBError, match="not open"):
        await store.write(insert("a"))


async def test_the_same_process_is_refused_a_second_opening(store, path, package):
    other = SqliteStore(path, application_id=APPLICATION_ID, migrations=package)
    with pytest.raises(StoreLockedError) as caught:
        await other.open()
    assert caught.value.pid == os.getpid()
    assert caught.value.path == str(path.parent.resolve())
    with pytest.raises(GraphDBError, match="not open"):
        await other.read(names)
    await other.close()
    await store.write(insert("a"))
    await store.close()
    await other.open()
    assert await other.read(names) == ["a"]
    await other.close()


async def test_a_link_to_the_file_is_the_same_store(store, path, package):
    link = path.with_name("link.db")
    link.symlink_to(path)
    other = SqliteStore(link, application_id=APPLICATION_ID, migrations=package)
    with pytest.raises(StoreLockedError):
        await other.open()
    await other.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from memora._sqlite import SqliteStore
sys.path.insert(0, sys.argv[3])
store = SqliteStore(Path(sys.argv[1]), application_id=0x7E57, migrations=sys.argv[2])
async def main():
    await store.open()
    for number in range(1000):
        await store.write(
            lambda c, n=number: c.execute("INSERT INTO item VALUES (?, ?)", (f"{n:04}", n)))
        print(number, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def start(script, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    return process, process.stdin, process.stdout


async def test_another_process_is_refused_and_its_death_frees_the_store(path, package, tmp_path):
    writer, _, output = start(WRITER, path, package, tmp_path / "packages")
    store = SqliteStore(path, application_id=APPLICATION_ID, migrations=package)
    with writer:
        acknowledged = [output.readline() for _ in range(20)]
        with pytest.raises(StoreLockedError) as caught:
            await store.open()
        writer.send_signal(signal.SIGKILL)
        acknowledged += list(output)
    assert caught.value.pid == writer.pid
    await store.open()
    kept = await store.read(names)
    assert kept[: len(acknowledged)] == [f"{int(line):04}" for line in acknowledged]
    await store.close()


FORKER = """
import asyncio, os, sys
from pathlib import Path
from memora._sqlite import SqliteStore
sys.path.insert(0, sys.argv[3])
store = SqliteStore(Path(sys.argv[1]), application_id=0x7E57, migrations=sys.argv[2])
async def use():
    await store.read(lambda c: c.execute("SELECT 1"))
asyncio.run(store.open())
child = os.fork()
if child == 0:
    for call in (use(), store.open(), store.close()):
        try:
            asyncio.run(call)
            told = "ok"
        except Exception as error:
            told = f"{type(error).__name__} {error}"
        os.write(1, f"{told}\\n".encode())  # at once: two processes write into one pipe
    sys.stdin.read()
    os._exit(0)
os.write(1, b"parent dies\\n")
os._exit(1)
"""


async def test_a_fork_is_refused_and_does_not_keep_the_lock(path, package, tmp_path):
    parent, child_input, output = start(FORKER, path, package, tmp_path / "packages")
    store = SqliteStore(path, application_id=APPLICATION_ID, migrations=package)
    with parent:
        lines = sorted(output.readline().strip() for _ in range(4))
        await asyncio.to_thread(parent.wait)
        await store.open()  # while the child of the dead owner still lives
        child_input.close()
        assert output.read() == ""
    await store.close()
    refusal = f"GraphDBError sqlite: the store was opened by process {parent.pid}"
    assert [line.startswith(refusal) for line in lines[:2]] == [True, True]
    assert lines[2:] == ["ok", "parent dies"]


async def test_i20_a_newer_schema_is_refused_and_left_alone(store, path, package):
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(SchemaVersionError) as caught:
        await store.open()
    assert (caught.value.found, caught.value.supported) == ("schema 7", "schemas 1 to 1")
    other = SqliteStore(path, application_id=APPLICATION_ID, migrations=package)
    with pytest.raises(SchemaVersionError):  # and not StoreLockedError: the refused one let go
        await other.open()
    await other.close()


@pytest.mark.parametrize(
    "statements",
    [
        "PRAGMA application_id = 1; PRAGMA user_version = 1;",
        "CREATE TABLE somebodys (x);",
        "PRAGMA user_version = 1;",
    ],
)
async def test_i20_a_foreign_database_is_refused_and_left_alone(path, package, statements):
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(statements)
    connection.close()
    before = path.read_bytes()
    store = SqliteStore(path, application_id=APPLICATION_ID, migrations=package)
    with pytest.raises(SchemaVersionError, match="of another kind"):
        await store.open()
    await store.close()
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path, package):
    path.parent.mkdir()
    path.write_bytes(b"Dear diary, this is not SQLite." * 100)
    store = SqliteStore(path, application_id=APPLICATION_ID, migrations=package)
    with pytest.raises(SchemaVersionError, match="not a database"):
        await store.open()
    await store.close()
    assert path.read_bytes().startswith(b"Dear diary")


async def test_b43_later_migrations_run_once_each_in_one_transaction(store, migrations):
    await store.write(insert("a"))
    await store.close()
    broken = migrations / "0002_note.sql"
    write_migration(
        broken, "ALTER TABLE item ADD COLUMN note TEXT;\nINSERT INTO nowhere VALUES (1);\n"
    )
    with pytest.raises(GraphDBError):
        await store.open()
    write_migration(broken, SECOND)
    await store.open()
    assert await store.read(pragma("user_version")) == 2
    await store.close()
    await store.open()
    row = await store.read(lambda c: c.execute("SELECT name, note FROM item").fetchone())
    assert row == ("a", None)


async def test_a_migration_that_forgets_its_stamp_is_refused(store, migrations):
    await store.close()
    write_migration(migrations / "0002_note.sql", "ALTER TABLE item ADD COLUMN note TEXT;\n")
    with pytest.raises(ValueError, match="migration 2 stamps version 1"):
        await store.open()


async def test_errors_are_typed_and_quote_no_value(store, path):
    await store.write(insert("a secret"))
    with pytest.raises(GraphDBError, match=r"sqlite: SQLite refused .*CONSTRAINT") as caught:
        await store.write(insert("a secret"))
    assert not isinstance(caught.value, GraphDBConnectionError)
    assert "a secret" not in str(caught.value)
    with pytest.raises(GraphDBError, match="refused"):
        await store.read(lambda c: c.execute("SELECT ?", (object(),)))


async def test_a_full_disk_is_an_error_that_may_pass(store):
    def limit(pages):
        return lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()

    await store.write(limit(await store.read(pragma("page_count"))))
    with pytest.raises(GraphDBConnectionError, match="full"):
        await store.write(insert("x" * 100_000))
    await store.write(limit(10_000))
    await store.write(insert("y"))
    assert await store.read(names) == ["y"]


async def test_a_lock_held_by_another_program_is_an_error_that_may_pass(store, path):
    await store.write(lambda c: c.execute("PRAGMA busy_timeout = 1"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(GraphDBConnectionError, match="locked by another program"):
        await store.write(insert("a"))
    other.execute("ROLLBACK")
    other.close()
    await store.write(insert("a"))


async def test_a_folder_that_cannot_be_used_is_a_typed_error(tmp_path, package):
    (tmp_path / "file").write_text("")
    store = SqliteStore(
        tmp_path / "file" / "store.db", application_id=APPLICATION_ID, migrations=package
    )
    with pytest.raises(GraphDBError, match=r"store\.db"):
        await store.open()
    await store.close()


async def test_the_error_classes_are_the_callers(package, tmp_path):
    store = SqliteStore(
        None,
        application_id=APPLICATION_ID,
        migrations=package,
        backend="embedded",
        error=VectorDBError,
        connection_error=VectorDBConnectionError,
    )
    await store.open()
    await store.write(insert("a"))
    with pytest.raises(VectorDBError, match="embedded: "):
        await store.write(insert("a"))
    await store.close()


async def test_the_log_is_emptied_from_time_to_time(store, path, monkeypatch):
    monkeypatch.setattr(_sqlite, "_CHECKPOINT_EVERY", 5)
    log = path.with_name("store.db-wal")
    for name in "abcd":
        await store.write(insert(name))
    assert log.stat().st_size > 0
    await store.write(insert("e"))
    await store.write(names)  # comes after what followed the commit
    assert log.stat().st_size == 0
    await store.write(insert("f"))
    await store.checkpoint()
    assert log.stat().st_size == 0


async def test_emptying_the_log_does_not_wait_for_a_long_read(store, path, monkeypatch):
    monkeypatch.setattr(_sqlite, "_CHECKPOINT_EVERY", 1)
    started, release = threading.Event(), threading.Event()

    def slow(connection):
        found = names(connection)
        started.set()
        release.wait(5)
        return found

    reading = asyncio.create_task(store.read(slow))
    await asyncio.to_thread(started.wait, 5)
    for name in "ab":
        await store.write(insert(name))
    release.set()
    assert await reading == []
    await store.checkpoint()
    assert path.with_name("store.db-wal").stat().st_size == 0
    assert await store.read(names) == ["a", "b"]


async def test_a_checkpoint_that_fails_is_logged(store, caplog):
    await store.write(insert("a"))
    denied = (sqlite3.SQLITE_DENY, sqlite3.SQLITE_OK)

    def authorize(action, argument, *_):
        return denied[0] if argument == "wal_checkpoint" else denied[1]

    await store.write(lambda connection: connection.set_authorizer(authorize))
    await store.checkpoint()
    assert "no checkpoint" in caplog.text
    await store.write(lambda connection: connection.set_authorizer(None))


async def test_a_store_that_could_not_be_opened_can_be_tried_again(store, monkeypatch):
    await store.close()

    def fail(_self):
        raise sqlite3.OperationalError("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(_sqlite._Reader, "_connect", fail)
        with pytest.raises(GraphDBError):
            await store.open()
        with pytest.raises(GraphDBError, match="not open"):
            await store.read(names)
    await store.open()
    await store.write(insert("a"))
    assert await store.read(names) == ["a"]


async def test_an_old_sqlite_is_told_once_per_process(package, monkeypatch, caplog):
    monkeypatch.setattr(_sqlite, "_told_about_version", False)
    monkeypatch.setattr(_sqlite.sqlite3, "sqlite_version_info", (3, 51, 2))
    with caplog.at_level(logging.INFO, logger="memora"):
        for _ in range(2):
            store = SqliteStore(None, application_id=APPLICATION_ID, migrations=package)
            await store.open()
            await store.close()
    assert len([record for record in caplog.records if "WAL-reset" in record.message]) == 1


async def test_an_interrupted_begin_leaves_no_transaction_open(store):
    """It fails after it has begun: what comes next must not find itself inside."""
    calls = calls_left = 0

    def interrupt() -> bool:
        nonlocal calls_left
        calls_left -= 1
        return calls_left == 0

    await store.write(lambda connection: connection.set_progress_handler(interrupt, 1))
    for calls in range(1, 60):
        calls_left = calls
        try:
            await store.write(lambda connection: None)
        except GraphDBConnectionError:
            calls_left = 0
            assert await store.write(lambda connection: connection.in_transaction)
        else:
            break
    assert 5 < calls < 59


async def test_a_transaction_that_could_not_be_ended_is_ended_by_the_next_call(store):
    """After a rollback that failed, the connections go on, and nothing of it is kept."""
    await store.write(insert("kept"))
    for connection in (store._connection, store._reader.connection):
        executor = store._executor if connection is store._connection else store._reader.executor
        executor.submit(connection.execute, "BEGIN").result()
    executor = store._executor
    executor.submit(insert("half"), store._connection).result()
    assert await store.read(names) == ["kept"]
    await store.write(insert("next"))
    assert sorted(await store.read(names)) == ["kept", "next"]


async def test_a_read_whose_end_fails_is_reported_and_the_next_one_sees_the_present(
    store, monkeypatch
):
    def fail(connection):
        if connection.in_transaction:
            raise sqlite3.OperationalError("on purpose")

    await store.read(names)
    with monkeypatch.context() as patch:
        patch.setattr(_sqlite, "_end_transaction", fail)
        with pytest.raises(GraphDBError):
            await store.read(names)
    await store.write(insert("a"))
    assert await store.read(names) == ["a"]
