"""Makes the golden store of this release: `python -m tests.reliability.golden.make`.

One folder per release, named like it, and never changed afterwards: what users have on their disks
does not change either. It holds both databases, an export of the same store, and what the store
answered.
"""

from __future__ import annotations

import asyncio
import json
import lzma
import tempfile
from pathlib import Path
from typing import Any

from memora import Memora, __version__
from memora.testing.graph_clauses.hostile import TEXTS
from tests.transfer_kit import embedded, furnish

FOLDER = Path(__file__).parent
DATABASES = ("graph.sqlite3", "vectors.sqlite3")
QUESTIONS = (
    ("jake", "How does Jake like his tea?"),
    ("jake", "dog"),
    ("ann", "What is the colour of the cat?"),
    ("ann", "cow"),
)


async def answers(memora: Memora) -> dict[str, Any]:
    """Return what the store answers: recalls, and the history of every memory."""
    recalls: list[Any] = []
    history: dict[str, Any] = {}
    for user_id, question in QUESTIONS:
        found, _ids = await memora.recall_memories_for_message("acme", user_id, question)
        recalls.append([user_id, question, [memory.memory for memory in found]])
        for memory in await memora.graph.get_all_user_memories("acme", user_id):
            versions = await memora.memory_history("acme", user_id, memory.memory_id)
            history[memory.memory_id] = [
                [version.memory, version.obtained_at.isoformat(), len(version.message_sources)]
                for version in versions
            ]
    return {"recalls": recalls, "history": history}


def unpack(release: Path, store: Path) -> Path:
    """Lay the golden databases out as a store, and return it."""
    for name, place in zip(DATABASES, (store, store / "vectors"), strict=True):
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(lzma.decompress((release / f"{name}.xz").read_bytes()))
    return store


async def _make(release: Path, work: Path) -> None:
    release.mkdir()
    async with embedded(work / "store") as memora:
        await furnish(memora, texts=TEXTS[:-1])
        await memora.backup(work / "backup")
        report = await memora.export_to(release / "export.jsonl")
        told = json.dumps(await answers(memora), indent=1, ensure_ascii=False)
    (release / "answers.json").write_text(told + "\n", "utf-8")
    for name in DATABASES:
        packed = lzma.compress((work / "backup" / name).read_bytes(), preset=9)
        (release / f"{name}.xz").write_bytes(packed)
    for file in release.iterdir():
        file.chmod(0o644)
    total = sum(file.stat().st_size for file in release.iterdir())
    print(f"{release.name}: {report.records.total} records, {total} bytes")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_make(FOLDER / __version__, Path(folder)))
