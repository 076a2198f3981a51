"""Add, query, change and forget single memories.

Runs without server, key or model: python examples/direct_memories.py [DIRECTORY]
"""

import asyncio
import sys
import tempfile
from datetime import UTC, datetime, timedelta

from memora import Memora


async def main(directory: str) -> None:
    async with Memora.embedded(directory) as memora:
        jake = memora.for_user("jake")

        receipt = await jake.add_memory(
            "Prefers table aliases in SQL queries.",
            memory_type="rule",
            tags=["sql"],
            metadata={"team": "data"},
        )
        again = await jake.add_memory("prefers table aliases in SQL queries")
        print(f"{receipt.status}, then {again.status}")

        end = datetime.now(UTC) + timedelta(days=5)
        await jake.add_memories(["Lives in Porto.", {"content": "Is in Rome.", "expires_at": end}])
        answer = await jake.query_memories("How does he write SQL?", limit=1)
        print(f"{answer.query} -> {answer.memories[0].memory}")

        # Filters work on every read.
        of_the_team = await jake.list_memories(filters={"metadata": {"team": {"in": ["data"]}}})
        print([memory.memory for memory in of_the_team])

        changed = await jake.update_memory(receipt.id, "Prefers common table expressions.")
        for version in await jake.memory_history(changed.memory_id):
            print(f"{'current' if version.is_current else 'past':>8}: {version.memory}")

        # Whatever is expired by now, or was not used for long, goes.
        swept = await memora.sweep()
        print(f"{swept.expired} removed, {swept.archived} archived")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(main(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(main(directory))
