"""The engine in a process of its own: it dies, its store dies, and nothing stays or is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora.embeddings.hashing import HashingEmbedder
from memora.errors import StoreLockedError, VectorDBConnectionError, VectorDBError
from memora.schema.index import QueryHits
from memora.schema.scope import Scope
from memora.testing.vector_clauses.documents import document, everything, stored
from memora.vector_db import EmbeddedVectorDB, _shard_process, _shards
from memora.vector_db._shard_calls import Answer, Call, Failure, frame, next_call, take_answers
from memora.vector_db._shard_process import ShardProcess
from memora.vector_db._shard_worker import serve
from tests.unit.test_vector_embedded import bytes_in, find, run, shard_of, vector_bytes

ALICE = Scope("org", "alice")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals as Unix has them")
LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

pytestmark = pytest.mark.timeout(60)


def made_at(path: Path | None, **more: Any) -> EmbeddedVectorDB:
    return EmbeddedVectorDB(path, embedder=HashingEmbedder(16), own_process=True, **more)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedVectorDB]:
    async with made_at(tmp_path) as store:
        yield store


def process_of(store: EmbeddedVectorDB) -> ShardProcess:
    process = store._generations.shards._process
    assert process is not None
    return process


def worker_of(store: EmbeddedVectorDB) -> int:
    return process_of(store)._process.pid


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, "it does not come"
        await asyncio.sleep(0.01)


async def killed(store: EmbeddedVectorDB) -> None:
    """Kill the worker, and wait until its store has noticed."""
    process = process_of(store)
    os.kill(process._process.pid, signal.SIGKILL)
    await until(lambda: process.has_ended)


def runs(pid: int) -> bool:
    """Whether the process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# The worker dies


@POSIX
async def test_a_worker_that_died_is_followed_by_another(
    store: EmbeddedVectorDB, tmp_path: Path
) -> None:
    documents = [document(f"story {i}", ALICE) for i in range(20)]
    await store.upsert(documents)
    before, folder = await find(store, "story 7"), shard_of(tmp_path)
    for call in (
        lambda: find(store, "story 7"),
        lambda: store.count(ALICE),
        lambda: store.lookup([documents[0].memory_id]),
        store.scan,
        store.setup,
        lambda: store.upsert([documents[3]]),
        lambda: store.delete_memory(document("x", ALICE).memory_id, "org", "alice"),
        lambda: store.delete_all_user_memories("org", "nobody"),
        store.rewrite,
    ):
        first = worker_of(store)
        await killed(store)
        await call()
        assert worker_of(store) != first
        assert await find(store, "story 7") == before
        assert len(await stored(store, "org")) == 20
    assert shard_of(tmp_path) != folder  # the rewrite's


@POSIX
async def test_calls_under_way_fail_with_an_error_that_may_pass(store: EmbeddedVectorDB) -> None:
    await store.upsert([document("story", ALICE)])
    expected = await find(store, "story")
    worker = worker_of(store)
    os.kill(worker, signal.SIGSTOP)
    calls: list[asyncio.Future[Any]] = []
    calls += [asyncio.ensure_future(find(store, "story")) for _ in range(5)]
    calls.append(asyncio.ensure_future(store.count(ALICE)))
    await until(lambda: len(process_of(store)._waiting) == 6)
    os.kill(worker, signal.SIGKILL)
    for failed in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(failed, VectorDBConnectionError)
        assert "exit status -9" in str(failed)
    assert await find(store, "story") == expected


