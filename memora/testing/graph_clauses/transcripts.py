"""Clauses on interactions and their messages."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from memora.core.messages import EMPTY_HASH, parse_messages
from memora.errors import (
    AgentNotFoundError,
    ConflictError,
    InteractionNotFoundError,
    UserNotFoundError,
)
from memora.schema.scope import Scope
from memora.schema.storage_schema import MemoriesAndInteraction, MemoryToStore
from memora.schema.write_plan import InteractionWrite, MessageEdit
from memora.testing.graph_clauses.hostile import TEXTS
from memora.testing.graph_clauses.tenant import Talk, Tenant, TenantFixtures, messages

EDITS = (
    pytest.param("abc", 3, "de", id="append"),
    pytest.param("abc", 1, "", id="truncate"),
    pytest.param("abc", 1, "xyz", id="replace the end"),
    pytest.param("abc", 0, "xy", id="replace all"),
    pytest.param("abc", 0, "", id="empty"),
    pytest.param("", 0, "ab", id="append to an empty one"),
)


class TranscriptClauses(TenantFixtures):
    """Interactions and messages."""

    @pytest.mark.parametrize(("before", "keep", "appended"), EDITS)
    async def test_b25_b27_an_edit_leaves_exactly_the_new_transcript(
        self, tenant: Tenant, before: str, keep: int, appended: str
    ) -> None:
        """Messages, positions, count, tail hash and revision are those of the new transcript."""
        talk = await tenant.begin("talk", *before)
        old = await tenant.graph.get_interaction(tenant.org_id, tenant.user_id, "talk")
        tenant.later()
        write = tenant.change(talk, old.revision, keep, *appended)
        receipt = await tenant.apply(interaction=write)
        new = await tenant.graph.get_interaction(tenant.org_id, tenant.user_id, "talk")
        expected = [*before[:keep], *appended]
        stored = new.messages or []
        assert [message.content for message in stored] == expected
        assert [message.msg_position for message in stored] == list(range(len(expected)))
        assert new.message_count == receipt.message_count == len(expected)
        assert new.revision == receipt.revision == old.revision + 1
        assert new.updated_at == receipt.updated_at
        hashes = await tenant.graph.read_prefix_hashes(tenant.scope, "talk")
        every = (*talk.messages[:keep], *write.edit.append)
        assert hashes == [message.prefix_hash for message in every]
        assert new.content_hash == (hashes[-1] if hashes else EMPTY_HASH)

    async def test_an_edit_that_changes_nothing_writes_nothing(self, tenant: Tenant) -> None:
        """Neither revision nor times move when the transcript is the same."""
        talk = await tenant.begin("talk", "a", "b", agent_id=tenant.agent_id)
        before = await tenant.snapshot()
        tenant.later()
        write = tenant.change(talk, 1, 2, agent_id=tenant.agent_id)
        receipt = await tenant.apply(interaction=write)
        assert await tenant.snapshot() == before
        assert (receipt.revision, receipt.message_count) == (1, 2)
        assert receipt.updated_at == tenant.start

    async def test_an_empty_interaction_has_no_revision_yet(self, tenant: Tenant) -> None:
        """B84: an interaction without messages is stored, found, and can grow."""
        created = await tenant.graph.create_interaction(
            tenant.org_id, tenant.user_id, tenant.agent_id, title="Empty", metadata={"a": [1]}
        )
        assert (created.revision, created.message_count, created.content_hash) == (0, 0, "")
        assert (created.messages, created.memories) == ([], [])
        assert (created.title, created.metadata) == ("Empty", {"a": [1]})
        assert (created.agent_id, created.participants) == (tenant.agent_id, [tenant.agent_id])
        assert created.created_at == created.updated_at == created.last_activity_at == tenant.start
        assert created.active
        grown = await tenant.edit(Talk(created.interaction_id, ()), 0, "hello")
        found = await tenant.graph.get_interaction(
            tenant.org_id, tenant.user_id, grown.interaction_id
        )
        assert (found.revision, found.message_count) == (1, 1)

    async def test_messages_are_read_by_position(self, tenant: Tenant) -> None:
        """B27: any range of positions comes back in order, and empty beyond the end."""
        await tenant.begin("talk", *(str(i) for i in range(30)))

        async def read(start: int, end: int | None) -> list[str | None]:
            found = await tenant.graph.read_messages(tenant.scope, "talk", start, end)
            return [item.message.content for item in found]

        assert await read(0, None) == [str(i) for i in range(30)]
        assert await read(9, 12) == ["9", "10", "11"]
        assert await read(28, 99) == ["28", "29"]
        assert await read(30, None) == []
        assert await read(5, 5) == []
        page = await tenant.graph.get_interaction_messages(
            tenant.org_id, tenant.user_id, "talk", 10, 2
        )
        assert [message.msg_position for message in page] == [10, 11]

    async def test_b24_a_stale_revision_writes_nothing_at_all(self, tenant: Tenant) -> None:
        """A plan on an old revision is refused as a whole, memories and job included."""
        talk = await tenant.begin("talk", "a")
        await tenant.edit(talk, 1, "b")
        before = await tenant.snapshot()
        with pytest.raises(ConflictError) as caught:
            await tenant.apply(
                interaction=tenant.change(talk, 1, 1, "lost", metadata={"x": 1}),
                memories=(tenant.statement("m"),),
                job=tenant.job(talk, 0, 1),
            )
        assert (caught.value.record, caught.value.record_id) == ("interaction", "talk")
        assert (caught.value.expected, caught.value.actual) == (1, 2)
        assert await tenant.snapshot() == before

    async def test_b24_b25_concurrent_appends_conflict(self, tenant: Tenant) -> None:
        """Of two appends to the same base one is written, the other is a conflict."""
        talk = await tenant.begin("talk", "a")
        outcomes = await asyncio.gather(
            tenant.apply(interaction=tenant.change(talk, 1, 1, "left")),
            tenant.apply(interaction=tenant.change(talk, 1, 1, "right")),
            return_exceptions=True,
        )
        assert sorted(type(each).__name__ for each in outcomes) == ["ConflictError", "WriteReceipt"]
        stored = await tenant.graph.read_messages(tenant.scope, "talk", 0, None)
        winner = "left" if isinstance(outcomes[1], ConflictError) else "right"
        assert [item.message.content for item in stored] == ["a", winner]

    async def test_b26_concurrent_first_messages_conflict(self, tenant: Tenant) -> None:
        """Of several first messages of an empty interaction one is written."""
        talk = await tenant.begin("talk")
        outcomes = await asyncio.gather(
            *(tenant.apply(interaction=tenant.change(talk, 0, 0, text)) for text in "abcd"),
            return_exceptions=True,
        )
        names = sorted(type(each).__name__ for each in outcomes)
        assert names == ["ConflictError", "ConflictError", "ConflictError", "WriteReceipt"]
        assert len(await tenant.graph.read_messages(tenant.scope, "talk", 0, None)) == 1

    async def test_b13_an_interaction_is_created_once(self, tenant: Tenant) -> None:
        """A second creation under the same id is a conflict, also at the same time."""
        outcomes = await asyncio.gather(
            *(tenant.apply(interaction=tenant.creation("talk", text)) for text in "ab"),
            return_exceptions=True,
        )
        assert sorted(type(each).__name__ for each in outcomes) == ["ConflictError", "WriteReceipt"]
        with pytest.raises(ConflictError) as caught:
            await tenant.begin("talk", "c")
        assert (caught.value.record, caught.value.actual) == ("interaction", 1)
        assert len(await tenant.graph.read_prefix_hashes(tenant.scope, "talk")) == 1

    async def test_twenty_saves_at_once_are_all_kept(self, tenant: Tenant) -> None:
        """Concurrent writes to different interactions do not disturb each other."""

        async def save(number: int) -> None:
            talk = await tenant.begin(f"talk{number:02}", f"hello {number}", "yes")
            statement = tenant.statement(
                f"memory {number}", interaction_id=talk.interaction_id, sources=(talk.source(0),)
            )
            await tenant.apply(memories=(statement,))

        await asyncio.gather(*(save(number) for number in range(20)))
        found = await tenant.graph.get_all_user_interactions(
            tenant.org_id, tenant.user_id, with_messages=True, with_memories=True
        )
        assert len(found) == 20
        for interaction in found:
            number = int(interaction.interaction_id.removeprefix("talk"))
            assert [m.content for m in interaction.messages or []] == [f"hello {number}", "yes"]
            assert [m.memory for m in interaction.memories or []] == [f"memory {number}"]
        assert sorted(await tenant.queued_ids()) == sorted(
            tenant.memory_id(f"memory {number}") for number in range(20)
        )

    async def test_b14_writing_to_what_is_not_there_is_an_error(self, tenant: Tenant) -> None:
        """An edit of a missing interaction, or for a missing user, says so and writes nothing."""
        talk = Talk("missing", ())
        with pytest.raises(InteractionNotFoundError):
            await tenant.apply(
                interaction=tenant.change(talk, 0, 0, "a"), memories=(tenant.statement("m"),)
            )
        with pytest.raises(UserNotFoundError):
            await tenant.begin("talk", "a", scope=Scope(tenant.org_id, "missing"))
        assert await tenant.all_memories() == []
        assert await tenant.queue() == []

    async def test_an_edit_that_keeps_more_than_there_is_is_refused(self, tenant: Tenant) -> None:
        """A plan cannot keep messages that do not exist."""
        await tenant.begin("talk", "a")
        write = InteractionWrite("talk", 1, MessageEdit(2, messages("x")), tenant.start)
        with pytest.raises(ConflictError):
            await tenant.apply(interaction=write)
        assert len(await tenant.graph.read_prefix_hashes(tenant.scope, "talk")) == 1

    async def test_external_ids_find_the_interaction_of_their_user(self, tenant: Tenant) -> None:
        """An external id works as an id, and belongs to one interaction per user."""
        other = await tenant.other_user()
        await tenant.begin("talk", "a", external_id="thread-1")
        await tenant.begin("other", "b", scope=other, external_id="thread-1")
        await tenant.begin("thread-2", "c")
        for scope, interaction_id in ((tenant.scope, "talk"), (other, "other")):
            found = await tenant.graph.find_interaction(scope, "thread-1")
            assert found is not None
            assert (found.interaction_id, found.external_id) == (interaction_id, "thread-1")
        with pytest.raises(ConflictError) as caught:
            await tenant.begin("second", "d", external_id="thread-1")
        assert (caught.value.record, caught.value.record_id) == ("external_id", "thread-1")
        # An id wins over an equal external id.
        await tenant.begin("third", "e", external_id="thread-2")
        found = await tenant.graph.find_interaction(tenant.scope, "thread-2")
        assert found is not None
        assert found.interaction_id == "thread-2"
        again = await tenant.graph.create_interaction(
            tenant.org_id, tenant.user_id, external_id="thread-1"
        )
        assert again.interaction_id == "talk"

    async def test_b65_times_do_not_go_back_and_writers_are_collected(self, tenant: Tenant) -> None:
        """With a clock that goes back, `updated_at` still grows and activity keeps its maximum."""
        await tenant.graph.create_agent(tenant.org_id, "Second", agent_id="second")
        talk = await tenant.begin("talk", "a", agent_id=tenant.agent_id, at=tenant.at(10))
        tenant.clock.advance(timedelta(hours=-1))
        before = tenant.start
        for text, agent_id in (("b", "second"), ("c", None), ("d", tenant.agent_id)):
            talk = await tenant.edit(talk, 1, text, agent_id=agent_id, at=tenant.at(-5))
            found = await tenant.graph.get_interaction(tenant.org_id, tenant.user_id, "talk")
            assert found.updated_at > before
            before = found.updated_at
        assert (found.created_at, found.last_activity_at) == (tenant.at(10), tenant.at(10))
        assert found.participants == [tenant.agent_id, "second"]
        assert found.agent_id == tenant.agent_id

    async def test_fields_of_an_interaction_are_kept_and_replaced(self, tenant: Tenant) -> None:
        """Title, metadata and external id follow the last write that names them; origin stays."""
        talk = await tenant.begin(
            "talk", "a", title="One", metadata={"a": 1}, import_id="i1", process_id="p1"
        )
        talk = await tenant.edit(talk, 1, "b")
        await tenant.edit(
            talk, 2, title="Two", metadata={"ü": None}, external_id="x", import_id="i2"
        )
        found = await tenant.graph.get_interaction(tenant.org_id, tenant.user_id, "x")
        assert (found.title, found.metadata, found.external_id) == ("Two", {"ü": None}, "x")
        assert (found.import_id, found.process_id) == ("i1", "p1")
        assert (found.revision, found.message_count) == (2, 2)

    async def test_b66_interactions_are_listed_last_changed_first(self, tenant: Tenant) -> None:
        """Listings go by the last change, then by id, and page without gaps."""
        for name in ("b", "c", "a"):
            await tenant.begin(name, "x")
        tenant.later()
        await tenant.edit(Talk("c", messages("x")), 1, "y")

        async def listed(skip: int, limit: int) -> list[str]:
            page = await tenant.graph.get_all_user_interactions(
                tenant.org_id, tenant.user_id, skip=skip, limit=limit
            )
            return [interaction.interaction_id for interaction in page]

        assert await listed(0, 10) == ["c", "a", "b"]
        assert [*await listed(0, 2), *await listed(2, 2)] == ["c", "a", "b"]

    async def test_b70_messages_come_back_as_given(self, tenant: Tenant) -> None:
        """Texts of any characters, structured content, names and times round-trip exactly."""
        time = datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)
        given: list[dict[str, Any]] = [{"role": "user", "content": text} for text in TEXTS]
        given += [
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "args": "\x00{}"}]},
            {"role": "tool", "content": [{"type": "text", "text": "é"}, {"n": 1.5}], "id": "1"},
            {"role": "system", "content": "be brief", "name": "Ke$ha", "timestamp": time},
            {"role": "developer", "content": "x", "timestamp": time - timedelta(days=1, hours=5)},
        ]
        parsed = parse_messages(given)
        await tenant.apply(
            interaction=InteractionWrite("talk", None, MessageEdit(0, parsed), tenant.start)
        )
        stored = await tenant.graph.read_messages(tenant.scope, "talk", 0, None)
        for item, wanted in zip(stored, parsed, strict=True):
            found = item.message
            assert (found.role, found.content, found.name) == (
                wanted.role,
                wanted.content,
                wanted.name,
            )
            assert (found.timestamp, found.data) == (wanted.timestamp, wanted.data)
            assert item.prefix_hash == wanted.prefix_hash
        rebuilt = parse_messages([item.message.as_message() for item in stored])
        assert [m.prefix_hash for m in rebuilt] == [m.prefix_hash for m in parsed]

    async def test_b64_times_are_aware_and_in_utc(self, tenant: Tenant) -> None:
        """Any time of the calendar comes back as the same microsecond, in UTC."""
        east = timezone(timedelta(hours=5, minutes=45))
        for number, time in enumerate(
            (
                datetime(1, 1, 1, tzinfo=UTC),
                datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
                datetime(2025, 10, 26, 2, 30, 0, 123456, tzinfo=east),
                datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            )
        ):
            await tenant.begin(f"talk{number}", "x", at=time)
            memory_id = await tenant.store(f"m{number}", obtained_at=time, expires_at=time)
            found = await tenant.graph.find_interaction(tenant.scope, f"talk{number}")
            memory = await tenant.memory(memory_id)
            assert found is not None
            times = (found.created_at, memory.obtained_at, memory.expires_at)
            assert times == (time, time, time)
            assert [each.tzinfo for each in times if each is not None] == [UTC, UTC, UTC]

    async def test_b39_ten_thousand_messages(self, tenant: Tenant) -> None:
        """A very long interaction is stored, grows, and is read by page."""
        texts = [f"message {number}" for number in range(10_000)]
        talk = await tenant.begin("talk", *texts)
        talk = await tenant.edit(talk, 10_000, "one more")
        found = await tenant.graph.find_interaction(tenant.scope, "talk")
        assert found is not None
        assert found.message_count == 10_001
        page = await tenant.graph.read_messages(tenant.scope, "talk", 9_999, None)
        assert [item.message.content for item in page] == ["message 9999", "one more"]
        hashes = await tenant.graph.read_prefix_hashes(tenant.scope, "talk")
        assert hashes == [message.prefix_hash for message in talk.messages]
        await tenant.edit(talk, 9_000)
        assert len(await tenant.graph.read_prefix_hashes(tenant.scope, "talk")) == 9_000

    async def test_b16_an_emptied_transcript_keeps_the_new_memories(self, tenant: Tenant) -> None:
        """B63: updating to no messages stores the memories that come with it."""
        graph, org_id, user_id = tenant.graph, tenant.org_id, tenant.user_id
        interaction_id, created_at = await graph.save_interaction_with_memories(
            org_id,
            None,
            user_id,
            MemoriesAndInteraction(interaction=[], memories=[MemoryToStore(memory="first")]),
        )
        tenant.later()
        _, updated_at = await graph.update_interaction_and_memories(
            org_id,
            None,
            user_id,
            interaction_id,
            MemoriesAndInteraction(interaction=[], memories=[MemoryToStore(memory="second")]),
        )
        assert isinstance(created_at, datetime)
        assert isinstance(updated_at, datetime)
        found = await graph.get_all_interaction_memories(org_id, user_id, interaction_id)
        assert sorted(memory.memory for memory in found) == ["first", "second"]
        assert len(await tenant.queued_ids()) == 2

    async def test_a_conflict_carries_the_tail(self, tenant: Tenant) -> None:
        """Who updates on a stale revision learns revision and last messages of the server."""
        talk = await tenant.begin("talk", "a", "b")
        await tenant.edit(talk, 2, "c")
        with pytest.raises(ConflictError) as caught:
            await tenant.graph.update_interaction_and_memories(
                tenant.org_id,
                None,
                tenant.user_id,
                "talk",
                MemoriesAndInteraction(interaction=[{"role": "user", "content": "mine"}]),
                expected_revision=1,
            )
        assert (caught.value.expected, caught.value.actual) == (1, 2)
        assert [(m["msg_position"], m["content"]) for m in caught.value.tail] == [
            (0, "a"),
            (1, "b"),
            (2, "c"),
        ]

    async def test_b07_only_usable_agents_write_transcripts(self, tenant: Tenant) -> None:
        """An agent that is missing, deleted, or another user's is refused, and nothing written."""
        graph, org_id = tenant.graph, tenant.org_id
        other = await tenant.other_user()
        await graph.create_agent(org_id, "Theirs", other.user_id, agent_id="theirs")
        await graph.create_agent(org_id, "Gone", agent_id="gone")
        await graph.remove_agent(org_id, "gone", tenant.clock.now())
        for agent_id in ("missing", "theirs", "gone"):
            with pytest.raises(AgentNotFoundError):
                await tenant.begin("talk", "a", agent_id=agent_id)
        assert await graph.find_interaction(tenant.scope, "talk") is None
