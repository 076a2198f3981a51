"""Clauses on names: who mentions them, what is said of two of them, and which are one entity."""

from __future__ import annotations

from typing import Any

import pytest

from memora.core.entities import name_id, normalised_name
from memora.core.hashing import content_hash
from memora.core.placeholders import user_span
from memora.errors import ConflictError, UserNotFoundError
from memora.schema.entities import EntityMention
from memora.schema.findings import Finding, FindingKind
from memora.schema.models import Relation
from memora.schema.scope import Scope
from memora.schema.transfer import EntityRecord
from memora.schema.write_plan import MemoryEnd
from memora.testing.graph_clauses.tenant import MakeTenant, Tenant, TenantFixtures
from memora.testing.graph_clauses.transfer import dump, lines, renamed

WORKS = Relation(subject="Anna", type="works_at", object="Acme")


def _finding(tenant: Tenant, memory_id: str, kind: FindingKind) -> Finding:
    return Finding("I3", memory_id, "", kind, tenant.org_id, tenant.user_id)


async def listed(tenant: Tenant, scope: Scope | None = None) -> list[tuple[str, int, int]]:
    """Return the names of the user's entities, as (name, its memories, the entity's)."""
    found = await tenant.graph.list_entity_names(scope or tenant.scope, tenant.clock.now())
    return [(name.name, name.memories, name.total) for name in found]


async def entity(tenant: Tenant, name: str) -> str:
    """Return the id of the entity of that name."""
    return (await tenant.graph.find_entity_ids(tenant.scope, [name]))[name]


async def mentioning(
    tenant: Tenant, *names: str, scope: Scope | None = None, each: int = 10
) -> list[str]:
    """Return the memories that mention the entities of these names."""
    ids = [await entity(tenant, name) for name in names]
    found = await tenant.graph.memories_mentioning(
        scope or tenant.scope, ids, tenant.clock.now(), each=each
    )
    return [mention.memory_id for mention in found]


