"""Clauses on imports: the record of one, and a store that is as before when it is taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memora.errors import ConflictError, ImportNotFoundError, UserNotFoundError
from memora.schema.imports import ImportCounts, ImportRun, ImportStatus, UndoCounts
from memora.schema.scope import Scope
from memora.schema.transfer import TransferRecord
from memora.schema.write_plan import Beginning, IdempotencyRecord, SourceLink
from memora.testing.graph_clauses.tenant import MakeTenant, Talk, Tenant, TenantFixtures
from memora.testing.graph_clauses.transfer import dump


def run_of(tenant: Tenant, import_id: str = "import", **fields: Any) -> ImportRun:
    """Return a new import of the tenant's user."""
    known: dict[str, Any] = {"user_id": tenant.user_id, "started_at": tenant.clock.now()}
    return ImportRun(org_id=tenant.org_id, import_id=import_id, **(known | fields))


async def begin(tenant: Tenant, import_id: str = "import") -> None:
    """Begin an import."""
    await tenant.graph.begin_import(run_of(tenant, import_id))


async def undo(tenant: Tenant, import_id: str = "import", *, dry_run: bool = False) -> UndoCounts:
    """Take an import back a minute later."""
    return await tenant.graph.undo_import(tenant.scope, import_id, tenant.later(), dry_run=dry_run)


async def stored(tenant: Tenant) -> list[TransferRecord]:
    """Return everything that is stored, imports apart."""
    records = await dump(tenant.graph, tenant.org_id)
    return [record for record in records if record.kind not in {"import", "import_change"}]


async def bring(
    tenant: Tenant, name: str, *texts: str, import_id: str = "import", **fields: Any
) -> Talk:
    """Import a conversation, with a memory of each message, a finished job and its key."""
    write = tenant.creation(name, *texts, import_id=import_id, external_id=name, **fields)
    talk = Talk(name, write.edit.append)
    memories = tuple(
        tenant.statement(
            f"{name}: {text}",
            obtained_at=tenant.at(position),
            interaction_id=name,
            import_id=import_id,
            sources=(talk.source(position),),
        )
        for position, text in enumerate(texts)
    )
    key = IdempotencyRecord(f"seed:{name}", "body", {"job_id": name}, import_id)
    job = tenant.job(talk, 0, len(texts), name, params={"import_id": import_id})
    await tenant.apply(interaction=write, memories=memories, job=job, idempotency=key)
    return talk


