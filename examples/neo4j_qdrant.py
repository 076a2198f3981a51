"""The same calls on Neo4j and Qdrant.

    docker compose up --wait
    python examples/neo4j_qdrant.py

Addresses come from the environment (MEMORA_GRAPH_URL, MEMORA_GRAPH_PASSWORD, MEMORA_VECTOR_URL and
so on), else they are those of compose.yaml. What the example creates, it deletes at the end.
"""

import asyncio
import os

from qdrant_client import AsyncQdrantClient

from memora import Memora
from memora.graph_db import Neo4jGraphInterface
from memora.vector_db import QdrantDB


async def main() -> None:
    client = AsyncQdrantClient(
        url=os.environ.get("MEMORA_VECTOR_URL", "http://localhost:6333"),
        api_key=os.environ.get("MEMORA_VECTOR_API_KEY"),
    )
    graph_db = Neo4jGraphInterface(
        uri=os.environ.get("MEMORA_GRAPH_URL", "neo4j://localhost:7687"),
        username=os.environ.get("MEMORA_GRAPH_USERNAME", "neo4j"),
        password=os.environ.get("MEMORA_GRAPH_PASSWORD", "memora-local"),
        database=os.environ.get("MEMORA_GRAPH_DATABASE", "neo4j"),
    )
    # `async with` runs setup(), which makes constraints and indexes where they are missing.
    async with Memora(vector_db=QdrantDB(async_client=client), graph_db=graph_db) as memora:
        org = await memora.graph.create_organization("My Organization")
        try:
            user = await memora.graph.create_user(org.org_id, "Jake")
            await memora.save_or_update_interaction_and_memories(
                org.org_id,
                user.user_id,
                interaction=[{"role": "user", "content": "I keep bees on the roof."}],
            )
            memories, _ids = await memora.recall_memories_for_message(
                org.org_id, user.user_id, latest_msg="Which animals does he keep?"
            )
            print(memories[0].memory)
        finally:
            counts = await memora.graph.delete_organization(org.org_id)
            print(f"deleted {counts.memories} memories")
    # Whoever opens a client closes it.
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
