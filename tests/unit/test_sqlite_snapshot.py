"""States of a SQLite store that are held, copied, and taken over by another store."""

import asyncio
import os
import sqlite3
from contextlib import closing

import pytest

from memora import _sqlite
from memora._sqlite import SqliteStore
from memora.errors import GraphDBError, SchemaVersionError

APPLICATION_ID = 0x7E57
FIRST = f"""CREATE TABLE item (name TEXT NOT NULL PRIMARY KEY, size INTEGER) STRICT;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = 1;
"""
SECOND = "ALTER TABLE item ADD COLUMN note TEXT;\nPRAGMA user_version = 2;\n"


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    """A package with one migration, importable for this test only."""
    name = f"snapshots_{abs(hash(request.node.nodeid))}"
    folder = tmp_path / "packages" / name / "migrations"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "0001_init.sql").write_text(FIRST)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    return name


@pytest.fixture(params=["file", "memory"])
async def store(request, tmp_path, package):
    path = tmp_path / "stör e#%?" / "store.db" if request.param == "file" else None
    store = SqliteStore(path, application_id=APPLICATION_ID, migrations=package)
    await store.open()
    yield store
    await store.close()


def insert(*given):
    return lambda connection: connection.executemany(
        "INSERT INTO item (name) VALUES (?)", [(name,) for name in given]
    )


def names(connection):
    return [row[0] for row in connection.execute("SELECT name FROM item ORDER BY name")]


async def test_a_snapshot_stays_as_it_is(store, tmp_path):
    await store.write(insert("a"))
    async with store.snapshot() as snapshot:
        await store.write(insert("b"))
        assert await snapshot.run(names) == ["a"]
        await snapshot.copy_to(tmp_path / "copy.db")
        async with store.snapshot() as later:
            assert await later.run(names) == ["a", "b"]
    assert await store.read(names) == ["a", "b"]
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert names(copy) == ["a"]
        assert copy.execute("PRAGMA user_version").fetchone() == (1,)
    assert sorted(file.name for file in tmp_path.glob("copy*")) == ["copy.db"]


async def test_a_snapshot_cannot_write_to_the_store(store):
    async with store.snapshot() as snapshot:
        try:
            await snapshot.run(insert("lost"))
        except GraphDBError as error:
            assert "read-only" in str(error)  # noqa: PT017 - in memory it writes to its own copy
    assert await store.read(names) == []


