"""R10: doctor finds every kind of damage, and reconcile repairs it without deleting anything.

The store is damaged behind the engine's back, on the closed files (`damage.py`), in the shard, or
by raw Cypher on a Neo4j of the test's own.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import neo4j
import pytest
import qdrant_edge
from qdrant_client import AsyncQdrantClient, models

from memora import Memora
from memora.core.hashing import content_hash, tombstone
from memora.core.ids import derived_memory_id
from memora.embeddings import HashingEmbedder
from memora.errors import GraphDBConnectionError, SchemaVersionError
from memora.graph_db import SQLiteGraph
from memora.graph_db.neo4j import Neo4jGraphInterface
from memora.ops.reconcile import Reconciliation, RepairOutcome
from memora.schema.findings import Finding, FindingKind
from memora.schema.scope import Scope
from memora.schema.write_plan import MemoryWrite, WritePlan
from memora.testing.clocks import FrozenClock
from memora.vector_db import EmbeddedVectorDB, QdrantDB
from tests.neo4j_server.process import LocalNeo4j
from tests.reliability import damage
from tests.reliability.damage import AUTHORITATIVE, FIFTEEN, FORMS, START, Damage, Files
from tests.reliability.kit import assert_clean
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(120), pytest.mark.suite("R10")]

K = FindingKind
ROOT = Path(__file__).resolve().parents[2]
GATE_SECONDS = 10.0


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole store, closed."""
    path = tmp_path_factory.mktemp("reconcile") / "store"
    asyncio.run(damage.fill(path))
    return path


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Path:
    """A copy of it; the engine's shard, which is large and sparse, is made again from the rows."""
    path = tmp_path / "store"
    shutil.copytree(template, path, ignore=lambda _at, names: {"segments", "wal"} & set(names))
    return path


def harm(path: Path, *damages: Damage) -> None:
    """Damage the closed store."""
    with (
        closing(sqlite3.connect(path / "graph.sqlite3", isolation_level=None)) as graph,
        closing(sqlite3.connect(path / "vectors" / "vectors.sqlite3", isolation_level=None)) as v,
    ):
        for each in damages:
            each(Files(graph, v))


def dump(path: Path, *, only: Iterable[str] = ()) -> list[str]:
    """Everything that is committed in both databases, or the rows of some tables of the graph."""
    lines: list[str] = []
    for file in (path / "graph.sqlite3", path / "vectors" / "vectors.sqlite3"):
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            lines += connection.iterdump()
    wanted = tuple(f'INSERT INTO "{table}"' for table in only)
    return [line for line in lines if not wanted or line.startswith(wanted)]


def counts(path: Path) -> dict[str, int]:
    """How many authoritative rows there are, by table."""
    with closing(sqlite3.connect(f"file:{path / 'graph.sqlite3'}?mode=ro", uri=True)) as graph:
        return {
            table: graph.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in AUTHORITATIVE
        }


def kinds(findings: Iterable[Finding]) -> set[FindingKind]:
    return {finding.kind for finding in findings}


async def cure(path: Path, kind: FindingKind) -> Reconciliation:
    """Check, plan and repair a damaged store; in the end it opens as any other and is clean."""
    before = counts(path)
    memora = damage.open_memora(path)
    try:
        diagnosis = await memora.doctor()
        assert kind in kinds(diagnosis.findings), diagnosis.findings
        stored = dump(path)
        planned = await memora.reconcile()
        assert [repair.finding for repair in planned.repairs] == list(diagnosis.findings)
        assert {repair.outcome for repair in planned.repairs} == {RepairOutcome.PLANNED}
        assert dump(path) == stored
        done = await memora.reconcile(apply=True)
        assert done.clean, done.findings
        assert {repair.outcome for repair in done.repairs} == {RepairOutcome.REPAIRED}
        again = await memora.reconcile(apply=True)
        assert again.repairs == ()
    finally:
        await memora.close()
    after = counts(path)
    assert all(after[table] >= number for table, number in before.items()), (before, after)
    async with damage.open_memora(path) as memora:
        await assert_clean(memora)
        found = await memora.for_user("ann", org_id="acme").recall("What is my cat called?")
        assert "Tom" in found[0].memory
    return done


