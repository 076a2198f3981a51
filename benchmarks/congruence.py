"""Whether Neo4j and qdrant-client rank as the embedded pair does, question by question.

Seeds the same conversations into both and asks the same questions. Every conversation has a Qdrant
collection of its own, and names are followed (`entity_weight`) unless `--no-hops` says otherwise.
Without `--qdrant URL` the client's local mode stands in for a server. Answers are identical, differ
by the order of ties (scores within the noise of an engine), or are different, which is explained.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from common import show, write_json
from haystacks import Haystack, seed
from qdrant_client import AsyncQdrantClient
from retrieval import SETS, Conversation, load

from memora import Memora, RankingConfig
from memora.embeddings import StaticEmbedder
from memora.graph_db import Neo4jGraphInterface
from memora.schema.models import Memory
from memora.vector_db import QdrantDB

# Two engines add up float32 products in another order; scaled to 0..1 that is seen in this place.
_NOISE = 0.0001
TOP = 10
LIMIT = 50


class Place(NamedTuple):
    """One recalled memory: its score, the turn that it came from, what its score is made of."""

    score: float
    turn: str
    parts: Mapping[str, float]


class Kind(StrEnum):
    """How two answers compare."""

    IDENTICAL = "identical"
    TIES = "other order of ties"
    DIFFERENT = "different"


async def asked(
    memora: Memora, conversation: Conversation, ranking: RankingConfig
) -> list[list[Place]]:
    """Return what each question recalls."""
    haystack = await seed(memora, conversation)
    answers: list[list[Place]] = []
    for question in conversation.questions:
        memories, _ids = await memora.recall_memories_for_message(
            haystack.org_id,
            haystack.user_id,
            question.text,
            current_datetime=question.date or haystack.latest,
            limit=LIMIT,
            ranking=ranking,
            explain=True,
        )
        answers.append([_place(haystack, memory) for memory in memories])
    return answers


def _place(haystack: Haystack, memory: Memory) -> Place:
    turn = f"{'+'.join(haystack.turns([memory]))} {memory.memory[:20]}"
    return Place(memory.score or 0.0, turn, memory.score_parts or {})


def compared(one: Sequence[Place], other: Sequence[Place]) -> Kind:
    """Compare two answers.

    They differ by ties only where each has at a place what the other scores about like what it has
    there; what the other does not have at all must tie with its last.
    """
    if [place.turn for place in one] == [place.turn for place in other]:
        return Kind.IDENTICAL
    same = len(one) == len(other) and parted(one, other) is None and parted(other, one) is None
    return Kind.TIES if same else Kind.DIFFERENT


def parted(one: Sequence[Place], other: Sequence[Place]) -> int | None:
    """Return the first place at which the second has what does not score so in the first."""
    scores: dict[str, list[float]] = {}
    for place in one:
        scores.setdefault(place.turn, []).append(place.score)
    last = one[-1].score if one else 0.0
    for at, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        known = scores.get(theirs.turn, [last])
        if min(abs(mine.score - score) for score in known) >= _NOISE:
            return at
    return None


def explained(one: Sequence[Place], other: Sequence[Place]) -> str:
    """Return where two answers part, and which shares of the scores are not the same there."""
    ats = [at for at in (parted(one, other), parted(other, one)) if at is not None]
    at = min(ats, default=min(len(one), len(other)) - 1)
    said = [f"place {at + 1}"]
    for name in dict.fromkeys(answer[at].turn for answer in (one, other)):
        shares = [
            next((place.parts for place in answer if place.turn == name), {})
            for answer in (one, other)
        ]
        unlike = [
            f"{part} {shares[0].get(part, 0.0):.5f}/{shares[1].get(part, 0.0):.5f}"
            for part in sorted(shares[0].keys() | shares[1].keys())
            if abs(shares[0].get(part, 0.0) - shares[1].get(part, 0.0)) >= _NOISE
        ]
        said.append(f"{name!r}: {', '.join(unlike) or 'the same shares'}")
    return "; ".join(said)


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    ranking = RankingConfig() if arguments.no_hops else RankingConfig(entity_weight=0.1)
    tops, wholes = Counter[Kind](), Counter[Kind]()
    differences: list[str] = []
    for conversation in load(arguments.set, arguments.data)[: arguments.conversations]:
        with tempfile.TemporaryDirectory() as folder:
            async with Memora.embedded(folder) as memora:
                ours = await asked(memora, conversation, ranking)
        client = AsyncQdrantClient(arguments.qdrant or ":memory:")
        graph = Neo4jGraphInterface(arguments.neo4j, "neo4j", arguments.password, "neo4j")
        vectors = QdrantDB(client, f"congruence-{conversation.name}", embedder=StaticEmbedder())
        async with Memora(vectors, graph) as memora:
            theirs = await asked(memora, conversation, ranking)
        await client.close()
        for question, one, other in zip(conversation.questions, ours, theirs, strict=True):
            tops[compared(one[:TOP], other[:TOP])] += 1
            whole = compared(one, other)
            wholes[whole] += 1
            if whole is Kind.DIFFERENT:
                differences.append(f"{question.question_id}: {explained(one, other)}")
    rows = [
        {"answer": name, "questions": counts.total(), **{kind: counts[kind] for kind in Kind}}
        for name, counts in ((f"top {TOP}", tops), (f"top {LIMIT}", wholes))
    ]
    show(f"{arguments.set}: embedded against Neo4j + qdrant-client", rows)
    for difference in differences:
        print(difference)
    return {"rows": rows, "differences": differences}


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