@POSIX
async def test_nothing_acknowledged_is_lost_when_workers_are_killed(tmp_path: Path) -> None:
    kept: set[str] = set()
    gone: set[str] = set()
    failed = 0

    async def write(store: EmbeddedVectorDB) -> None:
        nonlocal failed
        for number in range(40):
            batch = [document(f"story {number} {i}", ALICE) for i in range(5)]
            try:
                await store.upsert(batch)
            except VectorDBConnectionError:
                failed += 1  # its rows may be there or not
                continue
            kept.update(told.memory_id for told in batch)
            hits = await found_by(store, batch[1].memory_id, f"story {number} 1")
            assert hits is None or batch[1].memory_id in everything(hits)
            with contextlib.suppress(VectorDBConnectionError):
                kept.discard(batch[0].memory_id)
                await store.delete_memory(batch[0].memory_id, "org", "alice")
                gone.add(batch[0].memory_id)

    async def found_by(store: EmbeddedVectorDB, memory_id: str, query: str) -> QueryHits | None:
        with contextlib.suppress(VectorDBConnectionError):
            return await find(store, query, limit=1000)
        return None

    async with made_at(tmp_path) as store:
        writers = [asyncio.ensure_future(write(store)) for _ in range(3)]
        for _ in range(4):
            await asyncio.sleep(0.3)
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker_of(store), signal.SIGKILL)
        await asyncio.gather(*writers)
        everyone = everything(await find(store, "story", limit=1000))
        assert kept
        assert kept <= everyone
        assert not gone & everyone
        assert everyone == set(await stored(store, "org"))
    async with EmbeddedVectorDB(tmp_path, embedder=HashingEmbedder(16)) as again:
        assert set(await stored(again, "org")) == everyone


@POSIX
async def test_a_store_whose_worker_died_can_be_closed(tmp_path: Path) -> None:
    store = made_at(tmp_path)
    for notices in (True, False):
        await store.setup()
        told = document("story", ALICE)
        await store.upsert([told])
        if notices:
            await killed(store)
        else:
            os.kill(worker_of(store), signal.SIGKILL)
        await store.close()
        async with made_at(tmp_path) as again:
            assert told.memory_id in everything(await find(again, "story"))


@POSIX
async def test_a_reindex_goes_on_after_its_worker_died(store: EmbeddedVectorDB) -> None:
    old, new = document("an old story", ALICE), document("a new story", ALICE)
    await store.upsert([old])
    rebuild = await store.begin_rebuild(HashingEmbedder(32))
    await rebuild.upsert([old])
    await killed(store)
    await rebuild.upsert([new])
    await killed(store)
    await rebuild.commit()
    expected = {old.memory_id, new.memory_id}
    assert everything(await find(store, "story")) == expected
    await killed(store)
    assert everything(await find(store, "story")) == expected


@POSIX
async def test_a_caller_that_went_away_leaves_the_others_their_answers(
    store: EmbeddedVectorDB,
) -> None:
    await store.upsert([document("story", ALICE)])
    expected = await find(store, "story")
    os.kill(worker_of(store), signal.SIGSTOP)
    calls = [asyncio.ensure_future(find(store, "story")) for _ in range(8)]
    await until(lambda: len(process_of(store)._waiting) == 8)
    for call in calls[::2]:
        call.cancel()
    os.kill(worker_of(store), signal.SIGCONT)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[1::2] == [expected] * 4
    assert await find(store, "story") == expected


# The store dies


PARENT = """
    import asyncio, os, sys, time
    from memora.embeddings.hashing import HashingEmbedder
    from memora.schema.scope import Scope
    from memora.testing.vector_clauses.documents import document
    from memora.vector_db import EmbeddedVectorDB

    async def main():
        store = EmbeddedVectorDB(sys.argv[1], embedder=HashingEmbedder(16), own_process=True)
        await store.setup()
        await store.upsert([document("story", Scope("org", "alice"))])
        worker = store._generations.shards._process._process.pid
        fork = 0
        if "fork" in sys.argv and not (fork := os.fork()):
            time.sleep(30)
            os._exit(0)
        print(worker, fork, flush=True)
        await asyncio.sleep(30)

    asyncio.run(main())
"""


def parent_of(path: Path, *options: str) -> tuple[subprocess.Popen[str], int, int]:
    """A process with a store, the pid of its worker, and that of a fork of it."""
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(path), *options]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker, fork = map(int, parent.stdout.readline().split())
    return parent, worker, fork


