"""What EmbeddedVectorDB does beyond the contract: healing, erasure, processes, sizes."""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge

from memora.core.filters import Range
from memora.core.indexing import payload
from memora.embeddings.hashing import HashingEmbedder
from memora.errors import SchemaVersionError, StoreLockedError, VectorDBError
from memora.schema.index import QueryHits
from memora.schema.scope import Scope
from memora.testing.vector_clauses.documents import NOON, document, everything, stored
from memora.vector_db import EmbeddedVectorDB, _encoding, _generations, _shard
from memora.vector_db._encoding import Encoder
from memora.vector_db._rows import VectorRows
from memora.vector_db._shard import Shard
from memora.vector_db._shards import LocalShard

ALICE = Scope("org", "alice")


def made_at(path: Path | None) -> EmbeddedVectorDB:
    return EmbeddedVectorDB(path, embedder=HashingEmbedder(16))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedVectorDB]:
    async with made_at(tmp_path) as store:
        yield store


async def find(store: EmbeddedVectorDB, query: str, scope: Scope = ALICE, **more: Any) -> QueryHits:
    return await store.search_memory(query, "user", scope.org_id, scope.user_id, **more)


async def filled(path: Path, count: int = 12) -> QueryHits:
    """A closed store with stories, and what it answers."""
    async with made_at(path) as store:
        await store.upsert([document(f"story {i}", ALICE) for i in range(count)])
        return await find(store, "story 3")


def shard_of(path: Path) -> Path:
    (shard,) = (path / "vectors").iterdir()
    return shard


def change_rows(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path / "vectors.sqlite3")
    connection.execute(statement)
    connection.commit()
    connection.close()


# Healing


def lose_the_folder(path: Path) -> None:
    shutil.rmtree(path / "vectors")


def lose_the_config(path: Path) -> None:
    (shard_of(path) / "edge_config.json").unlink()


def garble_the_config(path: Path) -> None:
    (shard_of(path) / "edge_config.json").write_text("{")


def garble_every_segment_file(path: Path) -> None:
    for file in (shard_of(path) / "segments").rglob("*"):
        if file.is_file():
            file.write_bytes(b"\xff" * 64)


def lose_the_segments(path: Path) -> None:
    shutil.rmtree(shard_of(path) / "segments")


def write_with_another_engine(path: Path) -> None:
    change_rows(path, "UPDATE state SET engine = 'qdrant-edge-py 0.8.9'")


def lose_a_point(path: Path) -> None:
    shard = qdrant_edge.EdgeShard.load(str(shard_of(path)))
    records, _ = shard.scroll(qdrant_edge.ScrollRequest(limit=1))
    shard.update(qdrant_edge.UpdateOperation.delete_points([records[0].id]))
    shard.close()


def leave_a_half_filled_folder(path: Path) -> None:
    change_rows(path, "UPDATE state SET shard = NULL")
    (path / "vectors" / "7").mkdir()
    (path / "vectors" / "7" / "left over").write_text("x")


