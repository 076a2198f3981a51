"""Ways to damage an embedded store behind the engine's back, for R10.

Each works on the closed files with the standard library's `sqlite3`: foreign keys are off there,
and a unique index that forbids the damage is dropped first.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from memora import Memora
from memora.core.hashing import tombstone
from memora.embeddings import HashingEmbedder
from memora.graph_db import SQLiteGraph
from memora.schema.findings import FindingKind
from memora.testing.clocks import FrozenClock
from memora.vector_db import EmbeddedVectorDB

START = datetime(2025, 5, 1, 9, tzinfo=UTC)
DAY = 24 * 60 * 60 * 1_000_000
# The tables that hold what nobody can make again.
AUTHORITATIVE = (
    "organization", "user", "agent", "interaction", "message", "memory", "job",
)  # fmt: skip


@dataclass(frozen=True)
class Files:
    """The closed store."""

    graph: sqlite3.Connection
    vectors: sqlite3.Connection

    def one(self, query: str) -> str:
        """The only column of the first row of the graph."""
        return self.graph.execute(query).fetchone()[0]

    def chain(self, number: int) -> list[str]:
        """One of jake's statements with three versions, oldest first."""
        chains = self.graph.execute(
            "SELECT chain_id FROM memory GROUP BY chain_id HAVING count(*) = 3 ORDER BY min(rowid)"
        ).fetchall()
        rows = self.graph.execute(
            "SELECT memory_id FROM memory WHERE chain_id = ? ORDER BY obtained_at", chains[number]
        )
        return [row[0] for row in rows]

    def single(self, number: int) -> str:
        """One of jake's statements with one version."""
        rows = self.graph.execute(
            "SELECT min(memory_id) FROM memory WHERE user_id = 'jake' GROUP BY chain_id"
            " HAVING count(*) = 1 ORDER BY min(rowid)"
        ).fetchall()
        return rows[number][0]

    def touch_vector(self, memory_id: str, statement: str, *parameters: object) -> None:
        """Change a row so that the shard takes it over when it is opened."""
        self.vectors.execute("UPDATE state SET changes = changes + 1")
        self.vectors.execute(statement, (*parameters, memory_id))
        self.vectors.execute(
            "UPDATE vector SET change = (SELECT changes FROM state) WHERE memory_id = ?",
            (memory_id,),
        )


def open_memora(path: Path, clock: FrozenClock | None = None) -> Memora:
    """An engine on the store, not set up yet."""
    clock = clock or FrozenClock(START + timedelta(days=30))
    graph = SQLiteGraph(path / "graph.sqlite3", clock=clock)
    return Memora(EmbeddedVectorDB(path / "vectors", embedder=HashingEmbedder(32)), graph)


SINGLE = ("My cat is called Tom.", "I like green tea.", "I ride a blue bike.", "I play the oboe.")
CHANGING = ("I live in", "I work in", "I learn to cook in", "My sister moved to")


async def talk(memora: Memora, clock: FrozenClock) -> None:
    """Two users with an agent, two conversations each, and statements that changed twice."""
    for name in ("jake", "ann"):
        user = memora.for_user(name, org_id="acme", agent_id="helper")
        for chat, texts in (("chat-1", SINGLE), ("chat-2", [f"{c} Oslo." for c in CHANGING])):
            messages = [{"role": "user", "content": text} for text in texts]
            await user.save(messages, external_id=chat)
    user = memora.for_user("jake", org_id="acme", agent_id="helper")
    for old in [memory for memory in await user.memories() if "Oslo" in memory.memory]:
        for place in ("Rome", "Lima"):
            clock.advance(timedelta(days=1))
            await user.update_memory(old.memory_id, old.memory.replace("Oslo", place))
    assert (await memora.doctor()).clean


async def fill(path: Path) -> None:
    """Make a store."""
    clock = FrozenClock(START, step=timedelta(seconds=1))
    async with open_memora(path, clock) as memora:
        await talk(memora, clock)


Damage = Callable[[Files], object]


