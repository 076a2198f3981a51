"""Public names of bulk import."""

from __future__ import annotations

from memora.schema.seeding import (
    ConversationResult,
    DocumentMode,
    DocumentResult,
    DocumentStatus,
    SeedConfig,
    SeedData,
    SeedDocument,
    SeedEstimate,
    SeedEvent,
    SeedEventKind,
    SeedResult,
    SeedStatus,
)

__all__ = [
    "ConversationResult",
    "DocumentMode",
    "DocumentResult",
    "DocumentStatus",
    "SeedConfig",
    "SeedData",
    "SeedDocument",
    "SeedEstimate",
    "SeedEvent",
    "SeedEventKind",
    "SeedResult",
    "SeedStatus",
]
