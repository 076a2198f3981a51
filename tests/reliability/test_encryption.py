"""R12: what an encrypted store shows to somebody who has its files, and to nobody else's key."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from memora import Memora
from memora.config import Settings
from memora.core.transfer import encode
from memora.embeddings import HashingEmbedder
from memora.encryption import new_key
from memora.errors import (
    EncryptionKeyError,
    GraphDBError,
    InvalidInputError,
    MemoraError,
    VectorDBError,
)
from memora.graph_db import SQLiteGraph
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.sqlite import _seal, rekey
from memora.schema.models import Relation
from memora.schema.write_plan import LONGEST_PAUSE, IdempotencyRecord
from memora.testing.clocks import FrozenClock
from memora.testing.graph_clauses.imports import begin
from memora.testing.graph_clauses.tenant import Tenant
from memora.testing.graph_clauses.transfer import dump
from memora.vector_db import EmbeddedVectorDB
from tests.reliability.kit import assert_clean
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(60), pytest.mark.suite("R12")]

ROOT = Path(__file__).resolve().parents[2]
ORG, USER, AGENT = "o", Tenant.user_id, Tenant.agent_id


class Canaries:
    """Random marks, one for each field that text goes into, all with the same beginning."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._prefix = f"q{self._random.getrandbits(64):016x}"
        self.all: dict[str, str] = {}

    def __call__(self, field: str) -> str:
        return self.all.setdefault(field, f"{self._prefix}{self._random.getrandbits(64):016x}z")

    def found(self, directory: Path) -> list[tuple[str, str]]:
        """Fields whose canary stands in a file, in any spelling that a database may use."""
        return [
            (field, str(file.relative_to(directory)))
            for file in directory.rglob("*")
            if file.is_file()
            for data in [file.read_bytes()]
            if any(form in data for form in spellings(self._prefix))
            for field, canary in self.all.items()
            if any(form in data for form in spellings(canary))
        ]


def spellings(canary: str) -> tuple[bytes, ...]:
    plain = canary.encode()
    return plain, plain.upper(), canary.encode("utf-16-le")


@pytest.fixture
def canaries(seed: int) -> Canaries:
    return Canaries(seed)


def engine(path: Path, key: str | None) -> Memora:
    graph = SQLiteGraph(path / "graph.sqlite3", encryption_key=key)
    return Memora(EmbeddedVectorDB(path / "vectors", embedder=HashingEmbedder()), graph)


async def fill(memora: Memora, mark: Canaries) -> Tenant:
    """Put a canary into every field of text that the engine stores."""
    graph = memora.graph
    await graph.create_organization(mark("org_name"), org_id=ORG)
    await graph.create_user(ORG, mark("old user_name"), user_id=USER)
    await graph.update_user(ORG, USER, mark("user_name"))
    await graph.create_agent(ORG, mark("agent_label"), agent_id=AGENT)
    await memora.save_or_update_interaction_and_memories(
        ORG,
        USER,
        AGENT,
        [
            {
                "role": "user",
                "content": f"My code is {mark('content')}.",
                "name": mark("message name"),
                "extra": {"deep": [mark("message data")]},
            },
            {"role": "assistant", "content": f"Noted {mark('answer')}."},
        ],
        title=mark("title"),
        metadata={"where": mark("interaction metadata")},
        idempotency_key="first",
    )
    tenant = Tenant(graph, ORG, FrozenClock())
    talk = await tenant.begin("talk", mark("raw message"), mark("cut message"))
    statement = tenant.statement(
        "statement",
        f"Statement {mark('memory text')}",
        tags=[mark("tag")],
        entities=[mark("entity"), f"{mark('first name')} {mark('last name')}"],
        relations=(
            Relation(subject=mark("one end"), type=mark("relation"), object=mark("other end")),
        ),
        metadata={"plan": mark("memory metadata")},
        author=mark("author"),
        interaction_id="talk",
        sources=(talk.source(0),),
    )
    record = IdempotencyRecord("second", mark("body hash"), {"result": mark("result")})
    job = tenant.job(talk, 0, 1, params={"hint": mark("job params")})
    await tenant.apply(memories=(statement,), idempotency=record, job=job)
    # What an import found is kept to bring it back.
    await begin(tenant)
    update = tenant.change(talk, 1, 1, mark("imported message"), import_id="import")
    await tenant.apply(interaction=update)
    outputs = {"extract": {"memories": [mark("job output")]}}
    await graph.save_job(replace(job, outputs=outputs, error=mark("job error")))
    await memora.drain_outbox()
    await tenant.store("waiting", f"Waiting {mark('waiting text')}")
    claimed = await tenant.claim()
    # No drain comes to what waits for that long.
    due = datetime.now(UTC) + LONGEST_PAUSE
    await graph.fail_outbox(claimed, error=mark("outbox error"), not_before=due, dead=False)
    return tenant