async def test_a_copy_overwrites_nothing(store, tmp_path):
    (tmp_path / "copy.db").write_text("mine")
    async with store.snapshot() as snapshot:
        with pytest.raises(FileExistsError):
            await snapshot.copy_to(tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


async def test_a_snapshot_that_failed_leaves_the_store_usable(store):
    with pytest.raises(ValueError, match="on purpose"):
        async with store.snapshot():
            raise ValueError("on purpose")
    await store.write(insert("a"))
    await store.checkpoint()


async def test_a_checkpoint_waits_for_the_last_snapshot(tmp_path, package):
    store = SqliteStore(tmp_path / "x.db", application_id=APPLICATION_ID, migrations=package)
    log = tmp_path / "x.db-wal"
    await store.open()
    async with store.snapshot():
        async with store.snapshot():
            await store.write(insert("a"))
            await store.checkpoint()
            assert log.stat().st_size > 0
        assert log.stat().st_size > 0
    assert log.stat().st_size == 0
    await store.close()


async def test_a_snapshot_outlives_its_store(tmp_path, package):
    store = SqliteStore(tmp_path / "x.db", application_id=APPLICATION_ID, migrations=package)
    await store.open()
    await store.write(insert("a"))
    async with store.snapshot() as snapshot:
        await store.close()
        assert await snapshot.run(names) == ["a"]
    await store.open()
    assert await store.read(names) == ["a"]
    await store.close()


async def test_no_snapshot_of_a_closed_store(tmp_path, package):
    store = SqliteStore(tmp_path / "x.db", application_id=APPLICATION_ID, migrations=package)
    with pytest.raises(GraphDBError, match="not open"):
        async with store.snapshot():
            pass


# Becoming a copy


@pytest.fixture
async def copy(store, tmp_path):
    """A copy of another store, with one item, whose name tells where it is from."""
    await store.write(insert("copied"))
    async with store.snapshot() as snapshot:
        await snapshot.copy_to(tmp_path / "copy.db")
    await store.write(lambda connection: connection.execute("DELETE FROM item"))
    return tmp_path / "copy.db"


async def test_a_store_becomes_a_copy(store, copy):
    await store.replace(copy)
    assert await store.read(names) == ["copied"]
    await store.write(insert("new"))
    async with store.snapshot() as snapshot:
        assert await snapshot.run(names) == ["copied", "new"]


async def test_a_copy_by_a_relative_path(store, copy, monkeypatch):
    monkeypatch.chdir(copy.parent)
    await store.replace(copy.relative_to(copy.parent))
    assert await store.read(names) == ["copied"]


async def test_an_older_copy_is_migrated(tmp_path, package, copy):
    (tmp_path / "packages" / package / "migrations" / "0002_note.sql").write_text(SECOND)
    _sqlite._migrations.cache_clear()  # what is another build here is another process elsewhere
    newer = SqliteStore(tmp_path / "newer.db", application_id=APPLICATION_ID, migrations=package)
    await newer.open()
    await newer.replace(copy)
    found = await newer.read(lambda c: c.execute("SELECT name, note FROM item").fetchall())
    assert found == [("copied", None)]
    version = await newer.read(lambda c: c.execute("PRAGMA user_version").fetchone())
    assert version == (2,)
    await newer.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [("user_version = 2", "found schema 2"), ("application_id = 7", "of another kind")],
)
async def test_another_database_is_refused(store, copy, change, told):
    with closing(sqlite3.connect(copy)) as database:
        database.execute(f"PRAGMA {change}")
    await store.write(insert("mine"))
    with pytest.raises(SchemaVersionError, match=told):
        await store.replace(copy)
    assert await store.read(names) == ["mine"]


async def test_what_is_no_database_is_refused(store, tmp_path):
    (tmp_path / "text").write_text("no database, but long enough to be read as a header " * 20)
    await store.write(insert("mine"))
    with pytest.raises(GraphDBError, match="not a database"):
        await store.replace(tmp_path / "text")
    with pytest.raises(GraphDBError, match="cannot be opened"):
        await store.replace(tmp_path / "nothing")
    assert await store.read(names) == ["mine"]


async def test_a_write_beside_a_replacement_comes_before_or_after_it(store, copy):
    async with asyncio.TaskGroup() as group:
        group.create_task(store.write(insert("before")))
        group.create_task(store.replace(copy))
        group.create_task(store.write(insert("after")))
    # Writes that wait together are one commit, so both may have come before.
    assert await store.read(names) in (["copied"], ["after", "copied"])


def test_a_process_that_dies_in_a_replacement_leaves_the_old_or_the_new(
    tmp_path, package, monkeypatch
):
    """The whole replacement is one transaction of the store."""

    async def make():
        source = SqliteStore(tmp_path / "s.db", application_id=APPLICATION_ID, migrations=package)
        await source.open()
        await source.write(insert(*(f"{number:05}" for number in range(20_000))))
        async with source.snapshot() as snapshot:
            await snapshot.copy_to(tmp_path / "copy.db")
        await source.close()

    async def replace_and_die():
        store = SqliteStore(tmp_path / "x.db", application_id=APPLICATION_ID, migrations=package)
        await store.open()
        await store.write(insert("mine"))
        monkeypatch.setattr(store, "_bring_up_to_date", lambda _connection: os._exit(9))
        await store.replace(tmp_path / "copy.db")

    async def look():
        store = SqliteStore(tmp_path / "x.db", application_id=APPLICATION_ID, migrations=package)
        await store.open()
        found = await store.read(names)
        await store.close()
        return found

    asyncio.run(make())
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(replace_and_die())
        finally:
            os._exit(70)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(asyncio.run(look())) == 20_000
