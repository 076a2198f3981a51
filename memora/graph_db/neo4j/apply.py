"""Writes a plan: look under the user's lock, decide, write. All in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from memora._queries import load
from memora.core.hashing import tombstone
from memora.errors import (
    AgentNotFoundError,
    ConflictError,
    InteractionNotFoundError,
    UserNotFoundError,
)
from memora.graph_db.neo4j import _names, records
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction, batched
from memora.graph_db.neo4j._chains import Chains
from memora.graph_db.neo4j._imports import ImportNote, check_import, count_written
from memora.graph_db.neo4j._outbox import enqueue
from memora.graph_db.neo4j._transcript import Transcript, decide
from memora.graph_db.neo4j.records import Row, as_json, micros, optional_micros
from memora.schema.jobs import ExtractionJob
from memora.schema.scope import Scope
from memora.schema.write_plan import (
    MemoryWrite,
    OutboxOp,
    SourceLink,
    SourceRef,
    WritePlan,
    WriteReceipt,
)

_Q = load(PACKAGE, "queries/apply.cypher")


class ApplyPart(Neo4jBase):
    """The one way in which transcripts and memories are written."""

    async def apply(self, plan: WritePlan) -> WriteReceipt:
        return await self._connection.write(partial(_apply, plan=plan))


async def _apply(transaction: Transaction, plan: WritePlan) -> WriteReceipt:
    found = await _look(transaction, plan)
    _check_agents(plan, found)
    replayed = _replayed(plan, found)
    if replayed is not None:
        return replayed
    if plan.job is not None:
        await _check_job(transaction, plan, plan.job)
    check_import(plan, found)
    transcript = _checked_transcript(plan, found)
    kept = await _not_buried(transaction, plan, found)
    _check_equals(kept, found)
    chains = _chains(plan, found, kept)
    is_further = False
    if transcript is not None:
        noted = await ImportNote.begun(transaction, plan, found, transcript)
        sourced = await _write_transcript(transaction, plan, transcript)
        chains.synced.update(dict.fromkeys(sourced))
        if noted is not None:
            is_further = await noted.put(transaction, transcript)
    await _write_memories(transaction, plan, kept, chains)
    named = [_names.Naming(each.memory_id, each.entities, each.relations) for each in kept]
    await _names.link(transaction, owner(plan.scope), found["salt"], named)
    await _link_sources(transaction, plan)
    await _settle(transaction, plan)
    await count_written(transaction, plan, found, conversations=int(is_further), memories=len(kept))
    if chains.synced:
        await enqueue(
            transaction, OutboxOp.SYNC, **owner(plan.scope),
            memory_ids=chains.synced, now=micros(plan.now),
        )  # fmt: skip
    return WriteReceipt() if transcript is None else transcript.receipt


def owner(scope: Scope) -> dict[str, Any]:
    """Return the parameters that every statement on a user's data has."""
    return {"org_id": scope.org_id, "user_id": scope.user_id}


# What is there


async def _look(transaction: Transaction, plan: WritePlan) -> Row:
    """Take the user's lock and read what the guards need.

    Raises:
        UserNotFoundError: There is no such user, or it is being erased.
    """
    found = await transaction.row(
        _Q["lock_and_look"],
        **owner(plan.scope),
        agent_ids=sorted(_agents(plan)),
        key=plan.idempotency.key if plan.idempotency else None,
        interaction_ids=sorted(_interactions(plan)),
        external_id=plan.interaction.external_id if plan.interaction else None,
        import_id=plan.import_id,
        written_id=plan.interaction.interaction_id if plan.interaction else None,
        memory_ids=sorted(_versions(plan)),
        chain_ids=sorted({memory.chain_id for memory in plan.memories}),
        content_hashes=sorted({memory.content_hash for memory in plan.memories if memory.equal}),
    )
    if found is None or found["erasing"]:
        raise UserNotFoundError(plan.scope.user_id)
    return found


def _agents(plan: WritePlan) -> set[str]:
    named = {plan.scope.agent_id, *(memory.agent_id for memory in plan.memories)}
    named.add(plan.interaction.agent_id if plan.interaction else None)
    named.add(plan.job.agent_id if plan.job else None)
    return {agent_id for agent_id in named if agent_id is not None}


def _interactions(plan: WritePlan) -> set[str]:
    named = {memory.interaction_id for memory in plan.memories}
    named.add(plan.interaction.interaction_id if plan.interaction else None)
    named.add(plan.job.interaction_id if plan.job else None)
    return {interaction_id for interaction_id in named if interaction_id is not None}


def _versions(plan: WritePlan) -> set[str]:
    named: set[str | None] = {end.memory_id for end in plan.ends}
    for link in plan.links:
        named |= {link.memory_id, link.moved_from}
        named.add(link.begins.predecessor_id if link.begins else None)
    for memory in plan.memories:
        named |= {memory.memory_id, memory.predecessor_id, memory.successor_id}
    return {memory_id for memory_id in named if memory_id is not None}


