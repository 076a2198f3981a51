"""Extraction jobs: what is left to do after a transcript was stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobStatus(StrEnum):
    """State of a job."""

    PENDING = "pending"
    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class ExtractionJob:
    """Extraction of memories from the messages [start, end) of one stored interaction.

    Attributes:
        start, end: Positions; when a later edit cuts the transcript, `end` is lowered with it, and
            a job with nothing left is done.
        params: The call's arguments that extraction needs, as JSON.
        outputs: Answers of the stages that are finished, as JSON, so that no model call is paid
            twice.
        attempts: How often it was started.
        error: Type and reason of the last failure, without content.
        lease_until: While RUNNING: nobody else starts it before this time.
    """

    job_id: str
    org_id: str
    user_id: str
    interaction_id: str
    start: int
    end: int
    created_at: datetime
    updated_at: datetime
    agent_id: str | None = None
    status: JobStatus = JobStatus.PENDING
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    outputs: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    attempts: int = 0
    error: str | None = None
    lease_until: datetime | None = None
