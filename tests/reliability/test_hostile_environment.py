"""R6: what files, disks, clocks and other processes do to an embedded store."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora.embeddings import HashingEmbedder
from memora.errors import (
    GraphDBConnectionError,
    GraphDBError,
    MemoraError,
    SchemaVersionError,
    StoreLockedError,
)
from memora.graph_db import SQLiteGraph
from memora.schema.findings import FindingKind
from memora.testing.clocks import FrozenClock
from memora.vector_db import EmbeddedVectorDB
from tests.reliability.kit import assert_clean
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(60), pytest.mark.suite("R6")]

ROOT = Path(__file__).resolve().parents[2]
ORG, USER = "acme", "jake"


def engine(path: Path, clock: FrozenClock | None = None) -> Memora:
    graph = SQLiteGraph(path / "graph.sqlite3", clock=clock)
    return Memora(EmbeddedVectorDB(path / "vectors", embedder=HashingEmbedder()), graph)


async def begin(memora: Memora) -> None:
    await memora.graph.create_organization("Acme", org_id=ORG)
    await memora.graph.create_user(ORG, "Jake", user_id=USER)


async def say(memora: Memora, text: str) -> str:
    saved, _at = await memora.save_or_update_interaction_and_memories(
        ORG, USER, interaction=[{"role": "user", "content": text}], external_id=text[:40]
    )
    return saved


async def said(memora: Memora) -> set[str]:
    return {memory.memory for memory in await memora.graph.get_all_user_memories(ORG, USER)}


async def contents(memora: Memora) -> set[str | None]:
    found = await memora.graph.get_all_user_interactions(ORG, USER, with_messages=True)
    return {message.content for each in found for message in each.messages or []}


@pytest.mark.parametrize(
    "name",
    [
        "with spaces",
        "ünïcödé ☃ 名前",
        "%2f?mode=memory&x=1#y",
        'o\'brien "quoted"',
        "-rf",
        "new\nline",
        "$HOME",
        "x" * 200,
        ":memory:",
        "file:a.db",
    ],
)
async def test_a_directory_may_be_called_anything(tmp_path: Path, name: str) -> None:
    for _ in range(2):
        async with engine(tmp_path / name) as memora:
            if await memora.graph.find_organization(ORG) is None:
                await begin(memora)
                await say(memora, "I like tea.")
            assert await said(memora) == {"I like tea."}
            await assert_clean(memora)
    assert [path.name for path in tmp_path.iterdir()] == [name]


async def test_a_path_that_no_name_can_have_is_refused(tmp_path: Path) -> None:
    for name in ("x" * 300, "nul\x00", "\ud800"):
        with pytest.raises(MemoraError):
            await engine(tmp_path / name).setup()
    assert list(tmp_path.iterdir()) == []


async def test_a_link_leads_to_the_same_store(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    async with engine(tmp_path / "link") as memora:
        await begin(memora)
        await say(memora, "I like tea.")
        with pytest.raises(StoreLockedError, match=f"process {os.getpid()}"):
            await engine(tmp_path / "real").setup()
    async with engine(tmp_path / "real") as memora:
        assert await said(memora) == {"I like tea."}
    (tmp_path / "dangling").symlink_to("nowhere/at all", target_is_directory=True)
    with pytest.raises(GraphDBError, match=r"dangling|nowhere"):
        await engine(tmp_path / "dangling").setup()


async def test_another_process_owns_the_store(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from memora.graph_db import SQLiteGraph\n"
        "async def main():\n"
        "    async with SQLiteGraph(sys.argv[1]) as graph:\n"
        "        print('open', flush=True)\n"
        "        await asyncio.to_thread(sys.stdin.read)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "graph.sqlite3")]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(StoreLockedError, match=f"process {owner.pid}") as caught:
            await engine(tmp_path).setup()
        assert caught.value.pid == owner.pid
        owner.send_signal(signal.SIGKILL)
    # What the dead left does not keep anybody out.
    assert (tmp_path / "graph.sqlite3.lock").exists()
    async with engine(tmp_path) as memora:
        await begin(memora)


@pytest.mark.parametrize("left", ["", "1", "999999999", "no number", "\x00" * 30])
async def test_a_stale_lock_keeps_nobody_out(tmp_path: Path, left: str) -> None:
    (tmp_path / "graph.sqlite3.lock").write_text(left)
    async with engine(tmp_path) as memora:
        await begin(memora)


def deleted(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    other = path.with_name("other")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    other.replace(path)


def moved_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("happens", [deleted, replaced, moved_folder])
async def test_nothing_is_acknowledged_into_a_file_that_is_gone(
    tmp_path: Path, happens: Callable[[Path], None], score: Score
) -> None:
    path = tmp_path / "store"
    memora = engine(path)
    await memora.setup()
    await begin(memora)
    await say(memora, "I like tea.")
    shutil.copytree(path, tmp_path / "backup")
    happens(path / "graph.sqlite3")
    for attempt in range(3):
        with pytest.raises(GraphDBError, match="was deleted or replaced while it was open"):
            await say(memora, f"Lost {attempt}.")
    with suppress(MemoraError):
        await memora.close()
    # Nobody was told that more than this is stored.
    async with engine(tmp_path / "backup") as memora:
        assert await said(memora) == {"I like tea."}
        await assert_clean(memora)
    score("R6", writes_refused=3, violations=0)


@pytest.mark.parametrize(
    "where", ["the folder is a file", "the file is a folder", "not a database"]
)
async def test_something_else_is_in_the_way(tmp_path: Path, where: str) -> None:
    path = tmp_path / "store"
    if where == "the folder is a file":
        path.write_text("mine")
    elif where == "the file is a folder":
        (path / "graph.sqlite3").mkdir(parents=True)
    else:
        path.mkdir()
        (path / "graph.sqlite3").write_text("mine" * 1000)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((GraphDBError, SchemaVersionError)):
        await engine(path).setup()
    after = [file for file in sorted(tmp_path.rglob("*")) if file.suffix != ".lock"]
    assert after == before


READ_ONLY = [
    pytest.param(
        "/proc/self", marks=pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc")
    ),
    pytest.param(
        "a folder of mode 0500",
        marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere"),
    ),
]


@pytest.mark.parametrize("where", READ_ONLY)
async def test_a_folder_that_cannot_be_written_to(tmp_path: Path, where: str) -> None:
    path = Path(where) / "memora"
    if not where.startswith("/"):
        path = tmp_path / "read-only" / "memora"
        path.parent.mkdir(mode=0o500)
    with pytest.raises(GraphDBError):
        await engine(path).setup()


async def pages(memora: Memora, more: int | None) -> None:
    """Let the graph's file grow by so many pages only; None: without end."""
    graph: Any = memora.graph

    def limit(connection: sqlite3.Connection) -> None:
        count = connection.execute("PRAGMA page_count").fetchone()[0]
        most = 2**32 - 2 if more is None else count + more
        connection.execute(f"PRAGMA max_page_count = {most}").fetchall()

    await graph._store.write(limit)


