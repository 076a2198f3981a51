"""Between the database's maps and memora's records: one function per record.

Times are whole microseconds since 1970 in UTC; objects are JSON texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from memora.graph_db.base import StoredMessage
from memora.schema.imports import ImportRun, ImportStatus
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.models import (
    Agent,
    Interaction,
    Memory,
    MessageBlock,
    Organization,
    Relation,
    User,
)
from memora.schema.write_plan import IdempotencyRecord, OutboxEntry, OutboxOp

Row = Mapping[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(time: datetime) -> int:
    """Return the time as stored."""
    return (time - _EPOCH) // _MICROSECOND


def optional_micros(time: datetime | None) -> int | None:
    """Return the time as stored, or None."""
    return None if time is None else micros(time)


def moment(stored: int) -> datetime:
    """Return a stored time."""
    return _EPOCH + timedelta(microseconds=stored)


def optional_moment(stored: int | None) -> datetime | None:
    """Return a stored time, or None."""
    return None if stored is None else moment(stored)


def as_json(value: Mapping[str, Any]) -> str:
    """Return an object as stored."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def organization(row: Row) -> Organization:
    """Build an organization."""
    return Organization(
        org_id=row["org_id"], org_name=row["org_name"], created_at=moment(row["created_at"])
    )


def user(row: Row) -> User:
    """Build a user."""
    return User(
        org_id=row["org_id"],
        user_id=row["user_id"],
        user_name=row["user_name"],
        created_at=moment(row["created_at"]),
    )


def agent(row: Row) -> Agent:
    """Build an agent."""
    return Agent(
        org_id=row["org_id"],
        agent_id=row["agent_id"],
        agent_label=row["agent_label"],
        user_id=row.get("user_id"),
        created_at=moment(row["created_at"]),
    )


def interaction(row: Row) -> Interaction:
    """Build an interaction, without messages and memories."""
    return Interaction(
        org_id=row["org_id"],
        user_id=row["user_id"],
        agent_id=row.get("agent_id"),
        interaction_id=row["interaction_id"],
        external_id=row.get("external_id"),
        title=row.get("title"),
        metadata=json.loads(row["metadata"]),
        active=row["active"],
        participants=row["participants"],
        created_at=moment(row["created_at"]),
        updated_at=moment(row["updated_at"]),
        last_activity_at=moment(row["last_activity_at"]),
        revision=row["revision"],
        message_count=row["message_count"],
        content_hash=row["content_hash"],
        import_id=row.get("import_id"),
        process_id=row.get("process_id"),
    )


def message(row: Row) -> MessageBlock:
    """Build a message."""
    data = row.get("data")
    return MessageBlock(
        role=row["role"],
        content=row.get("content"),
        msg_position=row["position"],
        name=row.get("name"),
        timestamp=optional_moment(row.get("timestamp")),
        data=None if data is None else json.loads(data),
    )


def stored_message(row: Row) -> StoredMessage:
    """Build a message with its prefix hash."""
    return StoredMessage(message(row), row["prefix_hash"])


def relations(stored: str | None) -> list[Relation]:
    """Build the relations of a memory; a memory without any has no such property."""
    return [] if stored is None else [Relation(**each) for each in json.loads(stored)]


def stored_relations(given: Sequence[Relation]) -> str | None:
    """Return relations as their property has them."""
    return json.dumps([dict(each) for each in given], ensure_ascii=False) if given else None


