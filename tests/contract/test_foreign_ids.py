"""A foreign id answers exactly like a missing one, in every method of facade, graph and vectors.

Two tenants exist. Every call below is made once with an id of the other tenant and once with an id
that nobody has, for each of its id arguments; the answers must be equal, and the other tenant's
data must be as before.
"""

from __future__ import annotations

import inspect
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from memora import Memora
from memora.agent.main import Memora as Facade
from memora.embeddings import HashingEmbedder
from memora.errors import MemoraError
from memora.graph_db.base import BaseGraphDB, MemoryListing
from memora.graph_db.neo4j.interface import Neo4jGraphInterface
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.erasure import ErasureReceipt
from memora.schema.imports import ImportCounts, ImportRun, ImportStatus
from memora.schema.lifetime import Access
from memora.schema.scope import Scope
from memora.schema.storage_schema import MemoriesAndInteraction
from memora.testing.clocks import FrozenClock
from memora.testing.fakes import OutageError, ScriptedBackendLLM
from memora.vector_db import EmbeddedVectorDB
from memora.vector_db.base import BaseVectorDB
from tests.neo4j_server.process import Neo4jServer

TALK = [{"role": "user", "content": "My cat is called Tom."}]


@dataclass(frozen=True)
class Ids:
    """One id of each kind, all of one tenant."""

    org_id: str
    user_id: str
    agent_id: str
    interaction_id: str
    memory_id: str
    job_id: str
    import_id: str


@dataclass
class Tenants:
    memora: Memora
    own: Ids
    foreign: Ids
    canary: str


Call = Callable[[Memora, Ids], Any]


async def unmarked(receipt: Awaitable[ErasureReceipt]) -> ErasureReceipt:
    """Return a receipt without its random salt and the hash that follows from it."""
    return replace(await receipt, salt="", subject_hash="")


FACADE: dict[str, Call] = {
    "save_or_update_interaction_and_memories": lambda m, i: (
        m.save_or_update_interaction_and_memories(
            i.org_id, i.user_id, i.agent_id, TALK, i.interaction_id
        )
    ),
    "preview_save": lambda m, i: m.preview_save(
        i.org_id, i.user_id, i.agent_id, TALK, i.interaction_id
    ),
    "recall_memories_for_message": lambda m, i: m.recall_memories_for_message(
        i.org_id, i.user_id, "cat", i.agent_id
    ),
    "search_memories_as_one": lambda m, i: m.search_memories_as_one(
        i.org_id, i.user_id, ["cat"], agent_id=i.agent_id
    ),
    "search_memories_as_batch": lambda m, i: m.search_memories_as_batch(
        i.org_id, ["cat"], user_id=i.user_id, agent_id=i.agent_id
    ),
    "build_context": lambda m, i: m.build_context(i.org_id, i.user_id, "cat", agent_id=i.agent_id),
    "add_memory": lambda m, i: m.add_memory(
        i.org_id,
        i.user_id,
        "x",
        agent_id=i.agent_id,
        interaction_id=i.interaction_id,
        create_missing=False,
    ),
    "add_memories": lambda m, i: m.add_memories(
        i.org_id,
        [{"user_id": i.user_id, "content": "x", "agent_id": i.agent_id}],
        create_missing=False,
    ),
    "query_memories": lambda m, i: m.query_memories(
        i.org_id, i.user_id, "cat", interaction_id=i.interaction_id
    ),
    "list_memories": lambda m, i: m.list_memories(i.org_id, i.user_id, agent_id=i.agent_id),
    "memory_health": lambda m, i: m.memory_health(i.org_id, i.user_id),
    "sweep": lambda m, i: m.sweep(i.org_id, i.user_id),
    "update_memory": lambda m, i: m.update_memory(i.org_id, i.user_id, i.memory_id, "x"),
    "revert_memory": lambda m, i: m.revert_memory(i.org_id, i.user_id, i.memory_id),
    "retract_memory": lambda m, i: m.retract_memory(i.org_id, i.user_id, i.memory_id),
    "delete_memory": lambda m, i: m.delete_memory(i.org_id, i.user_id, i.memory_id),
    "memory_history": lambda m, i: m.memory_history(i.org_id, i.user_id, i.memory_id),
    "list_entities": lambda m, i: m.list_entities(i.org_id, i.user_id),
    "entity_memories": lambda m, i: m.entity_memories(i.org_id, i.user_id, "Tom"),
    "entity_memories by id": lambda m, i: m.entity_memories(i.org_id, i.user_id, i.memory_id),
    "merge_entities": lambda m, i: m.merge_entities(i.org_id, i.user_id, "Tom", "tom"),
    "split_entity": lambda m, i: m.split_entity(i.org_id, i.user_id, "Tom", ["Tom"]),
    "memories_by_source": lambda m, i: m.memories_by_source(
        i.org_id, i.user_id, interaction_id=i.interaction_id
    ),
    "memories_by_source of an agent": lambda m, i: m.memories_by_source(
        i.org_id, i.user_id, agent_id=i.agent_id
    ),
    "rollback_source": lambda m, i: m.rollback_source(
        i.org_id, i.user_id, interaction_id=i.interaction_id
    ),
    "rollback_source of an agent": lambda m, i: m.rollback_source(
        i.org_id, i.user_id, agent_id=i.agent_id
    ),
    "list_imports": lambda m, i: m.list_imports(i.org_id, i.user_id),
    "undo_import": lambda m, i: m.undo_import(i.org_id, i.import_id),
    "batch_create": lambda m, i: m.batch_create(
        [{"document": "My cat.", "document_id": "d", "user_id": i.user_id}],
        org_id=i.org_id,
        create_missing=False,
    ),
    "list_jobs": lambda m, i: m.list_jobs(i.org_id, user_id=i.user_id),
    "erase_user": lambda m, i: unmarked(m.erase_user(i.org_id, i.user_id)),
    "erase_organization": lambda m, i: unmarked(m.erase_organization(i.org_id)),
    "resume_job": lambda m, i: m.resume_job(i.org_id, i.job_id),
}