class ImportClauses(TenantFixtures):
    """Imports."""

    async def test_an_import_is_a_record_of_its_organization(
        self, tenant: Tenant, make_tenant: MakeTenant
    ) -> None:
        """It is begun, counted, ended and listed, the last one first; nobody else sees it."""
        graph, scope = tenant.graph, tenant.scope
        other_user, other = await tenant.other_user(), await make_tenant()
        first = await graph.begin_import(run_of(tenant, agent_id="the-agent", process_id="crm"))
        assert first == run_of(tenant, agent_id="the-agent", process_id="crm")
        await graph.note_import(scope, "import", ImportCounts(2, 5, 1, 3))
        await graph.note_import(scope, "import", ImportCounts(1, 1))
        ended_at = tenant.later()
        await graph.finish_import(scope, "import", ImportStatus.FAILED, ended_at)
        await graph.finish_import(scope, "import", ImportStatus.DONE, tenant.later())
        counts = {"conversations": 3, "memories": 6, "failed": 1, "skipped": 3}
        ended = first.model_copy(
            update={"status": ImportStatus.FAILED, "finished_at": ended_at, **counts}
        )
        assert await graph.find_import(tenant.org_id, "import") == ended
        # The next run of the same import goes on with it.
        again = await graph.begin_import(run_of(tenant, process_id="other"))
        fresh = {"status": ImportStatus.RUNNING, "finished_at": None, "failed": 0, "skipped": 0}
        assert again == ended.model_copy(update=fresh)
        second = await graph.begin_import(run_of(tenant, "second"))
        third = await graph.begin_import(run_of(tenant, "third", user_id=other_user.user_id))
        # Of equally old ones the greater id comes first.
        tied = [third, second]
        page = {"skip": 0, "limit": 10}
        assert await graph.list_imports(tenant.org_id, user_id=None, **page) == [*tied, again]
        assert await graph.list_imports(tenant.org_id, user_id=tenant.user_id, **page) == [
            second,
            again,
        ]
        assert await graph.list_imports(tenant.org_id, user_id=None, skip=1, limit=1) == tied[1:]
        assert await graph.list_imports(other.org_id, user_id=None, **page) == []
        assert await graph.list_imports(tenant.org_id, user_id="nobody", **page) == []
        assert await graph.find_import(other.org_id, "import") is None

    async def test_b01_nobody_writes_or_undoes_under_a_foreign_import(
        self, tenant: Tenant, make_tenant: MakeTenant
    ) -> None:
        """An id of another user of the organization is taken; any other import is a missing one."""
        graph = tenant.graph
        other_user, other = await tenant.other_user(), await make_tenant()
        await begin(tenant)
        await bring(tenant, "talk", "a", "b")
        before = await dump(graph, tenant.org_id)
        with pytest.raises(ConflictError):
            await graph.begin_import(run_of(tenant, user_id=other_user.user_id))
        with pytest.raises(UserNotFoundError):
            await graph.begin_import(run_of(tenant, "new", user_id="nobody"))
        for scope in (other_user, other.scope, Scope("nowhere", tenant.user_id)):
            with pytest.raises(ImportNotFoundError):
                await graph.note_import(scope, "import", ImportCounts(1))
            await graph.finish_import(scope, "import", ImportStatus.DONE, tenant.clock.now())
            for dry_run in (True, False):
                with pytest.raises(ImportNotFoundError):
                    await graph.undo_import(scope, "import", tenant.clock.now(), dry_run=dry_run)
        with pytest.raises(ImportNotFoundError):
            await undo(tenant, "missing")
        assert await dump(graph, tenant.org_id) == before
        # Another organization may have an import of the same id.
        await begin(other)
        assert (await undo(other)) == UndoCounts()
        assert await dump(graph, tenant.org_id) == before

    async def test_a_version_that_an_import_made_begin_earlier_begins_when_it_did(
        self, tenant: Tenant
    ) -> None:
        """Also where two statements did so, one after the other, with the end of the one before."""
        first, head = await tenant.chain("first", "second")
        before = await stored(tenant)
        await begin(tenant)
        for name, was, at, role in (("late", 1, 0.6, "assistant"), ("later", 0.6, 0.3, "tool")):
            write = tenant.creation(name, "x", import_id="import")
            begins = Beginning(tenant.at(at), tenant.at(was), role, first, tenant.at(at))
            source = replace(Talk(name, write.edit.append).source(0), said_at=tenant.at(at))
            link = SourceLink(head, (source,), begins)
            await tenant.apply(interaction=write, links=(link,))
        changed = await tenant.memory(head)
        assert (changed.obtained_at, changed.source_role) == (tenant.at(0.3), "tool")
        done = await undo(tenant)
        assert (done.unlinked, done.memories, done.interactions_removed) == (1, 0, 2)
        assert await stored(tenant) == before

    async def test_what_an_import_brought_is_gone_as_if_it_had_never_been_there(
        self, tenant: Tenant
    ) -> None:
        """Conversations, memories, jobs and keys go, in batches, and leave no tombstone."""
        graph = tenant.graph
        await bring(tenant, "mine", "a", "b", import_id="earlier")
        before = await stored(tenant)
        await begin(tenant)
        for number in range(105):
            await bring(tenant, f"talk-{number}", "x")
        await bring(tenant, "short", "x", "y")
        await tenant.empty_queue()
        counts = UndoCounts(
            interactions_removed=106, messages=107, memories=107, jobs=106, idempotency_keys=106
        )
        full = await dump(graph, tenant.org_id)
        assert await undo(tenant, dry_run=True) == counts
        assert await dump(graph, tenant.org_id) == full
        gone = {record.memory_id for record in full if record.kind == "memory"}
        assert await undo(tenant) == counts
        assert await stored(tenant) == before
        kept = {record.memory_id for record in before if record.kind == "memory"}
        assert set(await tenant.queued_ids()) == gone - kept
        run = await graph.find_import(tenant.org_id, "import")
        assert run is not None
        assert run.status is ImportStatus.UNDONE
        assert await undo(tenant) == UndoCounts()
        # Nothing is in the way of the same conversation.
        await begin(tenant, "again")
        await bring(tenant, "short", "x", "y", import_id="again")
        assert (await graph.get_interaction(tenant.org_id, tenant.user_id, "short")).import_id == (
            "again"
        )

    async def test_nothing_is_written_under_an_import_that_was_taken_back(
        self, tenant: Tenant
    ) -> None:
        """A plan that comes late is refused, whichever part of it names the import."""
        graph = tenant.graph
        mine = await tenant.begin("mine", "a")
        memory_id = await tenant.store("m")
        await begin(tenant)
        await undo(tenant)
        before = await dump(graph, tenant.org_id)
        job = tenant.job(mine, 0, 1, params={"import_id": "import"})
        late: list[dict[str, Any]] = [
            {"interaction": tenant.creation("late", "x", import_id="import")},
            {"memories": (tenant.statement("late", import_id="import"),)},
            {"idempotency": IdempotencyRecord("late", "body", {}, "import")},
            {"links": (SourceLink(memory_id, (mine.source(0),)),), "job": job},
        ]
        for parts in late:
            with pytest.raises(ConflictError) as caught:
                await tenant.apply(**parts)
            assert (caught.value.record, caught.value.actual) == ("import", "undone")
        with pytest.raises(ConflictError):
            await graph.note_import(tenant.scope, "import", ImportCounts(1))
        with pytest.raises(ConflictError):
            await begin(tenant)
        await graph.finish_import(tenant.scope, "import", ImportStatus.DONE, tenant.later())
        assert await dump(graph, tenant.org_id) == before

    async def test_d8_heads_that_an_import_superseded_are_current_again(
        self, tenant: Tenant
    ) -> None:
        """Also one in the middle of a chain is taken out as if it had never been there."""
        first = await tenant.store("first", obtained_at=tenant.at(0))
        between = await tenant.store("between", obtained_at=tenant.at(1))
        await tenant.grow(between, "newer", obtained_at=tenant.at(9))
        before = await stored(tenant)
        await begin(tenant)
        talk = await bring(tenant, "talk", "x")
        of = {"interaction_id": "talk", "import_id": "import", "sources": (talk.source(0),)}
        await tenant.grow(first, "second", obtained_at=tenant.at(2), **of)
        await tenant.grow(first, "third", obtained_at=tenant.at(3), **of)
        await tenant.grow(between, "inserted", obtained_at=tenant.at(4), **of)
        counts = await undo(tenant, dry_run=True)
        assert (counts.memories, counts.restored) == (4, 1)
        assert await undo(tenant) == counts
        assert await stored(tenant) == before

    async def test_d8_what_came_on_top_of_an_import_stays(self, tenant: Tenant) -> None:
        """A live version is spliced into the chain; what was made by hand keeps no conversation."""
        first = await tenant.store("first", obtained_at=tenant.at(0))
        await begin(tenant)
        talk = await bring(tenant, "talk", "x", "y")
        of = {"interaction_id": "talk", "import_id": "import", "sources": (talk.source(0),)}
        await tenant.grow(first, "second", obtained_at=tenant.at(2), **of)
        live = await tenant.begin("live", "z")
        third = await tenant.grow(
            first,
            "third",
            obtained_at=tenant.at(4),
            interaction_id="live",
            sources=(live.source(0),),
        )
        edited = await tenant.grow(
            tenant.memory_id("talk: x"),
            "edited",
            obtained_at=tenant.at(5),
            interaction_id="talk",
            author="me",
        )
        await undo(tenant)
        assert await tenant.history(third) == [third, first]
        spliced = await tenant.memory(first)
        assert (spliced.superseded_by, spliced.superseded_at) == (third, tenant.at(4))
        assert await tenant.history(edited) == [edited]
        by_hand = await tenant.memory(edited)
        assert (by_hand.interaction_id, by_hand.is_current) == (None, True)
        assert await tenant.graph.find_interaction(tenant.scope, "talk") is None

    async def test_what_others_say_too_stays_with_them(self, tenant: Tenant) -> None:
        """Sources of the import go; what it obtained itself counts as obtained elsewhere then."""
        mine = await tenant.begin("mine", "a", agent_id=tenant.agent_id, process_id="live")
        known = await tenant.store("known", interaction_id="mine", sources=(mine.source(0),))
        free = await tenant.store("free")
        before = await stored(tenant)
        await begin(tenant)
        talk = await bring(tenant, "talk", "x", "y")
        links = (SourceLink(known, (talk.source(0),)), SourceLink(free, (talk.source(1),)))
        await tenant.apply(links=links)
        counts = await undo(tenant, dry_run=True)
        assert (counts.memories, counts.unlinked) == (2, 2)
        assert await undo(tenant) == counts
        assert await stored(tenant) == before
        await begin(tenant, "second")
        talk = await bring(tenant, "talk", "x", "y", import_id="second")
        shared = tenant.memory_id("talk: x")
        await tenant.apply(links=(SourceLink(shared, (mine.source(0),)),))
        await undo(tenant, "second")
        kept = await tenant.memory(shared)
        assert [source.content for source in kept.message_sources] == ["a"]
        assert (kept.interaction_id, kept.agent_id) == ("mine", tenant.agent_id)
        assert (kept.import_id, kept.process_id) == (None, "live")

    async def test_a_conversation_that_an_import_updated_is_as_before(self, tenant: Tenant) -> None:
        """Messages, links and what describes it come back, after several updates too."""
        graph = tenant.graph
        talk = await tenant.begin("talk", "a", "b", "c", title="Old", metadata={"k": [1]})
        await tenant.store("m", interaction_id="talk", sources=(talk.source(1), talk.source(2)))
        before = await stored(tenant)
        await begin(tenant)
        tenant.later()
        edited = await tenant.edit(
            talk, 2, "X", "Y", import_id="import", title="New", agent_id=tenant.agent_id
        )
        await tenant.store(
            "brought", interaction_id="talk", import_id="import", sources=(edited.source(2),)
        )
        tenant.later()
        again = await tenant.edit(edited, 1, "Z", import_id="import", metadata={"k": 2})
        assert len(again.messages) == 2
        counts = await undo(tenant, dry_run=True)
        assert (counts.interactions_restored, counts.messages, counts.memories) == (1, 1, 1)
        assert await undo(tenant) == counts
        assert await stored(tenant) == before
        found = await graph.read_messages(tenant.scope, "talk", 0, None)
        assert [each.message.content for each in found] == ["a", "b", "c"]

    async def test_what_was_said_of_a_conversation_since_stays(self, tenant: Tenant) -> None:
        """A title that somebody gave it after the import is not taken back with the messages."""
        talk = await tenant.begin("talk", "a", title="Old", metadata={"k": 1})
        await begin(tenant)
        edited = await tenant.edit(
            talk, 1, "X", import_id="import", title="Import", metadata={"k": 2}
        )
        tenant.later()
        await tenant.edit(edited, 2, title="Live")
        await undo(tenant)
        found = await tenant.graph.get_interaction(tenant.org_id, tenant.user_id, "talk")
        assert (found.title, found.metadata, found.message_count) == ("Live", {"k": 1}, 1)

    async def test_a_conversation_that_was_continued_since_keeps_its_messages(
        self, tenant: Tenant
    ) -> None:
        """Whoever continued it has it now; the import's memories go, theirs stay."""
        graph = tenant.graph
        await begin(tenant)
        talk = await bring(tenant, "talk", "a", "b")
        longer = await tenant.edit(talk, 2, "live")
        live = await tenant.store("live", interaction_id="talk", sources=(longer.source(2),))
        counts = await undo(tenant)
        assert (counts.interactions_kept, counts.memories, counts.messages) == (1, 2, 0)
        found = await graph.get_interaction(tenant.org_id, tenant.user_id, "talk")
        assert (found.import_id, found.message_count) == (None, 3)
        assert [memory.memory_id for memory in await tenant.all_memories()] == [live]
        records = await stored(tenant)
        assert {r.import_id for r in records if r.kind == "message"} == {None}

    @pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a"), ("b", "a", "c")])
    async def test_imports_on_top_of_each_other_go_in_any_order(
        self, tenant: Tenant, order: tuple[str, ...]
    ) -> None:
        """The one that continued a conversation has it, with what both found, until it goes too."""
        kept = await tenant.begin("kept", "1", "2", "3", title="Old")
        await tenant.store("m", interaction_id="kept", sources=(kept.source(2),))
        before = await stored(tenant)
        made: dict[str, Talk] = {}
        for number, import_id in enumerate("abc"):
            tenant.later()
            await begin(tenant, import_id)
            kept = await tenant.edit(
                kept, 2 - number, import_id, "x", "y", import_id=import_id, title=import_id
            )
            if "new" in made:
                talk = await tenant.edit(made["new"], number, import_id, import_id=import_id)
            else:
                talk = await bring(tenant, "new", import_id, import_id=import_id)
            made["new"] = talk
            await tenant.store(
                f"of {import_id}",
                interaction_id="new",
                import_id=import_id,
                sources=(talk.source(number),),
            )
        for import_id in order:
            await undo(tenant, import_id)
            findings = await tenant.graph.inspect()
            assert [each for each in findings if each.record_id in tenant.record_ids] == []
        assert await stored(tenant) == before

    async def test_d16_an_erased_users_imports_go_too(self, tenant: Tenant) -> None:
        """And with a conversation goes what was kept of it for an undo."""
        graph = tenant.graph
        await begin(tenant)
        await bring(tenant, "talk", "a")
        await bring(tenant, "other", "b")
        await graph.erase_interactions(tenant.scope, ["talk"], tenant.later())
        parts = [r for r in await dump(graph, tenant.org_id) if r.kind == "import_change"]
        assert [part.interaction_id for part in parts] == ["other"]
        assert (await undo(tenant)).interactions_removed == 1
        assert (await graph.count_records(tenant.scope)).imports == 1
        assert (await graph.erase_user(tenant.scope, tenant.later())).imports == 1
        assert await graph.find_import(tenant.org_id, "import") is None
        await graph.create_user(tenant.org_id, "Jake", user_id=tenant.user_id)
        await begin(tenant)