def orphan_vector(files: Files) -> None:
    copied = str(uuid.UUID(int=7))
    files.vectors.execute("UPDATE state SET changes = changes + 1")
    files.vectors.execute(
        "INSERT INTO vector SELECT ?, generation, org_id, user_id, dense, lexical_indices,"
        " lexical_values, payload, text_hash, (SELECT changes FROM state) FROM vector LIMIT 1",
        (copied,),
    )


def missing_vector(files: Files) -> None:
    files.vectors.execute("DELETE FROM vector WHERE memory_id = ?", (files.single(0),))


def stale_text_hash(files: Files) -> None:
    files.touch_vector(
        files.single(1),
        "UPDATE vector SET text_hash = 'x', payload = json_set(payload, '$.text_hash', 'x')"
        " WHERE memory_id = ?",
    )


def wrong_tenant_payload(files: Files) -> None:
    files.touch_vector(
        files.single(2),
        "UPDATE vector SET user_id = 'ann', payload = json_set(payload, '$.user_id', 'ann')"
        " WHERE memory_id = ?",
    )


def wrong_tenant_in_the_payload_alone(files: Files) -> None:
    files.touch_vector(
        files.single(2),
        "UPDATE vector SET payload = json_set(payload, '$.org_id', 'other') WHERE memory_id = ?",
    )


def wrong_tenant_beside_the_payload(files: Files) -> None:
    files.touch_vector(files.single(2), "UPDATE vector SET org_id = 'other' WHERE memory_id = ?")


def other_agent_in_the_payload(files: Files) -> None:
    files.touch_vector(
        files.single(2),
        "UPDATE vector SET payload = json_set(payload, '$.agent_id', 'x', '$.importance', 0.9)"
        " WHERE memory_id = ?",
    )


def broken_payload(files: Files) -> None:
    files.vectors.execute("UPDATE vector SET payload = '{' WHERE memory_id = ?", (files.single(2),))


def fork(files: Files) -> None:
    first, _second, third = files.chain(0)
    files.graph.execute("DROP INDEX memory_one_predecessor")
    files.graph.execute("UPDATE memory SET successor_id = ? WHERE memory_id = ?", (third, first))


def gap(files: Files) -> None:
    files.graph.execute(
        "UPDATE memory SET successor_id = NULL WHERE memory_id = ?", (files.chain(1)[0],)
    )


def dangling_successor(files: Files) -> None:
    files.graph.execute(
        "UPDATE memory SET successor_id = 'nowhere' WHERE memory_id = ?", (files.chain(0)[1],)
    )


def two_heads(files: Files) -> None:
    files.graph.execute("DROP INDEX memory_one_head")
    files.graph.execute(
        "UPDATE memory SET superseded_at = NULL, successor_id = NULL WHERE memory_id = ?",
        (files.chain(2)[1],),
    )


def cycle(files: Files) -> None:
    first, _second, third = files.chain(3)
    files.graph.execute("UPDATE memory SET successor_id = ? WHERE memory_id = ?", (first, third))


def chain_of_two_users(files: Files) -> None:
    files.graph.execute(
        "UPDATE memory SET user_id = 'ann', interaction_id = NULL WHERE memory_id = ?",
        (files.chain(0)[1],),
    )


def dangling_agent(files: Files) -> None:
    files.graph.execute("DELETE FROM agent")


def dead_entry(files: Files) -> None:
    files.graph.execute(
        "INSERT INTO outbox (op, org_id, user_id, memory_ids, attempts, enqueued_at, not_before,"
        " dead) VALUES ('sync', 'acme', 'jake', ?, 10, 1, 1, 1)",
        (json.dumps([files.single(0)]),),
    )


def entry_that_waits_for_a_clock_that_was_ahead(files: Files) -> None:
    files.graph.execute(
        "INSERT INTO outbox (op, org_id, user_id, memory_ids, enqueued_at, not_before)"
        " VALUES ('sync', 'acme', 'jake', ?, 1, ?)",
        (json.dumps([files.single(0)]), 4102444800_000_000),
    )


def duplicate_key(files: Files) -> None:
    files.graph.execute("DROP INDEX interaction_by_external_id")
    files.graph.execute("UPDATE interaction SET external_id = 'chat-1'")


