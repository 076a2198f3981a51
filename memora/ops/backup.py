"""Copies a store into a directory while it is open, and back into an empty one."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from memora.errors import MemoraError, SchemaVersionError, TransferError
from memora.graph_db.base import BaseGraphDB
from memora.ops._files import NewFile, digest, sync_directory, translated
from memora.ops.doctor import Diagnosis, diagnose
from memora.ops.export import export_to
from memora.ops.importing import import_from, not_empty
from memora.ops.reindex import reindex
from memora.schema.backup import BACKUP_VERSION, MANIFEST, BackupFile, BackupKind, Manifest
from memora.schema.validation import checked_path
from memora.vector_db.base import BaseVectorDB

GRAPH = "graph.sqlite3"
VECTORS = "vectors.sqlite3"
EXPORT = "export.jsonl"

_CONTENTS = {BackupKind.NATIVE: {GRAPH, VECTORS}, BackupKind.EXPORT: {EXPORT}}


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup wrote."""

    directory: Path
    kind: BackupKind
    files: tuple[BackupFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a restore did.

    Attributes:
        indexed: Memories whose vectors were made again.
        diagnosis: What the store's checks said in the end.
    """

    directory: Path
    kind: BackupKind
    indexed: int
    diagnosis: Diagnosis


async def backup(graph: BaseGraphDB, directory: str | Path) -> BackupReport:
    """Write one state of the stores into a directory, while they go on being used.

    Stores that lie in files are copied as they are; others are exported. The directory has its
    name only when it is complete.

    Args:
        graph: The graph store, with its vector store.
        directory: A new or empty one.

    Raises:
        TransferError: It is not empty, or cannot be written; nothing is left.
    """
    directory = checked_path(directory, "directory")
    partial = await asyncio.to_thread(_begin, directory)
    try:
        now = graph.clock.now()
        kind = await _copy(graph, partial)
        manifest = await asyncio.to_thread(_describe, partial, kind, now)
        await asyncio.to_thread(_end, partial, directory)
    finally:
        await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
    return BackupReport(directory, kind, manifest.files)


async def _copy(graph: BaseGraphDB, partial: Path) -> BackupKind:
    async with graph.pin_with_vectors() as pinned:
        if pinned is not None:
            rows, vectors = pinned
            with translated(partial):
                await rows.copy_to(partial / GRAPH)
                await vectors.copy_to(partial / VECTORS)
            return BackupKind.NATIVE
    await export_to(graph, partial / EXPORT)
    return BackupKind.EXPORT


async def restore(graph: BaseGraphDB, vector: BaseVectorDB, directory: str | Path) -> RestoreReport:
    """Fill an empty store from a backup, bring its vectors up to date, and check it.

    Everything is verified first. One that was killed is done again by the same call.

    Args:
        graph: The graph store.
        vector: The vector store. Vectors of the backup are taken where they were made by the same
            model; else they are made again.
        directory: The backup.

    Raises:
        TransferError: The backup is damaged, or native while this store lies on a server.
        ConflictError: The store is not empty.
        SchemaVersionError: The backup is newer than this memora.
    """
    directory = checked_path(directory, "directory")
    manifest = await asyncio.to_thread(verified, directory)
    if manifest.kind is BackupKind.EXPORT:
        indexed = (await import_from(graph, directory / EXPORT, alone=True)).records.memories
    else:
        indexed = await _replace(graph, vector, directory)
    # Entries that waited for another try, or were given up, may find everything well here.
    await graph.retry_outbox(graph.clock.now())
    await graph.drain_outbox()
    return RestoreReport(directory, manifest.kind, indexed, await diagnose(graph, vector))


async def _replace(graph: BaseGraphDB, vector: BaseVectorDB, directory: Path) -> int:
    async with graph.pin() as pinned:
        if pinned is None:
            reason = "a native backup is for the embedded store; move it with an export"
            raise TransferError(str(directory), reason)
    for organization in await graph.list_organizations(skip=0, limit=1):
        raise not_empty(organization.org_id)
    # The graph comes last: as long as it is empty, the call can be made again.
    is_taken = await vector.replace_with(directory / VECTORS)
    try:
        await graph.replace_with(directory / GRAPH)
    except MemoraError:
        await vector.clear()
        # Of what somebody saved meanwhile.
        await reindex(graph, vector)
        raise
    return 0 if is_taken else await reindex(graph, vector)


# What follows blocks, and runs in a thread.


def _begin(directory: Path) -> Path:
    with translated(directory):
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise TransferError(str(directory), "a backup needs a new or empty directory")
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(
            tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".partial", dir=directory.parent)
        )


def _describe(partial: Path, kind: BackupKind, now: datetime) -> Manifest:
    files: list[BackupFile] = []
    for name in sorted(_CONTENTS[kind]):
        size, sha256 = digest(partial / name)
        files.append(BackupFile(name=name, size=size, sha256=sha256))
    manifest = Manifest(
        memora=version("memora-core"), kind=kind, created_at=now, files=tuple(files)
    )
    file = NewFile(partial / MANIFEST)
    try:
        file.write(manifest.model_dump_json(indent=2).encode() + b"\n")
        file.finish()
    finally:
        file.drop()
    return manifest


def _end(partial: Path, directory: Path) -> None:
    with translated(directory):
        if directory.exists():
            directory.rmdir()  # it was empty; whoever put something in meanwhile keeps it
        partial.rename(directory)
        sync_directory(directory.parent)


def verified(directory: Path) -> Manifest:
    """Return the manifest, when all files are as it says.

    Raises:
        TransferError: They are not, or there is no manifest.
        SchemaVersionError: The backup is newer than this memora.
    """
    with translated(directory / MANIFEST):
        text = (directory / MANIFEST).read_bytes()
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError:
        raise TransferError(str(directory / MANIFEST), "this is no manifest of a backup") from None
    if manifest.version != BACKUP_VERSION:
        raise SchemaVersionError(
            str(directory),
            found=f"backup version {manifest.version}",
            supported=f"version {BACKUP_VERSION}",
        )
    if {file.name for file in manifest.files} != _CONTENTS[manifest.kind]:
        raise TransferError(str(directory / MANIFEST), "it names other files than a backup has")
    for file in manifest.files:
        if digest(directory / file.name) != (file.size, file.sha256):
            raise TransferError(str(directory / file.name), "it is not as it was written")
    return manifest
