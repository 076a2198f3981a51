"""Clauses on version chains: succession, insertion, ends, purges, reading as of a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from memora.core.hashing import content_hash, tombstone
from memora.errors import ConflictError
from memora.schema.sources import SourceSelector
from memora.schema.storage_schema import ContraryMemoryToStore, MemoriesAndInteraction
from memora.schema.write_plan import Beginning, MemoryEnd, SourceLink, SourceRef
from memora.testing.graph_clauses.tenant import Tenant, TenantFixtures


async def of_one_time(tenant: Tenant) -> list[str]:
    """Store a chain whose head was stored before the version that it follows at the same time."""
    talk = await tenant.begin("talk", "z")
    said = {"interaction_id": "talk", "sources": (talk.source(0),)}
    low = await tenant.store("a", obtained_at=tenant.at(0))
    head = await tenant.grow(low, "z", obtained_at=tenant.at(1), **said)
    middle = await tenant.grow(low, "b", obtained_at=tenant.at(0.5))
    begins = Beginning(tenant.at(0.5), tenant.at(1), "user", middle, tenant.at(0.5))
    await tenant.apply(links=(SourceLink(head, (talk.source(0),), begins),))
    return [low, middle, head]


class ChainClauses(TenantFixtures):
    """Version chains."""

    async def test_b53_history_is_the_same_from_any_version(self, tenant: Tenant) -> None:
        """Of a chain of four each version knows its neighbours and leads to all, newest first."""
        ids = await tenant.chain("a", "b", "c", "d")
        for memory_id in ids:
            assert await tenant.history(memory_id) == ids[::-1]
            assert await tenant.current(memory_id) == ids[3]
        stored = await tenant.graph.read_memories(tenant.scope, ids)
        assert [memory.superseded_by for memory in stored] == [*ids[1:], None]
        assert [memory.supersedes for memory in stored] == [None, *ids[:-1]]
        assert [memory.superseded_at for memory in stored] == [
            tenant.at(1),
            tenant.at(2),
            tenant.at(3),
            None,
        ]
        assert {memory.chain_id for memory in stored} == {ids[0]}
        public = await tenant.graph.get_user_memory_history(tenant.org_id, tenant.user_id, ids[1])
        assert [memory.memory_id for memory in public] == ids[::-1]

    async def test_an_older_contradiction_goes_below_the_head(self, tenant: Tenant) -> None:
        """A version that is older than the head is a past version from the start."""
        first, head = await tenant.chain("a", "c")
        middle = await tenant.grow(first, "b", obtained_at=tenant.at(0.5))
        bottom = await tenant.grow(head, "0", obtained_at=tenant.at(-1))
        assert await tenant.history(head) == [head, middle, first, bottom]
        assert await tenant.current(bottom) == head
        stored = await tenant.graph.read_memories(tenant.scope, [bottom, first, middle])
        assert [memory.superseded_at for memory in stored] == [
            tenant.at(0),
            tenant.at(0.5),
            tenant.at(1),
        ]
        assert {memory.chain_id for memory in stored} == {first}

    async def test_a_version_that_was_said_before_begins_earlier(self, tenant: Tenant) -> None:
        """Its time and role change, and the end of the version before; both go to the vectors."""
        talk = await tenant.begin("talk", "a", "b")
        first, head = await tenant.chain("a", "b")
        await tenant.empty_queue()
        begins = Beginning(tenant.at(0.5), tenant.at(1), "assistant", first, tenant.at(0.5))
        await tenant.apply(links=(SourceLink(head, (talk.source(0),), begins),))
        old, new = await tenant.graph.read_memories(tenant.scope, [first, head])
        assert (new.obtained_at, new.source_role) == (tenant.at(0.5), "assistant")
        assert (new.superseded_at, old.superseded_at) == (None, tenant.at(0.5))
        assert old.superseded_by == head
        assert [message.content for message in new.message_sources] == ["a"]
        assert sorted(await tenant.queued_ids()) == sorted([first, head])
        assert await tenant.current(first, tenant.at(0.75)) == head
        lowest = Beginning(tenant.at(-1), tenant.at(0), "user")
        await tenant.apply(links=(SourceLink(first, (talk.source(1),), lowest),))
        assert (await tenant.memory(first)).obtained_at == tenant.at(-1)
        assert await tenant.history(head) == [head, first]

    async def test_b29_a_stale_earlier_time_refuses_the_plan(self, tenant: Tenant) -> None:
        """Another time, another predecessor, or a memory that is gone: nothing is written."""
        talk = await tenant.begin("talk", "a")
        first, head = await tenant.chain("a", "b")
        before = await tenant.snapshot()
        at, was = tenant.at(0.5), tenant.at(1)
        for memory_id, begins in (
            (head, Beginning(at, tenant.at(2), "user", first, at)),
            (head, Beginning(at, was, "user")),
            (head, Beginning(at, was, "user", head, at)),
            (first, Beginning(tenant.at(-1), tenant.at(0), "user", head, at)),
            (tenant.memory_id("gone"), Beginning(at, was, "user")),
        ):
            with pytest.raises(ConflictError) as caught:
                await tenant.apply(
                    memories=(tenant.statement("new"),),
                    links=(SourceLink(memory_id, (talk.source(0),), begins),),
                )
            assert caught.value.record == "memory"
        assert await tenant.snapshot() == before

    async def test_versions_of_one_time_keep_the_order_of_their_arrival(
        self, tenant: Tenant
    ) -> None:
        """Of equally old versions the one stored last is the newest."""
        first = await tenant.store("a")
        ids = [first, *[await tenant.grow(first, name) for name in "bcde"]]
        assert await tenant.history(first) == ids[::-1]
        assert await tenant.current(first) == ids[-1]
        # Only the last one was ever current: the others lasted no time at all.
        assert await tenant.current(first, tenant.start) == ids[-1]

    async def test_versions_of_one_time_have_the_order_of_their_links(self, tenant: Tenant) -> None:
        """Also where one that was stored before begins earlier by what is told later."""
        low, middle, head = await of_one_time(tenant)
        assert await tenant.history(low) == [head, middle, low]
        last = await tenant.grow(low, "d", obtained_at=tenant.at(0.5))
        assert await tenant.history(low) == [last, head, middle, low]
        await tenant.graph.purge_memories(tenant.scope, [middle], tenant.later())
        assert await tenant.history(low) == [last, head, low]
        talk = SourceSelector.of(interaction_id="talk")
        await tenant.graph.withdraw(tenant.scope, talk, tenant.later(), leave_tombstones=False)
        assert await tenant.history(low) == [last, low]
        findings = await tenant.graph.inspect()
        assert not [finding for finding in findings if finding.org_id == tenant.org_id]

    async def test_one_plan_may_hold_several_versions_of_one_chain(self, tenant: Tenant) -> None:
        """Versions that follow each other in a plan are linked as if written one by one."""
        first = await tenant.store("a")
        second = await tenant.version(first, "b", obtained_at=tenant.at(1))
        third = replace(
            tenant.statement("c", obtained_at=tenant.at(1)),
            chain_id=first,
            predecessor_id=second.memory_id,
            predecessor_superseded_at=tenant.at(1),
            replaces_head=second.memory_id,
        )
        await tenant.empty_queue()
        await tenant.apply(memories=(second, third))
        assert await tenant.history(first) == [third.memory_id, second.memory_id, first]
        assert sorted(await tenant.queued_ids()) == sorted(await tenant.history(first))

    async def test_b29_a_version_has_one_successor(self, tenant: Tenant) -> None:
        """A plan made before somebody else superseded the head is refused as a whole."""
        first = await tenant.store("a")
        late = await tenant.version(first, "late", obtained_at=tenant.at(2))
        head = await tenant.grow(first, "b", obtained_at=tenant.at(1))
        before = await tenant.snapshot()
        with pytest.raises(ConflictError) as caught:
            await tenant.apply(memories=(tenant.statement("else"), late))
        assert caught.value.record == "memory"
        assert await tenant.snapshot() == before
        assert await tenant.current(first) == head

    async def test_b28_two_writers_supersede_the_same_head(self, tenant: Tenant) -> None:
        """Of two concurrent successors one is written, the other is a conflict."""
        first = await tenant.store("a")
        left = await tenant.version(first, "left", obtained_at=tenant.at(1))
        right = await tenant.version(first, "right", obtained_at=tenant.at(1))
        outcomes = await asyncio.gather(
            tenant.apply(memories=(left,)),
            tenant.apply(memories=(right,)),
            return_exceptions=True,
        )
        assert sorted(type(each).__name__ for each in outcomes) == ["ConflictError", "WriteReceipt"]
        winner = left if isinstance(outcomes[1], ConflictError) else right
        assert await tenant.history(first) == [winner.memory_id, first]
        assert await tenant.current(first) == winner.memory_id

    async def test_b29_insertions_below_conflict_like_heads(self, tenant: Tenant) -> None:
        """A stale place in the middle, or at the bottom, is refused."""
        first, _ = await tenant.chain("a", "c")
        middle = await tenant.version(first, "m", obtained_at=tenant.at(0.5))
        bottom = await tenant.version(first, "0", obtained_at=tenant.at(-1))
        await tenant.grow(first, "m2", obtained_at=tenant.at(0.25))
        await tenant.grow(first, "00", obtained_at=tenant.at(-2))
        before = await tenant.snapshot()
        for stale in (middle, bottom):
            with pytest.raises(ConflictError):
                await tenant.apply(memories=(stale,))
        assert await tenant.snapshot() == before

    async def test_b28_a_new_head_names_the_one_it_replaces(self, tenant: Tenant) -> None:
        """A head that was retracted meanwhile, or another one, refuses the plan."""
        first, head = await tenant.chain("a", "b")
        next_head = await tenant.version(head, "c", obtained_at=tenant.at(2))
        for wrong in (None, first, tenant.memory_id("missing")):
            with pytest.raises(ConflictError):
                await tenant.apply(memories=(replace(next_head, replaces_head=wrong),))
        await tenant.apply(ends=(MemoryEnd(head, tenant.at(2)),))
        with pytest.raises(ConflictError):
            await tenant.apply(memories=(next_head,))
        assert await tenant.history(first) == [head, first]

    async def test_neighbours_are_of_the_same_chain(self, tenant: Tenant) -> None:
        """A version between versions of another statement is refused."""
        first, other = await tenant.store("a"), await tenant.store("b")
        version = await tenant.version(first, "c", obtained_at=tenant.at(1))
        for wrong in (
            replace(version, chain_id=other, replaces_head=other),
            replace(version, predecessor_id=None, replaces_head=first),
            replace(version, predecessor_id=None, replaces_head=None),
            replace(version, predecessor_id=tenant.memory_id("missing")),
        ):
            with pytest.raises(ConflictError):
                await tenant.apply(memories=(wrong,))
        assert await tenant.history(first) == [first]
        assert await tenant.history(other) == [other]

    async def test_b13_a_memory_id_is_used_once(self, tenant: Tenant) -> None:
        """A statement under a known id is refused and changes nothing."""
        await tenant.store("a")
        before = await tenant.snapshot()
        with pytest.raises(ConflictError) as caught:
            await tenant.store("a", "something else")
        assert (caught.value.record, caught.value.record_id) == ("memory", tenant.memory_id("a"))
        assert await tenant.snapshot() == before

    async def test_a_retracted_statement_has_no_current_version(self, tenant: Tenant) -> None:
        """Retraction keeps the history; a later version makes the statement current again."""
        first, head = await tenant.chain("a", "b")
        await tenant.apply(ends=(MemoryEnd(head, tenant.at(5)),))
        assert await tenant.current(first) is None
        assert await tenant.current(first, tenant.at(4)) == head
        assert await tenant.current(first, tenant.at(5)) is None
        ended = await tenant.memory(head)
        assert (ended.superseded_at, ended.superseded_by) == (tenant.at(5), None)
        assert not ended.is_current
        back = await tenant.grow(first, "c", obtained_at=tenant.at(9))
        assert await tenant.history(first) == [back, head, first]
        assert await tenant.current(first) == back
        assert await tenant.current(first, tenant.at(7)) is None
        assert (await tenant.memory(head)).superseded_at == tenant.at(5)

    async def test_only_a_head_can_be_ended(self, tenant: Tenant) -> None:
        """Ending a past, ended or missing version is a conflict, and nothing is written."""
        first, head = await tenant.chain("a", "b")
        ended = await tenant.store("c")
        await tenant.apply(ends=(MemoryEnd(ended, tenant.at(1)),))
        before = await tenant.snapshot()
        for memory_id in (first, ended, tenant.memory_id("missing")):
            with pytest.raises(ConflictError) as caught:
                await tenant.apply(
                    memories=(tenant.statement("new"),),
                    ends=(MemoryEnd(head, tenant.at(3)), MemoryEnd(memory_id, tenant.at(3))),
                )
            assert caught.value.record == "memory"
        assert await tenant.snapshot() == before

    @pytest.mark.parametrize("purged", ["a", "b", "c", "d", "ab", "bc", "cd", "ad", "abcd"])
    async def test_b54_a_purge_makes_nothing_older_current(
        self, tenant: Tenant, purged: str
    ) -> None:
        """Whatever is purged, the rest stays linked, and no time gets an older answer."""
        ids = dict(zip("abcd", await tenant.chain(*"abcd"), strict=True))
        counts = await tenant.graph.purge_memories(
            tenant.scope, [ids[name] for name in purged], tenant.later()
        )
        assert counts.memories == len(purged)
        left = [ids[name] for name in "abcd" if name not in purged]
        for memory_id in left:
            assert await tenant.history(memory_id) == left[::-1]
        stored = await tenant.graph.read_memories(tenant.scope, left)
        assert [memory.superseded_by for memory in stored] == [*left[1:], None][: len(left)]
        assert [memory.supersedes for memory in stored] == [None, *left[:-1]][: len(left)]
        for anchor in left:
            assert await tenant.current(anchor) == (None if "d" in purged else ids["d"])
            for minute, name in enumerate("abcd"):
                expected = None if name in purged else ids[name]
                assert await tenant.current(anchor, tenant.at(minute + 0.5)) == expected
        for name in purged:
            assert await tenant.current(ids[name]) is None
            assert await tenant.history(ids[name]) == []

    async def test_b54_a_chain_goes_on_after_its_head_was_purged(self, tenant: Tenant) -> None:
        """A new version after a purged head follows the newest one that is left."""
        first, second, head = await tenant.chain("a", "b", "c")
        await tenant.graph.delete_user_memory(tenant.org_id, tenant.user_id, head)
        assert await tenant.current(first) is None
        new = await tenant.grow(first, "d", obtained_at=tenant.at(9))
        assert await tenant.history(first) == [new, second, first]
        assert await tenant.current(first) == new
        assert await tenant.current(first, tenant.at(5)) is None

    async def test_as_of_reads_what_was_known_then(self, tenant: Tenant) -> None:
        """A version is current from its own time until, not including, its successor's."""
        ids = await tenant.chain("a", "b", "c")
        expected = {-0.1: None, 0: 0, 0.9: 0, 1: 1, 1.5: 1, 2: 2, 1000: 2}
        for minute, index in expected.items():
            for memory_id in ids:
                found = await tenant.current(memory_id, tenant.at(minute))
                assert found == (None if index is None else ids[index])
        resolved = await tenant.graph.fetch_user_memories_resolved(
            [ids[2]], org_id=tenant.org_id, user_id=tenant.user_id, as_of=tenant.at(0.5)
        )
        assert [memory.memory for memory in resolved] == ["a"]

    async def test_b55_a_buried_contradiction_does_not_hold_up_the_next_one(
        self, tenant: Tenant
    ) -> None:
        """The later version of the same call takes the place that the buried one would have had."""
        graph, org_id, user_id = tenant.graph, tenant.org_id, tenant.user_id
        talk = await tenant.begin("talk", "I like tea")
        known = await tenant.store("known")
        purged = await tenant.store("purged", sources=(talk.source(0),))
        await graph.delete_user_memory(org_id, user_id, purged)
        given: list[tuple[str, list[int]]] = [("purged", [0]), ("next", [])]
        await graph.update_interaction_and_memories(
            org_id,
            None,
            user_id,
            "talk",
            MemoriesAndInteraction(
                interaction=[{"role": "user", "content": "I like tea"}],
                interaction_date=tenant.at(1),
                contrary_memories=[
                    ContraryMemoryToStore(
                        memory=text, source_msg_block_pos=sources, existing_contrary_memory_id=known
                    )
                    for text, sources in given
                ],
            ),
        )
        history = await graph.get_user_memory_history(org_id, user_id, known)
        assert [memory.memory for memory in history] == ["next", "known"]

    async def test_b55_a_purged_statement_does_not_come_back(self, tenant: Tenant) -> None:
        """The same statement from the same message is dropped; from another one it is new."""
        talk = await tenant.begin("talk", "I like tea", "ok", "tea, I said")
        sources = (talk.source(0), talk.source(2))
        purged = await tenant.store("m", "Likes tea.", sources=sources)
        await tenant.graph.delete_user_memory(tenant.org_id, tenant.user_id, purged)
        await tenant.empty_queue()
        buried = tenant.statement("again", "likes tea", sources=sources)
        await tenant.apply(memories=(buried, tenant.statement("else", sources=sources)))
        assert [memory.memory for memory in await tenant.all_memories()] == ["else"]
        assert await tenant.queued_ids() == [tenant.memory_id("else")]
        new = SourceRef("talk", 1, talk.messages[1].prefix_hash)
        await tenant.store("elsewhere", "likes tea", sources=(talk.source(0), new))
        await tenant.store("by hand", "likes tea")
        assert len(await tenant.all_memories()) == 3

    async def test_tombstones_are_the_users(self, tenant: Tenant) -> None:
        """Tombstones are made of the user's salt and found for that user only."""
        other = await tenant.other_user()
        talk = await tenant.begin("talk", "a", "b")
        memory_id = await tenant.store("m", sources=(talk.source(0),))
        salt = await tenant.graph.read_salt(tenant.scope)
        marks = [
            tombstone(salt, message.prefix_hash, content_hash("m")) for message in talk.messages
        ]
        assert await tenant.graph.find_tombstones(tenant.scope, marks) == set()
        await tenant.graph.delete_user_memory(tenant.org_id, tenant.user_id, memory_id)
        assert await tenant.graph.find_tombstones(tenant.scope, marks) == {marks[0]}
        assert await tenant.graph.find_tombstones(other, marks) == set()
        assert await tenant.graph.find_tombstones(tenant.scope, []) == set()

    async def test_b29_a_version_of_a_foreign_statement_is_refused(self, tenant: Tenant) -> None:
        """Naming another user's memory as neighbour or head changes nothing there."""
        other = await tenant.other_user()
        first = await tenant.store("a")
        version = await tenant.version(first, "b", obtained_at=tenant.at(1))
        before = await tenant.snapshot()
        with pytest.raises(ConflictError):
            await tenant.apply(other, memories=(version,))
        with pytest.raises(ConflictError):
            await tenant.apply(other, ends=(MemoryEnd(first, tenant.at(1)),))
        assert await tenant.snapshot() == before