def put_down(parent: subprocess.Popen[str]) -> None:
    parent.kill()
    parent.communicate()


@LINUX
@pytest.mark.parametrize("options", [(), ("fork",)])
async def test_no_worker_outlives_its_store(tmp_path: Path, options: tuple[str, ...]) -> None:
    parent, worker, fork = await asyncio.to_thread(parent_of, tmp_path, *options)
    try:
        assert runs(worker)
        parent.kill()
        await until(lambda: not runs(worker), seconds=2)
    finally:
        if fork:
            os.kill(fork, signal.SIGKILL)
        await asyncio.to_thread(put_down, parent)
    for own_process in (True, False):
        store = EmbeddedVectorDB(tmp_path, embedder=HashingEmbedder(16), own_process=own_process)
        async with store:
            assert len(everything(await find(store, "story"))) == 1


@LINUX
@pytest.mark.parametrize("own_process", [True, False])
async def test_the_next_store_waits_for_the_worker_of_the_last(
    tmp_path: Path, own_process: bool
) -> None:
    parent, worker, _fork = await asyncio.to_thread(parent_of, tmp_path)
    os.kill(worker, signal.SIGSTOP)
    await asyncio.to_thread(put_down, parent)
    store = EmbeddedVectorDB(tmp_path, embedder=HashingEmbedder(16), own_process=own_process)
    opening = asyncio.ensure_future(store.setup())
    await asyncio.sleep(1)
    assert not opening.done()
    os.kill(worker, signal.SIGCONT)
    await opening
    assert len(everything(await find(store, "story"))) == 1
    await store.close()


@LINUX
async def test_it_waits_for_some_seconds_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shards, "_LAST_CALL", 0.3)
    parent, worker, _fork = await asyncio.to_thread(parent_of, tmp_path)
    os.kill(worker, signal.SIGSTOP)
    await asyncio.to_thread(put_down, parent)
    with pytest.raises(StoreLockedError):
        await made_at(tmp_path).setup()
    os.kill(worker, signal.SIGKILL)
    await until(lambda: not runs(worker))
    async with made_at(tmp_path) as store:
        assert len(everything(await find(store, "story"))) == 1


@LINUX
async def test_a_closed_store_leaves_no_process_and_no_descriptor(tmp_path: Path) -> None:
    async def open_files() -> int:
        return len(await asyncio.to_thread(os.listdir, "/proc/self/fd"))

    store = made_at(tmp_path)
    counts: list[int] = []
    for _ in range(3):
        async with store:
            worker = worker_of(store)
        assert not runs(worker)
        counts.append(await open_files())
        names = [thread.name for thread in threading.enumerate()]
        assert not [name for name in names if name.startswith("memora-shards")]
    assert counts[0] == counts[-1]


@POSIX
async def test_a_signal_to_all_leaves_the_worker_to_its_store(store: EmbeddedVectorDB) -> None:
    worker = worker_of(store)
    assert os.getpgid(worker) != os.getpgid(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker, number)
    await store.upsert([document("story", ALICE)])
    assert len(everything(await find(store, "story"))) == 1
    assert worker_of(store) == worker


# What the store's side does and what it leaves to the worker


@POSIX
async def test_b33_the_loop_goes_on_while_the_engine_works(store: EmbeddedVectorDB) -> None:
    await store.upsert([document("story", ALICE)])
    worker = worker_of(store)
    os.kill(worker, signal.SIGSTOP)
    try:
        search = asyncio.ensure_future(find(store, "story"))
        for _ in range(100):
            await asyncio.sleep(0.002)
        assert not search.done()
        # More than the pipe holds waits without holding anybody up.
        more = [asyncio.ensure_future(find(store, f"story {i}")) for i in range(500)]
        await until(lambda: len(process_of(store)._waiting) > 400)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert len(everything(await search)) == 1
    assert all(everything(hits) for hits in await asyncio.gather(*more))


