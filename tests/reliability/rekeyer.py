"""Encrypts a store row by row and is killed on the way: `rekeyer.py DIRECTORY KEY`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from memora import Memora
from memora.embeddings import HashingEmbedder
from memora.graph_db import SQLiteGraph
from memora.graph_db.sqlite import rekey
from memora.vector_db import EmbeddedVectorDB


async def main(path: Path, key: str) -> None:
    rekey._AT_ONCE = 1
    vectors = EmbeddedVectorDB(path / "vectors", embedder=HashingEmbedder())

    def progress(done: int) -> None:
        if done == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    async with Memora(vectors, SQLiteGraph(path / "graph.sqlite3")) as memora:
        await memora.rotate_key(key, on_progress=progress)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