async def test_a_full_disk_loses_nothing_that_was_acknowledged(
    tmp_path: Path, score: Score
) -> None:
    acknowledged: set[str] = set()
    reasons: set[str] = set()
    refused = 0
    async with engine(tmp_path) as memora:
        await begin(memora)
        await pages(memora, 20)
        for number in range(60):
            text = f"Fact {number} {'x' * 3000}"
            try:
                await say(memora, text)
            except GraphDBConnectionError as error:
                reasons.add(error.reason)
                refused += 1
            else:
                acknowledged.add(text)
            assert acknowledged <= await contents(memora)
        assert acknowledged
        assert reasons == {"the disk is full"}
        # Reading goes on; with room again, so does everything else, also what was refused.
        await pages(memora, None)
        await say(memora, "Room again.")
        await say(memora, f"Fact 59 {'x' * 3000}")
        await memora.drain_outbox()
        await assert_clean(memora)
    async with engine(tmp_path) as memora:
        assert acknowledged <= await contents(memora)
        await assert_clean(memora)
    score("R6", full_disk_acknowledged=len(acknowledged), full_disk_refused=refused, violations=0)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_a_file_that_may_not_grow_loses_nothing_that_was_acknowledged(
    tmp_path: Path, score: Score
) -> None:
    script = str(Path(__file__).with_name("limited.py"))
    done = subprocess.run(
        [sys.executable, script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    acknowledged, refused, *_ = done.stdout.split()
    with closing(sqlite3.connect(tmp_path / "graph.sqlite3")) as connection:
        stored = {row[0] for row in connection.execute("SELECT external_id FROM interaction")}
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert int(acknowledged) > 0
    assert int(refused) > 0
    assert {f"fact {number}" for number in range(int(acknowledged))} <= stored
    score("R6", limited_acknowledged=int(acknowledged), limited_refused=int(refused), violations=0)


@pytest.mark.parametrize("days", [1, -1])
async def test_b65_a_clock_that_jumps_a_day(tmp_path: Path, days: int) -> None:
    clock = FrozenClock()
    async with engine(tmp_path, clock) as memora:
        await begin(memora)
        saved = await say(memora, "I like tea.")
        before = await memora.graph.get_interaction(ORG, USER, saved)
        clock.advance(timedelta(days=days))
        transcript = [{"role": "user", "content": t} for t in ("I like tea.", "I like coffee.")]
        await memora.save_or_update_interaction_and_memories(
            ORG, USER, interaction=transcript, interaction_id=saved
        )
        after = await memora.graph.get_interaction(ORG, USER, saved)
        assert after.updated_at > before.updated_at
        assert after.last_activity_at >= before.last_activity_at
        assert after.revision == before.revision + 1
        await memora.update_memory(
            ORG,
            USER,
            (await memora.graph.get_all_user_memories(ORG, USER))[0].memory_id,
            "Neither.",
        )
        assert await memora.search_memories_as_one(ORG, USER, ["coffee"])
        findings = (await memora.doctor()).findings
        assert {finding.kind for finding in findings} == (
            {FindingKind.CLOCK_REGRESSION} if days < 0 else set()
        )
    clock.advance(timedelta(days=-days))
    async with engine(tmp_path, clock) as memora:
        await say(memora, "Back again.")
        assert len(await memora.search_memories_as_one(ORG, USER, ["again"])) == 3
        await assert_clean(memora)