def missing_index(files: Files) -> None:
    files.graph.execute("DROP INDEX memory_by_time")


def other_index(files: Files) -> None:
    files.graph.execute("DROP INDEX memory_by_time")
    files.graph.execute("CREATE INDEX memory_by_time ON memory (org_id)")


def missing_table(files: Files) -> None:
    files.graph.execute("DROP TABLE tombstone")


def missing_outbox(files: Files) -> None:
    files.graph.execute("DROP TABLE outbox")


def missing_view(files: Files) -> None:
    files.graph.execute("DROP VIEW memory_version")


def no_version(files: Files) -> None:
    files.graph.execute("PRAGMA user_version = 0")


def no_application_id(files: Files) -> None:
    files.graph.execute("PRAGMA application_id = 0")


def missing_vector_index(files: Files) -> None:
    files.vectors.execute("DROP INDEX vector_by_owner")


def missing_vector_table(files: Files) -> None:
    files.vectors.execute("DROP TABLE vector")


def missing_vector_state(files: Files) -> None:
    files.vectors.execute("DROP TABLE state")


def half_a_vector_table(files: Files) -> None:
    files.vectors.execute("ALTER TABLE vector DROP COLUMN payload")


def no_vector_version(files: Files) -> None:
    files.vectors.execute("PRAGMA user_version = 0")


def vector_of_another_length(files: Files) -> None:
    files.touch_vector(
        files.single(3), "UPDATE vector SET dense = zeroblob(12) WHERE memory_id = ?"
    )


def vectors_of_another_model(files: Files) -> None:
    files.vectors.execute("UPDATE state SET model_id = 'other', dimensions = 16")


def vectors_of_another_recipe(files: Files) -> None:
    files.vectors.execute("UPDATE state SET recipe = 'other'")


def tombstone_violation(files: Files) -> None:
    salt, mark, content = files.graph.execute(
        "SELECT salt, prefix_hash, content_hash FROM memory JOIN user USING (org_id, user_id)"
        " JOIN memory_source AS source USING (org_id, memory_id)"
        " JOIN message ON message.interaction_id = source.interaction_id"
        " AND message.position = source.position WHERE memory_id = ?",
        (files.single(2),),
    ).fetchone()
    files.graph.execute(
        "INSERT INTO tombstone (org_id, user_id, mark, purged_at) VALUES ('acme', 'jake', ?, 1)",
        (tombstone(salt, mark, content),),
    )


def ended_before_it_began(files: Files) -> None:
    files.graph.execute(
        "UPDATE memory SET superseded_at = obtained_at - 1 WHERE memory_id = ?",
        (files.chain(0)[0],),
    )


def recorded_in_the_future(files: Files) -> None:
    files.graph.execute(
        "UPDATE memory SET recorded_at = recorded_at + ? WHERE memory_id = ?",
        (400 * DAY, files.single(1)),
    )


def outside_the_calendar(files: Files) -> None:
    files.graph.execute(
        "UPDATE memory SET obtained_at = 1 << 60 WHERE memory_id = ?", (files.single(1),)
    )


def changed_in_the_future(files: Files) -> None:
    files.graph.execute("UPDATE interaction SET updated_at = updated_at + ?", (400 * DAY,))


def active_before_it_was_created(files: Files) -> None:
    files.graph.execute("UPDATE interaction SET last_activity_at = created_at - 1")


def owners_of_the_future(files: Files) -> None:
    for table in ("organization", "user", "agent"):
        files.graph.execute(f"UPDATE {table} SET created_at = created_at + {400 * DAY}")


def job_of_the_future(files: Files) -> None:
    files.graph.execute(
        "INSERT INTO job SELECT org_id, 'job', user_id, interaction_id, agent_id, 0, 1, 'done',"
        " '{}', '{}', 1, NULL, NULL, created_at + ?, created_at FROM interaction LIMIT 1",
        (400 * DAY,),
    )


