"""One write plan, inside one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from memora import _queries
from memora.core.hashing import tombstone
from memora.core.messages import EMPTY_HASH, changes
from memora.errors import (
    AgentNotFoundError,
    ConflictError,
    InteractionNotFoundError,
    UserNotFoundError,
)
from memora.graph_db.sqlite import _names, records
from memora.graph_db.sqlite._base import PACKAGE, change, enqueue, one, values
from memora.graph_db.sqlite._imports import ImportNote, check_import, count_written
from memora.graph_db.sqlite._seal import (
    IDEMPOTENCY,
    INTERACTION,
    JOB,
    MEMORY,
    MESSAGE,
    marks,
    sealed,
)
from memora.graph_db.sqlite.records import Row, dumps, micros, optional_micros
from memora.schema.jobs import ExtractionJob
from memora.schema.scope import Scope
from memora.schema.write_plan import (
    IdempotencyRecord,
    InteractionWrite,
    MemoryEnd,
    MemoryWrite,
    MessageEdit,
    OutboxOp,
    SourceLink,
    SourceRef,
    WritePlan,
    WriteReceipt,
)

_SQL = _queries.load(PACKAGE, "queries/apply.sql")
_USER_SALT = _SQL["user_salt"]
_USABLE_AGENTS = _SQL["usable_agents"]
_IDEMPOTENCY = _SQL["idempotency"]
_JOB_ATTEMPTS = _SQL["job_attempts"]
_INTERACTION_STATE = _SQL["interaction_state"]
_EXTERNAL_ID_OWNER = _SQL["external_id_owner"]
_INSERT_INTERACTION = _SQL["insert_interaction"]
_SOURCED_FROM = _SQL["sourced_from"]
_CUT_SOURCES = _SQL["cut_sources"]
_CUT_MESSAGES = _SQL["cut_messages"]
_LOWER_JOBS = _SQL["lower_jobs"]
_INSERT_MESSAGE = _SQL["insert_message"]
_LAST_HASH = _SQL["last_hash"]
_UPDATE_INTERACTION = _SQL["update_interaction"]
_INTERACTION_EXISTS = _SQL["interaction_exists"]
_MEMORY_EXISTS = _SQL["memory_exists"]
_VERSION = _SQL["version"]
_CHAIN_HEAD = _SQL["chain_head"]
_CHAIN_EXISTS = _SQL["chain_exists"]
_EQUAL_CURRENT = _SQL["equal_current"]
_SUPERSEDE = _SQL["supersede"]
_INSERT_MEMORY = _SQL["insert_memory"]
_LINK_SOURCE = _SQL["link_source"]
_MOVE_SOURCE = _SQL["move_source"]
_BEGIN = _SQL["begin"]
_END_BEFORE = _SQL["end_before"]
_END_HEAD = _SQL["end_head"]
_PUT_JOB = _SQL["put_job"]
_INSERT_IDEMPOTENCY = _SQL["insert_idempotency"]
_TOMBSTONES = _queries.load(PACKAGE, "queries/memory.sql")["tombstones"]


def apply_plan(connection: sqlite3.Connection, plan: WritePlan) -> WriteReceipt:
    """Write the plan; every guard that fails raises, and the transaction undoes the rest."""
    scope = plan.scope
    salt = _check_owners(connection, plan)
    if plan.idempotency is not None:
        replayed = _replay(connection, scope, plan.idempotency)
        if replayed is not None:
            return replayed
    if plan.job is not None and plan.job_must_exist:
        _check_job(connection, scope, plan.job)
    check_import(connection, plan)
    receipt = WriteReceipt()
    if plan.interaction is not None:
        receipt = _write_interaction(connection, plan, plan.interaction)
    _write_memories(connection, plan, salt)
    if plan.job is not None:
        _put_job(connection, scope, plan.job)
    if plan.idempotency is not None:
        _remember(connection, plan, plan.idempotency)
    return receipt


def _owner(scope: Scope) -> dict[str, str]:
    return {"org_id": scope.org_id, "user_id": scope.user_id}


def _check_owners(connection: sqlite3.Connection, plan: WritePlan) -> str:
    """Check the user and all agents that the plan names; return the user's salt.

    Who writes to a transcript must be there. A memory may belong to a deleted agent, since a new
    version keeps the agent of the one before.
    """
    found = values(connection, _USER_SALT, **_owner(plan.scope))
    if not found:
        raise UserNotFoundError(plan.scope.user_id)
    writers = {plan.interaction.agent_id} if plan.interaction is not None else set[str | None]()
    named = writers | {memory.agent_id for memory in plan.memories} | {plan.scope.agent_id}
    if plan.job is not None:
        named.add(plan.job.agent_id)
    ids = sorted(agent_id for agent_id in named if agent_id is not None)
    if ids:
        usable = dict(
            connection.execute(
                _USABLE_AGENTS, {**_owner(plan.scope), "agent_ids": records.id_list(ids)}
            ).fetchall()
        )
        for agent_id in ids:
            if agent_id not in usable or (agent_id in writers and not usable[agent_id]):
                raise AgentNotFoundError(agent_id)
    return found[0]


def find_idempotency(
    connection: sqlite3.Connection, scope: Scope, key: str
) -> IdempotencyRecord | None:
    """Return what the key was used for, or None."""
    row = one(connection, _IDEMPOTENCY, **_owner(scope), key=key)
    return None if row is None else records.idempotency(row)


def _replay(
    connection: sqlite3.Connection, scope: Scope, asked: IdempotencyRecord
) -> WriteReceipt | None:
    known = find_idempotency(connection, scope, asked.key)
    if known is None:
        return None
    if known.body_hash != asked.body_hash:
        raise ConflictError(
            "idempotency_key", asked.key, expected=asked.body_hash, actual=known.body_hash
        )
    return WriteReceipt(replayed=True, result=known.result)


def _remember(connection: sqlite3.Connection, plan: WritePlan, record: IdempotencyRecord) -> None:
    fields = {
        **_owner(plan.scope),
        "key": record.key,
        "body_hash": record.body_hash,
        "result": dumps(record.result),
        "now": micros(plan.now),
        "import_id": record.import_id,
    }
    change(connection, _INSERT_IDEMPOTENCY, **sealed(connection, IDEMPOTENCY, fields))


def _check_job(connection: sqlite3.Connection, scope: Scope, job: ExtractionJob) -> None:
    attempts = values(connection, _JOB_ATTEMPTS, **_owner(scope), job_id=job.job_id)
    if not attempts:
        raise InteractionNotFoundError(job.interaction_id)
    if attempts[0] > job.attempts:
        raise ConflictError("job", job.job_id, expected=job.attempts, actual=attempts[0])


def _put_job(connection: sqlite3.Connection, scope: Scope, job: ExtractionJob) -> None:
    owned = values(
        connection, _INTERACTION_EXISTS, **_owner(scope), interaction_id=job.interaction_id
    )
    fields = sealed(connection, JOB, records.job_fields(job))
    if not owned or change(connection, _PUT_JOB, **fields) != 1:
        raise InteractionNotFoundError(job.interaction_id)


# Interactions


def _write_interaction(
    connection: sqlite3.Connection, plan: WritePlan, write: InteractionWrite
) -> WriteReceipt:
    stored = _guarded_state(connection, plan, write)
    count: int = stored["message_count"]
    edited = changes(write.edit, count)
    updated = _updated(stored, write)
    noted = ImportNote.begun(connection, plan.scope, write, stored)
    if edited:
        content_hash = _edit_messages(connection, plan, write, count)
        updated |= {
            "revision": stored["revision"] + 1,
            "message_count": write.edit.keep + len(write.edit.append),
            "content_hash": content_hash,
            "last_activity_at": max(stored["last_activity_at"], micros(write.at)),
        }
    is_changed = any(stored[name] != value for name, value in updated.items())
    if is_changed:
        if write.expected_revision is not None:
            updated["updated_at"] = max(micros(plan.now), stored["updated_at"] + 1)
        fields = sealed(connection, INTERACTION, {**stored, **updated})
        change(connection, _UPDATE_INTERACTION, **fields)
    if noted is not None and (is_changed or write.expected_revision is None):
        noted.put(connection, {**stored, **updated})
    return WriteReceipt(
        revision=updated["revision"],
        created_at=records.moment(stored["created_at"]),
        updated_at=records.moment(updated["updated_at"]),
        message_count=updated["message_count"],
    )


def _guarded_state(
    connection: sqlite3.Connection, plan: WritePlan, write: InteractionWrite
) -> dict[str, Any]:
    """Return the row that the edit starts from, which a creation inserts."""
    key = {**_owner(plan.scope), "interaction_id": write.interaction_id}
    stored = one(connection, _INTERACTION_STATE, **key)
    own = stored is not None and stored["own"]
    _check_external_id(connection, plan.scope, write)
    if write.expected_revision is None:
        if stored is not None:
            actual = stored["revision"] if own else None
            raise ConflictError("interaction", write.interaction_id, expected=None, actual=actual)
        fields = {
            **key,
            "agent_id": write.agent_id,
            "metadata": dumps({}),
            "at": micros(write.at),
            "now": micros(plan.now),
            "content_hash": EMPTY_HASH,
            "import_id": write.import_id,
            "process_id": write.process_id,
        }
        change(connection, _INSERT_INTERACTION, **sealed(connection, INTERACTION, fields))
        stored = one(connection, _INTERACTION_STATE, **key)
    if stored is None or not stored["own"]:
        raise InteractionNotFoundError(write.interaction_id)
    expected = write.expected_revision or 0
    if stored["revision"] != expected or write.edit.keep > stored["message_count"]:
        raise ConflictError(
            "interaction", write.interaction_id, expected=expected, actual=stored["revision"]
        )
    return {name: value for name, value in stored.items() if name != "own"}


def _check_external_id(
    connection: sqlite3.Connection, scope: Scope, write: InteractionWrite
) -> None:
    if write.external_id is None:
        return
    users = values(connection, _EXTERNAL_ID_OWNER, **_owner(scope), external_id=write.external_id)
    if users and users[0] != write.interaction_id:
        raise ConflictError(
            "external_id", write.external_id, expected=write.interaction_id, actual=users[0]
        )


def _updated(stored: Row, write: InteractionWrite) -> dict[str, Any]:
    """Return the fields that a write may change, by what it says besides messages."""
    participants: list[str] = records.loads(stored["participants"])
    if write.agent_id is not None and write.agent_id not in participants:
        participants = [*participants, write.agent_id]
    kept = ("external_id", "title", "metadata", "updated_at", "last_activity_at")
    updated: dict[str, Any] = {name: stored[name] for name in kept}
    updated |= {name: stored[name] for name in ("revision", "message_count", "content_hash")}
    updated["participants"] = dumps(participants)
    if write.external_id is not None:
        updated["external_id"] = write.external_id
    if write.title is not None:
        updated["title"] = write.title
    if write.metadata is not None:
        updated["metadata"] = dumps(write.metadata)
    return updated


def _edit_messages(
    connection: sqlite3.Connection, plan: WritePlan, write: InteractionWrite, count: int
) -> str:
    """Cut and append; return the prefix hash of the last message."""
    edit = write.edit
    key = {**_owner(plan.scope), "interaction_id": write.interaction_id}
    if edit.keep < count:
        _sync_sourced(connection, plan, key, edit.keep)
        change(connection, _CUT_SOURCES, **key, keep=edit.keep)
        change(connection, _CUT_MESSAGES, **key, keep=edit.keep)
        change(
            connection,
            _LOWER_JOBS,
            **key,
            keep=edit.keep,
            now=micros(plan.now),
        )
    new = _message_rows(key, edit, write.import_id)
    messages = (sealed(connection, MESSAGE, row) for row in new)
    connection.executemany(_INSERT_MESSAGE, messages)
    if edit.append:
        return edit.append[-1].prefix_hash
    found = values(connection, _LAST_HASH, **key, count=edit.keep)
    return found[0] if found else EMPTY_HASH


def _sync_sourced(
    connection: sqlite3.Connection, plan: WritePlan, key: dict[str, str], keep: int
) -> None:
    """Have memories indexed again that lose a source: what was said before it was in their text."""
    place = {"org_id": key["org_id"], "interaction_id": key["interaction_id"]}
    ids = values(connection, _SOURCED_FROM, **place, keep=keep)
    enqueue(connection, OutboxOp.SYNC, key["org_id"], key["user_id"], plan.now, ids)


def _message_rows(
    key: dict[str, str], edit: MessageEdit, import_id: str | None
) -> list[dict[str, Any]]:
    return [
        {
            **key,
            "position": position,
            "prefix_hash": message.prefix_hash,
            "role": message.role,
            "name": message.name,
            "timestamp": optional_micros(message.timestamp),
            "content": message.content,
            "data": None if message.data is None else dumps(message.data),
            "import_id": import_id,
        }
        for position, message in enumerate(edit.append, start=edit.keep)
    ]


# Memories


def _write_memories(connection: sqlite3.Connection, plan: WritePlan, salt: str) -> None:
    scope = plan.scope
    synced: dict[str, None] = {}
    buried = _buried(connection, scope, salt, plan.memories)
    kept = [memory for memory in plan.memories if memory.memory_id not in buried]
    for memory in kept:
        _check_equal(connection, scope, memory)
    for step in plan.steps:
        if isinstance(step, SourceLink):
            synced.update(dict.fromkeys(_begin(connection, scope, step)))
        elif step.memory_id not in buried:
            synced.update(dict.fromkeys(_write_memory(connection, plan, step)))
    if kept and plan.import_id is not None:
        count_written(connection, scope, plan.import_id, memories=len(kept))
    named = [_names.Naming(each.memory_id, each.entities, each.relations) for each in kept]
    _names.link(connection, scope, salt, named)
    for link in plan.links:
        if one(connection, _VERSION, **_owner(scope), memory_id=link.memory_id) is None:
            raise _moved(link.memory_id, link.memory_id, None)
        if link.moved_from is None:
            _link_sources(connection, scope, link.memory_id, link.sources)
        else:
            _move_sources(connection, scope, link, link.moved_from)
        synced[link.memory_id] = None
    for end in plan.ends:
        _end(connection, scope, end)
        synced[end.memory_id] = None
    enqueue(connection, OutboxOp.SYNC, scope.org_id, scope.user_id, plan.now, list(synced))


def _buried(
    connection: sqlite3.Connection, scope: Scope, salt: str, memories: Sequence[MemoryWrite]
) -> Collection[str]:
    """Return the ids of memories that were purged from every one of their sources before."""
    marks = {
        memory.memory_id: {
            tombstone(salt, source.prefix_hash, memory.content_hash) for source in memory.sources
        }
        for memory in memories
    }
    if not any(marks.values()):
        return ()
    every = records.id_list(set[str]().union(*marks.values()))
    found = set(values(connection, _TOMBSTONES, **_owner(scope), marks=every))
    return {memory_id for memory_id, own in marks.items() if own and own <= found}


def _check_equal(connection: sqlite3.Connection, scope: Scope, memory: MemoryWrite) -> None:
    """Check that nobody stored the same statement since the plan looked for it."""
    if memory.equal is None:
        return
    owner = (scope.org_id, scope.user_id)
    hashes = marks(connection, MEMORY, "content_hash", owner, [memory.content_hash])
    found = values(
        connection,
        _EQUAL_CURRENT,
        **_owner(scope),
        content_hashes=records.id_list(hashes),
        agent_id=memory.equal.agent_id,
    )
    equal = found[0] if found else None
    if equal != memory.equal.memory_id:
        raise _moved(memory.memory_id, memory.equal.memory_id, equal)


def _write_memory(
    connection: sqlite3.Connection, plan: WritePlan, memory: MemoryWrite
) -> list[str]:
    """Insert one version; return the ids of all versions that it changed."""
    scope = plan.scope
    _check_place(connection, scope, memory)
    changed = [memory.memory_id]
    if memory.predecessor_id is not None:
        change(
            connection,
            _SUPERSEDE,
            **_owner(scope),
            memory_id=memory.predecessor_id,
            successor_id=memory.memory_id,
            superseded_at=optional_micros(memory.predecessor_superseded_at),
        )
        changed.append(memory.predecessor_id)
    fields = sealed(connection, MEMORY, _memory_fields(plan, memory))
    change(connection, _INSERT_MEMORY, **fields)
    _link_sources(connection, scope, memory.memory_id, memory.sources)
    return changed


def _check_place(connection: sqlite3.Connection, scope: Scope, memory: MemoryWrite) -> None:
    """Check that the version's neighbours in the store are those it was planned between."""
    if values(connection, _MEMORY_EXISTS, org_id=scope.org_id, memory_id=memory.memory_id):
        raise ConflictError("memory", memory.memory_id, expected="a new id", actual="a known one")
    if memory.interaction_id is not None and not values(
        connection, _INTERACTION_EXISTS, **_owner(scope), interaction_id=memory.interaction_id
    ):
        raise InteractionNotFoundError(memory.interaction_id)
    if memory.predecessor_id is not None:
        found = _version(connection, scope, memory.predecessor_id, memory.chain_id)
        if found["successor_id"] != memory.successor_id:
            raise _moved(memory.predecessor_id, memory.successor_id, found["successor_id"])
    elif memory.successor_id is not None:
        found = _version(connection, scope, memory.successor_id, memory.chain_id)
        if found["predecessor_id"] is not None:
            raise _moved(memory.successor_id, None, found["predecessor_id"])
    elif values(connection, _CHAIN_EXISTS, org_id=scope.org_id, chain_id=memory.chain_id):
        raise _moved(memory.chain_id, None, "another version")
    if memory.superseded_at is None:
        heads = values(connection, _CHAIN_HEAD, **_owner(scope), chain_id=memory.chain_id)
        head = heads[0] if heads else None
        if head != memory.replaces_head:
            raise _moved(memory.replaces_head or memory.chain_id, memory.replaces_head, head)


