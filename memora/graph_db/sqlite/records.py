"""From rows to records and back: one function per record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
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
    """Return the time as stored: microseconds since 1970 in UTC."""
    return (time - _EPOCH) // _MICROSECOND


def optional_micros(time: datetime | None) -> int | None:
    """Return the time as stored, or None."""
    return None if time is None else micros(time)


def moment(stored: int) -> datetime:
    """Return the time that a stored number stands for."""
    return _EPOCH + stored * _MICROSECOND


def optional_moment(stored: int | None) -> datetime | None:
    """Return the time that a stored number stands for, or None."""
    return None if stored is None else moment(stored)


def dumps(value: object) -> str:
    """Return the JSON text under which lists and objects are stored."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def id_list(ids: Iterable[str]) -> str:
    """Return ids as the JSON list that queries unfold; whatever the ids hold, it is plain ASCII."""
    return json.dumps(list(ids))


def loads(text: str) -> Any:
    """Return the list or object that a JSON text holds."""
    if text == "[]":
        return []
    return {} if text == "{}" else json.loads(text)


def organization(row: Row) -> Organization:
    """Return the organization of a row."""
    return Organization(
        org_id=row["org_id"], org_name=row["org_name"], created_at=moment(row["created_at"])
    )


def user(row: Row) -> User:
    """Return the user of a row."""
    return User(
        org_id=row["org_id"],
        user_id=row["user_id"],
        user_name=row["user_name"],
        created_at=moment(row["created_at"]),
    )


def agent(row: Row) -> Agent:
    """Return the agent of a row."""
    return Agent(
        org_id=row["org_id"],
        agent_id=row["agent_id"],
        agent_label=row["agent_label"],
        user_id=row["user_id"],
        created_at=moment(row["created_at"]),
    )


def interaction(row: Row) -> Interaction:
    """Return the interaction of a row, without messages and memories."""
    return Interaction(
        org_id=row["org_id"],
        user_id=row["user_id"],
        agent_id=row["agent_id"],
        interaction_id=row["interaction_id"],
        external_id=row["external_id"],
        title=row["title"],
        metadata=loads(row["metadata"]),
        active=bool(row["active"]),
        participants=loads(row["participants"]),
        created_at=moment(row["created_at"]),
        updated_at=moment(row["updated_at"]),
        last_activity_at=moment(row["last_activity_at"]),
        revision=row["revision"],
        message_count=row["message_count"],
        content_hash=row["content_hash"],
        import_id=row["import_id"],
        process_id=row["process_id"],
    )


def message(row: Row) -> MessageBlock:
    """Return the message of a row."""
    return MessageBlock(
        role=row["role"],
        content=row["content"],
        msg_position=row["position"],
        name=row["name"],
        timestamp=optional_moment(row["timestamp"]),
        data=None if row["data"] is None else json.loads(row["data"]),
    )


def stored_message(row: Row) -> StoredMessage:
    """Return the message of a row with its prefix hash."""
    return StoredMessage(message(row), row["prefix_hash"])


def relations(stored: str | None) -> list[Relation]:
    """Return the relations of a column; NULL is none."""
    return [] if stored is None else [Relation(**each) for each in loads(stored)]


def stored_relations(given: Sequence[Relation]) -> str | None:
    """Return relations as their column has them."""
    return dumps([dict(each) for each in given]) if given else None


def memory(row: Row, sources: Sequence[MessageBlock]) -> Memory:
    """Return the memory of a row of `memory_version`."""
    return Memory(
        org_id=row["org_id"],
        user_id=row["user_id"],
        agent_id=row["agent_id"],
        interaction_id=row["interaction_id"],
        memory_id=row["memory_id"],
        memory=row["text"],
        obtained_at=moment(row["obtained_at"]),
        recorded_at=moment(row["recorded_at"]),
        message_sources=list(sources),
        memory_type=row["memory_type"],
        importance=row["importance"],
        tags=loads(row["tags"]),
        entities=loads(row["entities"]),
        relations=relations(row["relations"]),
        metadata=loads(row["metadata"]),
        expires_at=optional_moment(row["expires_at"]),
        pinned=bool(row["pinned"]),
        archived=bool(row["archived"]),
        source_role=row["source_role"],
        confidence=row["confidence"],
        access_count=row["access_count"],
        last_accessed_at=optional_moment(row["last_accessed_at"]),
        content_hash=row["content_hash"],
        external_id=row["external_id"],
        import_id=row["import_id"],
        process_id=row["process_id"],
        author=row["author"],
        chain_id=row["chain_id"],
        supersedes=row["predecessor_id"],
        superseded_by=row["successor_id"],
        superseded_at=optional_moment(row["superseded_at"]),
    )


def job(row: Row) -> ExtractionJob:
    """Return the job of a row."""
    return ExtractionJob(
        job_id=row["job_id"],
        org_id=row["org_id"],
        user_id=row["user_id"],
        interaction_id=row["interaction_id"],
        start=row["start_position"],
        end=row["end_position"],
        created_at=moment(row["created_at"]),
        updated_at=moment(row["updated_at"]),
        agent_id=row["agent_id"],
        status=JobStatus(row["status"]),
        params=loads(row["params"]),
        outputs=loads(row["outputs"]),
        attempts=row["attempts"],
        error=row["error"],
        lease_until=optional_moment(row["lease_until"]),
    )


def job_fields(job: ExtractionJob) -> dict[str, Any]:
    """Return the parameters of the statements that write a job."""
    return {
        "org_id": job.org_id,
        "job_id": job.job_id,
        "user_id": job.user_id,
        "interaction_id": job.interaction_id,
        "agent_id": job.agent_id,
        "start": job.start,
        "end": job.end,
        "status": job.status.value,
        "params": dumps(job.params),
        "outputs": dumps(job.outputs),
        "attempts": job.attempts,
        "error": job.error,
        "lease_until": optional_micros(job.lease_until),
        "created_at": micros(job.created_at),
        "updated_at": micros(job.updated_at),
    }


def idempotency(row: Row) -> IdempotencyRecord:
    """Return the idempotency record of a row."""
    result = json.loads(row["result"])
    return IdempotencyRecord(row["key"], row["body_hash"], result, row["import_id"])


def import_run(row: Row) -> ImportRun:
    """Return the import of a row."""
    return ImportRun(
        org_id=row["org_id"],
        import_id=row["import_id"],
        user_id=row["user_id"],
        agent_id=row["agent_id"],
        process_id=row["process_id"],
        status=ImportStatus(row["status"]),
        started_at=moment(row["started_at"]),
        finished_at=optional_moment(row["finished_at"]),
        conversations=row["conversations"],
        memories=row["memories"],
        failed=row["failed"],
        skipped=row["skipped"],
    )


def outbox_entry(row: Row, *, lease: str | None) -> OutboxEntry:
    """Return the outbox entry of a row, with its lease token only for who claimed it."""
    return OutboxEntry(
        seq=row["seq"],
        op=OutboxOp(row["op"]),
        org_id=row["org_id"],
        user_id=row["user_id"],
        memory_ids=tuple(loads(row["memory_ids"])),
        attempts=row["attempts"],
        error=row["error"],
        enqueued_at=moment(row["enqueued_at"]),
        not_before=moment(row["not_before"]),
        dead=bool(row["dead"]),
        lease=lease,
    )