# Guards


def _check_agents(plan: WritePlan, found: Row) -> None:
    """Check that all agents exist; a deleted one may have memories, but not write a transcript.

    Raises:
        AgentNotFoundError: One does not exist, or belongs to another user (B07).
    """
    agents = {agent["agent_id"]: agent for agent in found["agents"]}
    writer = plan.interaction.agent_id if plan.interaction else None
    for agent_id in sorted(_agents(plan)):
        agent = agents.get(agent_id)
        if agent is None or agent["user_id"] not in (None, plan.scope.user_id):
            raise AgentNotFoundError(agent_id)
        if agent_id == writer and agent["deleted_at"] is not None:
            raise AgentNotFoundError(agent_id)


def _replayed(plan: WritePlan, found: Row) -> WriteReceipt | None:
    """Return the first call's answer if the key was used for an equal call.

    Raises:
        ConflictError: It was used for another one.
    """
    if plan.idempotency is None or not found["keys"]:
        return None
    known = records.idempotency(found["keys"][0])
    if known.body_hash != plan.idempotency.body_hash:
        raise ConflictError(
            "idempotency_key", known.key, expected="an equal call", actual="another call"
        )
    return WriteReceipt(replayed=True, result=known.result)


async def _check_job(transaction: Transaction, plan: WritePlan, job: ExtractionJob) -> None:
    """Check that the job is ours to write, and that nobody does until this is committed.

    Raises:
        InteractionNotFoundError: It must be there and is not, or it is another user's.
        ConflictError: Somebody else started it since.
    """
    stored = await transaction.row(_Q["lock_job"], org_id=plan.scope.org_id, job_id=job.job_id)
    if stored is None and not plan.job_must_exist:
        return
    if stored is None or stored["user_id"] != plan.scope.user_id:
        raise InteractionNotFoundError(job.interaction_id)
    if plan.job_must_exist and stored["attempts"] > job.attempts:
        raise ConflictError("job", job.job_id, expected=job.attempts, actual=stored["attempts"])


def _checked_transcript(plan: WritePlan, found: Row) -> Transcript | None:
    """Check the interactions, and work out the one that is written as it will be.

    Raises:
        InteractionNotFoundError, ConflictError: As the port says.
    """
    write = plan.interaction
    stored = {row["interaction_id"]: row for row in found["interactions"]}
    created = {write.interaction_id} if write and write.expected_revision is None else set[str]()
    for interaction_id in sorted(_interactions(plan) - created - stored.keys()):
        raise InteractionNotFoundError(interaction_id)
    if write is None:
        return None
    return decide(plan, write, stored.get(write.interaction_id), found["external_ids"])


async def _not_buried(
    transaction: Transaction, plan: WritePlan, found: Row
) -> Sequence[MemoryWrite]:
    """Leave out memories that were purged from every message they come from (B55)."""
    if not found["has_tombstones"]:
        return plan.memories
    marks = {
        memory.memory_id: {
            tombstone(found["salt"], source.prefix_hash, memory.content_hash)
            for source in memory.sources
        }
        for memory in plan.memories
    }
    wanted = sorted(set[str]().union(*marks.values()))
    rows = await transaction.rows(_Q["find_tombstones"], **owner(plan.scope), marks=wanted)
    buried = {row["mark"] for row in rows}
    return [
        memory
        for memory in plan.memories
        if not memory.sources or not marks[memory.memory_id] <= buried
    ]


def _check_equals(kept: Sequence[MemoryWrite], found: Row) -> None:
    """Check that nobody stored the same statements since the plan looked for them.

    Raises:
        ConflictError: Somebody did, or what was found is not current any more.
    """
    for memory in kept:
        guard = memory.equal
        if guard is None:
            continue
        current = [
            (row["obtained_at"], row["memory_id"])
            for row in found["equals"]
            if row["content_hash"] == memory.content_hash
            and guard.agent_id in {None, row["agent_id"]}
        ]
        _, equal = max(current, default=(0, None))
        if equal != guard.memory_id:
            raise ConflictError("memory", memory.memory_id, expected=guard.memory_id, actual=equal)


def _chains(plan: WritePlan, found: Row, kept: Sequence[MemoryWrite]) -> Chains:
    """Work the plan through its chains.

    Raises:
        ConflictError: They are not as the plan expects.
    """
    chains = Chains.of([*found["versions"], *found["heads"]], found["known_chains"])
    kept_ids = {memory.memory_id for memory in kept}
    for step in plan.steps:
        if isinstance(step, SourceLink):
            chains.begin(step)
        elif step.memory_id in kept_ids:
            chains.insert(step)
    for end in plan.ends:
        chains.end(end)
    for link in plan.links:
        chains.check(link)
    return chains


# Writing