GRAPH: dict[str, Call] = {
    "update_organization": lambda m, i: m.graph.update_organization(i.org_id, "New"),
    "get_organization": lambda m, i: m.graph.get_organization(i.org_id),
    "delete_organization": lambda m, i: m.graph.delete_organization(i.org_id),
    "create_user": lambda m, i: m.graph.create_user(i.org_id, "New", user_id="new"),
    "update_user": lambda m, i: m.graph.update_user(i.org_id, i.user_id, "New"),
    "get_user": lambda m, i: m.graph.get_user(i.org_id, i.user_id),
    "get_all_org_users": lambda m, i: m.graph.get_all_org_users(i.org_id),
    "delete_user": lambda m, i: m.graph.delete_user(i.org_id, i.user_id),
    "create_agent": lambda m, i: m.graph.create_agent(i.org_id, "New", i.user_id, agent_id="new"),
    "update_agent": lambda m, i: m.graph.update_agent(i.org_id, i.agent_id, "New"),
    "get_agent": lambda m, i: m.graph.get_agent(i.org_id, i.agent_id),
    "get_agent_for": lambda m, i: m.graph.get_agent_for(Scope(i.org_id, i.user_id, i.agent_id)),
    "get_all_org_agents": lambda m, i: m.graph.get_all_org_agents(i.org_id),
    "get_all_user_agents": lambda m, i: m.graph.get_all_user_agents(i.org_id, i.user_id),
    "delete_agent": lambda m, i: m.graph.delete_agent(i.org_id, i.agent_id),
    "create_interaction": lambda m, i: m.graph.create_interaction(i.org_id, i.user_id, i.agent_id),
    "save_interaction_with_memories": lambda m, i: m.graph.save_interaction_with_memories(
        i.org_id, i.agent_id, i.user_id, MemoriesAndInteraction(interaction=TALK)
    ),
    "update_interaction_and_memories": lambda m, i: m.graph.update_interaction_and_memories(
        i.org_id, i.agent_id, i.user_id, i.interaction_id, MemoriesAndInteraction()
    ),
    "get_interaction": lambda m, i: m.graph.get_interaction(i.org_id, i.user_id, i.interaction_id),
    "get_interaction_messages": lambda m, i: m.graph.get_interaction_messages(
        i.org_id, i.user_id, i.interaction_id
    ),
    "get_all_interaction_memories": lambda m, i: m.graph.get_all_interaction_memories(
        i.org_id, i.user_id, i.interaction_id
    ),
    "get_all_user_interactions": lambda m, i: m.graph.get_all_user_interactions(
        i.org_id, i.user_id
    ),
    "delete_user_interaction_and_its_memories": lambda m, i: (
        m.graph.delete_user_interaction_and_its_memories(i.org_id, i.user_id, i.interaction_id)
    ),
    "delete_all_user_interactions_and_their_memories": lambda m, i: (
        m.graph.delete_all_user_interactions_and_their_memories(i.org_id, i.user_id)
    ),
    "fetch_user_memories_resolved": lambda m, i: m.graph.fetch_user_memories_resolved(
        [i.memory_id], org_id=i.org_id, user_id=i.user_id
    ),
    "fetch_user_memories_resolved_batch": lambda m, i: m.graph.fetch_user_memories_resolved_batch(
        [[{"org_id": i.org_id, "user_id": i.user_id, "memory_id": i.memory_id}]],
        org_id=i.org_id,
        user_id=i.user_id,
    ),
    "get_user_memory": lambda m, i: m.graph.get_user_memory(i.org_id, i.user_id, i.memory_id),
    "get_user_memory_history": lambda m, i: m.graph.get_user_memory_history(
        i.org_id, i.user_id, i.memory_id
    ),
    "get_all_user_memories": lambda m, i: m.graph.get_all_user_memories(
        i.org_id, i.user_id, i.agent_id
    ),
    "delete_user_memory": lambda m, i: m.graph.delete_user_memory(i.org_id, i.user_id, i.memory_id),
    "delete_all_user_memories": lambda m, i: m.graph.delete_all_user_memories(i.org_id, i.user_id),
    "get_job": lambda m, i: m.graph.get_job(i.org_id, i.job_id),
    "read_index_documents": lambda m, i: m.graph.read_index_documents(
        Scope(i.org_id, i.user_id), [i.memory_id]
    ),
    "resolve_memories": lambda m, i: m.graph.resolve_memories(
        Scope(i.org_id, i.user_id), [i.memory_id], None
    ),
    "read_memories": lambda m, i: m.graph.read_memories(Scope(i.org_id, i.user_id), [i.memory_id]),
    "read_chains": lambda m, i: m.graph.read_chains(Scope(i.org_id, i.user_id), [i.memory_id]),
    "read_origins": lambda m, i: m.graph.read_origins(Scope(i.org_id, i.user_id), [i.memory_id]),
    "list_memories": lambda m, i: m.graph.list_memories(
        Scope(i.org_id, i.user_id), MemoryListing(interaction_id=i.interaction_id)
    ),
    "find_user": lambda m, i: m.graph.find_user(Scope(i.org_id, i.user_id)),
    "find_agent": lambda m, i: m.graph.find_agent(i.org_id, i.agent_id),
    "find_interaction": lambda m, i: m.graph.find_interaction(
        Scope(i.org_id, i.user_id), i.interaction_id
    ),
    "read_messages": lambda m, i: m.graph.read_messages(
        Scope(i.org_id, i.user_id), i.interaction_id, 0, None
    ),
    "read_prefix_hashes": lambda m, i: m.graph.read_prefix_hashes(
        Scope(i.org_id, i.user_id), i.interaction_id
    ),
    "read_names": lambda m, i: m.graph.read_names(i.org_id, [i.user_id], [i.agent_id]),
    "read_salt": lambda m, i: m.graph.read_salt(Scope(i.org_id, i.user_id)),
    "purge_memories": lambda m, i: m.graph.purge_memories(
        Scope(i.org_id, i.user_id), [i.memory_id], m.graph.clock.now()
    ),
    "count_accesses": lambda m, i: m.graph.count_accesses(
        Scope(i.org_id, i.user_id), {i.memory_id: Access(1, m.graph.clock.now())}
    ),
    "find_expired": lambda m, i: m.graph.find_expired(
        Scope(i.org_id, i.user_id), m.graph.clock.now(), after=None, limit=10
    ),
    "find_disused": lambda m, i: m.graph.find_disused(
        Scope(i.org_id, i.user_id),
        m.graph.clock.now(),
        m.graph.clock.now(),
        after=None,
        limit=10,
    ),
    "archive_memories": lambda m, i: m.graph.archive_memories(
        Scope(i.org_id, i.user_id), [i.memory_id], m.graph.clock.now(), m.graph.clock.now()
    ),
    "count_memories": lambda m, i: m.graph.count_memories(
        Scope(i.org_id, i.user_id), m.graph.clock.now()
    ),
    "find_job": lambda m, i: m.graph.find_job(i.org_id, i.job_id),
    "find_import": lambda m, i: m.graph.find_import(i.org_id, i.import_id),
    "list_imports": lambda m, i: m.graph.list_imports(
        i.org_id, user_id=i.user_id, skip=0, limit=10
    ),
    "note_import": lambda m, i: m.graph.note_import(
        Scope(i.org_id, i.user_id), i.import_id, ImportCounts(1)
    ),
    "finish_import": lambda m, i: m.graph.finish_import(
        Scope(i.org_id, i.user_id), i.import_id, ImportStatus.DONE, m.graph.clock.now()
    ),
    "undo_import": lambda m, i: m.graph.undo_import(
        Scope(i.org_id, i.user_id), i.import_id, m.graph.clock.now()
    ),
    "claim_job": lambda m, i: m.graph.claim_job(
        i.org_id, i.job_id, now=m.graph.clock.now(), lease_until=m.graph.clock.now()
    ),
}

