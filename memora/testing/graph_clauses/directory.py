"""Clauses on organizations, users and agents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from memora.errors import (
    AgentNotFoundError,
    ConflictError,
    InteractionNotFoundError,
    JobNotFoundError,
    MemoryNotFoundError,
    NotFoundError,
    OrganizationNotFoundError,
    UserNotFoundError,
)
from memora.graph_db.base import BaseGraphDB
from memora.schema.models import Organization
from memora.schema.scope import Scope
from memora.schema.validation import checked_name
from memora.testing.graph_clauses.hostile import NAMES
from memora.testing.graph_clauses.tenant import MakeTenant, Reopen, Tenant, TenantFixtures

NOT_FOUND: Sequence[tuple[str, type[NotFoundError], Callable[[Tenant], Any]]] = (
    (
        "organization",
        OrganizationNotFoundError,
        lambda t: t.graph.get_organization(f"{t.org_id}-missing"),
    ),
    (
        "organization rename",
        OrganizationNotFoundError,
        lambda t: t.graph.update_organization(f"{t.org_id}-missing", "name"),
    ),
    (
        "user of a missing organization",
        OrganizationNotFoundError,
        lambda t: t.graph.create_user(f"{t.org_id}-missing", "name"),
    ),
    (
        "agent of a missing organization",
        OrganizationNotFoundError,
        lambda t: t.graph.create_agent(f"{t.org_id}-missing", "label"),
    ),
    (
        "users of a missing organization",
        OrganizationNotFoundError,
        lambda t: t.graph.get_all_org_users(f"{t.org_id}-missing"),
    ),
    (
        "agents of a missing organization",
        OrganizationNotFoundError,
        lambda t: t.graph.get_all_org_agents(f"{t.org_id}-missing"),
    ),
    ("user", UserNotFoundError, lambda t: t.graph.get_user(t.org_id, "missing")),
    ("user rename", UserNotFoundError, lambda t: t.graph.update_user(t.org_id, "missing", "name")),
    (
        "agent of a missing user",
        UserNotFoundError,
        lambda t: t.graph.create_agent(t.org_id, "label", "missing"),
    ),
    (
        "agents of a missing user",
        UserNotFoundError,
        lambda t: t.graph.get_all_user_agents(t.org_id, "missing"),
    ),
    (
        "interactions of a missing user",
        UserNotFoundError,
        lambda t: t.graph.get_all_user_interactions(t.org_id, "missing"),
    ),
    (
        "memories of a missing user",
        UserNotFoundError,
        lambda t: t.graph.get_all_user_memories(t.org_id, "missing"),
    ),
    (
        "salt of a missing user",
        UserNotFoundError,
        lambda t: t.graph.read_salt(Scope(t.org_id, "missing")),
    ),
    ("agent", AgentNotFoundError, lambda t: t.graph.get_agent(t.org_id, "missing")),
    (
        "agent rename",
        AgentNotFoundError,
        lambda t: t.graph.update_agent(t.org_id, "missing", "label"),
    ),
    (
        "interaction",
        InteractionNotFoundError,
        lambda t: t.graph.get_interaction(t.org_id, t.user_id, "missing"),
    ),
    (
        "messages of a missing interaction",
        InteractionNotFoundError,
        lambda t: t.graph.get_interaction_messages(t.org_id, t.user_id, "missing"),
    ),
    (
        "memories of a missing interaction",
        InteractionNotFoundError,
        lambda t: t.graph.get_all_interaction_memories(t.org_id, t.user_id, "missing"),
    ),
    (
        "memory",
        MemoryNotFoundError,
        lambda t: t.graph.get_user_memory(t.org_id, t.user_id, "missing"),
    ),
    (
        "history of a missing memory",
        MemoryNotFoundError,
        lambda t: t.graph.get_user_memory_history(t.org_id, t.user_id, "missing"),
    ),
    ("job", JobNotFoundError, lambda t: t.graph.get_job(t.org_id, "missing")),
)


class DirectoryClauses(TenantFixtures):
    """Organizations, users, agents."""

    @pytest.mark.parametrize(
        ("error", "call"),
        [pytest.param(error, call, id=name) for name, error, call in NOT_FOUND],
    )
    async def test_b87_what_is_missing_has_its_own_error(
        self, tenant: Tenant, error: type[NotFoundError], call: Callable[[Tenant], Any]
    ) -> None:
        """Every getter raises the NotFound error of its record."""
        with pytest.raises(error):
            await call(tenant)

    async def test_b88_creating_twice_needs_an_equal_body(self, tenant: Tenant) -> None:
        """The same id and body answer with what is stored, another body is a conflict."""
        graph, org_id = tenant.graph, tenant.org_id
        first = await graph.get_user(org_id, tenant.user_id)
        tenant.later()
        assert await graph.create_organization("Organization", org_id=org_id)
        assert await graph.create_user(org_id, "Jake", user_id=tenant.user_id) == first
        assert await graph.create_agent(org_id, "Helper", agent_id=tenant.agent_id)
        for call in (
            graph.create_organization("Other", org_id=org_id),
            graph.create_user(org_id, "Other", user_id=tenant.user_id),
            graph.create_agent(org_id, "Other", agent_id=tenant.agent_id),
            graph.create_agent(org_id, "Helper", tenant.user_id, agent_id=tenant.agent_id),
        ):
            with pytest.raises(ConflictError):
                await call
        assert await graph.get_user(org_id, tenant.user_id) == first

    async def test_b31_creating_the_same_user_at_once_makes_one(self, tenant: Tenant) -> None:
        """Concurrent creations of one id all answer with the one user."""
        users = await asyncio.gather(
            *(tenant.graph.create_user(tenant.org_id, "Twin", user_id="twin") for _ in range(5))
        )
        assert all(user == users[0] for user in users)
        found = await tenant.graph.get_all_org_users(tenant.org_id)
        assert [user.user_id for user in found].count("twin") == 1

    async def test_ids_are_made_where_none_is_given(self, tenant: Tenant) -> None:
        """Generated ids are new each time, and lead to what was created."""
        users = [await tenant.graph.create_user(tenant.org_id, "Same name") for _ in range(2)]
        assert users[0].user_id != users[1].user_id
        for user in users:
            assert await tenant.graph.get_user(tenant.org_id, user.user_id) == user

    @pytest.mark.parametrize("name", NAMES)
    async def test_b48_names_come_back_as_given(self, tenant: Tenant, name: str) -> None:
        """Names, labels and ids of any characters round-trip."""
        name = checked_name(name, "name")
        graph, org_id = tenant.graph, tenant.org_id
        user_id, agent_id = name.strip(), f"agent {name}".strip()
        await graph.create_user(org_id, name, user_id=user_id)
        await graph.create_agent(org_id, name, user_id, agent_id=agent_id)
        assert (await graph.get_user(org_id, user_id)).user_name == name
        assert (await graph.get_agent(org_id, agent_id)).agent_label == name
        assert [a.agent_id for a in await graph.get_all_user_agents(org_id, user_id)] == [agent_id]
        assert await graph.read_names(org_id, [user_id], [agent_id]) == (
            {user_id: name},
            {agent_id: name},
        )

    async def test_renaming_changes_nothing_else(self, tenant: Tenant) -> None:
        """Renaming answers with the record under its new name, as getting does."""
        graph, org_id = tenant.graph, tenant.org_id
        before = await graph.get_user(org_id, tenant.user_id)
        assert (await graph.update_organization(org_id, "New")).org_name == "New"
        renamed = await graph.update_user(org_id, tenant.user_id, "New")
        assert renamed == before.model_copy(update={"user_name": "New"})
        assert await graph.get_user(org_id, tenant.user_id) == renamed
        labelled = await graph.update_agent(org_id, tenant.agent_id, "New")
        assert await graph.get_agent(org_id, tenant.agent_id) == labelled
        assert (await graph.get_organization(org_id)).org_name == "New"

    async def test_b66_listings_follow_creation_and_page_without_gaps(self, tenant: Tenant) -> None:
        """Users and agents are listed by creation time, then id; pages add up to the whole."""
        graph, org_id = tenant.graph, tenant.org_id
        tenant.later()
        for name in ("c", "a", "b"):
            await graph.create_user(org_id, name, user_id=name)
            await graph.create_agent(org_id, name, agent_id=name)
        tenant.later()
        await graph.create_user(org_id, "0", user_id="0")
        users = [user.user_id for user in await graph.get_all_org_users(org_id)]
        assert users == [tenant.user_id, "a", "b", "c", "0"]
        paged = [
            user.user_id
            for skip in range(0, 6, 2)
            for user in await graph.get_all_org_users(org_id, skip, 2)
        ]
        assert paged == users
        agents = [agent.agent_id for agent in await graph.get_all_org_agents(org_id, 1, 2)]
        assert agents == ["a", "b"]

    async def test_b09_organizations_are_listed_by_creation(
        self, tenant: Tenant, make_tenant: MakeTenant
    ) -> None:
        """Organizations are listed by creation time, then id, page by page."""
        tenant.later()
        others = [await make_tenant() for _ in range(3)]
        own = [tenant.org_id, *sorted(other.org_id for other in others)]
        listed: list[Organization] = []
        while page := await tenant.graph.get_all_organizations(len(listed), 500):
            listed += page
        keys = [(each.created_at, each.org_id) for each in listed]
        assert keys == sorted(keys)
        assert [each.org_id for each in listed if each.org_id in own] == own

    async def test_b07_an_agent_of_one_user_is_none_of_another(self, tenant: Tenant) -> None:
        """A personal agent is listed for its user, and not found for anybody else."""
        graph, org_id = tenant.graph, tenant.org_id
        other = await tenant.other_user()
        own = await graph.create_agent(org_id, "Personal", tenant.user_id, agent_id="personal")
        assert await graph.get_all_user_agents(org_id, tenant.user_id) == [own]
        assert await graph.get_all_user_agents(org_id, other.user_id) == []
        assert len(await graph.get_all_org_agents(org_id)) == 2
        assert await graph.get_agent_for(Scope(org_id, tenant.user_id, "personal")) == own
        with pytest.raises(AgentNotFoundError):
            await graph.get_agent_for(Scope(org_id, other.user_id, "personal"))
        with pytest.raises(AgentNotFoundError):
            await graph.create_interaction(org_id, other.user_id, "personal")

    async def test_b47_a_deleted_agent_is_gone_but_its_label_stays(self, tenant: Tenant) -> None:
        """A deleted agent is neither found nor listed; its label can still be shown."""
        graph, org_id, agent_id = tenant.graph, tenant.org_id, tenant.agent_id
        for _ in range(2):
            await graph.remove_agent(org_id, agent_id, tenant.later())
        assert await graph.find_agent(org_id, agent_id) is None
        assert await graph.get_all_org_agents(org_id) == []
        assert await graph.read_names(org_id, [], [agent_id]) == ({}, {agent_id: "Helper"})
        with pytest.raises(AgentNotFoundError):
            await graph.update_agent(org_id, agent_id, "New")

    async def test_b47_a_deleted_agent_comes_back_for_whom_it_served(self, tenant: Tenant) -> None:
        """Creating it again revives it under the new label; whom it serves does not change."""
        graph, org_id, agent_id = tenant.graph, tenant.org_id, tenant.agent_id
        await graph.remove_agent(org_id, agent_id, tenant.later())
        with pytest.raises(ConflictError):
            await graph.create_agent(org_id, "Back", tenant.user_id, agent_id=agent_id)
        assert await graph.find_agent(org_id, agent_id) is None
        await graph.create_agent(org_id, "Back", agent_id=agent_id)
        assert (await graph.get_agent(org_id, agent_id)).agent_label == "Back"

    async def test_b04_ids_that_join_to_the_same_text_stay_apart(self, tenant: Tenant) -> None:
        """Organization `x:b` with user `c` is not organization `x` with user `b:c`."""
        graph = tenant.graph
        left, right = Scope(f"{tenant.org_id}:b", "c"), Scope(tenant.org_id, "b:c")
        await graph.create_organization("Joined", org_id=left.org_id)
        await graph.create_user(left.org_id, "Left", user_id=left.user_id)
        await graph.create_user(right.org_id, "Right", user_id=right.user_id)
        talk = await tenant.begin("talk", "left only", scope=left)
        await tenant.apply(left, memories=(tenant.statement("m", sources=(talk.source(0),)),))
        assert await graph.find_interaction(right, "talk") is None
        assert await graph.read_memories(right, [tenant.memory_id("m")]) == []
        assert (await graph.find_user(right) or left).user_id == "b:c"
        await graph.erase_organization(left.org_id, tenant.clock.now())

    async def test_the_same_ids_in_two_organizations_are_two_things(
        self, tenant: Tenant, make_tenant: MakeTenant
    ) -> None:
        """Users, agents and interactions are told apart by their organization."""
        other = await make_tenant()
        await tenant.graph.update_user(tenant.org_id, tenant.user_id, "Only here")
        await tenant.begin("talk", "one", agent_id=tenant.agent_id)
        await other.begin("talk", "two", agent_id=other.agent_id)
        assert (await other.graph.get_user(other.org_id, other.user_id)).user_name == "Jake"
        found = await other.graph.read_messages(other.scope, "talk", 0, None)
        assert [item.message.content for item in found] == ["two"]

    async def test_salts_are_kept_and_not_shared(self, tenant: Tenant) -> None:
        """A user's salt stays what it was at creation and differs from user to user."""
        other = await tenant.other_user()
        salt = await tenant.graph.read_salt(tenant.scope)
        await tenant.graph.create_user(tenant.org_id, "Jake", user_id=tenant.user_id)
        assert await tenant.graph.read_salt(tenant.scope) == salt
        assert salt
        assert await tenant.graph.read_salt(other) != salt

    async def test_setup_and_close_may_be_repeated(self, tenant: Tenant, reopen: Reopen) -> None:
        """`setup` on a store in use changes nothing, and a second `close` does nothing."""
        before = await tenant.snapshot()
        await tenant.graph.setup()
        assert await tenant.snapshot() == before
        old = tenant.graph
        tenant.graph = await reopen()
        await old.close()
        await tenant.graph.setup()
        assert await tenant.snapshot() == before

    async def test_a_handle_with_a_vector_store_shares_the_graph(self, tenant: Tenant) -> None:
        """B22: a handle for a vector store leaves the original without one."""
        graph: BaseGraphDB = tenant.graph
        assert graph.get_associated_vector_db() is None
        marker: Any = object()
        handle = graph.with_vector_db(marker)
        assert handle.get_associated_vector_db() is marker
        assert graph.get_associated_vector_db() is None
        assert await handle.find_user(tenant.scope) == await graph.find_user(tenant.scope)
