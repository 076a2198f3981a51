"""Exports and imports: whole or not at all, resumable, and beside writers."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest

from memora import Memora, SeedData
from memora.core.transfer import Whole, decode, encode
from memora.errors import (
    ConflictError,
    GraphDBError,
    InvalidInputError,
    OrganizationNotFoundError,
    SchemaVersionError,
    TransferError,
    VectorDBConnectionError,
)
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.ops import importing
from memora.ops.export import RecordCounts
from memora.schema.transfer import (
    End,
    Header,
    InteractionRecord,
    MemoryRecord,
    MessageRecord,
    TransferRecord,
)
from memora.schema.validation import NESTING, TEXT_BYTES
from memora.testing.graph_clauses.hostile import TEXTS
from memora.vector_db import EmbeddedVectorDB
from tests.transfer_kit import (
    START,
    embedded,
    every_field,
    file_of,
    furnish,
    interaction,
    memory,
    message,
    organization,
    prefix_hash,
    user,
)

pytestmark = pytest.mark.timeout(60)

TALK = (
    interaction(
        message_count=2,
        content_hash=prefix_hash({}, {}),
        last_activity_at="2024-02-03T05:00:00Z",
    ),
    message(0),
    message(1),
)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Memora]:
    """A store in which much has happened."""
    async with embedded(tmp_path / "source") as memora:
        await furnish(memora)
        yield memora


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Memora]:
    """An empty store."""
    async with embedded(tmp_path / "target") as memora:
        yield memora


async def exported(memora: Memora, folder: Path) -> bytes:
    await memora.export_to(folder / "compared.jsonl")
    return (folder / "compared.jsonl").read_bytes()


def records(data: bytes) -> list[TransferRecord]:
    """Return the records of a file, after checking that it is whole."""
    found: list[TransferRecord] = []
    whole = Whole()
    for number, text in enumerate(data.splitlines(keepends=True), start=1):
        line = decode(text, number)
        assert encode(line) == text
        if not isinstance(line, (Header, End)):
            whole.add(line, number)
            found.append(line)
    whole.end()
    return found


async def bring_history(memora: Memora) -> None:
    """Leave an import with what it changed, and a name that somebody gave to an entity."""
    said = [{"role": "user", "content": f"{name} is tall"} for name in ("Bob Stone", "Rob Stone")]
    told = {"id": "told", "messages": said}
    await memora.seed(SeedData.for_conversations("ann", [told], org_id="acme"))
    await memora.merge_entities("acme", "ann", "Bob Stone", "Rob Stone")


def test_every_kind_of_record_is_counted() -> None:
    kinds = [record.model_fields["kind"].default for record in get_args(TransferRecord)]
    counts = RecordCounts.of(dict.fromkeys(kinds, 2))
    assert set(dataclasses.astuple(counts)) == {2}
    assert counts.total == 2 * len(kinds)


# Out and in


async def test_a_store_comes_back_whole(source: Memora, target: Memora, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    await bring_history(source)
    steps: list[int] = []
    report = await source.export_to(file, on_progress=steps.append)
    assert file.stat().st_mode & 0o777 == 0o600
    assert (report.size, report.path) == (file.stat().st_size, file)
    assert steps[-1] == report.records.total == len(records(file.read_bytes()))
    assert min(dataclasses.astuple(report.records)) > 0
    steps.clear()
    brought = await target.import_from(file, on_progress=steps.append)
    assert steps[-1] == report.records.total
    assert (brought.records, brought.resumed, brought.drained.failed) == (report.records, 0, 0)
    assert await exported(target, tmp_path) == file.read_bytes()
    diagnosis = await target.doctor()
    assert (diagnosis.findings, diagnosis.pending) == ((), 0)
    for memora in (source, target):
        found = await memora.search_memories_as_one("acme", "jake", ["tea"])
        assert found[0].memory == "tea is great"
        history = await memora.memory_history("acme", "jake", found[0].memory_id)
        assert len(history) == 4


async def test_every_field_comes_back(target: Memora, tmp_path: Path) -> None:
    file = tmp_path / "fields.jsonl"
    file.write_bytes(every_field())
    await target.import_from(file)
    given = [json.loads(line) for line in every_field().splitlines()]
    stored = [json.loads(line) for line in (await exported(target, tmp_path)).splitlines()]
    for before, after in zip(given, stored, strict=True):
        for name, value in before.items():
            if isinstance(value, str) and value.startswith("2024-"):
                value = value.replace("06Z", "06.000000Z")  # noqa: PLW2901 - as exports write it
            assert after[name] == value, (before["kind"], name)
    assert (await target.doctor()).clean


async def test_a_purged_statement_stays_purged_after_the_move(
    source: Memora, target: Memora, tmp_path: Path
) -> None:
    """The salt comes with the user, so its tombstones are known again."""
    said = [{"role": "user", "content": "bike is blue"}]
    other = [{"role": "user", "content": "boat is big"}]
    save = "save_or_update_interaction_and_memories"
    await getattr(source, save)("acme", "ann", interaction=said, external_id="bike")
    bike, *_ = [
        m for m in await source.graph.get_all_user_memories("acme", "ann") if "bike" in m.memory
    ]
    await source.delete_memory("acme", "ann", bike.memory_id)
    await source.export_to(tmp_path / "x")
    await target.import_from(tmp_path / "x")
    for talk in (other, said):
        await getattr(target, save)("acme", "ann", interaction=talk, external_id="bike")
    texts = [m.memory for m in await target.graph.get_all_user_memories("acme", "ann")]
    assert "Ann says boat is big" in texts
    assert "Ann says bike is blue" not in texts


async def test_an_idempotency_key_is_known_after_the_move(
    source: Memora, target: Memora, tmp_path: Path
) -> None:
    async def save(memora: Memora, text: str) -> Any:
        return await memora.save_or_update_interaction_and_memories(
            "acme",
            "ann",
            interaction=[{"role": "user", "content": text}],
            current_datetime=START,
            idempotency_key="once",
        )

    answer = await save(source, "sun is out")
    await source.export_to(tmp_path / "x")
    await target.import_from(tmp_path / "x")
    assert await save(target, "sun is out") == answer
    with pytest.raises(ConflictError):
        await save(target, "moon is out")
    assert await exported(target, tmp_path) == (tmp_path / "x").read_bytes()


async def test_only_the_organization_that_was_asked_for(source: Memora, tmp_path: Path) -> None:
    await source.graph.create_organization("Other", org_id="other")
    report = await source.export_to(tmp_path / "x", org_id="other")
    assert report.records.total == report.records.organizations == 1
    assert {record.org_id for record in records((tmp_path / "x").read_bytes())} == {"other"}
    with pytest.raises(OrganizationNotFoundError):
        await source.export_to(tmp_path / "y", org_id="nobody")
    assert not (tmp_path / "y").exists()


async def test_an_empty_store_is_a_file_of_two_lines(target: Memora, tmp_path: Path) -> None:
    report = await target.export_to(tmp_path / "x")
    assert report.records.total == 0
    assert len((tmp_path / "x").read_bytes().splitlines()) == 2
    assert (await target.import_from(tmp_path / "x")).records.total == 0


async def test_hostile_texts_and_a_megabyte_come_back(
    source: Memora, target: Memora, tmp_path: Path
) -> None:
    big = ["x" * TEXT_BYTES, "\0" * TEXT_BYTES, "\U0001f600" * (TEXT_BYTES // 4)]
    deep: Any = "deep"
    for _ in range(NESTING - 1):
        deep = [deep]
    await source.save_or_update_interaction_and_memories(
        "acme",
        "ann",
        interaction=[{"role": "user", "content": text} for text in big],
        external_id="big",
        metadata={"deep": deep},
    )
    await source.export_to(tmp_path / "x")
    await target.import_from(tmp_path / "x")
    stored = await target.graph.get_interaction("acme", "ann", "big")
    assert [block.content for block in stored.messages or ()] == big
    assert stored.metadata == {"deep": deep}
    hostile = await target.graph.get_all_user_interactions(
        "acme", "\uff21\U0001f600", with_messages=True
    )
    assert [block.content for block in hostile[0].messages or ()] == list(TEXTS)
    assert await exported(target, tmp_path) == (tmp_path / "x").read_bytes()


# Beside writers


async def test_an_export_beside_writers_is_one_state(source: Memora, tmp_path: Path) -> None:
    """What is written meanwhile is in the file whole or not at all, and in the order of commits."""

    async def write(number: int) -> None:
        for turn in range(4):
            text = f"beer {number}-{turn} is good"
            await source.save_or_update_interaction_and_memories(
                "acme",
                "ann",
                interaction=[{"role": "user", "content": text}, {"role": "user", "content": "bye"}],
                external_id=f"beside-{number}-{turn}",
            )

    writers = [asyncio.create_task(write(number)) for number in range(3)]
    files: list[bytes] = []
    while not all(writer.done() for writer in writers):
        files.append(await exported(source, tmp_path))
    await asyncio.gather(*writers)
    files.append(await exported(source, tmp_path))
    assert len(files) > 1
    seen: set[str] = set()
    for data in files:
        lines = records(data)
        talks = {
            line.external_id: line.interaction_id
            for line in lines
            if isinstance(line, InteractionRecord) and line.external_id
        }
        ours = {name for name in talks if name.startswith("beside")}
        assert seen <= ours
        seen = ours
        for name in ours:
            own = [x for x in lines if isinstance(x, MessageRecord)]
            assert sum(x.interaction_id == talks[name] for x in own) == 2
    statements = [x for x in records(files[-1]) if isinstance(x, MemoryRecord) and "beer" in x.text]
    assert len(statements) == 12


async def test_writers_are_not_held_up_by_an_export(source: Memora, tmp_path: Path) -> None:
    """A save begins and ends between two pages of the same export, and is not in it."""
    pages = source.graph.dump_records(None)
    first = await anext(pages)
    await source.graph.create_user("acme", "Late", user_id="late")
    rest = [record async for page in pages for record in page]
    assert not [r for r in (*first, *rest) if getattr(r, "user_id", None) == "late"]
    assert await source.graph.get_user("acme", "late")


async def test_an_erasure_beside_an_export_empties_the_log_afterwards(
    source: Memora, tmp_path: Path
) -> None:
    log = tmp_path / "source" / "graph.sqlite3-wal"
    pages = source.graph.dump_records(None)
    await anext(pages)
    await source.graph.delete_user("acme", "jake")
    assert log.stat().st_size > 0
    await pages.aclose()
    assert log.stat().st_size == 0


# Whole or not at all


@pytest.mark.parametrize("place", ["a directory", "no directory", "a file as directory"])
async def test_an_export_that_cannot_be_written_leaves_nothing(
    target: Memora, tmp_path: Path, place: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "file").write_text("mine")
    file = {
        "a directory": folder,
        "no directory": folder / "none" / "x",
        "a file as directory": folder / "file" / "x",
    }[place]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(TransferError) as raised:
        await target.export_to(file)
    assert str(folder) in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("fails", ["write", "fsync", "replace"])
async def test_a_full_disk_leaves_the_old_export(
    source: Memora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "x").write_bytes(b"the old one")

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if fails == "write":
            # A buffer of its own size, which is flushed into a file that takes nothing.
            original = os.fdopen
            full_device = os.open("/dev/full", os.O_WRONLY)

            def onto_a_full_disk(descriptor: int, mode: str) -> Any:
                os.close(descriptor)
                return original(full_device, mode)

            patch.setattr(os, "fdopen", onto_a_full_disk)
        else:
            patch.setattr(*((os, "fsync") if fails == "fsync" else (Path, "replace")), full)
        with pytest.raises(TransferError, match="No space left on device"):
            await source.export_to(folder / "x")
    assert [file.name for file in folder.iterdir()] == ["x"]
    assert (folder / "x").read_bytes() == b"the old one"


async def test_a_cancelled_export_leaves_nothing(source: Memora, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    task: asyncio.Task[Any]

    def cancel(_count: int) -> None:
        task.cancel()

    task = asyncio.create_task(source.export_to(folder / "x", on_progress=cancel))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(folder.iterdir()) == []
    await source.graph.create_organization("Still usable", org_id="after")


# In, whole or not at all


async def refuses(memora: Memora, folder: Path, data: bytes, error: type[Exception]) -> str:
    """Import a file that must be refused before anything is written; return what is said."""
    before = await exported(memora, folder)
    (folder / "bad.jsonl").write_bytes(data)
    with pytest.raises(error) as raised:
        await memora.import_from(folder / "bad.jsonl")
    assert await exported(memora, folder) == before
    return str(raised.value)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "line 1: the line: must be the end"),
        (b"\x00\xff", "line 1: the line: must be one JSON object"),
        (organization() + user(), 'line 1: kind: must be "header"'),
        (file_of(organization()).replace(b"memora-export", b"other"), "line 1: format"),
        (file_of(organization(), user())[:-1].rpartition(b"\n")[0] + b"\n", "line 4: the line"),
        (file_of(organization())[:-20], "line 3: the line: must be one JSON object"),
        (file_of(organization()) + user(), "line 4: the line: must be nothing"),
        (file_of(organization(), encode(Header())), "line 3: kind: must be one of the records"),
        (file_of(organization()).replace(b'"records":1', b'"records":2'), "line 3: records"),
        (file_of(organization(), user(), *TALK[:2]), "line 4: message_count"),
        (file_of(organization(), user(), memory("m", importance=2)), "line 4: importance"),
        (file_of(organization(), user(), memory("m", content_hash="x")), "line 4: content_hash"),
        (file_of(organization(), user(), *TALK[:2], message(1, role="tool", prefix_hash="x")),
         "line 6: prefix_hash"),
    ],
)  # fmt: skip
async def test_a_bad_file_changes_nothing(
    target: Memora, tmp_path: Path, data: bytes, told: str
) -> None:
    """And the error names it, with the line and the field."""
    said = await refuses(target, tmp_path, data, InvalidInputError)
    assert said.startswith(f"{tmp_path / 'bad.jsonl'}, {told}")


async def test_every_text_that_contradicts_its_hash_is_refused(
    source: Memora, target: Memora, tmp_path: Path
) -> None:
    """Of a store in which much has happened, one line after the other is changed."""
    lines = (await exported(source, tmp_path)).splitlines(keepends=True)
    changed = unknown = 0
    for number, text in enumerate(lines):
        record = json.loads(text)
        field = {"message": "content", "memory": "text"}.get(record["kind"])
        if field is None or not record[field]:
            continue
        if any(unicodedata.category(char) == "Cn" for char in text.decode()):
            unknown += 1
            continue
        record[field] += " otherwise"
        data = b"".join(
            (*lines[:number], json.dumps(record).encode() + b"\n", *lines[number + 1 :])
        )
        (tmp_path / "bad.jsonl").write_bytes(data)
        with pytest.raises(InvalidInputError, match=rf"bad\.jsonl, line {number + 1}: \w+_hash: "):
            await target.import_from(tmp_path / "bad.jsonl")
        changed += 1
    assert (changed > 30, unknown) == (True, 1)
    assert await target.graph.get_all_organizations() == []


@pytest.mark.parametrize("version", [b"1", b"2"])
async def test_an_older_file_is_read(target: Memora, tmp_path: Path, version: bytes) -> None:
    """Nothing in it says when a source said what the memory says."""
    sourced = memory("old", sources=[{"interaction_id": "i", "position": 0}])
    data = file_of(organization(), user(), *TALK, sourced)
    path = tmp_path / "old.jsonl"
    path.write_bytes(data.replace(b'"version":3', b'"version":' + version))
    assert (await target.import_from(path)).records.messages == 2
    [stored] = [each for each in records(await exported(target, tmp_path)) if each.kind == "memory"]
    assert isinstance(stored, MemoryRecord)
    assert ([each.said_at for each in stored.sources], stored.stated_at) == ([None], None)


async def test_a_newer_file_is_refused(target: Memora, tmp_path: Path) -> None:
    data = file_of(organization()).replace(b'"version":3', b'"version":4')
    told = await refuses(target, tmp_path, data, SchemaVersionError)
    assert "found export version 4, this memora reads versions 1 to 3" in told


async def test_a_line_without_end_is_not_read_to_it(
    target: Memora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_LINE_BYTES", 1000)
    data = file_of(organization(), user(salt="s" * 2000))
    assert "line 3: the line" in await refuses(target, tmp_path, data, InvalidInputError)


async def test_a_missing_file_is_named(target: Memora, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"nothing\.jsonl: No such file"):
        await target.import_from(tmp_path / "nothing.jsonl")


async def test_an_organization_that_lives_is_not_overwritten(
    source: Memora, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(await exported(source, tmp_path))
    await source.graph.update_user("acme", "jake", "James")
    told = await refuses(source, tmp_path, (tmp_path / "x").read_bytes(), ConflictError)
    assert "organization 'acme'" in told


async def test_an_organization_with_more_is_not_overwritten(target: Memora, tmp_path: Path) -> None:
    data = file_of(organization(), user())
    (tmp_path / "x").write_bytes(data)
    await target.import_from(tmp_path / "x")
    await target.graph.create_user("full", "More", user_id="x")
    await refuses(target, tmp_path, data, ConflictError)


async def test_the_last_organization_of_a_file_can_be_the_one_that_is_refused(
    target: Memora, tmp_path: Path
) -> None:
    """Nothing of the first is written."""
    await target.graph.create_organization("Mine", org_id="zoo")
    data = file_of(organization("aaa"), organization("zoo"))
    await refuses(target, tmp_path, data, ConflictError)
    with pytest.raises(OrganizationNotFoundError):
        await target.graph.get_organization("aaa")


async def test_other_organizations_stay_as_they_are(source: Memora, tmp_path: Path) -> None:
    before = await exported(source, tmp_path)
    (tmp_path / "x").write_bytes(every_field())
    await source.import_from(tmp_path / "x")
    await source.export_to(tmp_path / "y", org_id="acme")
    assert (tmp_path / "y").read_bytes() == before
    assert (await source.doctor()).clean


async def test_importing_again_changes_nothing(
    source: Memora, target: Memora, tmp_path: Path
) -> None:
    await source.export_to(tmp_path / "x")
    first = await target.import_from(tmp_path / "x")
    again = await target.import_from(tmp_path / "x")
    assert (first.resumed, again.resumed) == (0, first.records.total)
    assert again.drained.applied == 0
    assert await exported(target, tmp_path) == (tmp_path / "x").read_bytes()


# Interrupted


async def test_an_import_goes_on_wherever_it_stopped(
    source: Memora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every number of batches that may have been written: the rest comes, once."""
    monkeypatch.setattr(importing, "_BATCH", 23)
    report = await source.export_to(tmp_path / "x")
    batches = -(-report.records.total // 23)
    original = SQLiteGraph.load_records
    for stop in range(batches):
        async with embedded(tmp_path / f"target-{stop}") as memora:
            left = stop

            async def load(graph: SQLiteGraph, *arguments: Any) -> None:
                nonlocal left
                if not left:
                    raise GraphDBError("sqlite", "stopped on purpose")
                left -= 1
                await original(graph, *arguments)

            with monkeypatch.context() as patch:
                patch.setattr(SQLiteGraph, "load_records", load)
                with pytest.raises(GraphDBError, match="on purpose"):
                    await memora.import_from(tmp_path / "x")
            finished = await memora.import_from(tmp_path / "x")
            assert finished.resumed == 23 * stop
            assert await exported(memora, tmp_path) == (tmp_path / "x").read_bytes()
            assert (await memora.doctor()).clean


KILLED = """
import asyncio, os, sys
from pathlib import Path
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.ops import importing
from tests.transfer_kit import embedded

importing._BATCH = 9

async def main(store, file, batches):
    original = SQLiteGraph.load_records
    async def load(graph, *arguments):
        nonlocal batches
        await original(graph, *arguments)
        batches -= 1
        if not batches:
            os._exit(9)
    SQLiteGraph.load_records = load
    async with embedded(Path(store)) as memora:
        await memora.import_from(file)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def test_a_killed_import_is_finished_by_the_same_call(tmp_path: Path) -> None:
    async def fill() -> None:
        async with embedded(tmp_path / "source") as memora:
            await furnish(memora)
            await memora.export_to(tmp_path / "x")

    async def finish() -> None:
        async with embedded(tmp_path / "target") as memora:
            report = await memora.import_from(tmp_path / "x")
            assert report.resumed == 36
            assert await exported(memora, tmp_path) == (tmp_path / "x").read_bytes()
            assert (await memora.doctor()).clean

    asyncio.run(fill())
    process = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "target", tmp_path / "x", "4"],
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )
    assert process.returncode == 9
    asyncio.run(finish())


async def test_vectors_that_cannot_be_made_wait(
    source: Memora, target: Memora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_arguments: object) -> None:
        raise VectorDBConnectionError("embedded", "out of reach")

    await source.export_to(tmp_path / "x")
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedVectorDB, "upsert", fail)
        report = await target.import_from(tmp_path / "x")
    assert report.drained.failed > 0
    await target.graph.retry_outbox(target.graph.clock.now())
    await target.drain_outbox()
    assert (await target.doctor()).clean
