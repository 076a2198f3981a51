"""Saves on Neo4j with the embedded vectors until it is killed; see `tests.e2e.lives`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from memora import Memora
from memora.core.clock import Clock
from memora.embeddings.hashing import HashingEmbedder
from memora.graph_db.neo4j.interface import Neo4jGraphInterface
from memora.vector_db import EmbeddedVectorDB
from tests.e2e.saver import save_for_ever, scripted_model


def engine(address: list[str], path: Path, clock: Clock | None = None) -> Memora:
    """Return an engine on that server, with its vectors in that directory."""
    uri, username, password, database = address
    graph = Neo4jGraphInterface(uri, username, password, database, clock=clock)
    vectors = EmbeddedVectorDB(path, embedder=HashingEmbedder())
    return Memora(vectors, graph, None, scripted_model())


def run(address: list[str], path: str, org_id: str, first: int) -> None:
    """Save from step `first` on."""
    asyncio.run(save_for_ever(engine(address, Path(path)), first, org_id))
