"""Repairs a store in a process of its own, which dies after so many repairs; see R10."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.reliability.damage import open_memora


async def main(path: Path, repairs: int) -> None:
    memora = open_memora(path)

    def die(done: int, _known: int) -> None:
        if done >= repairs:
            os._exit(9)

    await memora.reconcile(apply=True, on_progress=die)
    await memora.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