class EntityClauses(TenantFixtures):
    """Names of people, places and things."""

    async def named(
        self,
        tenant: Tenant,
        name: str,
        *entities: str,
        scope: Scope | None = None,
        **fields: Any,
    ) -> str:
        """Store a statement that mentions these."""
        write = tenant.statement(name, entities=entities, **fields)
        await tenant.apply(scope, memories=(write,))
        return write.memory_id

    async def test_a_name_is_one_in_all_its_spellings(self, tenant: Tenant) -> None:
        """Case, accents, punctuation and a possessive make no other name."""
        a = await self.named(tenant, "a", "Zoë O'Brien", obtained_at=tenant.at(1))
        b = await self.named(tenant, "b", "zoe obrien's", "Lisbon", obtained_at=tenant.at(2))
        assert await listed(tenant) == [("Zoë O'Brien", 2, 2), ("Lisbon", 1, 1)]
        assert await mentioning(tenant, "ZOE O\u2019BRIEN") == [b, a]
        assert await mentioning(tenant, "ZOE O\u2019BRIEN", each=1) == [b]
        found = await tenant.graph.find_entity_ids(tenant.scope, ["Lisbon", "Porto"])
        assert found.keys() == {"Lisbon"}

    async def test_a_slip_of_the_pen_is_no_other_person(self, tenant: Tenant) -> None:
        """A misspelt name joins the one entity that it can be; of two, none."""
        await self.named(tenant, "a", "Michael Brown")
        await self.named(tenant, "b", "Micheal Brown")
        await self.named(tenant, "c", "Robert Brown", "Roberta Brown", "Michael", "Micheal")
        assert await entity(tenant, "Micheal Brown") == await entity(tenant, "Michael Brown")
        assert await entity(tenant, "Robert Brown") != await entity(tenant, "Roberta Brown")
        assert await entity(tenant, "Michael") != await entity(tenant, "Micheal")
        both = await tenant.graph.find_entity_ids(tenant.scope, ["Michael Brown", "Robert Brown"])
        assert len(set(both.values())) == 2

    async def test_names_of_one_plan_are_joined_too(self, tenant: Tenant) -> None:
        """What comes together is looked at as if it came one after the other."""
        await self.named(tenant, "a", "Jon Snow", "John Snow", "jon  snow")
        assert set(await listed(tenant)) == {("Jon Snow", 1, 1), ("John Snow", 1, 1)}
        assert await entity(tenant, "Jon Snow") == await entity(tenant, "John Snow")

    async def test_of_one_time_the_texts_decide(self, tenant: Tenant) -> None:
        """Not the ids, which are others in another store of the same memories."""
        texts = [f"statement {i}" for i in range(12)]
        stored = {await self.named(tenant, text, "Anna"): content_hash(text) for text in texts}
        newest = await self.named(tenant, "newest", "Anna", obtained_at=tenant.at(1))
        expected = [newest, *sorted(stored, key=lambda each: stored[each])]
        assert await mentioning(tenant, "Anna", each=20) == expected
        assert await mentioning(tenant, "Anna", each=4) == expected[:4]

    async def test_only_live_memories_count(self, tenant: Tenant) -> None:
        """Superseded, ended and expired ones mention nothing any more; the name stays theirs."""
        first = await self.named(tenant, "first", "Anna", obtained_at=tenant.at(0))
        await tenant.grow(first, "second", entities=("Bert",), obtained_at=tenant.at(1))
        gone = await self.named(tenant, "gone", "Anna")
        await tenant.apply(ends=(MemoryEnd(gone, tenant.at(5)),))
        brief = await self.named(tenant, "brief", "Anna", expires_at=tenant.at(10))
        assert set(await listed(tenant)) == {("Anna", 1, 1), ("Bert", 1, 1)}
        assert await mentioning(tenant, "Anna") == [brief]
        tenant.later(10)
        assert await listed(tenant) == [("Bert", 1, 1)]
        assert await mentioning(tenant, "Anna") == []

    async def test_an_agent_in_the_scope_narrows(self, tenant: Tenant) -> None:
        """As it does for memories."""
        own = await self.named(tenant, "own", "Anna", agent_id=tenant.agent_id)
        other = await self.named(tenant, "other", "Anna", obtained_at=tenant.at(-1))
        narrow = Scope(tenant.org_id, tenant.user_id, tenant.agent_id)
        assert await mentioning(tenant, "Anna", scope=narrow) == [own]
        assert await mentioning(tenant, "Anna") == [own, other]

    async def test_what_memories_mention_comes_with_how_many_do(self, tenant: Tenant) -> None:
        """Each pair once, also where a memory has two names of one entity."""
        a = await self.named(tenant, "a", "Anna", "Lisbon", "Jon Snow", "John Snow")
        b = await self.named(tenant, "b", "Anna")
        found = await tenant.graph.entities_mentioned(
            tenant.scope, [b, a, "nothing"], tenant.clock.now()
        )
        anna, lisbon = await entity(tenant, "Anna"), await entity(tenant, "Lisbon")
        snow = await entity(tenant, "Jon Snow")
        assert set(found) == {
            EntityMention(a, anna, 2, "Anna"),
            EntityMention(b, anna, 2, "Anna"),
            EntityMention(a, lisbon, 1, "Lisbon"),
            EntityMention(a, snow, 1, "John Snow"),
        }
        assert len(found) == 4

    async def test_a_relation_holds_while_its_memory_is_current(self, tenant: Tenant) -> None:
        """It is found from both ends, newest first, and comes back with its memory."""
        me = Relation(subject=user_span(tenant.user_id), type="boss_of", object="Anna")
        first = await tenant.store("first", relations=(WORKS, me), obtained_at=tenant.at(0))
        anna, acme = await entity(tenant, "Anna"), await entity(tenant, "Acme")
        now = tenant.clock.now()
        found = await tenant.graph.entity_relations(tenant.scope, anna, now, limit=10)
        assert [(each.subject, each.type, each.object) for each in found] == [
            ("Anna", "works_at", "Acme"),
            (user_span(tenant.user_id), "boss_of", "Anna"),
        ]
        assert {each.memory_id for each in found} == {first}
        assert [(found[0].subject_id, found[0].object_id)] == [(anna, acme)]
        [other] = await tenant.graph.entity_relations(tenant.scope, acme, now, limit=10)
        assert other == found[0]
        assert (await tenant.memory(first)).relations == [WORKS, me]
        await tenant.grow(first, "second", obtained_at=tenant.at(1))
        assert await tenant.graph.entity_relations(tenant.scope, anna, now, limit=10) == []

    async def test_names_that_are_one_and_names_that_are_not(self, tenant: Tenant) -> None:
        """What somebody says of a name holds, and can be taken back."""
        a = await self.named(tenant, "a", "Bob", obtained_at=tenant.at(1))
        b = await self.named(tenant, "b", "Robert", obtained_at=tenant.at(0))
        bob, robert = await entity(tenant, "Bob"), await entity(tenant, "Robert")
        assert await tenant.graph.move_entity_names(tenant.scope, {bob: robert}) == 1
        assert await mentioning(tenant, "Bob") == [a, b]
        assert set(await listed(tenant)) == {("Bob", 1, 2), ("Robert", 1, 2)}
        groups = await tenant.graph.read_entity_groups(tenant.scope, [robert, bob])
        assert groups == {bob: robert, robert: robert}
        await self.named(tenant, "c", "bob")
        assert await entity(tenant, "Bob") == robert
        await tenant.graph.move_entity_names(tenant.scope, {bob: bob})
        assert await mentioning(tenant, "Robert") == [b]

    async def test_a_name_goes_with_the_last_memory_that_has_it(self, tenant: Tenant) -> None:
        """I8: also one that only past versions have stays until they go."""
        first = await self.named(tenant, "first", "Anna", "Lisbon", relations=(WORKS,))
        second = await tenant.grow(first, "second", entities=("Lisbon",), obtained_at=tenant.at(1))
        await tenant.graph.purge_memories(tenant.scope, [second], tenant.later())
        assert await entity(tenant, "Anna")
        assert (await tenant.graph.count_records(tenant.scope)).entities == 3
        await tenant.graph.purge_memories(tenant.scope, [first], tenant.later())
        assert await tenant.graph.find_entity_ids(tenant.scope, ["Anna", "Lisbon", "Acme"]) == {}
        assert (await tenant.graph.count_records(tenant.scope)).entities == 0

    async def test_names_go_with_their_interaction(self, tenant: Tenant) -> None:
        """And with all of a user's memories."""
        await tenant.begin("talk", "x")
        await self.named(tenant, "a", "Anna", interaction_id="talk")
        await self.named(tenant, "b", "Bert")
        await tenant.graph.erase_interactions(tenant.scope, ["talk"], tenant.later())
        assert [name for name, *_ in await listed(tenant)] == ["Bert"]
        await tenant.graph.purge_memories(tenant.scope, None, tenant.later())
        assert await listed(tenant) == []

    async def test_an_erased_user_leaves_no_name(self, tenant: Tenant) -> None:
        """I8, and the names of others stay."""
        other = await tenant.other_user()
        await self.named(tenant, "a", "Anna", relations=(WORKS,))
        await self.named(tenant, "b", "Anna", scope=other)
        assert (await tenant.graph.count_records(tenant.scope)).entities == 2
        counts = await tenant.graph.erase_user(tenant.scope, tenant.later())
        assert counts.entities == 2
        assert (await tenant.graph.count_records(tenant.scope)).entities == 0
        assert await listed(tenant, other) == [("Anna", 1, 1)]
        assert (await tenant.graph.count_records(tenant.whole)).entities == 1
        with pytest.raises(UserNotFoundError):
            await tenant.graph.find_entity_ids(tenant.scope, ["Anna"])

    async def test_b01_a_name_is_its_users_alone(self, tenant: Tenant) -> None:
        """The same name of another user is another entity, and cannot be touched."""
        other = await tenant.other_user()
        mine = await self.named(tenant, "mine", "Anna")
        await self.named(tenant, "theirs", "Anna", scope=other)
        anna = await entity(tenant, "Anna")
        graph, now = tenant.graph, tenant.clock.now()
        assert (await graph.find_entity_ids(other, ["Anna"]))["Anna"] != anna
        assert await graph.memories_mentioning(other, [anna], now, each=9) == []
        assert await graph.entities_mentioned(other, [mine], now) == []
        assert await graph.entity_relations(other, anna, now, limit=9) == []
        assert await graph.list_entity_names(other, now, entity_ids=[anna]) == []
        assert await graph.read_entity_groups(other, [anna]) == {}
        assert await graph.move_entity_names(other, {anna: "x"}) == 0
        assert await entity(tenant, "Anna") == anna

    async def test_entities_come_in_pages(self, tenant: Tenant) -> None:
        """Most mentioned first, each with all its names."""
        for number in range(3):
            await self.named(tenant, f"a{number}", "Anna", *["Bert", "Cleo"][:number])
        names = [name for name, *_ in await listed(tenant)]
        assert names == ["Anna", "Bert", "Cleo"]
        graph, now = tenant.graph, tenant.clock.now()
        page = await graph.list_entity_names(tenant.scope, now, skip=1, limit=1)
        assert [name.name for name in page] == ["Bert"]
        assert await graph.list_entity_names(tenant.scope, now, skip=3) == []

    async def test_an_id_says_nothing_without_the_users_salt(self, tenant: Tenant) -> None:
        """An id in a log or file cannot be found out by trying names."""
        await self.named(tenant, "a", "Anna")
        salt = await tenant.graph.read_salt(tenant.scope)
        assert await entity(tenant, "Anna") == name_id(salt, "anna")
        assert name_id("", "anna") != name_id(salt, "anna")
        assert normalised_name("Anna") == "anna"

    async def test_a_refused_plan_leaves_no_name(self, tenant: Tenant) -> None:
        """Names are written with their memory or not at all."""
        await self.named(tenant, "a", "Anna")
        write = tenant.statement("a", entities=("Bert",))
        with pytest.raises(ConflictError):
            await tenant.apply(memories=(tenant.statement("b", entities=("Cleo",)), write))
        assert [name for name, *_ in await listed(tenant)] == ["Anna"]

    async def test_a_load_makes_names_again(self, make_tenant: MakeTenant) -> None:
        """What follows from memories is not in a dump; what somebody said is."""
        old, new = [await make_tenant() for _ in range(2)]
        await self.named(old, "a", "Bob", "Anna", relations=(WORKS,))
        await self.named(old, "b", "Robert", "Jon Snow")
        await self.named(old, "c", "John Snow")
        bob, robert = await entity(old, "Bob"), await entity(old, "Robert")
        await old.graph.move_entity_names(old.scope, {bob: robert})
        records = await dump(old.graph, old.org_id)
        decided = [each.decided for each in records if isinstance(each, EntityRecord)]
        assert sorted(decided) == [False, True]
        await new.graph.erase_organization(new.org_id, new.later())
        moved = renamed(records, new.org_id)
        await new.graph.load_records(moved, new.clock.now())
        assert await listed(new) == await listed(old)
        assert await entity(new, "Bob") == robert
        acme = await entity(new, "Acme")
        [found] = await new.graph.entity_relations(new.scope, acme, new.clock.now(), limit=9)
        assert found.type == "works_at"
        assert lines(await dump(new.graph, new.org_id)) == lines(renamed(moved, "any"))

    async def test_a_loaded_name_that_no_memory_has_is_refused(self, tenant: Tenant) -> None:
        """Nothing is written then."""
        anna = await self.named(tenant, "a", "Anna")
        record = EntityRecord(
            org_id=tenant.org_id, user_id=tenant.user_id, name_id=anna, entity_id=anna
        )
        with pytest.raises(ConflictError):
            await tenant.graph.load_records([record], tenant.clock.now())

    @pytest.mark.parametrize("kind", [FindingKind.STRAY_MENTION, FindingKind.MISSING_MENTION])
    async def test_links_are_made_again_from_the_memory(
        self, tenant: Tenant, kind: FindingKind
    ) -> None:
        """A repair of links that are in order changes nothing."""
        memory_id = await self.named(tenant, "a", "Anna", relations=(WORKS,))
        before = await listed(tenant)
        for finding in await tenant.graph.inspect():
            assert finding.record_id != memory_id
        finding = _finding(tenant, memory_id, kind)
        await tenant.graph.repair(finding, tenant.clock.now())
        assert await listed(tenant) == before
        anna = await entity(tenant, "Anna")
        now = tenant.clock.now()
        assert len(await tenant.graph.entity_relations(tenant.scope, anna, now, limit=9)) == 1