def _version(connection: sqlite3.Connection, scope: Scope, memory_id: str, chain_id: str) -> Row:
    found = one(connection, _VERSION, **_owner(scope), memory_id=memory_id)
    if found is None or found["chain_id"] != chain_id:
        raise _moved(memory_id, chain_id, None if found is None else found["chain_id"])
    return found


def _moved(memory_id: str, expected: str | None, actual: str | None) -> ConflictError:
    return ConflictError("memory", memory_id, expected=expected, actual=actual)


def _memory_fields(plan: WritePlan, memory: MemoryWrite) -> dict[str, Any]:
    return {
        **_owner(plan.scope),
        "memory_id": memory.memory_id,
        "agent_id": memory.agent_id,
        "interaction_id": memory.interaction_id,
        "chain_id": memory.chain_id,
        "successor_id": memory.successor_id,
        "superseded_at": optional_micros(memory.superseded_at),
        "obtained_at": micros(memory.obtained_at),
        "recorded_at": micros(plan.now),
        "memory_type": memory.memory_type,
        "importance": memory.importance,
        "pinned": memory.pinned,
        "expires_at": optional_micros(memory.expires_at),
        "source_role": memory.source_role,
        "confidence": memory.confidence,
        "content_hash": memory.content_hash,
        "external_id": memory.external_id,
        "import_id": memory.import_id,
        "process_id": memory.process_id,
        "author": memory.author,
        "tags": dumps(memory.tags),
        "entities": dumps(memory.entities),
        "metadata": dumps(memory.metadata),
        "text": memory.text,
        "relations": records.stored_relations(memory.relations),
    }