def stray_source(files: Files) -> None:
    files.graph.execute("UPDATE memory_source SET position = 99 WHERE memory_id = ?",
                        (files.single(0),))  # fmt: skip


def wrong_count(files: Files) -> None:
    files.graph.execute("UPDATE interaction SET message_count = 40")


def wrong_tail(files: Files) -> None:
    files.graph.execute("UPDATE interaction SET content_hash = 'x'")


def unlinked_names(files: Files) -> None:
    files.graph.execute("DELETE FROM mention")


def lost_names(files: Files) -> None:
    files.graph.execute("DELETE FROM entity")


def name_without_a_memory(files: Files) -> None:
    files.graph.execute(
        "INSERT INTO entity (org_id, user_id, name_id, entity_id, name)"
        " VALUES ('acme', 'jake', 'n', 'n', 'Nobody')"
    )


def missing_mention_table(files: Files) -> None:
    files.graph.execute("DROP TABLE mention")


K = FindingKind
# The fifteen of R10, one each; they can all be done to one store.
FIFTEEN: dict[FindingKind, Damage] = {
    K.ORPHAN_VECTOR: orphan_vector,
    K.MISSING_VECTOR: missing_vector,
    K.STALE_TEXT_HASH: stale_text_hash,
    K.WRONG_TENANT_PAYLOAD: wrong_tenant_payload,
    K.FORK: fork,
    K.GAP: gap,
    K.TWO_HEADS: two_heads,
    K.CYCLE: cycle,
    K.DANGLING_AGENT: dangling_agent,
    K.STUCK_OUTBOX: dead_entry,
    K.DUPLICATE_KEY: duplicate_key,
    K.HALF_MIGRATION: missing_index,
    K.MODEL_MISMATCH: vector_of_another_length,
    K.TOMBSTONE_VIOLATION: tombstone_violation,
    K.CLOCK_REGRESSION: recorded_in_the_future,
}
# Other forms of them, and what can be repaired beyond them.
FORMS: list[tuple[FindingKind, Damage]] = [
    (K.WRONG_TENANT_PAYLOAD, wrong_tenant_in_the_payload_alone),
    (K.WRONG_TENANT_PAYLOAD, wrong_tenant_beside_the_payload),
    (K.STALE_PAYLOAD, other_agent_in_the_payload),
    (K.STALE_PAYLOAD, broken_payload),
    (K.GAP, dangling_successor),
    (K.DAMAGED_CHAIN, chain_of_two_users),
    (K.STUCK_OUTBOX, entry_that_waits_for_a_clock_that_was_ahead),
    (K.HALF_MIGRATION, other_index),
    (K.HALF_MIGRATION, missing_table),
    (K.HALF_MIGRATION, missing_outbox),
    (K.HALF_MIGRATION, missing_view),
    (K.HALF_MIGRATION, no_version),
    (K.HALF_MIGRATION, no_application_id),
    (K.HALF_MIGRATION, missing_vector_index),
    (K.HALF_MIGRATION, missing_vector_table),
    (K.HALF_MIGRATION, missing_vector_state),
    (K.HALF_MIGRATION, half_a_vector_table),
    (K.HALF_MIGRATION, no_vector_version),
    (K.MODEL_MISMATCH, vectors_of_another_model),
    (K.MODEL_MISMATCH, vectors_of_another_recipe),
    (K.CLOCK_REGRESSION, ended_before_it_began),
    (K.CLOCK_REGRESSION, outside_the_calendar),
    (K.CLOCK_REGRESSION, changed_in_the_future),
    (K.CLOCK_REGRESSION, active_before_it_was_created),
    (K.CLOCK_REGRESSION, owners_of_the_future),
    (K.CLOCK_REGRESSION, job_of_the_future),
    (K.STRAY_SOURCE, stray_source),
    (K.STRAY_MENTION, lost_names),
    (K.STRAY_MENTION, name_without_a_memory),
    (K.MISSING_MENTION, unlinked_names),
    (K.HALF_MIGRATION, missing_mention_table),
    (K.DAMAGED_TRANSCRIPT, wrong_count),
    (K.DAMAGED_TRANSCRIPT, wrong_tail),
]
