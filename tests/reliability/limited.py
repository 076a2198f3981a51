"""Writes until the system lets no file grow any more: `limited.py DIRECTORY`; prints two counts."""

import asyncio
import resource
import signal
import sys
from pathlib import Path

from memora.errors import GraphDBError
from memora.graph_db import SQLiteGraph


async def main(path: Path) -> None:
    acknowledged = refused = 0
    async with SQLiteGraph(path / "graph.sqlite3") as graph:
        await graph.create_organization("Acme", org_id="acme")
        await graph.create_user("acme", "Jake", user_id="jake")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        room = max(file.stat().st_size for file in path.iterdir()) + 100_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        while refused < 3:
            try:
                await graph.create_interaction(
                    "acme", "jake", external_id=f"fact {acknowledged}", metadata={"x": "y" * 3000}
                )
                acknowledged += 1
            except GraphDBError:
                refused += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await graph.create_interaction("acme", "jake", external_id="room again")
        assert await graph.inspect() == []
    print(acknowledged, refused)


asyncio.run(main(Path(sys.argv[1])))