VECTORS: dict[str, Call] = {
    "search_memories": lambda m, i: m.vector_db.search_memories(
        ["cat"], "user", i.org_id, i.user_id, i.agent_id
    ),
    "search_memory": lambda m, i: m.vector_db.search_memory(
        "cat", "user", i.org_id, i.user_id, i.agent_id
    ),
    "delete_memory": lambda m, i: m.vector_db.delete_memory(i.memory_id, i.org_id, i.user_id),
    "delete_memories": lambda m, i: m.vector_db.delete_memories([i.memory_id], i.org_id, i.user_id),
    "delete_all_user_memories": lambda m, i: m.vector_db.delete_all_user_memories(
        i.org_id, i.user_id
    ),
    "delete_all_organization_memories": lambda m, i: m.vector_db.delete_all_organization_memories(
        i.org_id
    ),
}

# Ids that a call of this name may take from anywhere, because a caller brings them along or
# because deleting by them is what an administrator does.
OWN_RIGHT = {
    ("graph", "update_organization", "org_id"),
    ("graph", "get_organization", "org_id"),
    ("graph", "delete_organization", "org_id"),
    ("graph", "create_user", "org_id"),
    ("graph", "create_agent", "org_id"),
    ("graph", "get_all_org_users", "org_id"),
    ("graph", "get_all_org_agents", "org_id"),
    ("graph", "list_jobs", "org_id"),
    ("facade", "list_jobs", "org_id"),
    ("facade", "erase_organization", "org_id"),
    ("vectors", "delete_all_organization_memories", "org_id"),
}
TABLES = {"facade": FACADE, "graph": GRAPH, "vectors": VECTORS}


