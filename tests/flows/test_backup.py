"""Backups of an open store, and what is restored from them."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient

from memora import Memora
from memora._sqlite_snapshot import Snapshot
from memora.embeddings import HashingEmbedder
from memora.errors import ConflictError, InvalidInputError, SchemaVersionError, TransferError
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.ops.backup import BackupReport
from memora.schema.backup import BackupKind
from memora.schema.scope import Scope
from memora.vector_db import EmbeddedVectorDB, QdrantDB
from tests.transfer_kit import embedded, furnish

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Memora]:
    """A store in which much has happened."""
    async with embedded(tmp_path / "source") as memora:
        await furnish(memora)
        yield memora


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Memora]:
    """An empty store."""
    async with embedded(tmp_path / "target") as memora:
        yield memora


async def exported(memora: Memora, folder: Path) -> bytes:
    await memora.export_to(folder / "compared.jsonl")
    return (folder / "compared.jsonl").read_bytes()


async def remember(memora: Memora, text: str) -> None:
    await memora.save_or_update_interaction_and_memories(
        "acme", "ann", interaction=[{"role": "user", "content": text}]
    )


async def test_a_backup_is_the_store(source: Memora, target: Memora, tmp_path: Path) -> None:
    before = await exported(source, tmp_path)
    report = await source.backup(tmp_path / "backup")
    assert report.kind is BackupKind.NATIVE
    files = sorted(file.name for file in (tmp_path / "backup").iterdir())
    assert files == ["graph.sqlite3", "manifest.json", "vectors.sqlite3"]
    for file in (tmp_path / "backup").iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700
    restored = await target.restore(tmp_path / "backup")
    assert (restored.kind, restored.indexed) == (BackupKind.NATIVE, 0)
    assert (restored.diagnosis.findings, restored.diagnosis.pending) == ((), 0)
    assert await exported(target, tmp_path) == before
    (found, *_) = await target.search_memories_as_one("acme", "jake", ["tea"])
    assert found.memory == "tea is great"
    await remember(target, "sky is blue")
    assert (await target.doctor()).clean


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


async def test_a_backup_is_not_opened_as_a_store(
    source: Memora, target: Memora, tmp_path: Path
) -> None:
    copy = tmp_path / "backup"
    await source.backup(copy)
    before, changed = contents(copy), copy.stat().st_mtime_ns
    opened = Memora.embedded(copy, embedder=HashingEmbedder(32))
    for look in (opened.setup, opened.doctor, opened.reconcile):
        with pytest.raises(InvalidInputError, match=r"got a backup; `memora restore ") as caught:
            await look()
        assert caught.value.field == "path"
    await opened.close()
    for folder in (copy, copy / "vectors"):
        vectors = EmbeddedVectorDB(folder, embedder=HashingEmbedder())
        with pytest.raises(InvalidInputError, match="memora restore"):
            await vectors.setup()
        await vectors.close()
    assert (contents(copy), copy.stat().st_mtime_ns) == (before, changed)
    assert (await target.restore(copy)).diagnosis.clean


async def test_what_is_no_path_is_named(target: Memora) -> None:
    nothing: Any = 5
    for call, field in (
        (target.export_to, "path"),
        (target.import_from, "path"),
        (target.backup, "directory"),
        (target.restore, "directory"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            await call(nothing)
        assert caught.value.field == field


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"format": "another"}'])
async def test_a_manifest_of_others_makes_no_backup(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, "utf-8")
    async with embedded(tmp_path) as memora:
        assert (await memora.doctor()).clean


async def test_a_restored_store_can_be_opened_again(source: Memora, tmp_path: Path) -> None:
    await source.backup(tmp_path / "backup")
    async with embedded(tmp_path / "target") as memora:
        await memora.restore(tmp_path / "backup")
    async with embedded(tmp_path / "target") as memora:
        assert (await memora.doctor()).clean
        assert await exported(memora, tmp_path) == await exported(source, tmp_path)


async def test_a_backup_does_not_depend_on_how_its_files_are_used(
    source: Memora, tmp_path: Path
) -> None:
    """The copies are whole databases without a log, with the stamps of their kind."""
    await source.backup(tmp_path / "backup")
    for name, stamp in (("graph", 0x6D656D67), ("vectors", 0x6D656D76)):
        path = tmp_path / "backup" / f"{name}.sqlite3"
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("PRAGMA application_id").fetchone() == (stamp,)
            assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)


# While the store is used


async def test_backups_beside_writers_are_each_one_state(
    source: Memora, tmp_path: Path, seed: int
) -> None:
    """Every copy is clean after its outbox is drained, and has what was acknowledged before it."""
    chance = random.Random(seed)
    told: list[str] = []

    async def write(number: int) -> None:
        for turn in range(6):
            text = f"beer {number}-{turn} is good"
            await remember(source, text)
            told.append(text)
            if turn % 3 == 2:
                found = await source.graph.get_all_user_memories("acme", "ann")
                gone = chance.choice([m for m in found if "beer" not in m.memory] or found)
                if "beer" not in gone.memory:
                    await source.delete_memory("acme", "ann", gone.memory_id)

    writers = [asyncio.create_task(write(number)) for number in range(3)]
    backups: list[tuple[list[str], Path]] = []
    while not all(writer.done() for writer in writers):
        before = list(told)
        folder = tmp_path / f"backup-{len(backups)}"
        await source.backup(folder)
        backups.append((before, folder))
        await asyncio.sleep(0)
    await asyncio.gather(*writers)
    assert len(backups) > 1
    for before, folder in backups:
        async with embedded(tmp_path / f"restored-{folder.name}") as memora:
            report = await memora.restore(folder)
            assert report.diagnosis.clean, report.diagnosis.findings
            assert report.diagnosis.pending == 0
            texts = " ".join(
                m.memory for m in await memora.graph.get_all_user_memories("acme", "ann")
            )
            assert [text for text in before if text not in texts] == []


async def test_no_drain_acknowledges_between_the_two_states(
    source: Memora, target: Memora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save that ends between them has its vectors, or its outbox entry, in the backup."""
    original = EmbeddedVectorDB.pin
    racing: list[asyncio.Task[None]] = []

    def pin(self: EmbeddedVectorDB) -> Any:
        racing.append(asyncio.create_task(remember(source, "race is on")))
        return original(self)

    slow = SQLiteGraph.pin

    def late(self: SQLiteGraph) -> Any:
        # Whoever could drain by now would have: the save's row is committed.
        return _After(slow(self), source)

    monkeypatch.setattr(EmbeddedVectorDB, "pin", pin)
    monkeypatch.setattr(SQLiteGraph, "pin", late)
    await source.backup(tmp_path / "backup")
    await asyncio.gather(*racing)
    monkeypatch.undo()
    report = await target.restore(tmp_path / "backup")
    assert report.diagnosis.clean, report.diagnosis.findings
    texts = [m.memory for m in await target.graph.get_all_user_memories("acme", "ann")]
    assert "Ann says race is on" in texts