def _link_sources(
    connection: sqlite3.Connection, scope: Scope, memory_id: str, sources: Sequence[SourceRef]
) -> None:
    connection.executemany(
        _LINK_SOURCE,
        [
            {
                **_owner(scope),
                "memory_id": memory_id,
                "interaction_id": source.interaction_id,
                "position": source.position,
                "prefix_hash": source.prefix_hash,
                "said_at": optional_micros(source.said_at),
            }
            for source in sources
        ],
    )


def _move_sources(
    connection: sqlite3.Connection, scope: Scope, link: SourceLink, moved_from: str
) -> None:
    if one(connection, _VERSION, **_owner(scope), memory_id=moved_from) is None:
        raise _moved(moved_from, moved_from, None)
    places = {"org_id": scope.org_id, "memory_id": link.memory_id, "moved_from": moved_from}
    for source in link.sources:
        place = {"interaction_id": source.interaction_id, "position": source.position}
        change(connection, _MOVE_SOURCE, **places, **place)


def _begin(connection: sqlite3.Connection, scope: Scope, link: SourceLink) -> list[str]:
    """Change the time of a version; return the ids of those that it changed."""
    begins = link.begins
    if begins is None:
        return []
    found = one(connection, _VERSION, **_owner(scope), memory_id=link.memory_id)
    predecessor_id = None if found is None else found["predecessor_id"]
    if found is None or predecessor_id != begins.predecessor_id:
        raise _moved(link.memory_id, begins.predecessor_id, predecessor_id)
    changed = change(
        connection,
        _BEGIN,
        **_owner(scope),
        memory_id=link.memory_id,
        obtained_at=micros(begins.obtained_at),
        source_role=begins.source_role,
        was=micros(begins.was),
    )
    if not changed:
        raise _moved(link.memory_id, "its time", "another")
    if predecessor_id is None:
        return [link.memory_id]
    change(
        connection,
        _END_BEFORE,
        **_owner(scope),
        memory_id=predecessor_id,
        superseded_at=optional_micros(begins.predecessor_superseded_at),
    )
    return [link.memory_id, predecessor_id]


def _end(connection: sqlite3.Connection, scope: Scope, end: MemoryEnd) -> None:
    ended = change(
        connection,
        _END_HEAD,
        **_owner(scope),
        memory_id=end.memory_id,
        ended_at=micros(end.ended_at),
    )
    if not ended:
        raise _moved(end.memory_id, end.memory_id, None)
