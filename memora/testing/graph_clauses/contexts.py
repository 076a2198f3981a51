"""Clauses on what was said before a memory's message, and on who has spoken."""

from __future__ import annotations

from dataclasses import replace

from memora.core.messages import parse_messages
from memora.schema.write_plan import InteractionWrite, MessageEdit, SourceLink
from memora.testing.graph_clauses.tenant import Talk, Tenant, TenantFixtures


async def context(tenant: Tenant, memory_id: str) -> str | None:
    """Return what was said before a memory, as the store tells it."""
    found = await tenant.graph.read_contexts(tenant.scope, [memory_id])
    return found.get(memory_id)


async def indexed(tenant: Tenant, memory_id: str) -> str:
    """Return the text under which words of a memory are found, told alike by both ways to it."""
    [document] = await tenant.graph.read_index_documents(tenant.scope, [memory_id])
    every = [each async for each in tenant.graph.all_index_documents(tenant.scope)]
    assert [each for each in every if each.memory_id == memory_id] == [document]
    return document.lexical_text


async def talk_of(tenant: Tenant, interaction_id: str, given: list[dict[str, str]]) -> Talk:
    """Store an interaction of messages with roles and names."""
    parsed = parse_messages(given, before="")
    write = InteractionWrite(interaction_id, None, MessageEdit(0, parsed), at=tenant.clock.now())
    tenant.record_ids.add(interaction_id)
    await tenant.apply(interaction=write)
    return Talk(interaction_id, parsed)


class ContextClauses(TenantFixtures):
    """Contexts and speakers."""

    async def test_the_message_before_the_source_is_the_context(self, tenant: Tenant) -> None:
        """It is in the text of the index; the first message of all has none."""
        talk = await tenant.begin("talk", "Any allergies?", "Peanuts")
        first = await tenant.store("first", sources=(talk.source(0),), interaction_id="talk")
        second = await tenant.store("second", sources=(talk.source(1),), interaction_id="talk")
        said = await tenant.graph.read_contexts(tenant.scope, [first, second, second])
        assert said == {second: "Any allergies?"}
        assert "allergies" in await indexed(tenant, second)
        assert "allergies" not in await indexed(tenant, first)

    async def test_of_several_sources_the_first_counts(self, tenant: Tenant) -> None:
        """By interaction and position, whatever their order in the plan."""
        one = await tenant.begin("a", "A0", "A1", "A2")
        two = await tenant.begin("b", "B0", "B1")
        memory_id = await tenant.store("x", sources=(two.source(1), one.source(2), one.source(1)))
        assert await context(tenant, memory_id) == "A0"

    async def test_only_what_user_or_assistant_said_counts(self, tenant: Tenant) -> None:
        """What a tool returned is passed over; what is too far away does not count."""
        tool = {"role": "tool", "content": "{}", "tool_call_id": "t"}
        near = await talk_of(
            tenant,
            "near",
            [{"role": "user", "content": "Q"}, tool, {"role": "user", "content": "A"}],
        )
        far = await talk_of(
            tenant,
            "far",
            [{"role": "user", "content": "Q"}, *[tool] * 4, {"role": "user", "content": "A"}],
        )
        close = await tenant.store("close", sources=(near.source(2),))
        apart = await tenant.store("apart", sources=(far.source(5),))
        assert await context(tenant, close) == "Q"
        assert await context(tenant, apart) is None

    async def test_what_loses_or_gains_a_source_is_indexed_again(self, tenant: Tenant) -> None:
        """Cut messages, a new link and an erased interaction change what was said before."""
        talk = await tenant.begin("talk", "Q", "A")
        kept = await tenant.store("kept", sources=(talk.source(1),))
        await tenant.empty_queue()
        talk = await tenant.edit(talk, 0, "Other", "A")
        assert await tenant.queued_ids() == [kept]
        assert await context(tenant, kept) is None
        await tenant.empty_queue()
        await tenant.apply(links=(SourceLink(kept, (talk.source(1),)),))
        assert await tenant.queued_ids() == [kept]
        assert await context(tenant, kept) == "Other"
        await tenant.empty_queue()
        await tenant.graph.erase_interactions(tenant.scope, ["talk"], tenant.clock.now())
        assert await tenant.queued_ids() == [kept]
        assert await context(tenant, kept) is None

    async def test_b06_nobody_reads_what_was_said_to_another_user(self, tenant: Tenant) -> None:
        """Ids of another user have no context, and its speakers are not told."""
        other = await tenant.other_user()
        talk = await talk_of(
            tenant,
            "talk",
            [{"role": "user", "content": "Q", "name": "Ann"}, {"role": "user", "content": "A"}],
        )
        memory_id = await tenant.store("x", sources=(talk.source(1),))
        assert await tenant.graph.read_contexts(other, [memory_id]) == {}
        assert await tenant.graph.read_speakers(other) == []
        elsewhere = replace(tenant.scope, org_id="contract-nowhere")
        assert await tenant.graph.read_contexts(elsewhere, [memory_id]) == {}
        assert await tenant.graph.read_speakers(elsewhere) == []
        assert await tenant.graph.read_speakers(tenant.scope) == ["Ann"]

    async def test_speakers_are_those_of_late(self, tenant: Tenant) -> None:
        """Each once and sorted, from the beginnings of the interactions that changed last."""
        for number, name in enumerate(("Zoe", "Ann", "Zoe")):
            await talk_of(
                tenant,
                f"talk{number}",
                [
                    {"role": "user", "content": "Hi", "name": name},
                    {"role": "user", "content": "So"},
                ],
            )
            tenant.later()
        assert await tenant.graph.read_speakers(tenant.scope) == ["Ann", "Zoe"]
        for number in range(20):
            await tenant.begin(f"later{number}", "Hi")
        assert await tenant.graph.read_speakers(tenant.scope) == []