class _After:
    """Enters a context once the racing save is in the graph."""

    def __init__(self, wrapped: Any, memora: Memora) -> None:
        self._wrapped = wrapped
        self._memora = memora

    async def __aenter__(self) -> Any:
        for _ in range(10_000):
            found = await self._memora.graph.get_all_user_memories("acme", "ann")
            if any("race is on" in memory.memory for memory in found):
                # Time enough for the drain that follows the save.
                for _ in range(50):
                    await self._memora.graph.outbox_status()
                break
        return await self._wrapped.__aenter__()

    async def __aexit__(self, *exc: object) -> Any:
        return await self._wrapped.__aexit__(*exc)


async def test_writers_go_on_while_files_are_copied(
    source: Memora, target: Memora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is held before the copy begins: what is saved meanwhile is not in it."""
    before = await exported(source, tmp_path)
    original = Snapshot.copy_to

    async def copy_to(self: Snapshot, path: Path) -> None:
        await remember(source, f"{path.name} is copied")
        await original(self, path)

    monkeypatch.setattr(Snapshot, "copy_to", copy_to)
    await source.backup(tmp_path / "backup")
    await target.restore(tmp_path / "backup")
    assert await exported(target, tmp_path) == before
    assert await exported(source, tmp_path) != before


async def test_an_entry_that_waits_is_worked_off_by_the_restore(
    source: Memora, target: Memora, tmp_path: Path
) -> None:
    now = source.graph.clock.now()
    tea, *_ = await source.graph.get_all_user_memories("acme", "jake")
    await source.graph.enqueue_sync(Scope("acme", "jake"), [tea.memory_id], now)
    await source.graph.claim_outbox(now=now, lease_until=now + timedelta(minutes=1), limit=9)
    await source.backup(tmp_path / "backup")
    report = await target.restore(tmp_path / "backup")
    assert (report.diagnosis.clean, report.diagnosis.pending) == (True, 0)


# Whole or not at all


async def test_a_backup_needs_a_directory_of_its_own(source: Memora, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    await source.backup(tmp_path / "empty")
    before = {file: file.read_bytes() for file in (tmp_path / "empty").iterdir()}
    for place in (tmp_path / "empty", tmp_path / "empty" / "manifest.json"):
        with pytest.raises(TransferError, match="a new or empty directory"):
            await source.backup(place)
    assert {file: file.read_bytes() for file in (tmp_path / "empty").iterdir()} == before
    await source.backup(tmp_path / "new" / "below")
    assert (tmp_path / "new" / "below" / "manifest.json").is_file()


@pytest.mark.parametrize("fails", ["fsync", "rename"])
async def test_a_full_disk_leaves_nothing(
    source: Memora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "out").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if fails == "fsync" else (Path, "rename")), full)
        with pytest.raises(TransferError, match="No space left on device"):
            await source.backup(tmp_path / "out" / "backup")
    assert list((tmp_path / "out").iterdir()) == []
    await source.backup(tmp_path / "out" / "backup")


async def test_a_cancelled_backup_leaves_nothing(
    source: Memora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task: asyncio.Task[BackupReport]
    original = Snapshot.copy_to

    async def copy_to(self: Snapshot, path: Path) -> None:
        task.cancel()
        await original(self, path)

    monkeypatch.setattr(Snapshot, "copy_to", copy_to)
    (tmp_path / "out").mkdir()
    task = asyncio.create_task(source.backup(tmp_path / "out" / "backup"))
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.undo()
    await remember(source, "life is going on")
    await source.backup(tmp_path / "out" / "backup")


DAMAGES = {
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "half a manifest": lambda folder: (folder / "manifest.json").write_text("{"),
    "a missing file": lambda folder: (folder / "vectors.sqlite3").unlink(),
    "a longer file": lambda folder: (folder / "graph.sqlite3").write_bytes(
        (folder / "graph.sqlite3").read_bytes() + b"x"
    ),
    "another byte": lambda folder: flip(folder / "graph.sqlite3"),
    "other names": lambda folder: (folder / "manifest.json").write_text(
        (folder / "manifest.json").read_text().replace("vectors.sqlite3", "others.sqlite3")
    ),
}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_backup_is_refused(
    source: Memora, target: Memora, tmp_path: Path, damage: str
) -> None:
    await source.backup(tmp_path / "backup")
    DAMAGES[damage](tmp_path / "backup")
    before = await exported(target, tmp_path)
    with pytest.raises(TransferError, match="backup"):
        await target.restore(tmp_path / "backup")
    assert await exported(target, tmp_path) == before
    assert (await target.doctor()).vectors == 0


async def test_a_newer_backup_is_refused(source: Memora, target: Memora, tmp_path: Path) -> None:
    await source.backup(tmp_path / "backup")
    manifest = tmp_path / "backup" / "manifest.json"
    known = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(known | {"version": 2}))
    with pytest.raises(SchemaVersionError, match="backup version 2"):
        await target.restore(tmp_path / "backup")


async def test_a_store_that_is_not_empty_is_refused(
    source: Memora, target: Memora, tmp_path: Path
) -> None:
    await source.backup(tmp_path / "backup")
    await target.graph.create_organization("Mine", org_id="mine")
    before = await exported(target, tmp_path)
    with pytest.raises(ConflictError, match="expected 'an empty store'"):
        await target.restore(tmp_path / "backup")
    assert await exported(target, tmp_path) == before


# Killed

KILLED = """
import asyncio, os, sys
from pathlib import Path
from memora._sqlite_snapshot import Snapshot
from memora.graph_db.sqlite.interface import SQLiteGraph
from tests.transfer_kit import embedded

async def die(*_arguments):
    os._exit(9)

async def main(what, store, backup):
    if what == "backup":
        original = Snapshot.copy_to
        async def copy_to(self, path):
            await original(self, path)
            if path.name == "vectors.sqlite3":
                os._exit(9)
        Snapshot.copy_to = copy_to
    if what == "before the graph":
        SQLiteGraph.replace_with = die
    if what == "after the graph":
        original = SQLiteGraph.replace_with
        async def replace_with(self, file):
            await original(self, file)
            os._exit(9)
        SQLiteGraph.replace_with = replace_with
    async with embedded(Path(store)) as memora:
        await (memora.backup if what == "backup" else memora.restore)(backup)

asyncio.run(main(*sys.argv[1:]))
"""


def kill(what: str, store: Path, backup: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", KILLED, what, store, backup],
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )
    assert process.returncode == 9


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup of a store that is closed again."""

    async def make() -> None:
        async with embedded(tmp_path / "source") as memora:
            await furnish(memora)
            await memora.backup(tmp_path / "backup")

    asyncio.run(make())
    return tmp_path / "backup"


def test_a_half_backup_is_never_taken_for_a_whole_one(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    kill("backup", tmp_path / "source", tmp_path / "out" / "again")
    assert not (tmp_path / "out" / "again").exists()
    (left,) = (tmp_path / "out").iterdir()
    assert left.name.startswith(".again.")
    assert left.name.endswith(".partial")

    async def restore() -> None:
        async with embedded(tmp_path / "target") as memora:
            with pytest.raises(TransferError, match="manifest"):
                await memora.restore(left)

    asyncio.run(restore())


@pytest.mark.parametrize("what", ["before the graph", "after the graph"])
def test_a_killed_restore_is_finished(backup: Path, tmp_path: Path, what: str) -> None:
    """Before the graph is there the call is made again; after it, opening the store is enough."""
    kill(what, tmp_path / "target", backup)

    async def go_on() -> None:
        async with embedded(tmp_path / "target") as memora:
            if what == "before the graph":
                report = await memora.restore(backup)
                assert report.diagnosis.clean, report.diagnosis.findings
            else:
                with pytest.raises(ConflictError):
                    await memora.restore(backup)
            diagnosis = await memora.doctor()
            assert (diagnosis.findings, diagnosis.memories) == ((), 10)

    asyncio.run(go_on())


# Other pairs, other models


async def test_vectors_of_another_model_are_made_again(source: Memora, tmp_path: Path) -> None:
    await source.backup(tmp_path / "backup")
    async with embedded(tmp_path / "target", dimensions=48) as memora:
        report = await memora.restore(tmp_path / "backup")
        assert report.indexed == report.diagnosis.vectors == 10
        assert report.diagnosis.clean, report.diagnosis.findings


async def test_a_pair_with_a_server_is_backed_up_as_an_export(
    source: Memora, target: Memora, tmp_path: Path
) -> None:
    client = AsyncQdrantClient(":memory:")
    graph = SQLiteGraph(tmp_path / "other" / "graph.sqlite3")
    async with Memora(QdrantDB(client, "c", embedder=HashingEmbedder(32)), graph) as memora:
        await source.backup(tmp_path / "native")
        native = await memora.restore(tmp_path / "native")
        assert (native.kind, native.indexed) == (BackupKind.NATIVE, 10)
        assert native.diagnosis.clean, native.diagnosis.findings
        report = await memora.backup(tmp_path / "backup")
        assert [file.name for file in report.files] == ["export.jsonl"]
    await client.close()
    restored = await target.restore(tmp_path / "backup")
    assert (restored.kind, restored.indexed) == (BackupKind.EXPORT, 10)
    assert restored.diagnosis.clean
    assert await exported(target, tmp_path) == await exported(source, tmp_path)


async def test_an_export_is_restored_into_an_empty_store_only(
    source: Memora, target: Memora, tmp_path: Path
) -> None:
    client = AsyncQdrantClient(":memory:")
    graph = SQLiteGraph(None)
    async with Memora(QdrantDB(client, "c", embedder=HashingEmbedder(32)), graph) as memora:
        await source.export_to(tmp_path / "x")
        await memora.import_from(tmp_path / "x")
        await memora.backup(tmp_path / "backup")
    await client.close()
    await target.graph.create_organization("Mine", org_id="mine")
    with pytest.raises(ConflictError, match="expected 'an empty store'"):
        await target.restore(tmp_path / "backup")
    await target.graph.delete_organization("mine")
    await target.import_from(tmp_path / "backup" / "export.jsonl")
    # What an interrupted restore of the same backup left is no hindrance.
    assert (await target.restore(tmp_path / "backup")).diagnosis.clean


async def test_a_store_in_memory_is_backed_up_too(source: Memora, tmp_path: Path) -> None:
    vector = EmbeddedVectorDB(None, embedder=HashingEmbedder(32))
    async with Memora(vector, SQLiteGraph(None)) as memora:
        await source.backup(tmp_path / "one")
        assert (await memora.restore(tmp_path / "one")).diagnosis.clean
        assert (await memora.backup(tmp_path / "two")).kind is BackupKind.NATIVE
        assert await exported(memora, tmp_path) == await exported(source, tmp_path)
    async with embedded(tmp_path / "target") as memora:
        assert (await memora.restore(tmp_path / "two")).diagnosis.clean


async def test_a_graph_on_a_server_refuses_a_native_backup(source: Memora, tmp_path: Path) -> None:
    class OnAServer(SQLiteGraph):
        """As far as copies go."""

        pin = BaseGraphDB.pin

    await source.backup(tmp_path / "backup")
    vector = EmbeddedVectorDB(tmp_path / "v", embedder=HashingEmbedder(32))
    async with Memora(vector, OnAServer(None)) as memora:
        with pytest.raises(TransferError, match="for the embedded store"):
            await memora.restore(tmp_path / "backup")
        assert (await memora.doctor()).vectors == 0


def test_a_backup_may_be_copied_as_files(backup: Path, tmp_path: Path) -> None:
    """Files of a backup are a store by themselves, once they lie where a store has them."""
    (tmp_path / "by-hand" / "vectors").mkdir(parents=True)
    shutil.copy(backup / "graph.sqlite3", tmp_path / "by-hand" / "graph.sqlite3")
    shutil.copy(backup / "vectors.sqlite3", tmp_path / "by-hand" / "vectors" / "vectors.sqlite3")

    async def look() -> None:
        async with embedded(tmp_path / "by-hand") as memora:
            assert (await memora.doctor()).clean

    asyncio.run(look())


async def test_what_is_saved_during_a_restore_is_never_replaced(
    source: Memora, target: Memora, tmp_path: Path
) -> None:
    await source.backup(tmp_path / "backup")
    replace = target.vector_db.replace_with

    async def saved_meanwhile(file: Path) -> bool:
        taken = await replace(file)
        await target.for_user("bob", org_id="late").save(
            [{"role": "user", "content": "Bob is late."}]
        )
        return taken

    target.vector_db.replace_with = saved_meanwhile
    with pytest.raises(ConflictError, match="late"):
        await target.restore(tmp_path / "backup")
    (memory,) = await target.for_user("bob", org_id="late").memories()
    assert "Bob is late." in memory.memory
    assert (await target.doctor()).clean
