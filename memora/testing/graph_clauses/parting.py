"""Clauses on statements that came back after another one, told in any order."""

from __future__ import annotations

from itertools import permutations

import pytest

from memora.core import planning
from memora.core.hashing import content_hash
from memora.core.planning import Candidate, Decision, Origin, Verdict
from memora.schema.models import Memory
from memora.schema.transfer import MemoryRecord
from memora.schema.write_plan import Beginning, SourceLink
from memora.testing.graph_clauses.imports import begin, stored, undo
from memora.testing.graph_clauses.tenant import Talk, Tenant, TenantFixtures
from memora.testing.graph_clauses.transfer import dump

# What is said, minute by minute.
SAID = ("Oslo", "Rome", "Oslo", "Bonn", "Oslo")


async def heads(tenant: Tenant) -> list[Memory]:
    """Return what is current."""
    return await tenant.graph.get_all_user_memories(tenant.org_id, tenant.user_id)


async def tell(tenant: Tenant, minute: int, text: str, import_id: str | None = None) -> None:
    """Say something at a minute, which contradicts whatever else is known."""
    tenant.later()
    write = tenant.creation(f"talk-{minute}", text, import_id=import_id, at=tenant.at(minute))
    candidate = Candidate(
        memory_id=tenant.memory_id(f"{minute}: {text}"),
        text=text,
        obtained_at=tenant.at(minute),
        sources=(Talk(write.interaction_id, write.edit.append).source(0),),
        source_role="user",
    )
    decision, chains, origins = Decision(Verdict.NEW), {}, {}
    for head in await heads(tenant):
        is_known = head.content_hash == content_hash(text)
        verdict = Verdict.DUPLICATE if is_known else Verdict.CONTRADICTION
        decision = Decision(verdict, head.memory_id)
        chains = await tenant.graph.read_chains(tenant.scope, [head.memory_id])
        origins = await tenant.graph.read_origins(tenant.scope, [head.chain_id])
    planned = planning.build(
        tenant.scope,
        [candidate],
        [decision],
        chains,
        Origin(write.interaction_id, None, import_id=import_id),
        stored=origins,
    )
    await tenant.apply(interaction=write, memories=planned.memories, links=planned.links)


async def held(tenant: Tenant) -> list[tuple[str, int, list[str | None]]]:
    """Return what held when, newest first: text, minute, and what it comes from."""
    [head] = await heads(tenant)
    chains = await tenant.graph.read_chains(tenant.scope, [head.memory_id])
    origins = await tenant.graph.read_origins(tenant.scope, [head.chain_id])
    return [
        (
            memory.memory,
            round((memory.obtained_at - tenant.start).total_seconds() / 60),
            [source.interaction_id for source in origins[memory.memory_id].sources],
        )
        for memory in chains[head.memory_id]
    ]


class PartingClauses(TenantFixtures):
    """Versions that are parted, and joined again."""

    @pytest.mark.parametrize("order", [*permutations(range(3)), (0, 2, 4, 3, 1), (4, 2, 0, 1, 3)])
    async def test_b28_a_statement_that_came_back_is_a_version_again(
        self, tenant: Tenant, order: tuple[int, ...]
    ) -> None:
        """Each version has the messages that said it, in whatever order they came."""
        for minute in order:
            await tell(tenant, minute, SAID[minute])
        wanted = [(SAID[n], n, [f"talk-{n}"]) for n in sorted(order, reverse=True)]
        assert await held(tenant) == wanted
        [head] = await heads(tenant)
        chains = await tenant.graph.read_chains(tenant.scope, [head.memory_id])
        ends = [memory.superseded_at for memory in chains[head.memory_id]]
        assert ends == [None, *(tenant.at(n) for _text, n, _talks in wanted[:-1])]
        for memory in chains[head.memory_id]:
            # Each counts as obtained where it was said first.
            at = round((memory.obtained_at - tenant.start).total_seconds() / 60)
            assert memory.interaction_id == f"talk-{at}"
        findings = await tenant.graph.inspect()
        assert not [each for each in findings if each.org_id == tenant.org_id]

    @pytest.mark.parametrize("order", [(0, 2), (2, 0)])
    async def test_d8_what_an_import_parted_is_one_again(
        self, tenant: Tenant, order: tuple[int, ...]
    ) -> None:
        """Under its own id, with the sources and the time that it had."""
        for minute in order:
            await tell(tenant, minute, SAID[minute])
        before = await stored(tenant)
        await begin(tenant)
        await tell(tenant, 1, SAID[1], "import")
        assert len(await held(tenant)) == 3
        counts = await undo(tenant, dry_run=True)
        assert await undo(tenant) == counts
        assert await stored(tenant) == before

    async def test_d8_a_memory_begins_with_the_first_that_is_left(self, tenant: Tenant) -> None:
        """Whichever of two imports goes first, also if the message that stated it was cut."""
        talk = await tenant.begin("talk-9", "Oslo")
        own = await tenant.store(
            "Oslo", obtained_at=tenant.at(9), interaction_id="talk-9", sources=(talk.source(0),)
        )
        await tenant.edit(talk, 0)
        before = await stored(tenant)
        for first, second in (("a", "b"), ("b", "a")):
            minutes = {"a": 5, "b": 3}
            for name, minute in minutes.items():
                import_id = f"{name} before {first}"
                await begin(tenant, import_id)
                await tell(tenant, minute, "Oslo", import_id)
            assert (await tenant.memory(own)).obtained_at == tenant.at(3)
            await undo(tenant, f"{first} before {first}")
            assert (await tenant.memory(own)).obtained_at == tenant.at(minutes[second])
            await undo(tenant, f"{second} before {first}")
            assert await stored(tenant) == before

    async def test_what_was_stated_first_is_kept_while_it_is_not_the_beginning(
        self, tenant: Tenant
    ) -> None:
        """It is part of an export, with the time at which each source said it."""
        await tell(tenant, 4, "Oslo")
        await tell(tenant, 2, "Oslo")
        [record] = [r for r in await dump(tenant.graph, tenant.org_id) if r.kind == "memory"]
        assert isinstance(record, MemoryRecord)
        assert (record.obtained_at, record.stated_at) == (tenant.at(2), tenant.at(4))
        assert record.stated_role == "user"
        assert [source.said_at for source in record.sources] == [tenant.at(2), tenant.at(4)]
        begins = Beginning(tenant.at(4), tenant.at(2), "user")
        await tenant.apply(links=(SourceLink(record.memory_id, (), begins),))
        [record] = [r for r in await dump(tenant.graph, tenant.org_id) if r.kind == "memory"]
        assert isinstance(record, MemoryRecord)
        assert (record.obtained_at, record.stated_at) == (tenant.at(4), None)
        assert record.stated_role is None
