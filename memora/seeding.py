"""Public names of bulk import."""

from __future__ import annotations

from memora.schema.seeding import (
    ConversationResult,
    SeedConfig,
    SeedData,
    SeedEstimate,
    SeedEvent,
    SeedEventKind,
    SeedResult,
    SeedStatus,
)

__all__ = [
    "ConversationResult",
    "SeedConfig",
    "SeedData",
    "SeedEstimate",
    "SeedEvent",
    "SeedEventKind",
    "SeedResult",
    "SeedStatus",
]
