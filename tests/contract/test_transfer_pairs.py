"""What one pair of stores exports, every other pair imports, and exports as the same bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from memora import Memora
from memora.schema.backup import BackupKind
from tests.neo4j_server.process import Neo4jServer
from tests.transfer_kit import DAY, embedded, every_field, furnish, on_servers

pytestmark = [pytest.mark.neo4j, pytest.mark.timeout(120)]

Opened = Callable[[], AbstractAsyncContextManager[Memora]]
ORGANIZATIONS = ("acme", "full")


@pytest.fixture
async def servers(neo4j_server: Neo4jServer) -> AsyncIterator[Opened]:
    """Opens an engine on the server, which has none of the tests' organizations, then or after."""

    async def forget() -> None:
        async with on_servers(neo4j_server) as memora:
            for org_id in ORGANIZATIONS:
                await memora.graph.delete_organization(org_id)

    await forget()
    yield lambda: on_servers(neo4j_server)
    await forget()


def later() -> datetime:
    """Return a time after what the servers' engine, on the real clock, wrote."""
    return datetime.now(UTC) + DAY


async def fill(memora: Memora, folder: Path) -> None:
    await furnish(memora)
    (folder / "fields.jsonl").write_bytes(every_field())
    await memora.import_from(folder / "fields.jsonl")


async def exported(memora: Memora, folder: Path) -> list[bytes]:
    """Return what the store exports, by organization: the server may have others."""
    found: list[bytes] = []
    for org_id in ORGANIZATIONS:
        await memora.export_to(folder / org_id, org_id=org_id)
        found.append((folder / org_id).read_bytes())
    return found


async def check_vectors(memora: Memora) -> None:
    """Every version has its vector, and the vectors find it."""
    diagnosis = await memora.doctor()
    ours = {"acme", "full", "outbox"}
    assert [finding for finding in diagnosis.findings if finding.record_id in ours] == []
    (found,) = await memora.search_memories_as_batch("acme", ["cat is white"], user_id="ann")
    assert "cat is white" in found[0].memory


async def test_from_the_embedded_pair_to_servers_and_back(servers: Opened, tmp_path: Path) -> None:
    async with embedded(tmp_path / "a") as memora:
        await fill(memora, tmp_path)
        before = await exported(memora, tmp_path)
    async with servers() as memora:
        for org_id in ORGANIZATIONS:
            report = await memora.import_from(tmp_path / org_id)
            assert (report.resumed, report.drained.failed) == (0, 0)
        assert await exported(memora, tmp_path) == before
        await check_vectors(memora)
    async with embedded(tmp_path / "b", start=later()) as memora:
        for org_id in ORGANIZATIONS:
            await memora.import_from(tmp_path / org_id)
        assert await exported(memora, tmp_path) == before
        await check_vectors(memora)
        assert (await memora.doctor()).clean


async def test_from_servers_to_the_embedded_pair(servers: Opened, tmp_path: Path) -> None:
    async with servers() as memora:
        await fill(memora, tmp_path)
        before = await exported(memora, tmp_path)
    async with embedded(tmp_path / "a", start=later()) as memora:
        for org_id in ORGANIZATIONS:
            await memora.import_from(tmp_path / org_id)
        assert await exported(memora, tmp_path) == before
        assert (await memora.doctor()).clean


async def test_a_backup_of_servers_is_restored_into_the_embedded_pair(
    servers: Opened, tmp_path: Path
) -> None:
    async with servers() as memora:
        await fill(memora, tmp_path)
        assert (await memora.backup(tmp_path / "backup")).kind is BackupKind.EXPORT
        before = await exported(memora, tmp_path)
    async with embedded(tmp_path / "a", start=later()) as memora:
        report = await memora.restore(tmp_path / "backup")
        assert report.diagnosis.clean, report.diagnosis.findings
        assert await exported(memora, tmp_path) == before
