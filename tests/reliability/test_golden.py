"""R13: stores of earlier releases open and migrate, however often that is interrupted."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sqlite3
import warnings
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora._sqlite import SqliteStore, _migrate, _migrations
from memora.embeddings import HashingEmbedder
from memora.errors import SchemaVersionError
from memora.graph_db.sqlite._base import APPLICATION_ID, PACKAGE
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.vector_db import EmbeddedVectorDB, _rows
from tests.reliability.golden.make import DATABASES, FOLDER, answers, unpack
from tests.reliability.kit import assert_clean
from tests.reliability.scorecard import Score
from tests.transfer_kit import embedded

pytestmark = [pytest.mark.timeout(120), pytest.mark.suite("R13")]

RELEASES = sorted(folder for folder in FOLDER.iterdir() if (folder / "answers.json").is_file())
KILLED = 9


@dataclass(frozen=True)
class Kind:
    """One of the two databases of a store.

    Attributes:
        package: Where its migrations are.
        tomorrow: A migration that no release has, in several statements.
    """

    database: str
    package: str
    application_id: int
    tomorrow: str

    def place(self, store: Path) -> Path:
        """Return the database's file in a store."""
        folder = store / "vectors" if self.database.startswith("vectors") else store
        return folder / self.database


KINDS = (
    Kind(
        "graph.sqlite3",
        PACKAGE,
        APPLICATION_ID,
        """
        ALTER TABLE memory ADD COLUMN mood TEXT;
        CREATE TABLE mood (org_id TEXT NOT NULL, memory_id TEXT NOT NULL, mood TEXT) STRICT;
        INSERT INTO mood SELECT org_id, memory_id, 'good; even very' FROM memory;
        UPDATE memory SET mood = (SELECT mood FROM mood WHERE mood.memory_id = memory.memory_id);
        CREATE INDEX mood_by_mood ON mood (mood);
        DELETE FROM mood WHERE mood IS NULL;
        """,
    ),
    Kind(
        "vectors.sqlite3",
        _rows._PACKAGE,
        _rows._APPLICATION_ID,
        """
        ALTER TABLE vector ADD COLUMN mood TEXT;
        UPDATE vector SET mood = 'good';
        CREATE TABLE mood AS SELECT memory_id, mood FROM vector;
        CREATE INDEX vector_by_mood ON vector (mood);
        """,
    ),
)


@pytest.fixture(params=RELEASES, ids=lambda release: release.name)
def release(request: pytest.FixtureRequest) -> Path:
    """The folder of a release."""
    return request.param


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA user_version").fetchone()[0]


def latest(package: str) -> int:
    return max(int(file.name[:4]) for file in files(package).joinpath("migrations").iterdir()
               if file.name.endswith(".sql"))  # fmt: skip


# What users have on their disks


async def brought_up(store: Path) -> Path:
    """Make the vectors again if opening asks for it: texts are indexed in another way by now."""
    try:
        async with embedded(store):
            return store
    except SchemaVersionError as error:
        remedy = error.remedy
    assert remedy is not None
    assert "memora reindex" in remedy
    vectors = EmbeddedVectorDB(store / "vectors", embedder=HashingEmbedder(32))
    memora = Memora(vectors, SQLiteGraph(store / "graph.sqlite3"))
    await memora.graph.setup()
    await memora.reindex()
    await memora.close()
    return store


async def test_a_store_of_every_release_answers_as_it_did(
    release: Path, tmp_path: Path, score: Score
) -> None:
    """It opens, migrates, is clean, and recalls and histories are what they were."""
    recorded = json.loads((release / "answers.json").read_text("utf-8"))
    store = await brought_up(unpack(release, tmp_path / "store"))
    for _time in range(2):
        async with embedded(store) as memora:
            await assert_clean(memora)
            assert await answers(memora) == recorded
    for kind in KINDS:
        assert version(kind.place(store)) == latest(kind.package)
    score("R13", stores=1, answers=len(recorded["recalls"]) + len(recorded["history"]))


