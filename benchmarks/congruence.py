"""Whether Neo4j and qdrant-client rank as the embedded pair does, question by question.

Seeds the same conversations into both and asks the same questions. Every conversation has a Qdrant
collection of its own, and names are followed (`entity_weight`) unless `--no-hops` says otherwise.
Without `--qdrant URL` the client's local mode stands in for a server.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common import show, write_json
from haystacks import Haystack, ask, seed
from qdrant_client import AsyncQdrantClient
from retrieval import SETS, Conversation, load

from memora import Memora, RankingConfig
from memora.embeddings import StaticEmbedder
from memora.graph_db import Neo4jGraphInterface
from memora.schema.models import Memory
from memora.vector_db import QdrantDB

# Two engines add up float32 products in another order; scaled to 0..1 that is seen in this place.
_NOISE = 0.001


async def asked(
    memora: Memora, conversation: Conversation, ranking: RankingConfig, limit: int
) -> list[list[tuple[float, str]]]:
    """Return score and turn of every memory that each question recalls."""
    haystack = await seed(memora, conversation)
    answers: list[list[tuple[float, str]]] = []
    for question in conversation.questions:
        memories, _spent = await ask(memora, haystack, question, ranking, limit)
        answers.append([(memory.score or 0.0, _turn(haystack, memory)) for memory in memories])
    return answers


def _turn(haystack: Haystack, memory: Memory) -> str:
    return f"{'+'.join(haystack.turns([memory]))} {memory.memory[:20]}"


def same(one: Sequence[tuple[float, str]], other: Sequence[tuple[float, str]]) -> bool:
    """Tell whether two answers have the same order, scores within the noise of an engine in any.

    What the second has at a place must have about the score of what the first has there; one that
    the first does not have at all must tie with its last.
    """
    if len(one) != len(other):
        return False
    scores: dict[str, list[float]] = {}
    for score, turn in one:
        scores.setdefault(turn, []).append(score)
    last = one[-1][0] if one else 0.0
    return all(
        min(abs(score - known) for known in scores.get(turn, [last])) < _NOISE
        for (score, _turn), (_score, turn) in zip(one, other, strict=True)
    )


async def run(arguments: argparse.Namespace) -> dict[str, int]:
    ranking = RankingConfig() if arguments.no_hops else RankingConfig(entity_weight=0.1)
    counts = {"questions": 0, "same top 10": 0, "same top 50": 0}
    for conversation in load(arguments.set, arguments.data)[: arguments.conversations]:
        with tempfile.TemporaryDirectory() as folder:
            async with Memora.embedded(folder) as memora:
                ours = await asked(memora, conversation, ranking, 50)
        client = AsyncQdrantClient(arguments.qdrant or ":memory:")
        graph = Neo4jGraphInterface(arguments.neo4j, "neo4j", arguments.password, "neo4j")
        vectors = QdrantDB(client, f"congruence-{conversation.name}", embedder=StaticEmbedder())
        async with Memora(vectors, graph) as memora:
            theirs = await asked(memora, conversation, ranking, 50)
        await client.close()
        for one, other in zip(ours, theirs, strict=True):
            counts["questions"] += 1
            counts["same top 10"] += same(one[:10], other[:10])
            counts["same top 50"] += same(one, other)
    show(f"{arguments.set}: embedded against Neo4j + qdrant-client", [counts])
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=SETS, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--neo4j", required=True, help="URI")
    parser.add_argument("--password", default="")
    parser.add_argument("--qdrant", help="URL of a server; without it the client's local mode")
    parser.add_argument("--conversations", type=int, help="only the first ones")
    parser.add_argument("--no-hops", action="store_true", help="the default ranking")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    write_json(arguments.json, asyncio.run(run(arguments)))


if __name__ == "__main__":
    main()
