"""Writes to an embedded store until it is killed, and says what was acknowledged: one line each."""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID

from memora.embeddings.hashing import HashingEmbedder
from memora.schema.scope import Scope
from memora.testing.vector_clauses.documents import document
from memora.vector_db import EmbeddedVectorDB, _generations

ALICE = Scope("org", "alice")
BATCH = 5


def memory_id(trial: int, number: int) -> str:
    return str(UUID(int=trial << 64 | number))


async def write(path: str, trial: int) -> None:
    # Small, so that kills also meet a flush.
    _generations._FLUSH_AFTER = 40
    async with EmbeddedVectorDB(path, embedder=HashingEmbedder(16)) as store:
        for start in range(0, 1_000_000, BATCH):
            numbers = range(start, start + BATCH)
            await store.upsert(
                [document(f"story {n}", ALICE, memory_id=memory_id(trial, n)) for n in numbers]
            )
            gone = start + start // BATCH % BATCH
            await store.delete_memory(memory_id(trial, gone), "org", "alice")
            print(start, gone, flush=True)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], int(sys.argv[2])))
