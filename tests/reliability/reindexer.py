"""A process that reindexes a store again and again until it is killed, and says what it did.

Usage: python -m tests.reliability.reindexer DIRECTORY DIMENSIONS

It also saves: one line with the number of the save for each that was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from memora import Memora
from memora.embeddings.hashing import HashingEmbedder
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.vector_db import EmbeddedVectorDB, _generations

LENGTHS = (32, 33)


def engine(path: Path, dimensions: int) -> Memora:
    """An engine on the directory, with the model of that many dimensions."""
    vectors = EmbeddedVectorDB(path / "vectors", embedder=HashingEmbedder(dimensions))
    return Memora(vectors, SQLiteGraph(path / "graph.sqlite3"))


def text(number: int) -> str:
    """What a save says."""
    return f"Remember the story number {number}."


def tell(line: str) -> None:
    """Write a line at once: it is a promise."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


async def save(memora: Memora, first: int, ended: Callable[[], bool]) -> None:
    number = first
    while not ended():
        await memora.for_user("jake").save([{"role": "user", "content": text(number)}])
        tell(str(number))
        number += 1


async def main(path: Path, dimensions: int, first: int) -> None:
    # Small, so that kills also meet a flush.
    _generations._FLUSH_AFTER = 100
    async with engine(path, dimensions) as memora:
        running = True
        saving = asyncio.create_task(save(memora, first, lambda: not running))
        other = LENGTHS[LENGTHS.index(dimensions) - 1]
        tell("reindexing")
        await memora.reindex(embedder=HashingEmbedder(other, batch_size=16))
        tell("reindexed")
        running = False
        await saving


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
