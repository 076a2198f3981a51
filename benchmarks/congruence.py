"""Whether Neo4j and qdrant-client rank as the embedded pair does, question by question.

Seeds the same conversations into both and asks the same questions. Every conversation has a Qdrant
collection of its own, and names are followed (`entity_weight`) unless `--no-hops` says otherwise.
Without `--qdrant URL` the client's local mode stands in for a server. Answers are identical, differ
by the order of ties (scores within the noise of an engine), or are different, which is explained.
Nothing else may use that Neo4j meanwhile: another engine would bring the memories to its own index.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from common import show, write_json
from haystacks import Haystack, seed
from qdrant_client import AsyncQdrantClient
from rankings import Kind, Place, compared, explained
from retrieval import SETS, Conversation, load

from memora import Memora, RankingConfig
from memora.embeddings import StaticEmbedder
from memora.graph_db import Neo4jGraphInterface
from memora.schema.models import Memory
from memora.vector_db import QdrantDB

TOP = 10
LIMIT = 50


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
