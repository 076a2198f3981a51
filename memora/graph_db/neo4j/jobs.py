"""Extraction jobs and idempotency keys."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import partial

from memora._queries import load
from memora.errors import ConflictError, JobNotFoundError
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import PACKAGE, Neo4jBase, Transaction
from memora.graph_db.neo4j.apply import owner
from memora.graph_db.neo4j.records import Row
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.scope import Scope
from memora.schema.write_plan import IdempotencyRecord

_Q = load(PACKAGE, "queries/jobs.cypher")


class JobPart(Neo4jBase):
    """Primitives on jobs and idempotency keys."""

    async def save_job(self, job: ExtractionJob) -> None:
        await self._connection.write(partial(_save, job=job))

    async def claim_job(
        self, org_id: str, job_id: str, *, now: datetime, lease_until: datetime
    ) -> ExtractionJob | None:
        return await self._connection.write(
            partial(
                _claim,
                org_id=org_id,
                job_id=job_id,
                now=records.micros(now),
                lease_until=records.micros(lease_until),
                lease_end=records.micros(lease_until + (lease_until - now)),
            )
        )

    async def find_job(self, org_id: str, job_id: str) -> ExtractionJob | None:
        found = await self._connection.read_records(
            _Q["find_job"], _job, org_id=org_id, job_id=job_id
        )
        return found[0] if found else None

    async def list_jobs(
        self,
        org_id: str,
        *,
        user_id: str | None = None,
        statuses: Collection[JobStatus] = (),
        skip: int = 0,
        limit: int = 1000,
    ) -> list[ExtractionJob]:
        return await self._connection.read_records(
            _Q["list_jobs"],
            _job,
            org_id=org_id,
            user_id=user_id,
            statuses=[status.value for status in statuses],
            skip=skip,
            limit=limit,
        )

    async def find_idempotency(self, scope: Scope, key: str) -> IdempotencyRecord | None:
        found = await self._connection.read_records(
            _Q["find_idempotency"], _idempotency, **owner(scope), key=key
        )
        return found[0] if found else None


def _job(row: Row) -> ExtractionJob:
    return records.job(row["job"])


def _idempotency(row: Row) -> IdempotencyRecord:
    return records.idempotency(row["record"])


async def _save(transaction: Transaction, job: ExtractionJob) -> None:
    place = {"org_id": job.org_id, "user_id": job.user_id, "job_id": job.job_id}
    # Two statements, here and below: the second one reads what the lock's last holder committed.
    if await transaction.row(_Q["lock_job_of_user"], **place) is None:
        raise JobNotFoundError(job.job_id)
    saved = await transaction.row(
        _Q["save_job"], **place, attempts=job.attempts, job=records.job_properties(job)
    )
    if saved is None:
        raise ConflictError("job", job.job_id, expected=job.attempts)


async def _claim(
    transaction: Transaction, org_id: str, job_id: str, now: int, lease_until: int, lease_end: int
) -> ExtractionJob | None:
    if await transaction.row(_Q["lock_job"], org_id=org_id, job_id=job_id) is None:
        return None
    row = await transaction.row(
        _Q["claim_job"],
        org_id=org_id,
        job_id=job_id,
        now=now,
        lease_until=lease_until,
        lease_end=lease_end,
    )
    return None if row is None else _job(row)
