"""What leaves an encrypted store, and what it is filled from again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from memora import Memora
from memora.encryption import new_key
from memora.errors import EncryptionKeyError
from memora.graph_db.sqlite import rekey
from memora.schema.backup import BackupKind
from memora.schema.findings import FindingKind
from memora.vector_db import EmbeddedVectorDB
from tests.transfer_kit import embedded, furnish

pytestmark = pytest.mark.timeout(60)

KEY = new_key()
# Of the store that `furnish` makes.
TEXT = b"tea is all right"


async def exported(memora: Memora, folder: Path) -> bytes:
    await memora.export_to(folder / "compared.jsonl")
    return (folder / "compared.jsonl").read_bytes()


async def assert_sound(memora: Memora) -> None:
    """Nothing is wrong with it, but for the job that `furnish` leaves in somebody's hands."""
    diagnosis = await memora.doctor()
    assert {finding.kind for finding in diagnosis.findings} <= {FindingKind.STUCK_OUTBOX}
    assert diagnosis.complete


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_r12_an_export_is_plain_and_an_import_is_encrypted(tmp_path: Path) -> None:
    async with embedded(tmp_path / "plain") as memora:
        await furnish(memora)
        wanted = await exported(memora, tmp_path)
    assert TEXT in wanted
    async with embedded(tmp_path / "target", key=KEY) as memora:
        await memora.import_from(tmp_path / "compared.jsonl")
        assert await exported(memora, tmp_path) == wanted
        assert (await memora.doctor()).clean
    assert TEXT not in everything(tmp_path / "target")
    assert TEXT in everything(tmp_path / "plain")


async def test_r12_a_backup_is_encrypted_and_restored_with_its_key(tmp_path: Path) -> None:
    async with embedded(tmp_path / "source", key=KEY) as memora:
        await furnish(memora)
        wanted = await exported(memora, tmp_path)
        report = await memora.backup(tmp_path / "backup")
    assert report.kind is BackupKind.NATIVE
    assert TEXT not in everything(tmp_path / "backup")
    async with embedded(tmp_path / "target", key=KEY) as memora:
        assert (await memora.restore(tmp_path / "backup")).diagnosis.clean
        assert await exported(memora, tmp_path) == wanted
        (found, *_) = await memora.search_memories_as_one("acme", "jake", ["tea"])
        assert found.memory == "tea is great"
    async with embedded(tmp_path / "target", key=KEY) as memora:
        assert (await memora.doctor()).clean
        again = [json.loads(line) for line in (await exported(memora, tmp_path)).splitlines()]
    # What was an answer in between has been counted as one, and that alone is new.
    answered = [each for each in again if each.get("access_count")]
    assert found.memory_id in {each["memory_id"] for each in answered}
    for each in answered:
        each |= {"access_count": 0, "last_accessed_at": None}
    assert again == [json.loads(line) for line in wanted.splitlines()]
    assert TEXT not in everything(tmp_path / "target")


@pytest.mark.parametrize("other", [None, new_key()], ids=["none", "another"])
async def test_r12_a_backup_of_another_key_changes_nothing(
    tmp_path: Path, other: str | None
) -> None:
    async with embedded(tmp_path / "source", key=KEY) as memora:
        await furnish(memora)
        await memora.backup(tmp_path / "backup")
    async with embedded(tmp_path / "target", key=other) as memora:
        empty = await exported(memora, tmp_path)
        with pytest.raises(EncryptionKeyError):
            await memora.restore(tmp_path / "backup")
        assert await exported(memora, tmp_path) == empty
        await furnish(memora)
        await assert_sound(memora)
    async with embedded(tmp_path / "target", key=other) as memora:
        await assert_sound(memora)


async def test_a_plain_backup_is_not_restored_into_a_store_with_a_key(tmp_path: Path) -> None:
    async with embedded(tmp_path / "source") as memora:
        await furnish(memora)
        await memora.backup(tmp_path / "backup")
    async with embedded(tmp_path / "target", key=KEY) as memora:
        with pytest.raises(EncryptionKeyError, match="it is not encrypted"):
            await memora.restore(tmp_path / "backup")
        await furnish(memora)
        await assert_sound(memora)


async def test_an_export_goes_on_while_the_keys_change(tmp_path: Path) -> None:
    """It reads one state of the store, with the keys of then."""
    async with embedded(tmp_path / "source", key=KEY) as memora:
        await furnish(memora)
        pages = memora.graph.dump_records(None)
        first = await anext(pages)
        assert await memora.rotate_key(new_key(), reencrypt=True) > 0
        rest = [page async for page in pages]
        records = [*first, *(record for page in rest for record in page)]
        again = [record async for page in memora.graph.dump_records(None) for record in page]
        assert records == again
        await assert_sound(memora)


async def test_a_backup_waits_for_a_rotation_and_opens_with_the_new_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for in the middle of it, when both files still hold values of both keys."""
    monkeypatch.setattr(rekey, "_AT_ONCE", 1)
    newer = new_key()
    at_pin: list[int] = []
    backups: list[asyncio.Task[object]] = []
    rows = 0
    pin = EmbeddedVectorDB.pin

    def watched(self: EmbeddedVectorDB) -> object:
        at_pin.append(rows)
        return pin(self)

    monkeypatch.setattr(EmbeddedVectorDB, "pin", watched)
    async with embedded(tmp_path / "source", key=KEY) as memora:
        await furnish(memora)

        def progress(done: int) -> None:
            nonlocal rows
            rows = done
            if done == 5:
                backups.append(asyncio.create_task(memora.backup(tmp_path / "backup")))

        renewed = await memora.rotate_key(newer, reencrypt=True, on_progress=progress)
        assert renewed > 50
        await asyncio.gather(*backups)
        assert at_pin == [renewed]
        wanted = await exported(memora, tmp_path)
    for key in (KEY, None):
        async with embedded(tmp_path / f"{key is None}", key=key) as memora:
            with pytest.raises(EncryptionKeyError):
                await memora.restore(tmp_path / "backup")
    async with embedded(tmp_path / "target", key=newer) as memora:
        assert (await memora.restore(tmp_path / "backup")).diagnosis.clean
        assert await exported(memora, tmp_path) == wanted
    async with embedded(tmp_path / "target", key=newer) as memora:
        assert (await memora.doctor()).clean
        assert await exported(memora, tmp_path) == wanted
