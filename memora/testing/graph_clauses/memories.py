"""Clauses on memories: fields, sources, listings, names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from memora.core.hashing import content_hash
from memora.core.placeholders import agent_span, escape, user_span
from memora.errors import (
    AgentNotFoundError,
    ConflictError,
    InteractionNotFoundError,
    InvalidInputError,
)
from memora.graph_db.base import MemoryListing
from memora.schema.models import Memory
from memora.schema.scope import Scope
from memora.schema.storage_schema import MemoriesAndInteraction, MemoryToStore
from memora.schema.write_plan import MemoryEnd, SourceLink, SourceRef
from memora.testing.graph_clauses.hostile import NAMES, TEXTS
from memora.testing.graph_clauses.tenant import Tenant, TenantFixtures


def texts(memories: list[Memory]) -> list[str]:
    """Return what the memories say."""
    return [memory.memory for memory in memories]


def contents(memory: Memory) -> list[str | None]:
    """Return the texts of the memory's sources."""
    return [message.content for message in memory.message_sources]


class MemoryClauses(TenantFixtures):
    """Memories."""

    async def test_every_field_comes_back(self, tenant: Tenant) -> None:
        """A memory is read as it was written, with defaults where nothing was said."""
        talk = await tenant.begin("talk", "a", "b")
        given: dict[str, Any] = {
            "agent_id": tenant.agent_id,
            "interaction_id": talk.interaction_id,
            "memory_type": "preference",
            "importance": 0.25,
            "metadata": {"n": 1, "x": 1.5, "list": ["ü", True, None], "deep": {"a": {}}},
            "expires_at": tenant.at(60),
            "pinned": True,
            "source_role": "assistant",
            "confidence": 0.125,
            "external_id": "doc-1",
            "import_id": "import-1",
            "process_id": "process-1",
            "author": "me",
        }
        memory_id = await tenant.store(
            "full", tags=("b", "a"), entities=("Zoë",), obtained_at=tenant.at(-5), **given
        )
        tenant.later()
        plain = await tenant.memory(await tenant.store("plain"))
        full = (await tenant.memory(memory_id)).model_dump()
        assert {name: full[name] for name in given} == given
        assert (full["tags"], full["entities"]) == (["b", "a"], ["Zoë"])
        assert (full["obtained_at"], full["recorded_at"]) == (tenant.at(-5), tenant.at(0))
        assert (full["chain_id"], full["content_hash"]) == (memory_id, content_hash("full"))
        assert plain == Memory(
            org_id=tenant.org_id,
            user_id=tenant.user_id,
            memory_id=plain.memory_id,
            memory="plain",
            obtained_at=tenant.start,
            recorded_at=tenant.at(1),
            content_hash=content_hash("plain"),
            chain_id=plain.memory_id,
        )

    async def test_b48_texts_come_back_as_given(self, tenant: Tenant) -> None:
        """Statements and metadata of any characters round-trip exactly."""
        for number, text in enumerate(TEXTS):
            await tenant.store(f"m{number}", text, metadata={"text": text})
        ids = [tenant.memory_id(f"m{number}") for number in range(len(TEXTS))]
        found = await tenant.graph.read_memories(tenant.scope, ids)
        assert texts(found) == list(TEXTS)
        assert [memory.metadata for memory in found] == [{"text": text} for text in TEXTS]

    @pytest.mark.parametrize("name", NAMES[:9])
    async def test_b48_b49_names_are_filled_in_literally(self, tenant: Tenant, name: str) -> None:
        """A renamed user or agent shows in all memories at once, whatever the name holds."""
        graph, org_id, user_id = tenant.graph, tenant.org_id, tenant.user_id
        agent_id = tenant.agent_id
        spans = f"{user_span(user_id)}'s wife met {agent_span(agent_id)}"
        foreign = f"{user_span('somebody')} and {escape('[[u:the-user]]')} user_friendly"
        memory_id = await tenant.store("m", f"{spans}; {foreign}", agent_id=agent_id)
        newer = await tenant.grow(memory_id, "newer", text=spans, agent_id=agent_id)
        await graph.update_user(org_id, user_id, name)
        await graph.update_agent(org_id, agent_id, f"{name} agent")
        shown = f"{name}'s wife met {name} agent"
        older = await graph.get_user_memory(org_id, user_id, memory_id)
        assert older.memory == f"{shown}; the user and [[u:the-user]] user_friendly"
        assert texts(await graph.get_user_memory_history(org_id, user_id, newer))[0] == shown
        assert texts(await graph.get_all_user_memories(org_id, user_id)) == [shown]
        resolved = await graph.fetch_user_memories_resolved(
            [memory_id], org_id=org_id, user_id=user_id
        )
        assert texts(resolved) == [shown]
        assert (await tenant.memory(newer)).memory == spans

    async def test_b47_memories_of_a_deleted_agent_are_read_as_before(self, tenant: Tenant) -> None:
        """Deleting an agent hides neither its memories nor its interactions nor its label."""
        graph, org_id, user_id = tenant.graph, tenant.org_id, tenant.user_id
        agent_id = tenant.agent_id
        talk = await tenant.begin("talk", "a", agent_id=agent_id)
        text = f"{agent_span(agent_id)} said so"
        memory_id = await tenant.store(
            "m", text, agent_id=agent_id, interaction_id="talk", sources=(talk.source(0),)
        )
        await graph.delete_agent(org_id, agent_id)
        assert texts(await graph.get_all_user_memories(org_id, user_id)) == ["Helper said so"]
        listed = await graph.get_all_user_memories(org_id, user_id, agent_id)
        assert [memory.memory_id for memory in listed] == [memory_id]
        found = await graph.get_interaction(org_id, user_id, "talk")
        assert (found.agent_id, len(found.messages or []), len(found.memories or [])) == (
            agent_id,
            1,
            1,
        )
        await tenant.edit(talk, 1, "b")
        newer = await tenant.grow(memory_id, "newer", agent_id=agent_id)
        assert await tenant.current(memory_id) == newer
        counts = await graph.delete_user_interaction_and_its_memories(org_id, user_id, "talk")
        assert (counts.interactions, counts.messages, counts.memories) == (1, 2, 1)

    async def test_b07_an_agent_of_another_user_has_no_memories_here(self, tenant: Tenant) -> None:
        """A memory that names a missing or foreign agent is refused."""
        other = await tenant.other_user()
        await tenant.graph.create_agent(tenant.org_id, "T", other.user_id, agent_id="theirs")
        for agent_id in ("missing", "theirs"):
            with pytest.raises(AgentNotFoundError):
                await tenant.store("m", agent_id=agent_id)
        assert await tenant.all_memories() == []
        assert await tenant.queue() == []

    async def test_sources_are_linked_where_the_message_is_still_the_same(
        self, tenant: Tenant
    ) -> None:
        """B71: a source with another prefix hash, or beyond the end, is not linked."""
        other = await tenant.other_user()
        talk = await tenant.begin("talk", "a", "b", "c")
        foreign = await tenant.begin("foreign", "x", scope=other)
        sources = (
            talk.source(2),
            talk.source(0),
            talk.source(0),
            SourceRef("talk", 1, "another hash"),
            SourceRef("talk", 7, talk.messages[1].prefix_hash),
            SourceRef("talk", -1, talk.messages[2].prefix_hash),
            SourceRef("missing", 0, talk.messages[0].prefix_hash),
            foreign.source(0),
        )
        memory = await tenant.memory(await tenant.store("m", sources=sources))
        assert contents(memory) == ["a", "c"]
        assert [message.msg_position for message in memory.message_sources] == [0, 2]

    async def test_b52_a_memory_outlives_its_messages(self, tenant: Tenant) -> None:
        """Cutting messages takes links, not memories; links to kept messages stay."""
        talk = await tenant.begin("talk", "a", "b", "c")
        memory_id = await tenant.store("m", sources=(talk.source(0), talk.source(2)))
        bare = await tenant.store("bare")
        talk = await tenant.edit(talk, 1, "B", "C")
        assert contents(await tenant.memory(memory_id)) == ["a"]
        await tenant.edit(talk, 0)
        assert contents(await tenant.memory(memory_id)) == []
        assert contents(await tenant.memory(bare)) == []
        assert await tenant.current(memory_id) == memory_id

    async def test_a_late_source_is_not_linked_to_what_replaced_it(self, tenant: Tenant) -> None:
        """A memory of a message that was replaced meanwhile is stored without that source."""
        talk = await tenant.begin("talk", "a", "b")
        await tenant.edit(talk, 1, "B")
        memory_id = await tenant.store("m", sources=(talk.source(0), talk.source(1)))
        assert contents(await tenant.memory(memory_id)) == ["a"]

    async def test_links_add_sources_to_what_is_there(self, tenant: Tenant) -> None:
        """A repeated link changes nothing."""
        talk = await tenant.begin("talk", "a", "b")
        memory_id = await tenant.store("m", sources=(talk.source(0),))
        for _ in range(2):
            await tenant.apply(links=(SourceLink(memory_id, (talk.source(1), talk.source(0))),))
        assert contents(await tenant.memory(memory_id)) == ["a", "b"]
        assert len(await tenant.all_memories()) == 1

    async def test_a_link_to_a_memory_that_is_gone_refuses_the_plan(self, tenant: Tenant) -> None:
        """What repeats a memory that was removed meanwhile, or is foreign, has to be replanned."""
        other = await tenant.other_user()
        talk = await tenant.begin("talk", "a")
        theirs = tenant.statement("theirs")
        await tenant.apply(other, memories=(theirs,))
        before = await tenant.snapshot()
        for memory_id in (tenant.memory_id("gone"), theirs.memory_id):
            with pytest.raises(ConflictError) as caught:
                await tenant.apply(
                    memories=(tenant.statement("new"),),
                    links=(SourceLink(memory_id, (talk.source(0),)),),
                )
            assert (caught.value.record, caught.value.record_id) == ("memory", memory_id)
        assert await tenant.snapshot() == before

    async def test_b14_a_memory_of_a_deleted_interaction_is_refused(self, tenant: Tenant) -> None:
        """A memory cannot be obtained in an interaction that is not there, or foreign."""
        other = await tenant.other_user()
        await tenant.begin("theirs", "a", scope=other)
        for interaction_id in ("missing", "theirs"):
            with pytest.raises(InteractionNotFoundError):
                await tenant.store("m", interaction_id=interaction_id)
        assert await tenant.all_memories() == []

    async def test_b57_reading_keeps_the_order_of_the_ids(self, tenant: Tenant) -> None:
        """Memories come in the order asked for, unknown ids are left out, an agent narrows."""
        a = await tenant.store("a", agent_id=tenant.agent_id)
        b, c = await tenant.store("b"), await tenant.store("c")
        graph = tenant.graph
        asked = [c, tenant.memory_id("missing"), a, "'; --", b]
        assert texts(await graph.read_memories(tenant.scope, asked)) == ["c", "a", "b"]
        assert list(await graph.resolve_memories(tenant.scope, asked, None)) == [c, a, b]
        narrowed = Scope(tenant.org_id, tenant.user_id, tenant.agent_id)
        assert texts(await graph.read_memories(narrowed, asked)) == ["a"]
        assert list(await graph.resolve_memories(narrowed, asked, None)) == [c, a, b]
        assert await graph.read_memories(tenant.scope, []) == []
        assert await graph.resolve_memories(tenant.scope, [], None) == {}
        assert await graph.read_chains(tenant.scope, []) == {}

    async def test_b59_batches_keep_their_number_and_count_a_statement_once(
        self, tenant: Tenant
    ) -> None:
        """One list per batch; two versions of a statement count at the place of the first."""
        old, new = await tenant.chain("old", "new")
        single = await tenant.store("single")
        batches = await tenant.graph.fetch_user_memories_resolved_batch(
            [[], [old, single, new], [tenant.memory_id("missing")], [single, new]],
            org_id=tenant.org_id,
            user_id=tenant.user_id,
        )
        assert [texts(batch) for batch in batches] == [
            [],
            ["new", "single"],
            [],
            ["single", "new"],
        ]

    @pytest.mark.parametrize("item", [7, None, ["m"], {}, {"memory_id": ["m"]}, {"memory_id": 7}])
    async def test_b08_items_of_a_fetch_are_ids_or_name_one(
        self, tenant: Tenant, item: Any
    ) -> None:
        """Anything else is refused by name, and an owner that is not the caller's drops out."""
        graph, org_id, user_id = tenant.graph, tenant.org_id, tenant.user_id
        with pytest.raises(InvalidInputError) as caught:
            await graph.fetch_user_memories_resolved([item], org_id=org_id, user_id=user_id)
        assert caught.value.field == "batch_org_user_mem_ids"
        owner: Any = {"user_id": ["the-user"], "memory_id": tenant.memory_id("m")}
        assert (
            await graph.fetch_user_memories_resolved([owner], org_id=org_id, user_id=user_id) == []
        )
        with pytest.raises(InvalidInputError):
            await graph.fetch_user_memories_resolved([owner], org_id=org_id)
        wrong: Any = {"$ne": ""}
        with pytest.raises(InvalidInputError):
            await graph.fetch_user_memories_resolved(["m"], org_id=org_id, user_id=wrong)

    async def test_b45_b66_memories_are_listed_newest_first(self, tenant: Tenant) -> None:
        """Listings go by time, then id, descending; skipping and continuing lose nothing."""
        for number, minute in enumerate((3, 1, 2, 2, 2, 5)):
            await tenant.store(f"m{number}", obtained_at=tenant.at(minute))
        expected = sorted(
            await tenant.all_memories(),
            key=lambda memory: (memory.obtained_at, memory.memory_id),
            reverse=True,
        )
        graph, scope = tenant.graph, tenant.scope
        assert await graph.list_memories(scope, MemoryListing()) == expected
        skipped: list[Memory] = []
        for skip in (0, 2, 4, 6):
            skipped += await graph.list_memories(scope, MemoryListing(skip=skip, limit=2))
        continued: list[Memory] = []
        after = None
        while page := await graph.list_memories(scope, MemoryListing(after=after, limit=2)):
            continued += page
            after = (page[-1].obtained_at, page[-1].memory_id)
        assert skipped == continued == expected
        public = await graph.get_all_user_memories(tenant.org_id, tenant.user_id, None, 1, 3)
        assert public == expected[1:4]

    async def test_listings_select(self, tenant: Tenant) -> None:
        """A listing takes heads or all versions, of one agent, of one interaction."""
        await tenant.begin("talk", "a")
        old = await tenant.store("old", interaction_id="talk", agent_id=tenant.agent_id)
        await tenant.grow(old, "new", interaction_id="talk", obtained_at=tenant.at(1))
        await tenant.store("else", obtained_at=tenant.at(2))

        async def listed(**listing: Any) -> list[str]:
            return texts(await tenant.graph.list_memories(tenant.scope, MemoryListing(**listing)))

        assert await listed() == ["else", "new"]
        assert await listed(current_only=False) == ["else", "new", "old"]
        assert await listed(interaction_id="talk") == ["new"]
        assert await listed(interaction_id="talk", current_only=False) == ["new", "old"]
        assert await listed(interaction_id="talk", current_only=False, skip=1) == ["old"]
        assert await listed(agent_id=tenant.agent_id) == []
        assert await listed(agent_id=tenant.agent_id, current_only=False) == ["old"]
        assert (
            await listed(interaction_id="talk", agent_id=tenant.agent_id, current_only=False)
        ) == ["old"]
        assert await listed(interaction_id="missing") == []

    async def test_what_stands_is_listed_by_type_or_pin(self, tenant: Tenant) -> None:
        await tenant.store("rule", memory_type="rule", obtained_at=tenant.at(1))
        await tenant.store("pinned", pinned=True, obtained_at=tenant.at(2))
        await tenant.store("fact", obtained_at=tenant.at(3))

        async def standing(*types: str, **listing: Any) -> list[str]:
            found = await tenant.graph.list_live_memories(
                tenant.scope, MemoryListing(standing=types, **listing), tenant.at(9)
            )
            return texts(found)

        assert await standing("rule", "plan") == ["pinned", "rule"]
        assert await standing() == ["pinned"]
        assert await standing("rule", limit=1, skip=1) == ["rule"]
        assert await standing("fact", agent_id=tenant.agent_id) == []

    async def test_expired_memories_are_listed_for_maintenance_only(self, tenant: Tenant) -> None:
        """Live listings leave out what expired by then; the moment of expiry is too late."""
        await tenant.store("expires", expires_at=tenant.at(10))
        await tenant.store("stays")

        async def live(minutes: float) -> list[str]:
            found = await tenant.graph.list_live_memories(
                tenant.scope, MemoryListing(), tenant.at(minutes)
            )
            return sorted(texts(found))

        assert await live(9) == ["expires", "stays"]
        assert await live(10) == ["stays"]
        assert len(await tenant.graph.list_memories(tenant.scope, MemoryListing())) == 2

    async def test_b56_equal_statements_are_found_among_heads_only(self, tenant: Tenant) -> None:
        """A past or retracted version is no duplicate of anything; an agent narrows."""
        old = await tenant.store("Likes tea.", agent_id=tenant.agent_id)
        wanted = {content_hash("likes TEA"), content_hash("likes coffee"), content_hash("?")}
        graph = tenant.graph
        found = await graph.find_current_by_hash(tenant.scope, wanted)
        assert {key: memory.memory_id for key, memory in found.items()} == {
            content_hash("likes tea"): old
        }
        narrowed = Scope(tenant.org_id, tenant.user_id, tenant.agent_id)
        assert await graph.find_current_by_hash(narrowed, wanted) == found
        new = await tenant.grow(old, "Likes coffee.", obtained_at=tenant.at(1))
        found = await graph.find_current_by_hash(tenant.scope, wanted)
        assert [memory.memory_id for memory in found.values()] == [new]
        assert await graph.find_current_by_hash(narrowed, wanted) == {}
        await tenant.apply(ends=(MemoryEnd(new, tenant.at(2)),))
        assert await graph.find_current_by_hash(tenant.scope, wanted) == {}
        assert await graph.find_current_by_hash(tenant.scope, []) == {}

    async def test_b45_saved_memories_are_listed(self, tenant: Tenant) -> None:
        """What `save_interaction_with_memories` stores is listed, with sources and versions."""
        graph, org_id, user_id = tenant.graph, tenant.org_id, tenant.user_id
        interaction_id, _ = await graph.save_interaction_with_memories(
            org_id,
            tenant.agent_id,
            user_id,
            MemoriesAndInteraction(
                interaction=[
                    {"role": "user", "content": "I like tea"},
                    {"role": "assistant", "content": "Noted"},
                ],
                interaction_date=tenant.at(-60),
                memories=[
                    MemoryToStore(
                        memory=f"{user_span(user_id)} likes tea", source_msg_block_pos=[0]
                    )
                ],
            ),
        )
        listed = await graph.get_all_user_memories(org_id, user_id)
        assert texts(listed) == ["Jake likes tea"]
        assert contents(listed[0]) == ["I like tea"]
        assert (listed[0].interaction_id, listed[0].agent_id) == (interaction_id, tenant.agent_id)
        assert listed[0].obtained_at == tenant.at(-60)
        assert listed[0].recorded_at - tenant.start < timedelta(seconds=1)