async def test_the_engine_is_loaded_by_the_worker_alone(tmp_path: Path) -> None:
    script = """
        import asyncio, sys
        from memora.embeddings.hashing import HashingEmbedder
        from memora.schema.scope import Scope
        from memora.testing.vector_clauses.documents import document
        from memora.vector_db import EmbeddedVectorDB

        async def main():
            embedder = HashingEmbedder(16)
            async with EmbeddedVectorDB(sys.argv[1], embedder=embedder, own_process=True) as store:
                await store.upsert([document("story", Scope("org", "alice"))])
                hits = await store.search_memory("story", "user", "org", "alice")
                print(len(hits.dense), "qdrant_edge" in sys.modules)

        asyncio.run(main())
        print("once")
    """
    done = await asyncio.to_thread(run, script, str(tmp_path))
    assert done.stdout == "1 False\nonce\n", done.stderr
    assert not done.stderr


async def test_a_store_that_is_never_closed_ends_quietly(tmp_path: Path) -> None:
    script = """
        import asyncio, sys
        from memora.embeddings.hashing import HashingEmbedder
        from memora.vector_db import EmbeddedVectorDB
        store = EmbeddedVectorDB(sys.argv[1], embedder=HashingEmbedder(16), own_process=True)
        asyncio.run(store.setup())
        print("done")
    """
    done = await asyncio.to_thread(run, script, str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@LINUX
async def test_r12_the_command_line_tells_nothing(store: EmbeddedVectorDB, tmp_path: Path) -> None:
    await store.upsert([document("story", Scope("org-canary", "canary"))])
    told = await asyncio.to_thread(Path(f"/proc/{worker_of(store)}/cmdline").read_bytes)
    assert b"canary" not in told
    assert b"_shard_worker" in told
    assert "canary" not in repr(process_of(store)) + repr(store._generations.opened()[1].shard)


async def test_b83_an_erased_user_leaves_no_bytes(store: EmbeddedVectorDB, tmp_path: Path) -> None:
    bob = Scope("org", "canary-7c1f0b9e")
    await store.upsert([document(f"a story of {i}", ALICE) for i in range(5)])
    await store.upsert([document("a very private story", bob)])
    vector = await vector_bytes("a very private story")
    assert await bytes_in(tmp_path, vector)
    await store.delete_all_user_memories("org", bob.user_id)
    assert await bytes_in(tmp_path, b"canary-7c1f0b9e") == []
    assert await bytes_in(tmp_path, vector) == []
    assert len(everything(await find(store, "story"))) == 5


async def test_without_a_path_the_store_is_temporary() -> None:
    store = made_at(None)
    await store.setup()
    directory = store._generations.shards.directory
    await store.upsert([document("story", ALICE)])
    await store.close()
    assert not directory.exists()


# Starting


@pytest.mark.parametrize(
    ("name", "value"), [("executable", ""), ("executable", None), ("frozen", True)]
)
async def test_without_an_interpreter_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    monkeypatch.setattr(_shard_process.sys, name, value, raising=False)
    with pytest.raises(VectorDBError, match="needs a Python interpreter"):
        await made_at(tmp_path).setup()


@POSIX
async def test_what_is_no_interpreter_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shard_process.sys, "executable", "/bin/false")
    with pytest.raises(VectorDBConnectionError, match="exit status 1"):
        await made_at(tmp_path / "a").setup()
    monkeypatch.setattr(_shard_process.sys, "executable", str(tmp_path / "missing"))
    with pytest.raises(VectorDBConnectionError, match="was not started"):
        await made_at(tmp_path / "b").setup()
    silent = tmp_path / "silent"
    await asyncio.to_thread(silent.write_text, "#!/bin/sh\nexec sleep 30\n")
    await asyncio.to_thread(silent.chmod, 0o700)
    monkeypatch.setattr(_shard_process.sys, "executable", str(silent))
    monkeypatch.setattr(_shards, "_START", 0.3)
    with pytest.raises(VectorDBConnectionError, match="does not answer"):
        await made_at(tmp_path / "c").setup()


