"""Extraction jobs."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from datetime import datetime

from memora import _queries
from memora.errors import ConflictError, JobNotFoundError
from memora.graph_db.sqlite import records
from memora.graph_db.sqlite._base import PACKAGE, SQLiteBase, change, one, rows
from memora.graph_db.sqlite._seal import JOB, sealed
from memora.graph_db.sqlite.records import Row
from memora.schema.jobs import ExtractionJob, JobStatus

_SQL = _queries.load(PACKAGE, "queries/jobs.sql")
_SAVE = _SQL["save"]
_CLAIM = _SQL["claim"]
_FIND = _SQL["find"]
_PAGE = _SQL["page"]
_PAGE_OF_USER = _SQL["page_of_user"]


class JobPart(SQLiteBase):
    """Jobs in SQLite."""

    async def save_job(self, job: ExtractionJob) -> None:
        def work(connection: sqlite3.Connection) -> None:
            if change(connection, _SAVE, **sealed(connection, JOB, records.job_fields(job))):
                return
            found = one(connection, _FIND, org_id=job.org_id, job_id=job.job_id)
            if found is None or found["user_id"] != job.user_id:
                raise JobNotFoundError(job.job_id)
            raise ConflictError("job", job.job_id, expected=job.attempts, actual=found["attempts"])

        await self._store.write(work)

    async def claim_job(
        self, org_id: str, job_id: str, *, now: datetime, lease_until: datetime
    ) -> ExtractionJob | None:
        times = {
            "now": records.micros(now),
            "lease_until": records.micros(lease_until),
            "lease_end": records.micros(lease_until + (lease_until - now)),
        }

        def work(connection: sqlite3.Connection) -> Row | None:
            if not change(connection, _CLAIM, org_id=org_id, job_id=job_id, **times):
                return None
            return one(connection, _FIND, org_id=org_id, job_id=job_id)

        row = await self._store.write(work, durable=False)
        return None if row is None else records.job(row)

    async def find_job(self, org_id: str, job_id: str) -> ExtractionJob | None:
        row = await self._store.read(
            lambda connection: one(connection, _FIND, org_id=org_id, job_id=job_id)
        )
        return None if row is None else records.job(row)

    async def list_jobs(
        self,
        org_id: str,
        *,
        user_id: str | None = None,
        statuses: Collection[JobStatus] = (),
        skip: int = 0,
        limit: int = 1000,
    ) -> list[ExtractionJob]:
        names = records.id_list(status.value for status in statuses)
        paging = {"org_id": org_id, "statuses": names, "skip": skip, "limit": limit}

        def work(connection: sqlite3.Connection) -> list[ExtractionJob]:
            if user_id is None:
                page = rows(connection, _PAGE, **paging)
            else:
                page = rows(connection, _PAGE_OF_USER, **paging, user_id=user_id)
            return [records.job(row) for row in page]

        return await self._store.read(work)