def cases() -> Iterator[tuple[str, str, str]]:
    """Yield (surface, method, id argument) for every id that a call uses."""
    for surface, table in TABLES.items():
        for name, call in table.items():
            source = call.__code__.co_names + tuple(
                item
                for const in call.__code__.co_consts
                if inspect.iscode(const)
                for item in const.co_names
            )
            for field in fields(Ids):
                if field.name in source and (surface, name, field.name) not in OWN_RIGHT:
                    yield surface, name, field.name


async def tenant(memora: Memora, name: str, text: str) -> Ids:
    org = await memora.graph.create_organization(name)
    user = await memora.graph.create_user(org.org_id, name)
    agent = await memora.graph.create_agent(org.org_id, name, user.user_id)
    interaction_id, _at = await memora.graph.save_interaction_with_memories(
        org.org_id,
        agent.agent_id,
        user.user_id,
        MemoriesAndInteraction.model_validate(
            {
                "interaction": [{"role": "user", "content": text}],
                "memories": [{"memory": text, "source_msg_block_pos": [0]}],
            }
        ),
    )
    (memory,) = await memora.graph.get_all_user_memories(org.org_id, user.user_id)
    with pytest.raises(MemoraError):
        await memora.save_or_update_interaction_and_memories(
            org.org_id, user.user_id, interaction=TALK
        )
    (job,) = await memora.graph.list_jobs(org.org_id)
    run = ImportRun(
        org_id=org.org_id,
        import_id=memora.graph.ids.short(),
        user_id=user.user_id,
        started_at=memora.graph.clock.now(),
    )
    await memora.graph.begin_import(run)
    return Ids(
        org.org_id,
        user.user_id,
        agent.agent_id,
        interaction_id,
        memory.memory_id,
        job.job_id,
        run.import_id,
    )