def memory(row: Row) -> Memory:
    """Build a memory version with its sources and neighbours; the text keeps its placeholders."""
    return Memory(
        org_id=row["org_id"],
        user_id=row["user_id"],
        agent_id=row.get("agent_id"),
        interaction_id=row.get("interaction_id"),
        memory_id=row["memory_id"],
        memory=row["text"],
        obtained_at=moment(row["obtained_at"]),
        recorded_at=moment(row["recorded_at"]),
        message_sources=[message(source) for source in row["sources"]],
        memory_type=row["memory_type"],
        importance=row["importance"],
        tags=row["tags"],
        entities=row["entities"],
        relations=relations(row.get("relations")),
        metadata=json.loads(row["metadata"]),
        expires_at=optional_moment(row.get("expires_at")),
        pinned=row["pinned"],
        archived=row["archived"],
        source_role=row["source_role"],
        confidence=row.get("confidence"),
        access_count=row["access_count"],
        last_accessed_at=optional_moment(row.get("last_accessed_at")),
        content_hash=row["content_hash"],
        external_id=row.get("external_id"),
        import_id=row.get("import_id"),
        process_id=row.get("process_id"),
        author=row.get("author"),
        chain_id=row["chain_id"],
        supersedes=row["supersedes"],
        superseded_by=row.get("successor_id"),
        superseded_at=optional_moment(row.get("superseded_at")),
    )


def job(row: Row) -> ExtractionJob:
    """Build a job."""
    return ExtractionJob(
        job_id=row["job_id"],
        org_id=row["org_id"],
        user_id=row["user_id"],
        interaction_id=row["interaction_id"],
        start=row["start"],
        end=row["end"],
        created_at=moment(row["created_at"]),
        updated_at=moment(row["updated_at"]),
        agent_id=row.get("agent_id"),
        status=JobStatus(row["status"]),
        params=json.loads(row["params"]),
        outputs=json.loads(row["outputs"]),
        attempts=row["attempts"],
        error=row.get("error"),
        lease_until=optional_moment(row.get("lease_until")),
    )


def job_properties(given: ExtractionJob) -> dict[str, Any]:
    """Return what is stored of a job."""
    return {
        "job_id": given.job_id,
        "org_id": given.org_id,
        "user_id": given.user_id,
        "interaction_id": given.interaction_id,
        "agent_id": given.agent_id,
        "start": given.start,
        "end": given.end,
        "status": given.status.value,
        "params": as_json(given.params),
        "outputs": as_json(given.outputs),
        "attempts": given.attempts,
        "error": given.error,
        "created_at": micros(given.created_at),
        "updated_at": micros(given.updated_at),
        "lease_until": optional_micros(given.lease_until),
    }


def idempotency(row: Row) -> IdempotencyRecord:
    """Build an idempotency record."""
    result = json.loads(row["result"])
    return IdempotencyRecord(row["key"], row["body_hash"], result, row.get("import_id"))


def idempotency_properties(record: IdempotencyRecord) -> dict[str, Any]:
    """Return what is stored of an idempotency record, but for its owner."""
    return {
        "key": record.key,
        "body_hash": record.body_hash,
        "result": as_json(record.result),
        "import_id": record.import_id,
    }


def import_run(row: Row) -> ImportRun:
    """Build an import."""
    return ImportRun(
        org_id=row["org_id"],
        import_id=row["import_id"],
        user_id=row["user_id"],
        agent_id=row.get("agent_id"),
        process_id=row.get("process_id"),
        status=ImportStatus(row["status"]),
        started_at=moment(row["started_at"]),
        finished_at=optional_moment(row.get("finished_at")),
        conversations=row["conversations"],
        memories=row["memories"],
        failed=row["failed"],
        skipped=row["skipped"],
    )


def import_properties(run: ImportRun) -> dict[str, Any]:
    """Return what is stored of a new import."""
    return {
        **run.model_dump(),
        "status": run.status.value,
        "started_at": micros(run.started_at),
        "finished_at": optional_micros(run.finished_at),
    }


def outbox_entry(row: Row, *, leased: bool) -> OutboxEntry:
    """Build an outbox entry; only whoever leased it sees the lease's token."""
    return OutboxEntry(
        seq=row["seq"],
        op=OutboxOp(row["op"]),
        org_id=row["org_id"],
        user_id=row["user_id"],
        memory_ids=tuple(row["memory_ids"]),
        attempts=row["attempts"],
        error=row.get("error"),
        enqueued_at=moment(row["enqueued_at"]),
        not_before=moment(row["not_before"]),
        dead=row["dead"],
        lease=row["lease"] if leased else None,
    )