async def whole(graph: BaseGraphDB) -> list[Any]:
    """Everything that the graph stores, as it is read."""
    tenant = Tenant(graph, ORG, FrozenClock())
    return [
        await tenant.snapshot(),
        [asdict(job) for job in await graph.list_jobs(ORG)],
        [each.model_dump() for each in await graph.get_all_organizations()],
        [each.model_dump() for each in await graph.get_all_org_users(ORG)],
        [each.model_dump() for each in await graph.get_all_org_agents(ORG)],
        await graph.find_idempotency(tenant.scope, "first"),
        await graph.find_idempotency(tenant.scope, "second"),
        await graph.read_salt(tenant.scope),
        await graph.read_prefix_hashes(tenant.scope, "talk"),
        [encode(record) for record in await dump(graph, ORG)],
    ]


def rows_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What lies in the database, without memora."""
    with closing(sqlite3.connect(path / "graph.sqlite3")) as connection:
        return {
            table.name: connection.execute(
                f"SELECT {', '.join((*table.columns, *table.marks))} FROM {table.name}"
            ).fetchall()
            for table in _seal.TABLES
        }


async def test_r12_no_file_of_an_encrypted_store_shows_text(
    tmp_path: Path, canaries: Canaries, seed: int, score: Score
) -> None:
    async with engine(tmp_path, new_key()) as memora:
        await fill(memora, canaries)
        open_hits = canaries.found(tmp_path)
        text = repr(await whole(memora.graph))
        recalled, _ids = await memora.recall_memories_for_message(
            ORG,
            USER,
            canaries("memory text"),
            filters={"tags": [canaries("tag")], "metadata": {"plan": canaries("memory metadata")}},
        )
    # They are all there, for whoever has the key.
    missing = [field for field, canary in canaries.all.items() if canary not in text]
    assert missing == ["old user_name"]
    assert [memory.tags for memory in recalled] == [[canaries("tag")]]
    hits = [*open_hits, *canaries.found(tmp_path)]
    score("R12", fields=len(canaries.all), violations=len(hits), seed=seed)
    assert hits == []


async def test_a_scan_of_a_plain_store_finds_them(tmp_path: Path, canaries: Canaries) -> None:
    async with engine(tmp_path, None) as memora:
        await fill(memora, canaries)
    found = {field for field, _file in canaries.found(tmp_path)}
    assert found == canaries.all.keys() - {"old user_name"}


async def test_every_sealed_column_was_filled(tmp_path: Path, canaries: Canaries) -> None:
    async with engine(tmp_path, new_key()) as memora:
        await fill(memora, canaries)
    for table, rows in rows_of(tmp_path).items():
        assert all(any(row[i] is not None for row in rows) for i in range(len(rows[0]))), table
        values = [value for row in rows for value in row if value is not None]
        assert all(value.startswith("memora:1:") for value in values), table


@pytest.mark.parametrize("stored", ["encrypted", "plain"])
async def test_store_and_key_that_do_not_belong_together(
    tmp_path: Path, canaries: Canaries, stored: str
) -> None:
    key = new_key() if stored == "encrypted" else None
    async with engine(tmp_path, key) as memora:
        await fill(memora, canaries)
        before = await whole(memora.graph)
    content = {path: path.read_bytes() for path in tmp_path.rglob("*.sqlite3")}
    wrong = [None, new_key()] if stored == "encrypted" else [new_key()]
    for other in wrong:
        with pytest.raises(EncryptionKeyError) as caught:
            await engine(tmp_path, other).setup()
        assert str(other) not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.sqlite3")} == content
    async with engine(tmp_path, key) as memora:
        assert await whole(memora.graph) == before


async def test_a_store_that_never_held_anything_takes_a_key(tmp_path: Path) -> None:
    async with engine(tmp_path, None):
        pass
    key = new_key()
    async with engine(tmp_path, key) as memora:
        await memora.graph.create_organization("Acme", org_id=ORG)
    with pytest.raises(EncryptionKeyError, match="no encryption_key was given"):
        await engine(tmp_path, None).setup()


async def test_r12_another_key_is_one_row(tmp_path: Path, canaries: Canaries) -> None:
    old, new = new_key(), new_key()
    async with engine(tmp_path, old) as memora:
        await fill(memora, canaries)
        before, rows = await whole(memora.graph), rows_of(tmp_path)
        assert await memora.rotate_key(new) == 0
        assert await whole(memora.graph) == before
        await memora.graph.create_user(ORG, canaries("later"), user_id="later")
    assert {name: rows_of(tmp_path)[name][: len(kept)] for name, kept in rows.items()} == rows
    with pytest.raises(EncryptionKeyError, match="another key"):
        await engine(tmp_path, old).setup()
    async with engine(tmp_path, new) as memora:
        assert (await memora.graph.get_user(ORG, "later")).user_name == canaries("later")
    assert canaries.found(tmp_path) == []


async def changed(memora: Memora, way: str, key: str) -> int:
    """Go one of the ways that go through all rows."""
    return await memora.rotate_key(None if way == "decrypt" else key, reencrypt=way == "reencrypt")


WAYS = ["encrypt", "reencrypt", "decrypt"]


@pytest.mark.parametrize("way", WAYS)
async def test_r12_a_pass_over_all_rows_changes_what_lies_there_and_nothing_else(
    tmp_path: Path, canaries: Canaries, way: str, score: Score
) -> None:
    first = None if way == "encrypt" else new_key()
    last = None if way == "decrypt" else new_key()
    async with engine(tmp_path, first) as memora:
        await fill(memora, canaries)
        before, rows = await whole(memora.graph), rows_of(tmp_path)
        done = await changed(memora, way, last or "")
        assert await whole(memora.graph) == before
        hits = [] if way == "decrypt" else canaries.found(tmp_path)
        await memora.graph.create_user(ORG, canaries("later"), user_id="later")
    assert done == sum(map(len, rows.values()))
    old = {value for found in rows.values() for row in found for value in row if value}
    new = {value for found in rows_of(tmp_path).values() for row in found for value in row if value}
    assert not old & new
    async with engine(tmp_path, last) as memora:
        await memora.graph.retry_outbox(memora.graph.clock.now())
        await memora.drain_outbox()
        await assert_clean(memora)
        found = await memora.search_memories_as_one(
            ORG, USER, ["Statement"], filters={"entities": [canaries("entity")]}
        )
        assert len(found) == 1
    hits += [] if way == "decrypt" else canaries.found(tmp_path)
    score("R12", rows=done, violations=len(hits))
    assert hits == []


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("way", WAYS)
async def test_r12_a_pass_can_be_killed_after_every_row(
    tmp_path: Path, canaries: Canaries, way: str, monkeypatch: pytest.MonkeyPatch, score: Score
) -> None:
    monkeypatch.setattr(rekey, "_AT_ONCE", 1)
    first = None if way == "encrypt" else new_key()
    last = None if way == "decrypt" else new_key()
    async with engine(tmp_path / "0", first) as memora:
        scope = (await fill(memora, canaries)).scope
        before = await whole(memora.graph)
        total = sum(map(len, rows_of(tmp_path / "0").values()))
    shutil.rmtree(tmp_path / "0" / "vectors")
    kills = 0
    for at in range(1, total + 1):

        def stop(done: int, at: int = at) -> None:
            if done == at:
                raise KilledError

        file = tmp_path / f"{at}.sqlite3"
        shutil.copyfile(tmp_path / "0" / "graph.sqlite3", file)
        async with SQLiteGraph(file, encryption_key=first) as graph:
            with pytest.raises(KilledError):
                await graph.rotate_key(last, reencrypt=True, on_progress=stop)
            kills += 1
        # While it waits the store is what it was, for the new key; without a new one, the old.
        async with SQLiteGraph(file, encryption_key=last or first) as graph:
            assert await whole(graph) == before
            memories = await Tenant(graph, ORG, FrozenClock()).all_memories()
            wanted = {memory.content_hash for memory in memories}
            assert (await graph.find_current_by_hash(scope, wanted)).keys() == wanted
            await graph.rotate_key(last, reencrypt=True)
            assert await whole(graph) == before
        async with SQLiteGraph(file, encryption_key=last) as graph:
            assert await whole(graph) == before
    (tmp_path / "0" / "graph.sqlite3").unlink()
    assert way == "decrypt" or canaries.found(tmp_path) == []
    score("R12", kills=kills, violations=0)


def test_r12_a_killed_process_leaves_a_pass_that_goes_on(
    tmp_path: Path, canaries: Canaries, caplog: pytest.LogCaptureFixture, score: Score
) -> None:
    key = new_key()

    async def begin() -> list[Any]:
        async with engine(tmp_path, None) as memora:
            await fill(memora, canaries)
            return await whole(memora.graph)

    before = asyncio.run(begin())
    script = str(Path(__file__).with_name("rekeyer.py"))
    killed = subprocess.run([sys.executable, script, str(tmp_path), key], cwd=ROOT, check=False)
    assert killed.returncode == -9

    async def go_on() -> None:
        with caplog.at_level(logging.WARNING, "memora"):
            async with engine(tmp_path, key) as memora:
                assert "encrypting it anew was interrupted" in caplog.text
                assert await whole(memora.graph) == before
                assert await memora.rotate_key(key) > 0
                assert await whole(memora.graph) == before

    asyncio.run(go_on())
    assert canaries.found(tmp_path) == []
    score("R12", sigkills=1, violations=0)


# What somebody does who can write to the file; `b` is another tenant of the same store.
FORGERIES = {
    "a flipped byte": "UPDATE memory SET text = substr(text, 1, 40) || 'A' || substr(text, 42)",
    "text of another row": (
        "UPDATE memory SET text = (SELECT m.text FROM memory m WHERE m.rowid <> memory.rowid)"
    ),
    "text of another column": "UPDATE memory SET text = metadata",
    "plain text": "UPDATE memory SET text = 'I trust everybody'",
    "an empty text": "UPDATE memory SET text = ''",
    "a hash of another user": (
        "UPDATE memory SET content_hash = 'memora:1:' || replace(hex(zeroblob(24)), '0', 'A')"
    ),
    "the row of another user": "UPDATE memory SET user_id = 'b'",
    "a message of another position": (
        "UPDATE message SET content = (SELECT m.content FROM message m WHERE m.position = 1)"
        " WHERE position = 0"
    ),
    "an interaction of another user": "UPDATE interaction SET user_id = 'b'",
    "a name of another user": (
        "UPDATE user SET user_name = (SELECT u.user_name FROM user u WHERE u.user_id = 'b')"
    ),
    "a job of another user": "UPDATE job SET user_id = 'b'",
    "an unknown key": "UPDATE memory SET text = replace(text, 'memora:1:', 'memora:2:')",
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_r12_what_was_changed_or_moved_is_refused(
    tmp_path: Path, forgery: str, canaries: Canaries, score: Score
) -> None:
    key = new_key()
    async with engine(tmp_path, key) as memora:
        await fill(memora, canaries)
        await memora.graph.create_user(ORG, "b", user_id="b")
    with closing(sqlite3.connect(tmp_path / "graph.sqlite3")) as connection:
        connection.execute(FORGERIES[forgery])
        connection.commit()
    errors: list[MemoraError] = []
    memora = engine(tmp_path, key)
    graph = memora.graph
    try:
        await graph.setup()
        await memora.vector_db.setup()
        reads: list[Callable[[], Awaitable[object]]] = [
            *(lambda user=user: graph.get_user(ORG, user) for user in (USER, "b")),
            *(lambda user=user: graph.get_all_user_memories(ORG, user) for user in (USER, "b")),
            *(
                lambda user=user: graph.get_all_user_interactions(ORG, user, with_messages=True)
                for user in (USER, "b")
            ),
            lambda: graph.list_jobs(ORG),
            memora.doctor,
        ]
        for read in reads:
            try:
                await read()
            except (GraphDBError, VectorDBError) as error:
                errors.append(error)
        # The rest of the store goes on.
        await graph.create_organization("Other", org_id="other")
        assert (await graph.get_organization("other")).org_name == "Other"
    finally:
        await memora.close()
    assert errors
    assert all("was changed or moved" in str(error) for error in errors), errors
    text = "".join(map(str, errors))
    assert not any(canary in text for canary in canaries.all.values())
    score("R12", forgeries=1, violations=0)


async def test_a_changed_data_key_is_told_from_another_key(tmp_path: Path) -> None:
    key = new_key()
    async with engine(tmp_path, key) as memora:
        await memora.graph.create_organization("Acme", org_id=ORG)
    with closing(sqlite3.connect(tmp_path / "graph.sqlite3")) as connection:
        connection.execute("UPDATE data_key SET wrapped = substr(wrapped, 5)")
        connection.commit()
    with pytest.raises(EncryptionKeyError, match="its wrapped data key was changed"):
        await engine(tmp_path, key).setup()


async def test_vectors_of_another_store_are_not_taken_over(tmp_path: Path) -> None:
    keys = {"one": new_key(), "two": new_key()}
    for name, key in keys.items():
        async with engine(tmp_path / name, key) as memora:
            await memora.graph.create_organization("Acme", org_id=ORG)
            await memora.graph.create_user(ORG, "Jake", user_id=USER)
            await memora.save_or_update_interaction_and_memories(
                ORG, USER, interaction=[{"role": "user", "content": "I like tea."}]
            )
    shutil.rmtree(tmp_path / "one" / "vectors")
    shutil.copytree(tmp_path / "two" / "vectors", tmp_path / "one" / "vectors")
    memora = engine(tmp_path / "one", keys["one"])
    with pytest.raises(EncryptionKeyError, match="with a key that the graph does not have"):
        await memora.setup()
    # They are derived: a reindex makes them again.
    await memora.reindex()
    await assert_clean(memora)
    await memora.close()


async def test_r12_the_key_shows_nowhere(
    tmp_path: Path, canaries: Canaries, caplog: pytest.LogCaptureFixture, score: Score
) -> None:
    keys = [new_key() for _ in range(3)]
    shown: list[str] = []
    with caplog.at_level(logging.DEBUG):
        memora = engine(tmp_path, keys[0])
        async with memora:
            await fill(memora, canaries)
            await memora.rotate_key(keys[1], reencrypt=True)
            graph = memora.graph
            assert isinstance(graph, SQLiteGraph)
            parts = [memora, graph, memora.vector_db, graph._sealer, graph._sealer.ring]
            shown += [f"{part!r} {part}" for part in (*parts, graph._sealer.key)]
        for wrong in (keys[2], keys[0], None, keys[0][:-5]):
            try:
                await engine(tmp_path, wrong).setup()
            except MemoraError as error:
                shown.append("".join(traceback.format_exception(error)))
        shown.append(repr(Settings(encryption_key=SecretStr(keys[1]))))
    shown.append(caplog.text)
    hits = [key for key in keys if any(key[:16] in text for text in shown)]
    score("R12", texts=len(shown), violations=len(hits))
    assert len(shown) == 12
    assert hits == []


async def test_neo4j_takes_no_key() -> None:
    from memora.graph_db import Neo4jGraphInterface

    graph = Neo4jGraphInterface("neo4j://localhost:7687", "neo4j", "password", "neo4j")
    with pytest.raises(InvalidInputError, match="a server encrypts its own files"):
        await graph.rotate_key(new_key())
    settings = {"graph_url": "neo4j://localhost:7687", "encryption_key": new_key()}
    with pytest.raises(InvalidInputError, match=r"encryption_key: .* the server's own business"):
        await asyncio.to_thread(Memora.from_settings, settings)
