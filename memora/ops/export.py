"""Writes an organization, or all of them, into one file that every pair of stores can read."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields
from pathlib import Path

from memora.core.transfer import encode
from memora.graph_db.base import BaseGraphDB
from memora.ops._files import NewFile
from memora.schema.transfer import End, Header, TransferRecord
from memora.schema.validation import checked_id, checked_path

Progress = Callable[[int], None]

# Where records of each `kind` are counted.
_FIELDS = {
    "organization": "organizations",
    "user": "users",
    "agent": "agents",
    "interaction": "interactions",
    "message": "messages",
    "memory": "memories",
    "tombstone": "tombstones",
    "idempotency_key": "idempotency_keys",
    "job": "jobs",
    "entity": "entities",
    "import": "imports",
    "import_change": "import_changes",
}


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """Records of a file by kind."""

    organizations: int = 0
    users: int = 0
    agents: int = 0
    interactions: int = 0
    messages: int = 0
    memories: int = 0
    tombstones: int = 0
    idempotency_keys: int = 0
    jobs: int = 0
    entities: int = 0
    imports: int = 0
    import_changes: int = 0

    @classmethod
    def of(cls, kinds: Mapping[str, int]) -> RecordCounts:
        """Build from numbers by `kind`."""
        return cls(**{_FIELDS[kind]: count for kind, count in kinds.items()})

    @property
    def total(self) -> int:
        """All records."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        path: The file.
        size: Its bytes.
        sha256: Its digest: equal stores give equal files.
    """

    path: Path
    records: RecordCounts
    size: int
    sha256: str


async def export_to(
    graph: BaseGraphDB,
    path: str | Path,
    org_id: str | None = None,
    on_progress: Progress | None = None,
) -> ExportReport:
    """Write the file; it has its name only when it is complete.

    Args:
        graph: The graph store: vectors are not in the file, they are made again.
        path: The file; one that is there is replaced.
        org_id: Only this organization.
        on_progress: Called with the number of records written so far.

    Raises:
        OrganizationNotFoundError: There is no such organization.
        TransferError: The file cannot be written; nothing of it is left.
    """
    path = checked_path(path, "path")
    if org_id is not None:
        org_id = (await graph.get_organization(checked_id(org_id, "org_id"))).org_id
    kinds: Counter[str] = Counter()
    file = await asyncio.to_thread(NewFile, path)
    try:
        await asyncio.to_thread(file.write, encode(Header()))
        async with aclosing(graph.dump_records(org_id)) as pages:
            async for page in pages:
                await asyncio.to_thread(_write, file, page)
                kinds.update(record.kind for record in page)
                if on_progress is not None:
                    on_progress(kinds.total())
        await asyncio.to_thread(file.write, encode(End(records=kinds.total())))
        await asyncio.to_thread(file.finish)
    finally:
        await asyncio.to_thread(file.drop)
    return ExportReport(path, RecordCounts.of(kinds), file.size, file.sha256)


def _write(file: NewFile, page: Sequence[TransferRecord]) -> None:
    file.write(b"".join(map(encode, page)))
