"""Imports as a user sees them: listed with their counts, and taken back whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memora import SeedData
from memora.errors import (
    ConflictError,
    ImportNotFoundError,
    InvalidInputError,
    OrganizationNotFoundError,
    UserNotFoundError,
)
from memora.schema.imports import ImportStatus, UndoCounts
from memora.seeding import SeedStatus
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM
from tests.flows.conftest import World, Worlds

DAY = timedelta(days=1)
START = datetime(2024, 3, 1, 9, tzinfo=UTC)


def conversation(name: str, *texts: str, day: int = 0, **fields: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": text} for text in texts]
    return {"id": name, "messages": said, "created_at": START + day * DAY, **fields}


def data(world: World, *given: dict[str, Any], **options: Any) -> SeedData:
    return SeedData.for_conversations(world.user_id, list(given), org_id=world.org_id, **options)


async def exported(world: World, folder: Path) -> list[str]:
    """Return the lines of an export, import rows apart."""
    path = folder / "compared.jsonl"
    await world.memora.export_to(path)
    lines = path.read_text("utf-8").splitlines()[:-1]
    return [line for line in lines if '"kind":"import' not in line]


async def clean(world: World) -> bool:
    diagnosis = await world.memora.doctor()
    return diagnosis.clean and not diagnosis.pending


def script(call: Call) -> Answer:
    """A model that keeps what users say; "now" supersedes, "again" repeats what it sees first."""
    if call.schema == "MemoryExtractionResponse":
        return {
            "memories": [
                {
                    "memory": f"[[user]] said {message['content']}",
                    "msg_source_ids": [message["id"]],
                    "memory_type": "fact",
                    "importance": 0.5,
                }
                for message in call.data["new_messages"]
                if message["role"] == "user"
            ]
        }
    verdicts: list[dict[str, Any]] = []
    for candidate in call.data["candidates"]:
        kinds = {"said now": "contradiction", "said again": "duplicate"}
        verdict = next((kind for text, kind in kinds.items() if text in candidate["memory"]), "new")
        known = call.data["existing"][:1] if verdict != "new" else []
        verdicts.append(
            {
                "candidate": candidate["number"],
                "verdict": verdict if known else "new",
                "existing": known[0]["number"] if known else None,
            }
        )
    return {"verdicts": verdicts}


@pytest.fixture(params=["verbatim", "model"])
async def engine(request: pytest.FixtureRequest, worlds: Worlds) -> World:
    model = ScriptedBackendLLM(script) if request.param == "model" else None
    return await worlds.open(extraction=model)


async def test_imports_are_listed_with_their_counts(world: World) -> None:
    broken = {"id": "broken", "messages": []}
    first = await world.memora.seed(
        data(world, conversation("a", "I like tea."), broken, process_id="crm")
    )
    second = await world.memora.seed(
        data(world, conversation("a", "I like tea."), conversation("b", "I like rye."))
    )
    listed = await world.memora.list_imports(world.org_id)
    assert [run.import_id for run in listed] == [second.import_id, first.import_id]
    newer, older = listed
    assert (older.status, older.process_id, older.user_id) == (ImportStatus.DONE, "crm", "jake")
    assert (older.conversations, older.memories, older.failed, older.skipped) == (1, 1, 1, 0)
    assert (newer.conversations, newer.memories, newer.failed, newer.skipped) == (1, 1, 0, 1)
    assert newer.finished_at is not None
    assert older.started_at < newer.started_at < newer.finished_at
    assert await world.memora.list_imports(world.org_id, "jake", limit=1) == [newer]
    # Going on under the same id: what it wrote adds up, what the last run met is the last run's.
    await world.memora.seed(
        data(world, conversation("a", "I like tea."), conversation("c", "I like rum.")),
        import_id=first.import_id,
    )
    again = (await world.memora.list_imports(world.org_id))[1]
    assert (again.conversations, again.memories, again.failed, again.skipped) == (2, 2, 0, 1)
    for org_id, user_id, error in (
        ("nowhere", None, OrganizationNotFoundError),
        (world.org_id, "nobody", UserNotFoundError),
    ):
        with pytest.raises(error):
            await world.memora.list_imports(org_id, user_id)


async def test_an_undone_import_leaves_the_store_as_before(engine: World, tmp_path: Path) -> None:
    world = engine
    await world.save(
        "I live in Oslo.", "I like green tea.", external_id="mine", current_datetime=START - 9 * DAY
    )
    await world.memora.seed(data(world, conversation("old", "I have a dog.", "I sing.", title="T")))
    before = await exported(world, tmp_path)
    given = [
        conversation("new", "I play chess.", "I ski.", day=1),
        # It repeats what is known, word for word, and contradicts it.
        conversation("again", "I live in Oslo.", "again", "now I live in Rome.", day=2),
        conversation("late", "now I lived in Bonn.", day=-30),
        # It changes what was imported before: one message other, one more; and its title.
        conversation("old", "I have a dog.", "I dance.", "I swim.", day=3, title="U"),
    ]
    result = await world.memora.seed(data(world, *given, agent_id=world.agent_id))
    assert {each.status for each in result.results} == {SeedStatus.CREATED, SeedStatus.UPDATED}
    assert await exported(world, tmp_path) != before
    trial = await world.memora.undo_import(world.org_id, result.import_id, dry_run=True)
    done = await world.memora.undo_import(world.org_id, result.import_id)
    assert (trial.dry_run, trial.done) == (True, done.done)
    assert (done.done.interactions_removed, done.done.interactions_restored) == (3, 1)
    assert (done.user_id, done.import_id) == (world.user_id, result.import_id)
    assert await exported(world, tmp_path) == before
    assert await clean(world)
    assert "I play chess." not in {memory.memory for memory in await world.recall("chess")}
    (run, _earlier) = await world.memora.list_imports(world.org_id)
    assert (run.import_id, run.status) == (result.import_id, ImportStatus.UNDONE)
    again = await world.memora.undo_import(world.org_id, result.import_id)
    assert again.done == UndoCounts()
    assert await exported(world, tmp_path) == before


async def test_a_statement_that_an_import_knew_earlier_is_known_since_then_again(
    engine: World, tmp_path: Path
) -> None:
    """Its time, its role and the end of the one before are those of what is left."""
    world = engine
    await world.save("I live in Oslo.", current_datetime=START)
    # A conversation that grew, and another that says it too: times that no message has.
    talk = await world.save("I have a dog.", current_datetime=START + DAY)
    assert talk
    before = await exported(world, tmp_path)
    first = await world.memora.seed(
        data(world, conversation("late", "I live in Oslo.", "I have a dog.", day=-9))
    )
    second = await world.memora.seed(
        data(world, conversation("later", "I live in Oslo.", day=-20), conversation("z", "I ski."))
    )
    times = {memory.memory: memory.obtained_at for memory in await world.memories()}
    assert min(times.values()) == START - 20 * DAY
    assert await clean(world)
    trial = await world.memora.undo_import(world.org_id, second.import_id, dry_run=True)
    done = await world.memora.undo_import(world.org_id, second.import_id)
    assert (trial.done, done.done.unlinked) == (done.done, 1)
    times = {memory.memory: memory.obtained_at for memory in await world.memories()}
    assert set(times.values()) == {START - 9 * DAY}
    await world.memora.undo_import(world.org_id, first.import_id)
    assert await exported(world, tmp_path) == before
    assert await clean(world)


async def test_what_is_told_late_and_undone_leaves_the_chain_as_before(
    worlds: Worlds, tmp_path: Path
) -> None:
    world = await worlds.open(extraction=ScriptedBackendLLM(script))
    await world.save("home is Oslo", current_datetime=START)
    await world.save("now home is Rome", current_datetime=START + 9 * DAY)
    before = await exported(world, tmp_path)
    result = await world.memora.seed(data(world, conversation("late", "now home is Rome", day=4)))
    [rome] = await world.memories()
    assert rome.obtained_at == START + 4 * DAY
    history = await world.memora.memory_history(world.org_id, world.user_id, rome.memory_id)
    assert history[1].superseded_at == START + 4 * DAY
    await world.memora.export_to(tmp_path / "told.jsonl")
    copy = await worlds.open_empty("copy")
    await copy.import_from(tmp_path / "told.jsonl")
    for memora in (copy, world.memora):
        await memora.undo_import(world.org_id, result.import_id)
        path = tmp_path / "compared.jsonl"
        await memora.export_to(path)
        lines = path.read_text("utf-8").splitlines()[:-1]
        assert [line for line in lines if '"kind":"import' not in line] == before
        assert (await memora.doctor()).clean


async def test_what_was_undone_can_be_imported_again(engine: World, tmp_path: Path) -> None:
    world = engine
    given = data(world, conversation("a", "I like tea."), conversation("b", "I like rye.", day=1))
    first = await world.memora.seed(given)
    texts = await world.current()
    await world.memora.undo_import(world.org_id, first.import_id)
    assert await world.current() == []
    with pytest.raises(ConflictError):
        await world.memora.seed(given, import_id=first.import_id)
    second = await world.memora.seed(given)
    assert {each.status for each in second.results} == {SeedStatus.CREATED}
    assert await world.current() == texts
    assert await clean(world)
    assert (await world.memora.seed(given)).skipped == 2
    await world.memora.undo_import(world.org_id, second.import_id)
    assert [line for line in await exported(world, tmp_path) if '"kind":"memory"' in line] == []


async def test_what_others_kept_of_an_import_is_not_in_the_way_of_the_next(world: World) -> None:
    given = data(world, conversation("a", "I like tea.", "I like rye."))
    first = await world.memora.seed(given)
    # Said live too, then corrected by hand: the import's version is history, and stays.
    await world.save("I like tea.", current_datetime=START + DAY)
    [tea] = [memory for memory in await world.memories() if memory.memory == "I like tea."]
    await world.memora.update_memory(world.org_id, world.user_id, tea.memory_id, "I like milk.")
    done = await world.memora.undo_import(world.org_id, first.import_id)
    assert (done.done.memories, done.done.unlinked) == (1, 1)
    [kept] = [
        memory
        for memory in await world.memora.memory_history(world.org_id, world.user_id, tea.memory_id)
        if memory.memory_id == tea.memory_id
    ]
    assert (kept.import_id, len(kept.message_sources)) == (None, 1)
    again = await world.memora.seed(given)
    assert (again.failed, again.results[0].status) == (0, SeedStatus.CREATED)
    assert await clean(world)


async def test_a_live_version_on_top_of_an_import_stays(worlds: Worlds) -> None:
    world = await worlds.open(extraction=ScriptedBackendLLM(script))
    await world.save("home is Oslo", current_datetime=START)
    result = await world.memora.seed(data(world, conversation("a", "now home is Rome", day=1)))
    await world.save("now home is Kyiv", current_datetime=START + 2 * DAY)
    await world.memora.undo_import(world.org_id, result.import_id)
    [current] = await world.memories()
    assert "Kyiv" in current.memory
    history = await world.memora.memory_history(world.org_id, world.user_id, current.memory_id)
    assert [text in memory.memory for text, memory in zip(("Kyiv", "Oslo"), history, strict=True)]
    assert history[1].superseded_at == START + 2 * DAY
    assert await clean(world)


async def test_a_failed_extraction_is_taken_back_with_its_job(
    worlds: Worlds, tmp_path: Path
) -> None:
    down = ScriptedBackendLLM(lambda _call: OutageError())
    world = await worlds.open(extraction=down)
    before = await exported(world, tmp_path)
    result = await world.memora.seed(data(world, conversation("a", "I like tea.")))
    assert (result.failed, len(await world.memora.list_jobs(world.org_id))) == (1, 1)
    done = (await world.memora.undo_import(world.org_id, result.import_id)).done
    assert (done.jobs, done.interactions_removed, done.idempotency_keys) == (1, 1, 1)
    assert await exported(world, tmp_path) == before


async def test_an_import_that_runs_cannot_be_undone(world: World) -> None:
    reached, gate = asyncio.Event(), asyncio.Event()

    async def cursor() -> AsyncIterator[dict[str, Any]]:
        yield conversation("a", "I like tea.")
        reached.set()
        await gate.wait()

    given = SeedData.for_conversations(world.user_id, cursor(), org_id=world.org_id)
    seeding = asyncio.create_task(world.memora.seed(given, import_id="mine"))
    await reached.wait()
    with pytest.raises(ConflictError) as caught:
        await world.memora.undo_import(world.org_id, "mine")
    assert (caught.value.record, caught.value.actual) == ("import", "running")
    gate.set()
    assert (await seeding).successful == 1
    assert (await world.memora.undo_import(world.org_id, "mine")).done.memories == 1


async def test_an_import_that_another_engine_undoes_stops(worlds: Worlds) -> None:
    world = await worlds.open()
    other = worlds.same_stores(world)
    gate = asyncio.Event()

    async def cursor() -> AsyncIterator[dict[str, Any]]:
        for number in range(30):
            if number == 20:
                await gate.wait()
            yield conversation(f"c{number}", f"I have {number} cats.", day=number)

    given = SeedData.for_conversations(world.user_id, cursor(), org_id=world.org_id)
    events = world.memora.seed_events(given, import_id="mine", batch_size=1)
    await anext(events)
    await anext(events)
    await other.memora.undo_import(world.org_id, "mine")
    gate.set()

    with pytest.raises(ConflictError):
        async for _event in events:
            pass
    await other.memora.undo_import(world.org_id, "mine")
    assert await world.memories() == []
    [run] = await world.memora.list_imports(world.org_id)
    assert run.status is ImportStatus.UNDONE
    assert await clean(world)


async def test_an_import_that_is_left_early_says_so(world: World) -> None:
    events = world.memora.seed_events(
        data(world, *(conversation(f"c{n}", f"I have {n} cats.") for n in range(9))), batch_size=1
    )
    async for event in events:
        if event.result is not None:
            break
    await events.aclose()
    [run] = await world.memora.list_imports(world.org_id)
    assert (run.status, run.conversations) == (ImportStatus.FAILED, 1)
    await world.memora.undo_import(world.org_id, run.import_id)
    assert await world.memories() == []
    assert await clean(world)


async def test_b01_another_tenants_import_is_a_missing_one(world: World) -> None:
    graph = world.memora.graph
    await graph.create_organization("Other", org_id="other")
    result = await world.memora.seed(data(world, conversation("a", "I like tea.")))
    for org_id, import_id in (("other", result.import_id), (world.org_id, "missing")):
        with pytest.raises(ImportNotFoundError):
            await world.memora.undo_import(org_id, import_id)
    with pytest.raises(InvalidInputError):
        await world.memora.undo_import(world.org_id, "")
    await graph.create_user(world.org_id, "Kim", user_id="kim")
    theirs = SeedData.for_conversations("kim", [conversation("a", "x")], org_id=world.org_id)
    with pytest.raises(ConflictError):
        await world.memora.seed(theirs, import_id=result.import_id)
    assert await world.memora.list_imports("other") == []
    assert await world.memora.list_imports(world.org_id, "kim") == []
    assert len(await world.memories()) == 1
