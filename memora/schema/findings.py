"""What a check of the stores finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """What is wrong, for programs; `docs/how-to/check-and-repair.md` says what repairs it.

    All but the last three can be repaired. A damaged transcript can where no message is missing; a
    missing owner and an incomplete record need a backup.
    """

    ORPHAN_VECTOR = "orphan_vector"
    MISSING_VECTOR = "missing_vector"
    STALE_TEXT_HASH = "stale_text_hash"
    WRONG_TENANT_PAYLOAD = "wrong_tenant_payload"
    FORK = "fork"
    GAP = "gap"
    TWO_HEADS = "two_heads"
    CYCLE = "cycle"
    DANGLING_AGENT = "dangling_agent"
    STUCK_OUTBOX = "stuck_outbox"
    DUPLICATE_KEY = "duplicate_key"
    HALF_MIGRATION = "half_migration"
    MODEL_MISMATCH = "model_mismatch"
    TOMBSTONE_VIOLATION = "tombstone_violation"
    CLOCK_REGRESSION = "clock_regression"

    STALE_PAYLOAD = "stale_payload"
    DAMAGED_CHAIN = "damaged_chain"
    STRAY_SOURCE = "stray_source"
    STRAY_MENTION = "stray_mention"
    MISSING_MENTION = "missing_mention"
    DAMAGED_TRANSCRIPT = "damaged_transcript"
    MISSING_OWNER = "missing_owner"
    INCOMPLETE_RECORD = "incomplete_record"


@dataclass(frozen=True, slots=True)
class Finding:
    """One violated invariant.

    Attributes:
        invariant: Its id, such as `I4`.
        record_id: The record at fault.
        detail: What is wrong, without content.
        kind: What is wrong, for programs.
        org_id, user_id: Whose record it is, where that is known.
        blocks: While this is so, records cannot be read, and what follows was not checked.
    """

    invariant: str
    record_id: str
    detail: str
    kind: FindingKind
    org_id: str | None = None
    user_id: str | None = None
    blocks: bool = False