@pytest.mark.parametrize(
    "damage",
    [
        lose_the_folder,
        lose_the_config,
        garble_the_config,
        garble_every_segment_file,
        lose_the_segments,
        write_with_another_engine,
        lose_a_point,
        leave_a_half_filled_folder,
    ],
)
async def test_a_damaged_shard_is_filled_again(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    before = await filled(tmp_path)
    await asyncio.to_thread(damage, tmp_path)
    async with made_at(tmp_path) as store:
        assert await find(store, "story 3") == before
        assert len(await stored(store, "org")) == 12


async def test_another_engine_gets_a_shard_of_its_own(tmp_path: Path) -> None:
    await filled(tmp_path)
    before = shard_of(tmp_path).name
    await asyncio.to_thread(write_with_another_engine, tmp_path)
    async with made_at(tmp_path):
        pass
    assert shard_of(tmp_path).name != before


async def test_a_sound_shard_is_kept(tmp_path: Path) -> None:
    await filled(tmp_path)
    kept = shard_of(tmp_path).name
    async with made_at(tmp_path):
        pass
    assert shard_of(tmp_path).name == kept


async def test_rows_that_the_shard_lacks_are_replayed(tmp_path: Path) -> None:
    await filled(tmp_path)
    rows = VectorRows(tmp_path)
    await rows.open()
    old = [entry.memory_id for entry in await rows.scan("", 2)]
    late = document("a late story", ALICE)
    changed = document("retold", ALICE, memory_id=old[1])
    await rows.put(await Encoder(HashingEmbedder(16), None).documents([late, changed]))
    await rows.remove(ALICE, old[:1])
    await rows.close()
    kept = shard_of(tmp_path).name
    async with made_at(tmp_path) as store:
        assert late.memory_id in everything(await find(store, "late"))
        assert [hit.memory_id for hit in (await find(store, "retold")).lexical] == [old[1]]
        assert old[0] not in everything(await find(store, "story", limit=100))
    assert shard_of(tmp_path).name == kept


async def test_a_change_that_the_engine_refused_follows_with_the_next(
    store: EmbeddedVectorDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = document("first story", ALICE), document("second story", ALICE)

    def full(*_args: Any) -> None:
        raise VectorDBError("embedded", "the engine failed: no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Shard, "apply", full)
        with pytest.raises(VectorDBError, match="no space"):
            await store.upsert([first])
    await store.upsert([second])
    expected = {first.memory_id, second.memory_id}
    assert everything(await find(store, "story")) == expected


async def test_b15_a_call_that_is_cancelled_after_its_commit_reaches_the_shard(
    store: EmbeddedVectorDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = document("a late story", ALICE)
    put = VectorRows.put

    async def put_and_cancel(rows: VectorRows, *given: Any) -> int | None:
        change = await put(rows, *given)
        call.cancel()
        return change

    monkeypatch.setattr(VectorRows, "put", put_and_cancel)
    call = asyncio.ensure_future(store.upsert([late]))
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.gather(*store._generations._running)
    assert everything(await find(store, "story")) == {late.memory_id}


async def test_removals_are_kept_until_they_are_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_generations, "_FLUSH_AFTER", 10)
    async with made_at(tmp_path) as store:
        documents = [document(f"story {i}", ALICE) for i in range(8)]
        await store.upsert(documents)
        await store.delete_memory(documents[0].memory_id, "org", "alice")
        assert await counted(tmp_path) == (0, 1)
        await store.delete_memory(documents[1].memory_id, "org", "alice")
        assert await counted(tmp_path) == (10, 0)


async def counted(path: Path) -> tuple[int, int]:
    """The last flushed change, and the number of removals after it."""

    def read() -> tuple[int, int]:
        connection = sqlite3.connect(path / "vectors.sqlite3")
        query = "SELECT flushed, (SELECT count(*) FROM removal) FROM state"
        found = connection.execute(query).fetchone()
        connection.close()
        return found

    return await asyncio.to_thread(read)


async def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    await filled(tmp_path)
    await asyncio.to_thread(change_rows, tmp_path, "PRAGMA user_version = 99")
    with pytest.raises(SchemaVersionError, match="schema 99"):
        await made_at(tmp_path).setup()


# Erasure


async def bytes_in(path: Path, canary: bytes) -> list[str]:
    """Files that hold the bytes."""

    def scan() -> list[str]:
        files = [file for file in path.rglob("*") if file.is_file()]
        assert files
        return [str(file) for file in files if canary in written(file)]

    return await asyncio.to_thread(scan)


def written(path: Path) -> bytes:
    """What was ever written to a file: the engine's are hundreds of megabytes of nothing."""
    parts: list[bytes] = []
    with path.open("rb") as file:
        end = 0
        while True:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                return b"".join(parts)
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            parts.append(os.pread(file.fileno(), end - start, start))


async def vector_bytes(text: str) -> bytes:
    return (await HashingEmbedder(16).embed_documents([text]))[0].tobytes()


async def test_b83_an_erased_user_leaves_no_bytes(store: EmbeddedVectorDB, tmp_path: Path) -> None:
    bob = Scope("org", "canary-7c1f0b9e")
    await store.upsert([document(f"a story of {i}", ALICE) for i in range(5)])
    await store.upsert([document("a very private story", bob)])
    vector = await vector_bytes("a very private story")
    assert await bytes_in(tmp_path, b"canary-7c1f0b9e")
    assert await bytes_in(tmp_path, vector)
    await store.delete_all_user_memories("org", bob.user_id)
    assert await bytes_in(tmp_path, b"canary-7c1f0b9e") == []
    assert await bytes_in(tmp_path, vector) == []
    assert len(everything(await find(store, "story"))) == 5


async def test_b83_an_erasure_that_was_cut_short_is_finished_at_the_next_start(
    tmp_path: Path,
) -> None:
    bob = Scope("org", "canary-7c1f0b9e")
    async with made_at(tmp_path) as store:
        await store.upsert([document("mine", ALICE), document("a private story", bob)])
    rows = VectorRows(tmp_path)
    await rows.open()
    dropped = await rows.remove_tenant(bob)
    assert dropped.must_rewrite
    await rows.close()
    async with made_at(tmp_path) as store:
        assert await find(store, "story", bob) == QueryHits()
        assert len(everything(await find(store, "mine"))) == 1
    assert await bytes_in(tmp_path, b"canary-7c1f0b9e") == []


async def test_b83_single_deletes_are_gone_after_a_rewrite(
    store: EmbeddedVectorDB, tmp_path: Path
) -> None:
    gone, kept = document("a private story", ALICE), document("a story", ALICE)
    await store.upsert([gone, kept])
    vector = await vector_bytes("a private story")
    await store.delete_memory(gone.memory_id, "org", "alice")
    before = shard_of(tmp_path)
    await store.rewrite()
    assert await bytes_in(tmp_path / "vectors", vector) == []
    assert shard_of(tmp_path) != before
    assert everything(await find(store, "story")) == {kept.memory_id}


async def test_nothing_to_erase_is_no_rewrite(store: EmbeddedVectorDB, tmp_path: Path) -> None:
    await store.upsert([document("story", ALICE)])
    before = shard_of(tmp_path)
    await store.delete_all_user_memories("org", "nobody")
    assert shard_of(tmp_path) == before


async def test_an_erasure_whose_rewrite_fails_hides_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = Scope("org", "canary-7c1f0b9e")
    store = made_at(tmp_path)
    await store.setup()
    await store.upsert([document("mine", ALICE), document("a private story", bob)])

    def full(*_args: Any) -> Shard:
        raise VectorDBError("embedded", "the engine failed: no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Shard, "create", full)
        with pytest.raises(VectorDBError, match="no space"):
            await store.delete_all_user_memories("org", bob.user_id)
    assert await find(store, "story", bob) == QueryHits()
    await store.close()
    async with made_at(tmp_path) as store:
        assert await find(store, "story", bob) == QueryHits()
        assert len(everything(await find(store, "mine"))) == 1
    assert await bytes_in(tmp_path, b"canary-7c1f0b9e") == []


async def test_work_goes_on_during_a_rewrite(store: EmbeddedVectorDB) -> None:
    documents = [document(f"story {i}", ALICE) for i in range(600)]
    await store.upsert(documents)
    late = document("a late story", ALICE)
    _, hits, *_ = await asyncio.gather(
        store.rewrite(),
        find(store, "story 7"),
        store.upsert([late]),
        store.delete_memory(documents[0].memory_id, "org", "alice"),
        store.delete_all_user_memories("org", "nobody"),
    )
    assert hits.lexical
    expected = {d.memory_id for d in documents[1:]} | {late.memory_id}
    assert everything(await find(store, "story", limit=1000)) == expected


async def test_no_text_reaches_the_disk(store: EmbeddedVectorDB, tmp_path: Path) -> None:
    await store.upsert([document("a canaryphrase", ALICE)])
    await find(store, "what canaryphrase")
    assert await bytes_in(tmp_path, b"canaryphrase") == []


# Processes


async def test_a_second_owner_is_told_the_first(store: EmbeddedVectorDB, tmp_path: Path) -> None:
    second = made_at(tmp_path)
    with pytest.raises(StoreLockedError, match=f"process {os.getpid()}"):
        await second.setup()
    await second.close()
    await store.upsert([document("story", ALICE)])


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.timeout(40)
async def test_a_second_process_is_refused(store: EmbeddedVectorDB, tmp_path: Path) -> None:
    script = """
        import asyncio, sys
        from memora.embeddings.hashing import HashingEmbedder
        from memora.vector_db import EmbeddedVectorDB
        asyncio.run(EmbeddedVectorDB(sys.argv[1], embedder=HashingEmbedder(16)).setup())
    """
    done = await asyncio.to_thread(run, script, str(tmp_path))
    assert f"StoreLockedError: {tmp_path}: the store is in use by process {os.getpid()}" in (
        done.stderr
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.timeout(40)
@pytest.mark.parametrize("mode", ["one process", "own process"])
async def test_a_fork_is_refused_instead_of_hanging(tmp_path: Path, mode: str) -> None:
    script = """
        import asyncio, os, sys
        from memora.embeddings.hashing import HashingEmbedder
        from memora.errors import VectorDBError
        from memora.vector_db import EmbeddedVectorDB

        async def refused(store):
            calls = (store.search_memory("a story", "user", "o", "u"), store.scan(),
                     store.delete_all_user_memories("o", "u"), store.setup(), store.rewrite())
            for call in calls:
                try:
                    await call
                except VectorDBError as error:
                    assert "fork" in str(error), error
                else:
                    raise AssertionError("not refused")
            await store.close()

        loop = asyncio.new_event_loop()
        own = sys.argv[2] == "own process"
        store = EmbeddedVectorDB(sys.argv[1], embedder=HashingEmbedder(16), own_process=own)
        loop.run_until_complete(store.setup())
        child = os.fork()
        if not child:
            try:
                asyncio.run(refused(store))
            except BaseException as error:
                print(repr(error), file=sys.stderr)
                os._exit(1)
            # An orderly exit would take the parent's loop out of the epoll that both share.
            os._exit(0)
        print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        loop.run_until_complete(store.search_memory("a story", "user", "o", "u"))
        loop.run_until_complete(store.close())
        print("parent fine")
    """
    done = await asyncio.to_thread(run, script, str(tmp_path), mode)
    assert done.stdout.split("\n")[:2] == ["child 0", "parent fine"], done.stderr
    assert not done.stderr


async def test_nothing_works_before_setup_and_after_close(tmp_path: Path) -> None:
    store = made_at(tmp_path)
    for _ in range(2):
        for call in (
            find(store, "story"),
            store.upsert([document("story", ALICE)]),
            store.scan(),
            store.delete_memory(document("x", ALICE).memory_id, "org", "alice"),
            store.delete_all_user_memories("org", "alice"),
            store.rewrite(),
        ):
            with pytest.raises(VectorDBError, match=r"setup\(\)"):
                await call
        assert await store.stamp() is None
        async with store:
            await store.upsert([document("story", ALICE)])
            assert await store.stamp() is not None


async def test_closing_twice_at_once_and_during_writes(tmp_path: Path) -> None:
    store = made_at(tmp_path)
    await store.setup()
    writes = [asyncio.ensure_future(store.upsert([document(f"s {i}", ALICE)])) for i in range(9)]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    written = await asyncio.gather(*writes, return_exceptions=True)
    async with store:
        rows = await stored(store, "org")
        assert len(rows) >= sum(result is None for result in written)
        assert everything(await find(store, "s")) == set(rows)


async def test_only_the_owner_may_read_the_files(store: EmbeddedVectorDB, tmp_path: Path) -> None:
    assert (tmp_path / "vectors.sqlite3").stat().st_mode & 0o777 == 0o600
    assert shard_of(tmp_path).stat().st_mode & 0o777 == 0o700


async def test_without_a_path_the_store_is_temporary() -> None:
    store = made_at(None)
    await store.setup()
    directory = store._generations.shards.directory
    await store.upsert([document("story", ALICE)])
    assert everything(await find(store, "story"))
    await store.close()
    assert not directory.exists()
    async with store:
        assert await find(store, "story") == QueryHits()


# Sizes


@pytest.mark.parametrize("together", [5, 1000])
async def test_large_tenants_are_asked_one_query_at_a_time(
    store: EmbeddedVectorDB, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    await store.upsert([document(f"story {i}", ALICE) for i in range(40)])
    await store.upsert([document("story", Scope("org", "bob"))])
    queries = ["story 7", "story 8", "…", "xyz"]
    expected = await store.search_memories(queries, "user", "org", "alice")
    monkeypatch.setattr(_shard, "_TOGETHER", together)
    assert await store.search_memories(queries, "user", "org", "alice") == expected
    assert len(everything(await find(store, "story", Scope("org", "bob")))) == 1


async def test_a_list_that_would_get_no_longer_is_not_asked_for_again(
    store: EmbeddedVectorDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.upsert([document("the same story", ALICE) for _ in range(60)])
    monkeypatch.setattr(_shard, "TIES", 4)
    monkeypatch.setattr(_encoding, "TIES", 4)
    monkeypatch.setattr(_shard, "MANY_TIES", 20)
    asked: list[list[int]] = []
    ask = Shard._ask

    def watched(shard: Shard, scope: Any, requests: Any, excluded: Any) -> Any:
        asked.append([request.limit for request in requests])
        return ask(shard, scope, requests, excluded)

    monkeypatch.setattr(Shard, "_ask", watched)
    await find(store, "same story", limit=10)
    # Both end in ties; the lexical list is as long as it gets from the start.
    (dense, lexical), (again,) = asked
    assert (again - dense, lexical) == (16, again)


def test_a_point_takes_no_more_of_the_index_than_it_must() -> None:
    tags = ("tea", "a tag of more than fifteen bytes")
    usual = _shard.stored(payload(document("story", ALICE, tags=tags)))
    assert {len(term.encode()) for term in usual["terms"]} == {15}
    assert len(set(usual["terms"])) == len(usual["terms"])
    assert not {"importance", "archived", "expires_at"} & usual.keys()
    other = document("story", ALICE, importance=0.6, archived=True, expires_at=NOON)
    numbers = {"importance": 0.6, "archived": 1.0, "expires_at": NOON.timestamp()}
    assert numbers.items() <= _shard.stored(payload(other)).items()


@pytest.mark.parametrize("few", [0, 100])
async def test_numbers_that_a_point_leaves_out_are_in_ranges_all_the_same(
    store: EmbeddedVectorDB, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(_shard, "_FEW", few)
    usual = document("story", ALICE)
    other = document("story", ALICE, importance=0.6, archived=True, expires_at=NOON)
    await store.upsert([usual, other])
    neither: set[str] = set()
    expected = [
        (Range("importance", gte=0.5), {usual.memory_id, other.memory_id}),
        (Range("importance", gt=0.5), {other.memory_id}),
        (Range("importance", lte=0.5), {usual.memory_id}),
        (Range("importance", gt=0.2, lt=0.5), neither),
        (Range("archived", lt=1), {usual.memory_id}),
        (Range("archived", gt=0), {other.memory_id}),
        (Range("expires_at", gt=NOON.timestamp()), {usual.memory_id}),
        (Range("expires_at", lte=NOON.timestamp()), {other.memory_id}),
    ]
    for condition, ids in expected:
        assert everything(await find(store, "story", conditions=(condition,))) == ids, condition


async def test_a_shard_that_is_loaded_knows_whether_users_share_it(tmp_path: Path) -> None:
    for count, name in enumerate(("alice", "bob", "carol")):
        async with made_at(tmp_path) as store:
            _, index = store._generations.opened()
            assert isinstance(index.shard, LocalShard)
            assert len(index.shard.loaded._users) == min(count, 2)
            own = document("story", Scope("org", name))
            await store.upsert([own])
        async with made_at(tmp_path) as store:
            assert everything(await find(store, "story", Scope("org", name))) == {own.memory_id}


async def test_many_deleted_points_are_compacted_at_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_generations, "_DEAD_AT_LEAST", 5)
    compacted: list[bool] = []
    optimize = Shard.optimize

    def watched(shard: Shard) -> None:
        compacted.append(True)
        optimize(shard)

    monkeypatch.setattr(Shard, "optimize", watched)
    documents = [document(f"story {i}", ALICE) for i in range(30)]
    async with made_at(tmp_path) as store:
        await store.upsert(documents)
    assert not compacted
    gone = [document.memory_id for document in documents[:10]]
    async with made_at(tmp_path) as store:
        await store.delete_memories(gone, "org", "alice")
        before = await find(store, "story 20")
    assert compacted
    async with made_at(tmp_path) as store:
        assert await find(store, "story 20") == before


# The engine


async def test_a_platform_without_the_engine_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_name: str) -> Any:
        raise ModuleNotFoundError("No module named 'qdrant_edge'")

    monkeypatch.setattr(_shard, "import_module", missing)
    store = made_at(tmp_path)
    with pytest.raises(VectorDBError, match="use Neo4j and Qdrant"):
        await store.setup()
    monkeypatch.setattr(_shard, "import_module", importlib.import_module)
    await store.setup()
    await store.close()


async def test_an_engine_that_loses_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shard, "version", lambda _name: "0.8.1")
    with pytest.raises(VectorDBError, match=r"0\.8\.1 is too old"):
        await made_at(tmp_path).setup()


class PanicException(BaseException):
    """Rust panics do not derive from Exception."""


@pytest.mark.parametrize("error", [Exception("Service runtime error"), PanicException("panicked")])
def test_errors_and_panics_of_the_engine_are_translated(error: BaseException) -> None:
    with pytest.raises(VectorDBError, match=str(error)), _shard.translated():
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, SystemExit])
def test_what_ends_a_program_is_not(error: type[BaseException]) -> None:
    with pytest.raises(error), _shard.translated():
        raise error


async def test_a_closed_shard_raises_memoras_error(tmp_path: Path) -> None:
    def use() -> None:
        shard = Shard.create(tmp_path / "shard", 4)
        shard.close()
        shard.count()

    with pytest.raises(VectorDBError, match="not initialized"):
        await asyncio.to_thread(use)


async def test_a_shard_that_is_open_elsewhere_is_locked(tmp_path: Path) -> None:
    def use() -> None:
        shard = Shard.create(tmp_path / "shard", 4)
        try:
            Shard.load(tmp_path / "shard", 0)
        finally:
            shard.close()

    with pytest.raises(StoreLockedError):
        await asyncio.to_thread(use)


def test_the_package_loads_no_engine() -> None:
    script = """
        import sys
        import memora.vector_db
        loaded = set(sys.modules) & {"qdrant_edge", "qdrant_client", "numpy", "sqlite3"}
        assert not loaded, loaded
        assert "EmbeddedVectorDB" in dir(memora.vector_db)
        try:
            memora.vector_db.Nothing
        except AttributeError:
            print("fine")
    """
    assert run(script).stdout == "fine\n"