@pytest.mark.parametrize("kind", FIFTEEN, ids=str)
async def test_b18_each_of_the_fifteen_is_found_and_repaired(
    store: Path, kind: FindingKind, score: Score
) -> None:
    harm(store, FIFTEEN[kind])
    done = await cure(store, kind)
    score("R10", kinds=1, detected=1, repaired=len(done.repairs), violations=0)


@pytest.mark.parametrize(("kind", "form"), FORMS, ids=lambda value: getattr(value, "__name__", ""))
async def test_other_forms_are_found_and_repaired(
    store: Path, kind: FindingKind, form: Damage, score: Score
) -> None:
    harm(store, form)
    done = await cure(store, kind)
    score("R10", forms=1, repaired=len(done.repairs), violations=0)


async def test_all_fifteen_at_once(store: Path, score: Score) -> None:
    harm(store, *FIFTEEN.values())
    done = await cure(store, K.CYCLE)
    found = kinds(repair.finding for repair in done.repairs)
    assert found >= FIFTEEN.keys()
    score("R10", at_once=len(FIFTEEN), repaired=len(done.repairs), violations=0)


def test_b18_a_repair_that_is_killed_is_finished_by_the_next_one(store: Path, score: Score) -> None:
    harm(store, *FIFTEEN.values())
    before = counts(store)
    kills = 0
    for done in (1, 4, 2, 7, 3):
        child = [sys.executable, "-m", "tests.reliability.repairer", str(store), str(done)]
        ended = subprocess.run(child, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode in (0, 9), ended.stderr
        kills += ended.returncode == 9
    assert kills >= 3

    async def finish() -> None:
        memora = damage.open_memora(store)
        try:
            assert (await memora.reconcile(apply=True)).clean
            assert (await memora.reconcile(apply=True)).repairs == ()
        finally:
            await memora.close()
        async with damage.open_memora(store) as memora:
            await assert_clean(memora)

    asyncio.run(finish())
    after = counts(store)
    assert all(after[table] >= number for table, number in before.items())
    score("R10", kills=kills, violations=0)


class Failing(SQLiteGraph):
    """A graph whose n-th repair fails, as if the disk were full."""

    left = 0

    async def repair(self, finding: Finding, now: datetime) -> None:
        if self.left == 0:
            raise GraphDBConnectionError("sqlite", "the disk is full")
        self.left -= 1
        await super().repair(finding, now)


async def test_b43_a_repair_that_fails_in_the_middle_goes_on(store: Path, score: Score) -> None:
    harm(store, *FIFTEEN.values())
    failures = 0
    for _run in range(5):
        graph = Failing(store / "graph.sqlite3", clock=FrozenClock(START + timedelta(days=30)))
        graph.left = 2
        vectors = EmbeddedVectorDB(store / "vectors", embedder=HashingEmbedder(32))
        memora = Memora(vectors, graph)
        try:
            with pytest.raises(GraphDBConnectionError):
                await memora.reconcile(apply=True)
            failures += 1
        finally:
            await memora.close()
    await cure(store, K.HALF_MIGRATION)
    score("R10", failures=failures, violations=0)


async def test_live_writers_lose_nothing_to_a_repair(store: Path, score: Score) -> None:
    harm(store, *FIFTEEN.values())
    memora = damage.open_memora(store)
    try:
        user = memora.for_user("jake", org_id="acme", agent_id="writer")
        assert not (await memora.doctor()).complete
        await memora.vector_db.mend()

        async def write() -> int:
            for number in range(20):
                await user.save([{"role": "user", "content": f"My number {number} is odd."}])
                odd = [m for m in await user.memories() if m.memory.endswith("is odd.")]
                await user.delete_memory(odd[0].memory_id)
                await user.save([{"role": "user", "content": f"My letter {number} is new."}])
            return 20

        written, *_ = await asyncio.gather(
            write(), memora.reconcile(apply=True), memora.reconcile(apply=True)
        )
        done = await memora.reconcile(apply=True)
        assert done.clean, done.findings
        assert (await memora.reconcile()).repairs == ()
        texts = {memory.memory for memory in await user.memories()}
        assert {f"My letter {number} is new." for number in range(written)} <= texts
    finally:
        await memora.close()
    score("R10", writes=2 * written, violations=0)


async def test_a_point_that_only_the_engine_has_is_found(store: Path) -> None:
    async with damage.open_memora(store) as memora:
        page = await memora.vector_db.scan(limit=3)
        shard = memora.vector_db._generations.opened()[1].shard.loaded._shard  # pyright: ignore
        orphan = str(uuid.UUID(int=9))
        lost, changed = page[0].memory_id, page[1].memory_id
        empty = {"dense": [0.0] * 31 + [1.0], "bm25": qdrant_edge.SparseVector([1], [1.0])}
        points = [
            qdrant_edge.Point(orphan, empty, {"org_id": "acme", "user_id": "jake"}),
            qdrant_edge.Point(changed, empty, {"org_id": "acme", "user_id": "mallory"}),
        ]
        shard.update(qdrant_edge.UpdateOperation.upsert_points(points))
        shard.update(qdrant_edge.UpdateOperation.delete_points([lost]))
        found = {finding.record_id: finding.kind for finding in (await memora.doctor()).findings}
        assert found == {
            orphan: K.ORPHAN_VECTOR,
            lost: K.MISSING_VECTOR,
            changed: K.MISSING_VECTOR,
        }
        assert (await memora.reconcile(apply=True)).clean
        assert (await memora.reconcile()).repairs == ()


async def test_a_qdrant_store_is_checked_and_repaired_like_the_embedded_one(
    store: Path, score: Score
) -> None:
    client = AsyncQdrantClient(":memory:")
    vectors = QdrantDB(client, "store", embedder=HashingEmbedder(32))
    clock = FrozenClock(START + timedelta(days=30))
    async with Memora(vectors, SQLiteGraph(store / "graph.sqlite3", clock=clock)) as memora:
        assert kinds((await memora.doctor()).findings) == {K.MISSING_VECTOR}
        assert (await memora.reconcile(apply=True)).clean
        lost, stale, foreign, other, nobody, *_ = [e.memory_id for e in await vectors.scan()]
        orphans = [str(uuid.UUID(int=number)) for number in (7, 8)]
        stored: Any = (await client.retrieve("store", [stale], with_vectors=True))[0].vector
        await client.upsert(
            "store",
            [
                models.PointStruct(id=orphans[0], vector=stored, payload={}),
                models.PointStruct(
                    id=orphans[1],
                    vector=stored,
                    payload={"org_id": "acme", "user_id": "jake"},
                ),
            ],
        )
        await client.delete("store", [lost])
        await client.set_payload("store", {"text_hash": "x"}, [stale])
        await client.set_payload("store", {"user_id": "mallory"}, [foreign])
        await client.set_payload("store", {"agent_id": "mallory"}, [other])
        await client.delete_payload("store", ["org_id", "user_id"], [nobody])
        found = {finding.record_id: finding.kind for finding in (await memora.doctor()).findings}
        assert found == {
            lost: K.MISSING_VECTOR,
            stale: K.STALE_TEXT_HASH,
            foreign: K.WRONG_TENANT_PAYLOAD,
            nobody: K.WRONG_TENANT_PAYLOAD,
            other: K.STALE_PAYLOAD,
            orphans[0]: K.ORPHAN_VECTOR,
            orphans[1]: K.ORPHAN_VECTOR,
        }
        done = await memora.reconcile(apply=True)
        assert done.clean, done.findings
        assert (await memora.reconcile()).repairs == ()
        # A store that was made with another model.
        await client.delete_collection("store")
        await QdrantDB(client, "store", embedder=HashingEmbedder(16)).setup()
        assert kinds((await memora.doctor()).findings) == {K.MODEL_MISMATCH}
        assert (await memora.reconcile(apply=True)).clean
    await client.close()
    score("R10", qdrant_forms=len(found) + 1, violations=0)


@pytest.mark.parametrize(
    ("form", "invariant"),
    [
        (lambda files: files.graph.execute("DELETE FROM message WHERE position = 3"), "I2"),
        (lambda files: files.graph.execute("DELETE FROM user WHERE user_id = 'ann'"), "I3"),
        (lambda files: files.graph.execute("ALTER TABLE job DROP COLUMN error"), "I20"),
    ],
    ids=["lost messages", "a lost user", "half a table"],
)
async def test_what_is_lost_is_reported_and_left_alone(
    store: Path, form: Damage, invariant: str
) -> None:
    harm(store, form)
    before = dump(store, only=AUTHORITATIVE)
    memora = damage.open_memora(store)
    try:
        done = await memora.reconcile(apply=True)
        assert invariant in {finding.invariant for finding in done.findings}
        left = {repair.outcome for repair in done.repairs if repair.finding in done.findings}
        assert left == {RepairOutcome.NOT_REPAIRED}
        again = await memora.reconcile(apply=True)
        assert again.findings == done.findings
    finally:
        await memora.close()
    assert dump(store, only=AUTHORITATIVE) == before


async def test_b23_a_store_of_another_model_is_refused_and_made_anew(store: Path) -> None:
    harm(store, damage.vectors_of_another_model)
    refused = damage.open_memora(store)
    with pytest.raises(SchemaVersionError):
        await refused.setup()
    await refused.close()
    memora = damage.open_memora(store)
    try:
        [finding] = (await memora.doctor()).findings
        assert (finding.kind, finding.record_id) == (K.MODEL_MISMATCH, "vectors")
        assert "other (16 dimensions" in finding.detail
        assert (await memora.reconcile(apply=True)).clean
    finally:
        await memora.close()
    async with damage.open_memora(store) as memora:
        await assert_clean(memora)


async def test_a_store_that_is_newer_is_left_alone(store: Path) -> None:
    harm(store, lambda files: files.graph.execute("PRAGMA user_version = 99"))
    memora = damage.open_memora(store)
    with pytest.raises(SchemaVersionError):
        await memora.reconcile(apply=True)
    await memora.close()


async def test_the_chain_is_rebuilt_in_the_order_of_its_times(store: Path) -> None:
    """B29, B54: nothing older becomes current, and what was current stays so."""
    chains: list[list[str]] = []

    def look(files: Files) -> None:
        chains.extend(files.chain(number) for number in range(4))

    harm(store, look, damage.fork, damage.gap, damage.two_heads, damage.cycle)
    memora = damage.open_memora(store)
    try:
        assert (await memora.reconcile(apply=True)).clean
        user = memora.for_user("jake", org_id="acme")
        for chain in chains:
            history = await user.memory_history(chain[0])
            assert [version.memory_id for version in history] == chain[::-1]
            ended = [version.superseded_at for version in history]
            assert ended == [None, history[0].obtained_at, history[1].obtained_at]
    finally:
        await memora.close()


NEO4J_DAMAGE: list[tuple[FindingKind, list[str]]] = [
    (K.FORK, [
        "DROP CONSTRAINT memora_memory_successor IF EXISTS",
        "MATCH (a:Memory {memory_id: $a}), (c:Memory {memory_id: $c}) SET a.successor_id = $c",
    ]),
    (K.GAP, ["MATCH (a:Memory {memory_id: $a})-[next:SUPERSEDED_BY]->() DELETE next"
             " SET a.successor_id = null"]),
    (K.GAP, ["MATCH (a:Memory {memory_id: $a}) SET a.successor_id = 'nowhere'"]),
    (K.TWO_HEADS, [
        "DROP CONSTRAINT memora_memory_head IF EXISTS",
        "MATCH (b:Memory {memory_id: $b}) SET b.superseded_at = null, b.head_of = b.chain_id",
    ]),
    (K.CYCLE, [
        "MATCH (a:Memory {memory_id: $a}), (c:Memory {memory_id: $c})"
        " SET c.successor_id = $a CREATE (c)-[:SUPERSEDED_BY]->(a)",
    ]),
    (K.DAMAGED_CHAIN, ["MATCH (a:Memory {memory_id: $a})-[next:SUPERSEDED_BY]->() DELETE next"]),
    (K.DANGLING_AGENT, ["MATCH (a:Agent) DETACH DELETE a"]),
    (K.STUCK_OUTBOX, [
        "MATCH (counter:Meta {name: 'outbox'}) SET counter.seq = counter.seq + 1"
        " CREATE (:OutboxEntry {seq: counter.seq, op: 'sync', org_id: 'acme', user_id: 'jake',"
        " memory_ids: [$single], attempts: 10, dead: true, enqueued_at: 1, not_before: 1})",
    ]),
    (K.DUPLICATE_KEY, [  # an external id of two interactions
        "DROP CONSTRAINT memora_interaction_external IF EXISTS",
        "MATCH (i:Interaction {user_id: 'jake'}) SET i.external_id = 'chat-1'",
    ]),
    (K.DUPLICATE_KEY, [  # a source that is linked twice
        "MATCH (m:Memory {memory_id: $single})-[:SOURCED_FROM]->(s)"
        " CREATE (m)-[:SOURCED_FROM]->(s)",
    ]),
    (K.DUPLICATE_KEY, [  # two memories with one id
        "DROP CONSTRAINT memora_memory IF EXISTS",
        "DROP CONSTRAINT memora_memory_head IF EXISTS",
        "MATCH (u:User {user_id: 'jake'}), (m:Memory {memory_id: $single})"
        " CREATE (u)-[:HAS_MEMORY]->(other:Memory) SET other = m {.*}",
    ]),
    (K.DUPLICATE_KEY, [  # two users, agents and organizations with one id
        "DROP CONSTRAINT memora_user IF EXISTS", "DROP CONSTRAINT memora_agent IF EXISTS",
        "DROP CONSTRAINT memora_organization IF EXISTS",
        "MATCH (n:User|Agent|Organization) WITH collect(n) AS all UNWIND all AS n"
        " FOREACH (_ IN CASE WHEN n:User THEN [1] ELSE [] END | CREATE (o:User) SET o = n {.*})"
        " FOREACH (_ IN CASE WHEN n:Agent THEN [1] ELSE [] END | CREATE (o:Agent) SET o = n {.*})"
        " FOREACH (_ IN CASE WHEN n:Organization THEN [1] ELSE [] END"
        " | CREATE (o:Organization) SET o = n {.*})",
    ]),
    (K.DUPLICATE_KEY, [  # bookkeeping: a key, a tombstone, an entry, a counter
        "DROP CONSTRAINT memora_key IF EXISTS", "DROP CONSTRAINT memora_tombstone IF EXISTS",
        "DROP CONSTRAINT memora_outbox IF EXISTS", "DROP CONSTRAINT memora_meta IF EXISTS",
        "UNWIND [1, 2] AS _ CREATE (:IdempotencyKey {org_id: 'acme', user_id: 'jake', key: 'k',"
        " body_hash: 'b', result: '{}', created_at: 1})"
        " CREATE (:Tombstone {org_id: 'acme', user_id: 'jake', mark: 'm'})"
        " CREATE (:Meta {name: 'outbox', seq: 0})"
        " CREATE (:OutboxEntry {seq: 1000, op: 'sync', org_id: 'acme', user_id: 'jake',"
        " memory_ids: [$single], attempts: 0, dead: false, enqueued_at: 1, not_before: 1})",
        "MATCH (counter:Meta {name: 'outbox'}) WITH counter ORDER BY counter.seq DESC LIMIT 1"
        " SET counter.seq = 1000",
    ]),
    (K.DUPLICATE_KEY, [  # B26: two transcripts in one interaction
        "DROP CONSTRAINT memora_message IF EXISTS",
        "MATCH (i:Interaction {user_id: 'jake', external_id: 'chat-1'})-[:HAS_MESSAGE]->(s)"
        " CREATE (i)-[:HAS_MESSAGE]->(other:Message) SET other = s {.*}",
    ]),
    (K.DUPLICATE_KEY, [  # B31: two interactions with one id
        "DROP CONSTRAINT memora_interaction IF EXISTS",
        "DROP CONSTRAINT memora_interaction_external IF EXISTS",
        "DROP CONSTRAINT memora_message IF EXISTS",
        "MATCH (u:User {user_id: 'ann'}), (i:Interaction {user_id: 'ann', external_id: 'chat-1'})"
        " CREATE (u)-[:HAS_INTERACTION]->(other:Interaction) SET other = i {.*}"
        " WITH i, other MATCH (i)-[:HAS_MESSAGE]->(s)"
        " CREATE (other)-[:HAS_MESSAGE]->(second:Message) SET second = s {.*}",
    ]),
    (K.HALF_MIGRATION, ["DROP INDEX memora_memory_page", "DROP CONSTRAINT memora_job IF EXISTS"]),
    (K.HALF_MIGRATION, ["MATCH (m:Meta {name: 'schema'}) DELETE m"]),
    (K.HALF_MIGRATION, ["MATCH (m:Meta) WHERE m.name <> 'schema' DELETE m"]),
    (K.TOMBSTONE_VIOLATION, [
        "CREATE (:Tombstone {org_id: 'acme', user_id: 'jake', mark: $mark, purged_at: 1})",
    ]),
    (K.CLOCK_REGRESSION, ["MATCH (a:Memory {memory_id: $a}) SET a.superseded_at = 1"]),
    (K.CLOCK_REGRESSION, [
        "MATCH (a:Memory {memory_id: $c}) SET a.obtained_at = 1000000000000000000",
    ]),
    (K.CLOCK_REGRESSION, [
        "MATCH (n:User|Organization|Agent|Interaction|Memory)"
            " WHERE n:User OR n:Organization OR n:Agent OR n.memory_id = $single"
            " OR n.external_id = 'chat-1'"
        " SET n.updated_at = 4102444800000000, n.created_at = 4102444800000000,"
        " n.recorded_at = 4102444800000000",
    ]),
    (K.DAMAGED_TRANSCRIPT, [
        "MATCH (i:Interaction {external_id: 'chat-2'}) SET i.message_count = 40",
    ]),
    (K.MISSING_VECTOR, ["MATCH (m:Memory {memory_id: $single}) SET m.memory_id = randomUUID()"]),
]  # fmt: skip


@pytest.mark.timeout(300)
async def test_b26_b31_neo4j_is_checked_and_repaired_like_sqlite(
    private_neo4j: LocalNeo4j, tmp_path: Path, score: Score, *, nightly: bool
) -> None:
    server = private_neo4j.server
    clock = FrozenClock(START, step=timedelta(seconds=1))
    graph = Neo4jGraphInterface(
        server.uri, server.username, str(server.password), server.database, clock=clock
    )
    vectors = EmbeddedVectorDB(tmp_path / "vectors", embedder=HashingEmbedder(32))
    async with (
        Memora(vectors, graph) as memora,
        neo4j.AsyncGraphDatabase.driver(
            server.uri,
            auth=(server.username, str(server.password)),
            notifications_min_severity="OFF",
        ) as driver,
    ):
        await damage.talk(memora, clock)
        repaired = 0
        # One by one at night, else a few together, each on records of its own.
        size = 1 if nightly else 8
        for start in range(0, len(NEO4J_DAMAGE), size):
            before = await neo4j_counts(driver)
            wanted: set[FindingKind] = set()
            for number, (kind, statements) in enumerate(NEO4J_DAMAGE[start : start + size]):
                wanted.add(kind)
                names = await neo4j_names(memora, driver, number)
                for statement in statements:
                    await driver.execute_query(statement, names)  # pyright: ignore
            planned = await memora.reconcile()
            found = kinds(repair.finding for repair in planned.repairs)
            done = await memora.reconcile(apply=True)
            assert done.clean, done.findings
            found |= kinds(repair.finding for repair in done.repairs)
            assert found >= wanted
            after = await neo4j_counts(driver)
            assert all(after[label] >= number for label, number in before.items())
            repaired += len(done.repairs)
        assert (await memora.reconcile(apply=True)).repairs == ()
        await memora.setup()
        await assert_clean(memora)
    score("R10", neo4j_forms=len(NEO4J_DAMAGE), repaired=repaired, violations=0)


async def neo4j_counts(driver: neo4j.AsyncDriver) -> dict[str, int]:
    """How many authoritative nodes there are, by label."""
    labels = ["Organization", "User", "Agent", "Interaction", "Message", "Memory", "Job"]
    result = await driver.execute_query(
        "UNWIND $labels AS label RETURN label, COUNT { MATCH (n) WHERE label IN labels(n) } AS n",
        {"labels": labels},
    )
    return {row["label"]: row["n"] for row in result.records}


async def neo4j_names(memora: Memora, driver: neo4j.AsyncDriver, number: int) -> dict[str, str]:
    """A statement with three versions, one with one, and a tombstone of the latter."""
    chains = await driver.execute_query(
        "MATCH (m:Memory {user_id: 'jake'}) WITH m ORDER BY m.obtained_at, m.recorded_at"
        " WITH m.chain_id AS chain, collect(m.memory_id) AS ids WHERE size(ids) = 3"
        " RETURN ids ORDER BY chain"
    )
    singles = await driver.execute_query(
        "MATCH (m:Memory {user_id: 'jake'})-[:SOURCED_FROM]->(s)"
        " WHERE m.head_of = m.memory_id"
        " RETURN m.memory_id AS single, m.content_hash AS content, s.prefix_hash AS prefix"
        " ORDER BY single"
    )
    ids = chains.records[number % len(chains.records)]["ids"]
    row = singles.records[number % len(singles.records)]
    salt = await memora.graph.read_salt(Scope("acme", "jake"))
    mark = tombstone(salt, row["prefix"], row["content"])
    return {**dict(zip("abc", ids, strict=True)), "single": row["single"], "mark": mark}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_ten_thousand_memories_are_checked_and_repaired_in_time(
    tmp_path: Path, score: Score
) -> None:
    path = tmp_path / "big"
    async with damage.open_memora(path) as memora:
        await memora.graph.create_organization("Acme", org_id="acme")
        now = memora.graph.clock.now()
        for name in range(10):
            await memora.graph.create_user("acme", "Jake", user_id=f"user-{name}")
            scope = Scope("acme", f"user-{name}")
            ids = [derived_memory_id("big", str(name), str(i)) for i in range(1000)]
            memories = tuple(
                MemoryWrite(
                    memory_id=memory_id,
                    text=f"Fact {i} of user {name}.",
                    obtained_at=now,
                    chain_id=memory_id,
                    content_hash=content_hash(f"Fact {i} of user {name}."),
                )
                for i, memory_id in enumerate(ids)
            )
            await memora.graph.apply(WritePlan(scope, now, memories=memories))
        await memora.drain_outbox()
    harm(
        path,
        lambda files: files.vectors.execute(
            "DELETE FROM vector WHERE rowid IN (SELECT rowid FROM vector LIMIT 100)"
        ),
        lambda files: files.graph.execute("DROP INDEX memory_one_predecessor"),
        lambda files: files.graph.execute(
            "UPDATE memory SET recorded_at = recorded_at + ? WHERE rowid % 100 = 0",
            (400 * damage.DAY,),
        ),
    )
    memora = damage.open_memora(path)
    try:
        await memora.setup()  # fills the shard, which is not what is measured
        start, cpu = time.perf_counter(), time.process_time()
        diagnosis = await memora.doctor()
        checked = time.perf_counter() - start
        done = await memora.reconcile(apply=True)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        assert diagnosis.memories == 10_000
        assert len(diagnosis.findings) == 201
        assert done.clean
    finally:
        await memora.close()
    score(
        "R10", memories=10_000, repaired=len(done.repairs), doctor_seconds=round(checked, 2),
        seconds=round(seconds, 2), cpu_seconds=round(cpu, 2), gate=GATE_SECONDS, violations=0,
    )  # fmt: skip
    # Of this process: its neighbours on a busy machine are not what is measured.
    assert cpu <= GATE_SECONDS