async def test_an_export_of_every_release_is_imported(
    release: Path, tmp_path: Path, score: Score
) -> None:
    recorded = json.loads((release / "answers.json").read_text("utf-8"))
    async with embedded(tmp_path / "store") as memora:
        report = await memora.import_from(release / "export.jsonl")
        await assert_clean(memora)
        assert await answers(memora) == recorded
    score("R13", exports=1, records=report.records.total)


async def test_a_store_of_every_release_exports_what_it_exported(
    release: Path, tmp_path: Path
) -> None:
    """As data: a later format may say more."""

    async def said(memora: Memora, name: str) -> list[Any]:
        await memora.export_to(tmp_path / name)
        return [json.loads(line) for line in (tmp_path / name).read_bytes().splitlines()]

    async with embedded(await brought_up(unpack(release, tmp_path / "old"))) as memora:
        migrated = await said(memora, "migrated.jsonl")
    async with embedded(tmp_path / "new") as memora:
        await memora.import_from(release / "export.jsonl")
        assert await said(memora, "imported.jsonl") == migrated


# A migration that is interrupted


def open_store(kind: Kind, path: Path, package: str) -> SqliteStore:
    return SqliteStore(path, application_id=kind.application_id, migrations=package)


async def opened_and_closed(store: SqliteStore) -> None:
    await store.open()
    await store.close()


def contents(path: Path) -> tuple[str, ...]:
    """Return schema and rows, and the stamps."""
    with closing(sqlite3.connect(path)) as database:
        stamps = [database.execute(f"PRAGMA {name}").fetchone()[0]
                  for name in ("user_version", "application_id")]  # fmt: skip
        return (*map(str, stamps), *database.iterdump())


def stages(package: str, path: Path) -> list[tuple[str, ...]]:
    """Migrate, and return the contents before, between and after the migrations."""
    found = [contents(path)]
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for number, script in sorted(_migrations(package).items()):
            if number > version(path):
                _migrate(database, number, script)
                found.append(contents(path))
    return found


def crash_at(statement: int, work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run work in a child that dies before its n-th statement; return the child's exit code."""
    with warnings.catch_warnings():
        # The child opens its own database and threads, and does nothing else.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 70
        try:
            _die_at(statement)
            asyncio.run(work())
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _die_at(statement: int) -> None:
    """In the child: let every connection count its statements."""
    connect = sqlite3.connect
    left = statement

    def count(_statement: str) -> None:
        nonlocal left
        left -= 1
        if not left:
            os._exit(KILLED)

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(count)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment] - for good: this child dies


def interrupted_everywhere(kind: Kind, package: str, make: Callable[[], Path]) -> int:
    """Crash an opening before each of its statements, then open again; return how many.

    After the crash the database is as it was before one of the migrations or after the last,
    nothing between, and the next opening finishes what is left.
    """
    whole = make()
    asyncio.run(opened_and_closed(open_store(kind, whole, package)))
    after = contents(whole)
    allowed = stages(package, make())
    assert allowed[-1] == after
    statement = 0
    while True:
        statement += 1
        path = make()
        code = crash_at(
            statement, lambda path=path: opened_and_closed(open_store(kind, path, package))
        )
        assert code in {0, KILLED}
        assert contents(path) in allowed, f"statement {statement}"
        asyncio.run(opened_and_closed(open_store(kind, path, package)))
        assert contents(path) == after, f"statement {statement}"
        if code == 0:
            return statement - 1


@pytest.fixture
def paths(tmp_path: Path) -> Callable[[Path | None], Path]:
    """Makes databases: copies of a file, or empty ones."""
    count = 0

    def make(original: Path | None) -> Path:
        nonlocal count
        count += 1
        folder = tmp_path / "databases" / str(count)
        folder.mkdir(parents=True)
        if original is None:
            (folder / "database").touch()
        else:
            shutil.copy(original, folder / "database")
        return folder / "database"

    return make


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.database)
def test_a_crash_while_a_store_is_made_is_made_up_for(
    kind: Kind, paths: Callable[[Path | None], Path], score: Score
) -> None:
    """Every statement of the released migrations, from nothing on."""
    crashes = interrupted_everywhere(kind, kind.package, lambda: paths(None))
    assert crashes > 10
    score("R13", crashes=crashes, violations=0)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.database)