async def _write_transcript(
    transaction: Transaction, plan: WritePlan, transcript: Transcript
) -> list[str]:
    """Write the interaction and its messages; return memories that lost a source."""
    tenant, interaction = owner(plan.scope), transcript.properties
    sourced: list[str] = []
    place = {**tenant, "interaction_id": transcript.interaction_id}
    first, *others = batched(transcript.messages) or [[]]
    if transcript.is_new:
        await transaction.rows(
            _Q["create_interaction"], **tenant, interaction=interaction, messages=first
        )
    else:
        if transcript.cut_from is not None:
            _, sourced = await cut(transaction, place, transcript.cut_from, micros(plan.now))
        await transaction.rows(
            _Q["change_interaction"], **place, interaction=interaction, messages=first
        )
    for block in others:
        await transaction.rows(_Q["append_messages"], **place, messages=block)
    return sourced


async def cut(
    transaction: Transaction, place: dict[str, Any], keep: int, now: int
) -> tuple[int, list[str]]:
    """Drop messages from position `keep` on, lower the jobs that read them.

    Args:
        transaction: The transaction.
        place: `org_id`, `user_id` and `interaction_id`.
        keep: How many messages stay.
        now: Store time.

    Returns:
        How many messages went, and the memories that came from them, which the caller enqueues:
        what was said before the messages was part of their texts.
    """
    sourced = await transaction.rows(_Q["sourced_from"], **place, keep=keep)
    [row] = await transaction.rows(_Q["cut_messages"], **place, keep=keep)
    await transaction.rows(_Q["lower_jobs"], **place, keep=keep, now=now)
    return row["deleted"], [row["memory_id"] for row in sourced]


async def _write_memories(
    transaction: Transaction, plan: WritePlan, kept: Sequence[MemoryWrite], chains: Chains
) -> None:
    """Change stored neighbours first, so that no head or successor is there twice."""
    tenant = owner(plan.scope)
    begun = [
        {
            "memory_id": link.memory_id,
            "obtained_at": micros(link.begins.obtained_at),
            "source_role": link.begins.source_role,
        }
        for link in plan.links
        if link.begins is not None
    ]
    if begun:
        await transaction.rows(_Q["begin"], **tenant, versions=begun)
    if chains.stored:
        versions = [version.properties for version in chains.stored]
        await transaction.rows(_Q["change_versions"], **tenant, versions=versions)
    for block in batched(kept):
        memories = [
            {
                "memory": _memory(plan, memory) | chains.versions[memory.memory_id].properties,
                "sources": [_source(source) for source in memory.sources],
            }
            for memory in block
        ]
        await transaction.rows(_Q["insert_memories"], **tenant, memories=memories)
    if chains.links:
        links = [
            {"memory_id": memory_id, "successor_id": successor_id}
            for memory_id, successor_id in chains.links
        ]
        await transaction.rows(_Q["link_versions"], **tenant, links=links)


def _memory(plan: WritePlan, memory: MemoryWrite) -> dict[str, Any]:
    return {
        **owner(plan.scope),
        "chain_id": memory.chain_id,
        "text": memory.text,
        "obtained_at": micros(memory.obtained_at),
        "recorded_at": micros(plan.now),
        "content_hash": memory.content_hash,
        "agent_id": memory.agent_id,
        "interaction_id": memory.interaction_id,
        "memory_type": memory.memory_type,
        "importance": float(memory.importance),
        "tags": list(memory.tags),
        "entities": list(memory.entities),
        "metadata": as_json(memory.metadata),
        "expires_at": optional_micros(memory.expires_at),
        "pinned": memory.pinned,
        "archived": False,
        "source_role": memory.source_role,
        "confidence": memory.confidence,
        "access_count": 0,
        "external_id": memory.external_id,
        "import_id": memory.import_id,
        "process_id": memory.process_id,
        "author": memory.author,
        "relations": records.stored_relations(memory.relations),
    }


def _source(source: SourceRef) -> dict[str, Any]:
    return {
        "interaction_id": source.interaction_id,
        "position": source.position,
        "prefix_hash": source.prefix_hash,
        "said_at": optional_micros(source.said_at),
    }


async def _link_sources(transaction: Transaction, plan: WritePlan) -> None:
    links = [
        {"memory_id": link.memory_id, "moved_from": link.moved_from, **_source(source)}
        for link in plan.links
        for source in link.sources
    ]
    new = [link for link in links if link["moved_from"] is None]
    moved = [link for link in links if link["moved_from"] is not None]
    if new:
        await transaction.rows(_Q["link_sources"], **owner(plan.scope), links=new)
    if moved:
        await transaction.rows(_Q["move_sources"], **owner(plan.scope), links=moved)


async def _settle(transaction: Transaction, plan: WritePlan) -> None:
    jobs = [] if plan.job is None else [records.job_properties(plan.job)]
    keys = [] if plan.idempotency is None else [plan.idempotency]
    if jobs or keys:
        await transaction.rows(
            _Q["settle"],
            **owner(plan.scope),
            jobs=jobs,
            keys=[records.idempotency_properties(record) for record in keys],
            now=micros(plan.now),
        )