async def test_memora_passes_the_choice_on(tmp_path: Path) -> None:
    chosen = Memora.embedded(tmp_path, embedder="hashing", own_process=True)
    settings = {"path": str(tmp_path), "embedder": "hashing", "vector_own_process": True}
    for memora in (chosen, Memora.from_settings(settings)):
        async with memora:
            assert isinstance(memora.vector_db, EmbeddedVectorDB)
            assert worker_of(memora.vector_db)
    async with Memora.embedded(tmp_path, embedder="hashing") as memora:
        assert isinstance(memora.vector_db, EmbeddedVectorDB)
        assert memora.vector_db._generations.shards._process is None


@POSIX
async def test_a_store_without_standard_streams_works(tmp_path: Path) -> None:
    script = """
        import asyncio, os, sys
        from memora.embeddings.hashing import HashingEmbedder
        from memora.vector_db import EmbeddedVectorDB

        async def main():
            embedder = HashingEmbedder(16)
            async with EmbeddedVectorDB(sys.argv[1], embedder=embedder, own_process=True) as store:
                await store.search_memory("story", "user", "org", "alice")

        kept = os.dup(1)
        for stream in (0, 1, 2):
            os.close(stream)
        asyncio.run(main())
        os.write(kept, b"fine")
        os._exit(0)
    """
    assert (await asyncio.to_thread(run, script, str(tmp_path))).stdout == "fine"


@POSIX
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_what_is_no_answer_ends_the_process(
    store: EmbeddedVectorDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_another_version(_received: bytearray) -> list[Answer]:
        raise TypeError("too many fields")

    with monkeypatch.context() as patch:
        patch.setattr(_shard_process, "take_answers", of_another_version)
        with pytest.raises(VectorDBConnectionError, match="ended"):
            await store.count(ALICE)
    assert await store.count(ALICE) == 0


async def test_a_call_that_cannot_be_sent_leaves_nothing_behind(store: EmbeddedVectorDB) -> None:
    process = process_of(store)
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        await process.call(1, "count", lambda: None)
    assert not process._waiting
    assert await store.count(ALICE) == 0


# Frames


def test_frames_may_come_in_pieces() -> None:
    sent = [Answer(number, "x" * number) for number in range(1, 40)]
    stream = b"".join(map(frame, sent))
    for size in (1, 7, 64, len(stream)):
        received, taken = bytearray(), []
        for start in range(0, len(stream), size):
            received += stream[start : start + size]
            taken += take_answers(received)
        assert taken == sent
        assert not received


def test_a_call_that_was_cut_off_is_none(tmp_path: Path) -> None:
    whole = frame(Call(1, 0, "engine", ()))
    for length in range(len(whole)):
        file = tmp_path / "calls"
        file.write_bytes(whole[:length])
        with file.open("rb") as calls:
            assert next_call(calls) is None


def test_a_worker_answers_whatever_it_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [
        Call(1, 1, "create", (str(tmp_path / "1"), 4)),
        Call(2, 1, "__init__", ()),
        Call(3, 9, "count", (None,)),
        Call(4, 1, "load", (str(tmp_path / "1"), 0)),
        Call(5, 1, "count", (None,)),
        Call(6, 1, "close", ()),
    ]
    (tmp_path / "calls").write_bytes(b"".join(map(frame, asked)))
    with (tmp_path / "calls").open("rb") as calls, (tmp_path / "answers").open("wb") as answers:
        serve(calls, answers)
    told = {a.number: a for a in take_answers(bytearray((tmp_path / "answers").read_bytes()))}
    assert told[2].failure == Failure("failed", "a shard has no method __init__")
    assert told[3].failure == Failure("failed", "the engine's process failed: KeyError")
    assert told[4].failure == Failure("locked", str(tmp_path / "1"))
    assert told[5].value == 0
    assert told[6].failure is None
    assert "the call count of a shard failed" in caplog.text
