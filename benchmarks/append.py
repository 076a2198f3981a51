"""What one more exchange costs, by the length of the conversation it is appended to.

Two ways: `apply`, where the caller knows the position (the graph port), and `save`, where the
caller passes the whole transcript, which is parsed and hashed to find the common prefix.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from common import percentile, show, write_json

from memora import Memora
from memora.core.messages import parse_messages
from memora.graph_db.base import BaseGraphDB
from memora.schema.scope import Scope
from memora.schema.write_plan import InteractionWrite, MessageEdit, WritePlan


def exchange(number: int) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": f"note {number}"},
        {"role": "assistant", "content": f"answer {number} about the weather in spring"},
    ]


async def measure(memora: Memora, graph: BaseGraphDB, length: int, runs: int) -> dict[str, Any]:
    user = memora.for_user("jake", org_id="append")
    await user.ensure()
    scope = Scope("append", "jake")
    talk = [message for number in range(length // 2) for message in exchange(number)]
    interaction_id, _at = await user.save(talk)
    saves: list[float] = []
    for number in range(runs):
        talk += exchange(length + number)
        started = time.perf_counter()
        await user.save(talk, interaction_id)
        saves.append((time.perf_counter() - started) * 1000)
    applies: list[float] = []
    for number in range(runs):
        stored = await graph.get_interaction(
            "append", "jake", interaction_id, with_messages=False, with_memories=False
        )
        new = parse_messages(exchange(number), before=stored.content_hash)
        now = graph.clock.now()
        edit = MessageEdit(stored.message_count, new)
        write = InteractionWrite(interaction_id, stored.revision, edit, now)
        started = time.perf_counter()
        await graph.apply(WritePlan(scope, now, interaction=write))
        applies.append((time.perf_counter() - started) * 1000)
    return {
        "messages": length,
        "apply p50": percentile(applies, 0.5),
        "apply p95": percentile(applies, 0.95),
        "save p50": percentile(saves, 0.5),
        "save p95": percentile(saves, 0.95),
    }


async def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        async with Memora.embedded(folder, embedder="hashing") as memora:
            rows += [
                {"graph": "sqlite", **await measure(memora, memora.graph, length, arguments.runs)}
                for length in arguments.lengths
            ]
        if arguments.neo4j:
            from memora.graph_db import Neo4jGraphInterface
            from memora.vector_db import EmbeddedVectorDB

            graph = Neo4jGraphInterface(arguments.neo4j, "neo4j", arguments.password, "neo4j")
            async with Memora(EmbeddedVectorDB(Path(folder) / "v"), graph) as memora:
                rows += [
                    {"graph": "neo4j", **await measure(memora, memora.graph, n, arguments.runs)}
                    for n in arguments.lengths
                ]
                await memora.graph.delete_organization("append")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[10, 100, 1_000, 10_000])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--neo4j", help="URI of a server to measure as well")
    parser.add_argument("--password", default="")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = asyncio.run(run(arguments))
    show("Appending two messages, milliseconds", rows)
    write_json(arguments.json, {"runs": arguments.runs, "rows": rows})


if __name__ == "__main__":
    main()
