"""Clauses on sources: which memories come from one, and what taking it back leaves."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from memora.core.hashing import content_hash, tombstone
from memora.errors import ConflictError
from memora.schema.jobs import JobStatus
from memora.schema.scope import Scope
from memora.schema.sources import SourceKind, SourceSelector, Withdrawal
from memora.schema.write_plan import MemoryEnd, SourceLink
from memora.testing.graph_clauses.tenant import Talk, Tenant, TenantFixtures

EVIL = SourceSelector(SourceKind.INTERACTION, "evil")


async def withdraw(
    tenant: Tenant,
    selector: SourceSelector = EVIL,
    *,
    scope: Scope | None = None,
    leave_tombstones: bool = True,
    dry_run: bool = False,
) -> Withdrawal:
    """Take a source back a minute later."""
    return await tenant.graph.withdraw(
        scope or tenant.scope,
        selector,
        tenant.later(),
        leave_tombstones=leave_tombstones,
        dry_run=dry_run,
    )


async def found(tenant: Tenant, selector: SourceSelector, **page: int) -> list[str]:
    """Return the texts of all versions that come from a source, as they are listed."""
    asked = {"skip": 0, "limit": 1000, **page}
    memories = await tenant.graph.list_source_memories(
        tenant.scope, selector, tenant.clock.now(), current_only=False, **asked
    )
    return [memory.memory for memory in memories]


async def poisoned(tenant: Tenant) -> tuple[Talk, Talk]:
    """Begin a conversation that can be trusted, and one that cannot."""
    good = await tenant.begin("good", "a", "b", agent_id=tenant.agent_id)
    evil = await tenant.begin("evil", "x", "y", import_id="import", process_id="process")
    return good, evil


class WithdrawalClauses(TenantFixtures):
    """Sources."""

    async def test_d12_memories_are_found_by_their_source(self, tenant: Tenant) -> None:
        """Obtained in it or with a message of it; newest first; by hand is from nowhere."""
        good, evil = await poisoned(tenant)
        obtained = {"interaction_id": "evil", "import_id": "import", "process_id": "process"}
        await tenant.store("cut", obtained_at=tenant.at(1), **obtained)
        await tenant.store("said", obtained_at=tenant.at(2), sources=(evil.source(0),), **obtained)
        mixed = await tenant.store(
            "mixed",
            obtained_at=tenant.at(3),
            interaction_id="good",
            agent_id=tenant.agent_id,
            sources=(good.source(0),),
        )
        await tenant.apply(links=(SourceLink(mixed, (evil.source(1),)),))
        await tenant.store("edited", obtained_at=tenant.at(4), author="me", **obtained)
        await tenant.store("other")
        expected = {
            SourceSelector(SourceKind.INTERACTION, "evil"): ["mixed", "said", "cut"],
            SourceSelector(SourceKind.IMPORT, "import"): ["mixed", "said", "cut"],
            SourceSelector(SourceKind.PROCESS, "process"): ["mixed", "said", "cut"],
            SourceSelector(SourceKind.INTERACTION, "good"): ["mixed"],
            SourceSelector(SourceKind.AGENT, tenant.agent_id): ["mixed"],
            SourceSelector(SourceKind.AGENT, "missing"): [],
            SourceSelector(SourceKind.IMPORT, "process"): [],
        }
        for selector, texts in expected.items():
            assert await found(tenant, selector) == texts, selector
        assert await found(tenant, EVIL, skip=1, limit=1) == ["said"]

    async def test_d12_a_continued_conversation_belongs_to_who_continued_it(
        self, tenant: Tenant
    ) -> None:
        """What one agent obtained in another one's conversation comes from the first one."""
        good, _ = await poisoned(tenant)
        await tenant.graph.create_agent(tenant.org_id, "Other", agent_id="other-agent")
        memory_id = await tenant.store(
            "m", interaction_id="good", agent_id="other-agent", sources=(good.source(0),)
        )
        assert await found(tenant, SourceSelector(SourceKind.AGENT, tenant.agent_id)) == []
        other = SourceSelector(SourceKind.AGENT, "other-agent")
        assert await found(tenant, other) == ["m"]
        assert (await withdraw(tenant, other)).removed == (memory_id,)

    async def test_d12_only_current_ones_are_listed_when_asked_for(self, tenant: Tenant) -> None:
        """A superseded version of the source is listed with the others only."""
        await poisoned(tenant)
        first = await tenant.store("a", interaction_id="evil")
        await tenant.grow(first, "b", obtained_at=tenant.at(1), interaction_id="evil")
        listed = await tenant.graph.list_source_memories(
            tenant.scope, EVIL, tenant.clock.now(), current_only=True, skip=0, limit=10
        )
        assert [memory.memory for memory in listed] == ["b"]
        assert await found(tenant, EVIL) == ["b", "a"]

    async def test_d8_a_withdrawn_head_makes_its_predecessor_current(self, tenant: Tenant) -> None:
        """What the source superseded holds again, today and as of any time."""
        await poisoned(tenant)
        first = await tenant.store("a", obtained_at=tenant.at(0))
        evil = await tenant.grow(first, "b", obtained_at=tenant.at(1), interaction_id="evil")
        await tenant.empty_queue()
        outcome = await withdraw(tenant)
        assert outcome == Withdrawal(removed=(evil,), restored=(first,))
        assert await tenant.history(first) == [first]
        assert await tenant.current(first) == first
        assert await tenant.current(first, tenant.at(5)) == first
        assert await tenant.history(evil) == []
        assert sorted(await tenant.queued_ids()) == sorted([evil, first])
        assert await withdraw(tenant) == Withdrawal()

    @pytest.mark.parametrize("evil", ["a", "b", "c", "d", "ab", "bc", "cd", "ad", "abcd"])
    async def test_d8_a_chain_is_as_if_the_source_had_never_been(
        self, tenant: Tenant, evil: str
    ) -> None:
        """Whatever goes, each time is read as the remaining versions alone would be."""
        await poisoned(tenant)
        first: str | None = None
        ids: dict[str, str] = {}
        for minute, name in enumerate("abcd"):
            fields = {"interaction_id": "evil"} if name in evil else {}
            at = tenant.at(minute)
            if first is None:
                first = ids[name] = await tenant.store(name, obtained_at=at, **fields)
            else:
                ids[name] = await tenant.grow(first, name, obtained_at=at, **fields)
        outcome = await withdraw(tenant)
        assert outcome.removed == tuple(ids[name] for name in evil)
        left = [name for name in "abcd" if name not in evil]
        assert outcome.restored == ((ids[left[-1]],) if left and "d" in evil else ())
        for name in left:
            assert await tenant.history(ids[name]) == [ids[each] for each in reversed(left)]
            assert await tenant.current(ids[name]) == ids[left[-1]]
            for minute, now in enumerate("abcd"):
                held = [each for each in left if each <= now]
                expected = ids[held[-1]] if held else None
                assert await tenant.current(ids[name], tenant.at(minute + 0.5)) == expected
        stored = await tenant.graph.read_memories(tenant.scope, [ids[name] for name in left])
        assert [memory.superseded_by for memory in stored] == [
            *(ids[name] for name in left[1:]),
            None,
        ][: len(left)]

    async def test_d8_what_was_retracted_stays_ended(self, tenant: Tenant) -> None:
        """The end that was put to a withdrawn version is its predecessor's, not undone."""
        await poisoned(tenant)
        first = await tenant.store("a", obtained_at=tenant.at(0))
        evil = await tenant.grow(first, "b", obtained_at=tenant.at(1), interaction_id="evil")
        await tenant.apply(ends=(MemoryEnd(evil, tenant.at(3)),))
        assert await withdraw(tenant) == Withdrawal(removed=(evil,))
        assert await tenant.current(first) is None
        assert await tenant.current(first, tenant.at(2)) == first
        assert (await tenant.memory(first)).superseded_at == tenant.at(3)

    async def test_d12_what_another_source_states_too_stays(self, tenant: Tenant) -> None:
        """It keeps text, place and origin, loses the links, and has the trust of who remains."""
        good, evil = await poisoned(tenant)
        kept = await tenant.store(
            "kept", interaction_id="evil", source_role="user", sources=(evil.source(0),)
        )
        await tenant.apply(links=(SourceLink(kept, (good.source(1), evil.source(1))),))
        elsewhere = await tenant.store(
            "elsewhere", interaction_id="good", source_role="api", sources=(good.source(0),)
        )
        await tenant.apply(links=(SourceLink(elsewhere, (evil.source(1),)),))
        outcome = await withdraw(tenant)
        assert (outcome.removed, set(outcome.unlinked)) == ((), {kept, elsewhere})
        memory = await tenant.memory(kept)
        assert [source.content for source in memory.message_sources] == ["b"]
        assert (memory.interaction_id, memory.source_role) == ("evil", "assistant")
        memory = await tenant.memory(elsewhere)
        assert [source.content for source in memory.message_sources] == ["a"]
        assert memory.source_role == "api"
        assert (await withdraw(tenant)).removed == ()

    async def test_d12_what_was_made_by_hand_stays_on_top(self, tenant: Tenant) -> None:
        """A correction stays the head, and follows what the withdrawn version followed."""
        await poisoned(tenant)
        first = await tenant.store("a", obtained_at=tenant.at(0))
        evil = await tenant.grow(first, "b", obtained_at=tenant.at(1), interaction_id="evil")
        hand = await tenant.grow(
            evil, "c", obtained_at=tenant.at(2), interaction_id="evil", author="me"
        )
        assert await withdraw(tenant) == Withdrawal(removed=(evil,))
        assert await tenant.history(first) == [hand, first]
        assert await tenant.current(first) == hand
        assert await tenant.current(first, tenant.at(1.5)) == first

    @pytest.mark.parametrize("leave_tombstones", [True, False])
    async def test_i12_withdrawn_statements_are_buried_if_wanted(
        self,
        tenant: Tenant,
        leave_tombstones: bool,  # noqa: FBT001 - pytest passes it by name
    ) -> None:
        """With tombstones the same message does not bring them back; without, it does."""
        _, evil = await poisoned(tenant)
        sources = (evil.source(0),)
        await tenant.store("m", "Likes tea.", interaction_id="evil", sources=sources)
        salt = await tenant.graph.read_salt(tenant.scope)
        mark = tombstone(salt, evil.messages[0].prefix_hash, content_hash("likes tea"))
        assert (await withdraw(tenant, leave_tombstones=leave_tombstones)).removed
        buried = await tenant.graph.find_tombstones(tenant.scope, [mark])
        assert buried == ({mark} if leave_tombstones else set())
        await tenant.store("again", "likes tea", sources=sources)
        assert len(await tenant.all_memories()) == (0 if leave_tombstones else 1)

    async def test_b14_unfinished_jobs_of_the_source_are_closed(self, tenant: Tenant) -> None:
        """A worker that is at one of them can neither keep nor write what it found."""
        good, evil = await poisoned(tenant)
        params = {"import_id": "import", "process_id": None}
        await tenant.apply(job=tenant.job(good, 0, 2, "by-agent", agent_id=tenant.agent_id))
        await tenant.apply(job=tenant.job(good, 0, 2, "by-import", params=params))
        await tenant.apply(job=tenant.job(evil, 0, 2, "in-evil"))
        await tenant.apply(job=tenant.job(evil, 0, 2, "done", status=JobStatus.DONE))
        graph, org_id, now = tenant.graph, tenant.org_id, tenant.later()
        claimed = await graph.claim_job(org_id, "in-evil", now=now, lease_until=tenant.at(60))
        assert claimed is not None
        for selector, job_id in (
            (EVIL, "in-evil"),
            (SourceSelector(SourceKind.AGENT, tenant.agent_id), "by-agent"),
            (SourceSelector(SourceKind.IMPORT, "import"), "by-import"),
            (SourceSelector(SourceKind.PROCESS, "process"), None),
        ):
            expected = () if job_id is None else (job_id,)
            assert (await withdraw(tenant, selector, dry_run=True)).cancelled_jobs == expected
            assert (await withdraw(tenant, selector)).cancelled_jobs == expected
            assert (await withdraw(tenant, selector)).cancelled_jobs == ()
        late = replace(claimed, status=JobStatus.DONE, outputs={"extracted": ["x"]})
        with pytest.raises(ConflictError):
            await graph.save_job(late)
        with pytest.raises(ConflictError) as caught:
            await tenant.apply(memories=(tenant.statement("m"),), job=late, job_must_exist=True)
        assert caught.value.record == "job"
        closed = await graph.get_job(org_id, "in-evil")
        assert (closed.status, closed.outputs, closed.lease_until) == (JobStatus.DONE, {}, None)
        assert closed.updated_at > claimed.updated_at
        assert await graph.claim_job(org_id, "in-evil", now=tenant.at(99), lease_until=now) is None
        assert await tenant.all_memories() == []

    async def test_a_trial_writes_nothing(self, tenant: Tenant) -> None:
        """A dry run tells what would be done, and leaves everything as it is."""
        good, evil = await poisoned(tenant)
        first = await tenant.store("a", obtained_at=tenant.at(0))
        await tenant.grow(first, "b", obtained_at=tenant.at(1), interaction_id="evil")
        both = await tenant.store("c", interaction_id="evil", sources=(evil.source(0),))
        await tenant.apply(links=(SourceLink(both, (good.source(0),)),), job=tenant.job(evil, 0, 1))
        before = await tenant.snapshot()
        trial = await withdraw(tenant, dry_run=True)
        assert await tenant.snapshot() == before
        assert trial == await withdraw(tenant)
        assert [len(part) for part in (trial.removed, trial.restored, trial.unlinked)] == [1, 1, 1]

    async def test_b28_a_writer_on_a_withdrawn_version_is_refused(self, tenant: Tenant) -> None:
        """A version planned on top of, or below, a withdrawn one conflicts; so does a link."""
        good, _ = await poisoned(tenant)
        first = await tenant.store("a", obtained_at=tenant.at(0))
        evil = await tenant.grow(first, "b", obtained_at=tenant.at(2), interaction_id="evil")
        above = await tenant.version(evil, "above", obtained_at=tenant.at(3))
        below = await tenant.version(evil, "below", obtained_at=tenant.at(1))
        await withdraw(tenant)
        before = await tenant.snapshot()
        link = SourceLink(evil, (good.source(0),))
        for plan in (
            tenant.plan(memories=(above,)),
            tenant.plan(memories=(below,)),
            tenant.plan(links=(link,)),
        ):
            with pytest.raises(ConflictError) as caught:
                await tenant.graph.apply(plan)
            assert caught.value.record == "memory"
        assert await tenant.snapshot() == before

    async def test_b28_withdrawing_while_others_write_leaves_one_line(self, tenant: Tenant) -> None:
        """Of a withdrawal and a writer on the same head one comes first, and the chain is whole."""
        await poisoned(tenant)
        first = await tenant.store("a", obtained_at=tenant.at(0))
        await tenant.grow(first, "b", obtained_at=tenant.at(1), interaction_id="evil")
        write = await tenant.version(first, "c", obtained_at=tenant.at(2))
        _outcome, written = await asyncio.gather(
            withdraw(tenant), tenant.apply(memories=(write,)), return_exceptions=True
        )
        history = await tenant.history(first)
        if isinstance(written, ConflictError):
            assert history == [first]
        else:
            assert history == [write.memory_id, first]
        assert await tenant.current(first) == history[0]

    async def test_b02_a_source_of_somebody_else_has_nothing(self, tenant: Tenant) -> None:
        """A foreign source answers like a missing one, and its owner's memories stay."""
        await poisoned(tenant)
        await tenant.store("m", interaction_id="evil", import_id="import")
        other = await tenant.other_user()
        before = await tenant.snapshot()
        for scope in (other, Scope(tenant.org_id, "missing"), Scope("missing", tenant.user_id)):
            for selector in (EVIL, SourceSelector(SourceKind.IMPORT, "import")):
                assert await withdraw(tenant, selector, scope=scope) == Withdrawal()
                listed = await tenant.graph.list_source_memories(
                    scope, selector, tenant.clock.now(), current_only=False, skip=0, limit=10
                )
                assert listed == []
        assert await tenant.snapshot() == before

    async def test_b37_a_big_source_is_withdrawn_whole(self, tenant: Tenant) -> None:
        """More chains than one transaction takes go in several, and none is left."""
        await poisoned(tenant)
        count = 1100
        await tenant.apply(
            memories=tuple(
                tenant.statement(f"m{number}", interaction_id="evil") for number in range(count)
            )
        )
        kept = await tenant.store("kept")
        assert len((await withdraw(tenant, dry_run=True)).removed) == count
        assert len((await withdraw(tenant)).removed) == count
        assert [memory.memory_id for memory in await tenant.all_memories()] == [kept]
