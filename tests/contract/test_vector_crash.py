"""A writer that is killed loses nothing that it acknowledged."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from memora.embeddings.hashing import HashingEmbedder
from memora.testing.vector_clauses.documents import everything, stored
from memora.vector_db import EmbeddedVectorDB
from tests.contract import vector_writer
from tests.contract.vector_writer import ALICE, BATCH, memory_id

TRIALS = 4


def write_until_killed(path: Path, trial: int, lines: int) -> tuple[set[str], set[str]]:
    """Kill the writer after so many acknowledgements; return what must, and what must not be there.

    What it was at when it died may be there or not.
    """
    present: set[str] = set()
    gone: set[str] = set()
    command = [sys.executable, "-m", vector_writer.__name__, str(path), str(trial)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for count, line in enumerate(writer.stdout, start=1):
            start, deleted = map(int, line.split())
            present |= {memory_id(trial, n) for n in range(start, start + BATCH)}
            gone.add(memory_id(trial, deleted))
            if count == lines:
                writer.kill()
    return present - gone, gone


@pytest.mark.timeout(60)
async def test_killed_writers_lose_nothing(tmp_path: Path) -> None:
    rng = random.Random(7)
    present: set[str] = set()
    gone: set[str] = set()
    for trial in range(TRIALS):
        # The same store dies again and again.
        kept, deleted = await asyncio.to_thread(
            write_until_killed, tmp_path, trial, rng.randint(3, 60)
        )
        assert kept
        present |= kept
        gone |= deleted
        async with EmbeddedVectorDB(tmp_path, embedder=HashingEmbedder(16)) as store:
            rows = set(await stored(store, "org"))
            assert present <= rows
            assert not gone & rows
            hits = await store.search_memory("story", "user", "org", ALICE.user_id, limit=1000)
            assert everything(hits) == rows