def test_a_crash_at_each_statement_of_a_migration_is_made_up_for(
    kind: Kind,
    release: Path,
    paths: Callable[[Path | None], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    score: Score,
) -> None:
    """A migration of several statements, on what a release left."""
    package = with_another_migration(kind, tmp_path, monkeypatch)
    golden = kind.place(unpack(release, tmp_path / "store"))
    crashes = interrupted_everywhere(kind, package, lambda: paths(golden))
    assert crashes > 10
    score("R13", crashes=crashes, violations=0)


def with_another_migration(kind: Kind, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a package with the released migrations and one more."""
    name = f"migrations_of_{kind.database.partition('.')[0]}"
    place = folder / "packages" / name
    (place / "migrations").mkdir(parents=True)
    (place / "__init__.py").touch()
    for file in files(kind.package).joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            (place / "migrations" / file.name).write_text(file.read_text("utf-8"), "utf-8")
    number = latest(kind.package) + 1
    statements = f"{kind.tomorrow}\nPRAGMA user_version = {number};\n"
    (place / "migrations" / f"{number:04}_tomorrow.sql").write_text(statements, "utf-8")
    monkeypatch.syspath_prepend(folder / "packages")
    return name


# A store of tomorrow


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.database)
async def test_i20_a_newer_store_is_refused_and_not_touched(
    kind: Kind, release: Path, tmp_path: Path
) -> None:
    store = unpack(release, tmp_path / "store")
    newer = latest(kind.package) + 1
    with closing(sqlite3.connect(kind.place(store))) as database:
        database.execute(f"PRAGMA user_version = {newer}")
    before = digests(store)
    with pytest.raises(SchemaVersionError, match=f"found schema {newer}, this memora reads"):
        async with embedded(store):
            pass
    assert digests(store)[kind.database] == before[kind.database]


def digests(store: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name in DATABASES
        for path in store.rglob(name)
    }


async def test_i20_a_newer_backup_is_refused_and_changes_nothing(
    release: Path, tmp_path: Path
) -> None:
    """A native copy whose graph is of tomorrow, in an otherwise valid backup."""
    async with embedded(await brought_up(unpack(release, tmp_path / "store"))) as memora:
        await memora.backup(tmp_path / "backup")
    graph = tmp_path / "backup" / "graph.sqlite3"
    with closing(sqlite3.connect(graph)) as database:
        database.execute(f"PRAGMA user_version = {latest(PACKAGE) + 1}")
    manifest = tmp_path / "backup" / "manifest.json"
    known = json.loads(manifest.read_text("utf-8"))
    for file in known["files"]:
        data = (tmp_path / "backup" / file["name"]).read_bytes()
        file |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest.write_text(json.dumps(known), "utf-8")
    async with embedded(tmp_path / "target") as memora:
        with pytest.raises(SchemaVersionError, match="found schema"):
            await memora.restore(tmp_path / "backup")
        assert await memora.graph.get_all_organizations() == []
        diagnosis = await memora.doctor()
        assert (diagnosis.findings, diagnosis.vectors) == ((), 0)


async def test_a_backup_of_every_release_is_restored(release: Path, tmp_path: Path) -> None:
    """Its databases migrate inside the open store."""
    (tmp_path / "backup").mkdir()
    entries: list[dict[str, Any]] = []
    unpack(release, tmp_path / "store")
    for kind in KINDS:
        data = kind.place(tmp_path / "store").read_bytes()
        (tmp_path / "backup" / kind.database).write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        entries.append({"name": kind.database, "size": len(data), "sha256": sha256})
    manifest = {
        "format": "memora-backup", "version": 1, "memora": release.name, "kind": "native",
        "created_at": "2026-01-01T00:00:00Z", "files": entries,
    }  # fmt: skip
    (tmp_path / "backup" / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    recorded = json.loads((release / "answers.json").read_text("utf-8"))
    async with embedded(tmp_path / "target") as memora:
        report = await memora.restore(tmp_path / "backup")
        assert report.diagnosis.clean, report.diagnosis.findings
        assert await answers(memora) == recorded