@pytest.fixture(params=["sqlite", pytest.param("neo4j", marks=pytest.mark.neo4j)])
async def tenants(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Tenants]:
    graph: BaseGraphDB
    if request.param == "sqlite":
        graph = SQLiteGraph(tmp_path / "graph.sqlite3", clock=FrozenClock())
    else:
        server: Neo4jServer = request.getfixturevalue("neo4j_server")
        graph = Neo4jGraphInterface(
            server.uri, server.username, str(server.password), server.database
        )
    model = ScriptedBackendLLM(lambda _call: OutageError())
    vectors = EmbeddedVectorDB(tmp_path / "vectors", embedder=HashingEmbedder())
    async with Memora(vectors, graph, None, model) as memora:
        canary = f"canary {uuid.uuid4().hex}"
        own = await tenant(memora, "own", "My cat is called Tom.")
        foreign = await tenant(memora, "foreign", f"My cat is a {canary}.")
        yield Tenants(memora, own, foreign, canary)
        for ids in (own, foreign):
            await memora.graph.delete_organization(ids.org_id)


async def outcome(call: Call, memora: Memora, ids: Ids, shown: str) -> str:
    """Return what a caller sees, with the id that was asked for blanked out."""
    try:
        result = await call(memora, ids)
    except MemoraError as error:
        return f"{type(error).__name__}: {error}".replace(shown, "ID")
    return repr(result).replace(shown, "ID")


async def everything(memora: Memora, ids: Ids) -> list[Any]:
    """Return all that the other tenant has, to see that it is untouched."""
    graph = memora.graph
    # Asked of the vectors themselves: an answer of the engine would count as a use of the memory.
    found = await memora.vector_db.search_memory("cat", "user", ids.org_id, ids.user_id)
    return [
        await graph.get_organization(ids.org_id),
        await graph.get_user(ids.org_id, ids.user_id),
        await graph.get_agent(ids.org_id, ids.agent_id),
        await graph.get_all_user_interactions(
            ids.org_id, ids.user_id, with_messages=True, with_memories=True
        ),
        await graph.get_all_user_memories(ids.org_id, ids.user_id),
        [replace(job, lease_until=None) for job in await graph.list_jobs(ids.org_id)],
        [hit.memory_id for hit in (*found.dense, *found.lexical)],
        await graph.list_imports(ids.org_id, user_id=None, skip=0, limit=10),
    ]


@pytest.mark.timeout(300)
async def test_b02_foreign_ids_answer_like_missing_ones(tenants: Tenants) -> None:
    memora, own, foreign = tenants.memora, tenants.own, tenants.foreign
    before = await everything(memora, foreign)
    different: list[str] = []
    checked = 0
    for surface, name, field in cases():
        call = TABLES[surface][name]
        missing = str(uuid.uuid4()) if field == "memory_id" else uuid.uuid4().hex[:22]
        answers: list[str] = []
        for value in (missing, getattr(foreign, field)):
            shown = await outcome(call, memora, replace(own, **{field: value}), value)
            assert tenants.canary not in shown, (surface, name, field)
            answers.append(shown)
        checked += 1
        if _without_times(answers[0]) != _without_times(answers[1]):
            different.append(f"{surface}.{name}({field}): {answers[0]} != {answers[1]}")
        assert await everything(memora, foreign) == before, (surface, name, field)
    assert different == []
    assert checked > 100


def _without_times(shown: str) -> str:
    """Blank out ids and times that a call makes anew each time."""
    shown = re.sub(r"datetime\.datetime\([^()]*\)|TzInfo\([^()]*\)", "TIME", shown)
    return re.sub(r"'[A-Za-z0-9]{22}'", "'NEW'", shown)


def test_every_method_with_ids_is_in_the_table() -> None:
    ids = {field.name for field in fields(Ids)}
    known = {
        # Listings over all tenants, for administration, and calls without an id argument.
        "get_all_organizations", "create_organization",
        # An export of one organization, for administration.
        "export_to",
        # The id is a new one or the caller's own; the contract suites and flows test it.
        "seed", "seed_sync", "seed_events",
        # Take a whole plan or job; the contract suites test their scope.
        "with_names", "apply", "save_job", "put_agent", "put_user", "put_organization",
    }  # fmt: skip
    for owner, table in ((Facade, FACADE), (BaseGraphDB, GRAPH), (BaseVectorDB, VECTORS)):
        for name, method in inspect.getmembers(owner, inspect.isfunction):
            if name.startswith("_") or name in table or name in known:
                continue
            parameters = set(inspect.signature(method).parameters)
            primitive = getattr(method, "__isabstractmethod__", False)
            if parameters & ids and not primitive and name not in {"for_user", "add_memories"}:
                pytest.fail(f"{owner.__name__}.{name} takes an id and is not in the table")
