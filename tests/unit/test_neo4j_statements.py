"""What the transaction functions send: scoped, repeatable, database-only, few, in a fixed order.

The answers come from a script, so nothing here says that Neo4j does as asked: the graph contract
on a live server does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from neo4j.exceptions import IncompleteCommit, ServiceUnavailable

from memora import _queries
from memora.core.hashing import tombstone
from memora.core.messages import parse_messages
from memora.errors import (
    AgentNotFoundError,
    ConflictError,
    GraphDBConnectionError,
    GraphDBError,
    InteractionNotFoundError,
    UserNotFoundError,
)
from memora.graph_db.base import BaseGraphDB, MemoryListing
from memora.graph_db.neo4j import Neo4jGraphInterface
from memora.graph_db.neo4j.records import job_properties, micros
from memora.schema.imports import ImportStatus
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.lifetime import Access
from memora.schema.models import Agent, Organization, User
from memora.schema.scope import Scope
from memora.schema.sources import SourceKind, SourceSelector, Withdrawal
from memora.schema.write_plan import (
    IdempotencyRecord,
    InteractionWrite,
    MemoryEnd,
    MemoryWrite,
    MessageEdit,
    SourceLink,
    SourceRef,
    WritePlan,
)
from memora.testing.bolt import Answers, ScriptedBolt

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ORG, USER = "the-org", "the-user"
SCOPE = Scope(ORG, USER)


def queries(stem: str) -> Any:
    return _queries.load("memora.graph_db.neo4j", f"queries/{stem}.cypher")


APPLY, USERS, OUTBOX = queries("apply"), queries("user"), queries("outbox")
MEMORY, INTERACTION, JOBS = queries("memory"), queries("interaction"), queries("jobs")
ORGANIZATION, AGENTS, WITHDRAW = queries("organization"), queries("agent"), queries("withdraw")

LINKED = {
    "memory_id": "m0",
    "chain_id": "m0",
    "successor_id": None,
    "predecessor_id": None,
    "superseded_at": None,
    "head_of": "m0",
    "obtained_at": micros(NOW),
}
FOUND: dict[str, Any] = {
    "erasing": False,
    "salt": "salt",
    "agents": [],
    "keys": [],
    "interactions": [],
    "external_ids": [],
    "versions": [LINKED],
    "heads": [],
    "known_chains": [],
    "imports": [],
    "parts": [],
    "equals": [],
    "has_tombstones": False,
}
MESSAGES = parse_messages([{"role": "user", "content": "hi"}, {"role": "user", "content": "ho"}])


def bolt(found: dict[str, Any] | None = None, **options: Any) -> ScriptedBolt:
    answers: Answers = {
        APPLY["lock_and_look"]: [FOUND | (found or {})],
        APPLY["cut_messages"]: [{"deleted": 1}],
        OUTBOX["enqueue"]: [{"seq": 7}],
    }
    return ScriptedBolt(answers, **options)


def graph_on(script: ScriptedBolt) -> Neo4jGraphInterface:
    return Neo4jGraphInterface("", "", "", "neo4j", driver=script)  # pyright: ignore[reportArgumentType]


def memory(memory_id: str, **fields: Any) -> MemoryWrite:
    fields = {"obtained_at": NOW, "chain_id": memory_id, "content_hash": "h", **fields}
    return MemoryWrite(memory_id, "likes tea", **fields)


def job(**fields: Any) -> ExtractionJob:
    return ExtractionJob("the-job", ORG, USER, "i", 0, 2, NOW, NOW, **fields)


def full_plan() -> WritePlan:
    source = SourceRef("i", 0, MESSAGES[0].prefix_hash)
    return WritePlan(
        SCOPE,
        NOW,
        interaction=InteractionWrite("i", None, MessageEdit(0, MESSAGES), NOW),
        memories=(memory("m1", sources=(source,), interaction_id="i"), memory("m2")),
        links=(SourceLink("m0", (source,)),),
        job=job(),
        idempotency=IdempotencyRecord("the-key", "body", {"a": 1}),
    )


def sent(script: ScriptedBolt) -> list[str]:
    names = {query: name for group in (APPLY, OUTBOX) for name, query in group.items()}
    return [names[statement.query] for statement in script.statements]


async def test_a_plan_takes_few_statements_and_locks_first() -> None:
    script = bolt()
    plan = replace(full_plan(), links=(), job=None, idempotency=None)
    await graph_on(script).apply(plan)
    assert sent(script) == ["lock_and_look", "create_interaction", "insert_memories", "enqueue"]
    assert len(script.runs) == 1


async def test_b25_the_counter_of_the_outbox_is_locked_last() -> None:
    script = bolt()
    await graph_on(script).apply(full_plan())
    assert sent(script) == [
        "lock_and_look",
        "lock_job",
        "create_interaction",
        "insert_memories",
        "link_sources",
        "settle",
        "enqueue",
    ]
    # A memory that gets a source is indexed again: its text holds what was said before.
    assert script.statements[-1].parameters["memory_ids"] == ["m1", "m2", "m0"]


async def test_b30_all_sessions_share_the_bookmarks_of_the_driver() -> None:
    script = bolt()
    graph = graph_on(script)
    await graph.apply(full_plan())
    await graph.enqueue_sync(SCOPE, ["m"], NOW)
    managers = [session["bookmark_manager"] for session in script.sessions]
    assert managers == [script.execute_query_bookmark_manager] * 2
    assert {session["database"] for session in script.sessions} == {"neo4j"}


async def test_b33_long_transcripts_are_sent_in_blocks() -> None:
    long = parse_messages([{"role": "user", "content": str(n)} for n in range(450)])
    many = tuple(memory(f"m{number}") for number in range(250))
    script = bolt({"versions": []})
    write = InteractionWrite("i", None, MessageEdit(0, long), NOW)
    await graph_on(script).apply(WritePlan(SCOPE, NOW, interaction=write, memories=many))
    assert sent(script) == [
        "lock_and_look",
        "create_interaction",
        "append_messages",
        "append_messages",
        "insert_memories",
        "insert_memories",
        "enqueue",
    ]
    positions = [
        message["position"]
        for statement in script.statements[1:4]
        for message in statement.parameters["messages"]
    ]
    assert positions == list(range(450))


async def test_b13_a_function_that_runs_twice_sends_the_same_twice() -> None:
    script = bolt(times=2)
    await graph_on(script).apply(full_plan())
    first, second = script.runs
    assert first.statements == second.statements
    assert len(first.statements) == 7


@pytest.mark.parametrize("number", range(1, 8))
async def test_b12_a_failing_statement_ends_the_transaction(number: int) -> None:
    script = bolt(abort_at=number, error=ServiceUnavailable("gone"))
    with pytest.raises(GraphDBConnectionError):
        await graph_on(script).apply(full_plan())
    assert len(script.statements) == number


async def test_b13_an_unknown_outcome_is_retryable() -> None:
    script = bolt(abort_at=6, error=IncompleteCommit("who knows"))
    with pytest.raises(GraphDBConnectionError, match="committing"):
        await graph_on(script).apply(full_plan())


async def test_nothing_is_written_for_a_replay() -> None:
    script = bolt({"keys": [{"key": "the-key", "body_hash": "body", "result": '{"a":2}'}]})
    receipt = await graph_on(script).apply(full_plan())
    assert receipt.replayed
    assert receipt.result == {"a": 2}
    assert sent(script) == ["lock_and_look"]


CONFLICTS: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("no user", {"erasing": True}, UserNotFoundError, USER),
    (
        "other body",
        {"keys": [{"key": "the-key", "body_hash": "x", "result": "{}"}]},
        ConflictError,
        "idempotency_key",
    ),
    (
        "interaction there",
        {"interactions": [{"interaction_id": "i", "revision": 3}]},
        ConflictError,
        "interaction",
    ),
    (
        "memory there",
        {"versions": [LINKED, {**LINKED, "memory_id": "m1", "chain_id": "m1", "head_of": "m1"}]},
        ConflictError,
        "memory",
    ),
    ("linked memory gone", {"versions": []}, ConflictError, "memory"),
    ("chain there", {"known_chains": ["m2"]}, ConflictError, "memory"),
]


@pytest.mark.parametrize(
    ("found", "error", "names"),
    [case[1:] for case in CONFLICTS],
    ids=[case[0] for case in CONFLICTS],
)
async def test_b24_a_guard_that_fails_writes_nothing(
    found: dict[str, Any], error: type[Exception], names: str
) -> None:
    script = bolt(found)
    with pytest.raises(error, match=names):
        await graph_on(script).apply(full_plan())
    assert set(sent(script)) <= {"lock_and_look", "lock_job"}


@pytest.mark.parametrize(
    ("agents", "may"),
    [
        ([{"agent_id": "a", "user_id": None, "deleted_at": None}], True),
        ([{"agent_id": "a", "user_id": USER, "deleted_at": None}], True),
        ([{"agent_id": "a", "user_id": "somebody", "deleted_at": None}], False),
        ([{"agent_id": "a", "user_id": None, "deleted_at": 5}], False),
        ([], False),
    ],
)
async def test_b07_the_writing_agent_is_there_and_serves_the_user(
    agents: list[dict[str, Any]], may: bool
) -> None:
    write = InteractionWrite("i", None, MessageEdit(0, MESSAGES), NOW, agent_id="a")
    script = bolt({"agents": agents})
    plan = WritePlan(SCOPE, NOW, interaction=write)
    if may:
        await graph_on(script).apply(plan)
        return
    with pytest.raises(AgentNotFoundError):
        await graph_on(script).apply(plan)
    assert sent(script) == ["lock_and_look"]


async def test_b47_a_deleted_agent_keeps_its_memories_new_versions() -> None:
    agents = [{"agent_id": "a", "user_id": None, "deleted_at": 5}]
    script = bolt({"agents": agents})
    await graph_on(script).apply(WritePlan(SCOPE, NOW, memories=(memory("m1", agent_id="a"),)))
    assert "insert_memories" in sent(script)


JOB_ROW = {"user_id": USER, "attempts": 1}


@pytest.mark.parametrize(
    ("stored", "error"),
    [
        ([JOB_ROW], None),
        ([], InteractionNotFoundError),
        ([JOB_ROW | {"user_id": "somebody"}], InteractionNotFoundError),
        ([JOB_ROW | {"attempts": 0}], None),
        ([JOB_ROW | {"attempts": 2}], ConflictError),
    ],
)
async def test_b14_a_late_answer_is_written_only_for_the_job_it_belongs_to(
    stored: list[dict[str, Any]], error: type[Exception] | None
) -> None:
    script = bolt({"interactions": [{"interaction_id": "i"}]})
    script.answers = {**script.answers, APPLY["lock_job"]: stored}
    late = job(status=JobStatus.DONE, attempts=1)
    plan = WritePlan(SCOPE, NOW, memories=(memory("m1"),), job=late, job_must_exist=True)
    if error is None:
        await graph_on(script).apply(plan)
        assert "settle" in sent(script)
        return
    with pytest.raises(error):
        await graph_on(script).apply(plan)
    assert sent(script) == ["lock_and_look", "lock_job"]


async def test_a_new_job_does_not_replace_another_users() -> None:
    script = bolt()
    script.answers = {**script.answers, APPLY["lock_job"]: [JOB_ROW | {"user_id": "somebody"}]}
    with pytest.raises(InteractionNotFoundError):
        await graph_on(script).apply(full_plan())
    assert sent(script) == ["lock_and_look", "lock_job"]


async def test_b55_a_buried_statement_is_not_written() -> None:
    marks = [tombstone("salt", message.prefix_hash, "h") for message in MESSAGES]
    sources = tuple(
        SourceRef("i", position, message.prefix_hash) for position, message in enumerate(MESSAGES)
    )
    found = {"has_tombstones": True}
    plan = WritePlan(
        SCOPE, NOW, memories=(memory("m1", sources=sources), memory("m2", sources=sources[:1]))
    )
    script = bolt(found)
    script.answers = {**script.answers, APPLY["find_tombstones"]: [{"mark": marks[0]}]}
    await graph_on(script).apply(plan)
    assert script.statements[-1].parameters["memory_ids"] == ["m1"]


async def test_b65_the_time_of_an_update_never_goes_back() -> None:
    stored = {
        "interaction_id": "i",
        "revision": 4,
        "message_count": 2,
        "participants": [],
        "created_at": micros(NOW),
        "updated_at": micros(NOW) + 10_000_000,
        "last_activity_at": micros(NOW),
    }
    write = InteractionWrite("i", 4, MessageEdit(2, MESSAGES), NOW)
    script = bolt({"interactions": [stored]})
    receipt = await graph_on(script).apply(WritePlan(SCOPE, NOW, interaction=write))
    assert receipt.updated_at is not None
    assert micros(receipt.updated_at) == micros(NOW) + 10_000_001
    assert (receipt.revision, receipt.message_count) == (5, 4)
    assert sent(script) == ["lock_and_look", "change_interaction"]


async def test_a_head_is_taken_down_before_the_next_one_is_there() -> None:
    head = {
        "memory_id": "m1",
        "chain_id": "m1",
        "successor_id": None,
        "predecessor_id": None,
        "superseded_at": None,
        "head_of": "m1",
        "obtained_at": micros(NOW),
    }
    version = memory(
        "m2",
        chain_id="m1",
        predecessor_id="m1",
        predecessor_superseded_at=NOW,
        replaces_head="m1",
    )
    script = bolt({"versions": [head], "heads": [head], "known_chains": ["m1"]})
    await graph_on(script).apply(WritePlan(SCOPE, NOW, memories=(version,)))
    assert sent(script) == [
        "lock_and_look",
        "change_versions",
        "insert_memories",
        "link_versions",
        "enqueue",
    ]
    [changed] = script.statements[1].parameters["versions"]
    assert changed == {
        "memory_id": "m1",
        "successor_id": "m2",
        "superseded_at": micros(NOW),
        "head_of": None,
    }
    assert set(script.statements[-1].parameters["memory_ids"]) == {"m1", "m2"}


async def test_b28_only_the_current_head_ends() -> None:
    script = bolt()
    with pytest.raises(ConflictError, match="m1"):
        await graph_on(script).apply(WritePlan(SCOPE, NOW, ends=(MemoryEnd("m1", NOW),)))
    assert sent(script) == ["lock_and_look"]


async def test_a_database_without_its_counter_says_so() -> None:
    script = bolt()
    script.answers = {**script.answers, OUTBOX["enqueue"]: []}
    with pytest.raises(GraphDBError, match="setup"):
        await graph_on(script).enqueue_sync(SCOPE, ["m"], NOW)


Call = Callable[[BaseGraphDB], Awaitable[object]]
ERASED = {"deleted": 0}
ORGANIZATION_ROW = {"org_id": ORG, "org_name": "n", "created_at": 0}
USER_ROW = {"org_id": ORG, "user_id": USER, "user_name": "n", "created_at": 0, "salt": "s"}
AGENT_ROW = {"org_id": ORG, "agent_id": "a", "agent_label": "n", "created_at": 0}
PLACE = {
    **dict.fromkeys(("superseded_at", "successor_id", "agent_id", "import_id", "process_id")),
    **dict.fromkeys(("stated_at", "stated_role")),
    "recorded_at": micros(NOW),
    "memory_id": "m",
    "chain_id": "m",
    "obtained_at": 0,
    "source_role": "user",
    "content_hash": "h",
    "interaction_id": "i",
    "author": None,
}
TENANT_ANSWERS: Answers = {
    APPLY["lock_and_look"]: [FOUND],
    APPLY["cut_messages"]: [ERASED],
    OUTBOX["enqueue"]: [{"seq": 7}],
    USERS["lock_user"]: [{"erasing": False, "salt": "s"}],
    USERS["lock_organization"]: [{"erasing": False}],
    USERS["mark_user"]: [{"user_id": USER}],
    USERS["put_user"]: [{"user": USER_ROW}],
    USERS["find_user"]: [{"user": USER_ROW}],
    USERS["rename_user"]: [{"user": USER_ROW}],
    USERS["read_names"]: [{"users": [], "agents": []}],
    **{USERS[name]: [ERASED] for name in USERS if name.startswith("erase_")},
    **{ORGANIZATION[name]: [ERASED] for name in ORGANIZATION if name.startswith("erase_")},
    ORGANIZATION["put_organization"]: [{"organization": ORGANIZATION_ROW}],
    ORGANIZATION["rename_organization"]: [{"organization": ORGANIZATION_ROW}],
    ORGANIZATION["mark_organization"]: [{"org_id": ORG}],
    ORGANIZATION["mark_users"]: [{"marked": 0}],
    AGENTS["put_agent"]: [{"agent": AGENT_ROW}],
    AGENTS["rename_agent"]: [{"agent": AGENT_ROW}],
    INTERACTION["read_prefix_hashes"]: [{"hashes": []}],
    INTERACTION["pick_interactions"]: [{"interaction_id": "i", "message_count": 2}],
    INTERACTION["pick_named_interactions"]: [{"interaction_id": "i", "message_count": 2}],
    INTERACTION["obtained_in"]: [{"memory_id": "m"}],
    INTERACTION["erase_interactions"]: [{"interactions": 1, "messages": 2, "jobs": 1}],
    MEMORY["pick_memories"]: [{"memory_id": "m"}],
    MEMORY["pick_named_memories"]: [{"memory_id": "m"}],
    WITHDRAW["read_unfinished_jobs"]: [{"job": job_properties(job())}],
    WITHDRAW["chains_of_source"]: [{"chain_id": "m"}],
    WITHDRAW["read_places"]: [{"version": PLACE, "sources": []}],
    JOBS["save_job"]: [{"job_id": "the-job"}],
    JOBS["lock_job"]: [{"job_id": "the-job"}],
    JOBS["lock_job_of_user"]: [{"job_id": "the-job"}],
}
OF_ORGANIZATION: dict[str, Call] = {
    "put_organization": lambda g: g.put_organization(
        Organization(org_id=ORG, org_name="n", created_at=NOW)
    ),
    "rename_organization": lambda g: g.rename_organization(ORG, "n"),
    "find_organization": lambda g: g.find_organization(ORG),
    "list_users": lambda g: g.list_users(ORG, skip=0, limit=5),
    "put_agent": lambda g: g.put_agent(
        Agent(org_id=ORG, agent_id="a", agent_label="n", created_at=NOW)
    ),
    "rename_agent": lambda g: g.rename_agent(ORG, "a", "n"),
    "find_agent": lambda g: g.find_agent(ORG, "a"),
    "list_agents": lambda g: g.list_agents(ORG, user_id=None, skip=0, limit=5),
    "remove_agent": lambda g: g.remove_agent(ORG, "a", NOW),
    "read_names": lambda g: g.read_names(ORG, [USER], ["a"]),
    "erase_organization": lambda g: g.erase_organization(ORG, NOW),
    "claim_job": lambda g: g.claim_job(ORG, "the-job", now=NOW, lease_until=NOW),
    "find_job": lambda g: g.find_job(ORG, "the-job"),
    "find_import": lambda g: g.find_import(ORG, "import"),
    "list_imports": lambda g: g.list_imports(ORG, user_id=None, skip=0, limit=5),
}
POISON = SourceSelector(SourceKind.INTERACTION, "i")
OF_USER: dict[str, Call] = {
    "put_user": lambda g: g.put_user(
        User(org_id=ORG, user_id=USER, user_name="n", created_at=NOW), salt="s"
    ),
    "find_user": lambda g: g.find_user(SCOPE),
    "rename_user": lambda g: g.rename_user(SCOPE, "n"),
    "read_salt": lambda g: g.read_salt(SCOPE),
    "erase_user": lambda g: g.erase_user(SCOPE, NOW),
    "list_agents_of_user": lambda g: g.list_agents(ORG, user_id=USER, skip=0, limit=5),
    "put_personal_agent": lambda g: g.put_agent(
        Agent(org_id=ORG, agent_id="a", agent_label="n", user_id=USER, created_at=NOW)
    ),
    "find_interaction": lambda g: g.find_interaction(SCOPE, "i"),
    "list_interactions": lambda g: g.list_interactions(SCOPE, skip=0, limit=5),
    "read_messages": lambda g: g.read_messages(SCOPE, "i", 0, None),
    "read_prefix_hashes": lambda g: g.read_prefix_hashes(SCOPE, "i"),
    "erase_interactions": lambda g: g.erase_interactions(SCOPE, ["i"], NOW),
    "erase_all_interactions": lambda g: g.erase_interactions(SCOPE, None, NOW),
    "apply": lambda g: g.apply(full_plan()),
    "find_idempotency": lambda g: g.find_idempotency(SCOPE, "the-key"),
    "read_memories": lambda g: g.read_memories(SCOPE, ["m"]),
    "resolve_memories": lambda g: g.resolve_memories(SCOPE, ["m"], None),
    "resolve_memories_as_of": lambda g: g.resolve_memories(SCOPE, ["m"], NOW),
    "read_chains": lambda g: g.read_chains(SCOPE, ["m"]),
    "list_memories": lambda g: g.list_memories(SCOPE, MemoryListing()),
    "list_of_agent": lambda g: g.list_memories(SCOPE, MemoryListing(agent_id="a")),
    "list_of_interaction": lambda g: g.list_memories(SCOPE, MemoryListing(interaction_id="i")),
    "list_live_memories": lambda g: g.list_live_memories(SCOPE, MemoryListing(), NOW),
    "find_current_by_hash": lambda g: g.find_current_by_hash(SCOPE, ["h"]),
    "find_tombstones": lambda g: g.find_tombstones(SCOPE, ["t"]),
    "purge_memories": lambda g: g.purge_memories(SCOPE, ["m"], NOW),
    "list_source_memories": lambda g: g.list_source_memories(
        SCOPE, POISON, NOW, current_only=False, skip=0, limit=5
    ),
    "withdraw": lambda g: g.withdraw(SCOPE, POISON, NOW, leave_tombstones=True),
    "count_accesses": lambda g: g.count_accesses(SCOPE, {"m": Access(1, NOW)}),
    "find_expired": lambda g: g.find_expired(SCOPE, NOW, after=None, limit=5),
    "find_disused": lambda g: g.find_disused(SCOPE, NOW, NOW, after=None, limit=5),
    "archive_memories": lambda g: g.archive_memories(SCOPE, ["m"], NOW, NOW),
    "count_memories": lambda g: g.count_memories(SCOPE, NOW),
    "purge_all_memories": lambda g: g.purge_memories(SCOPE, None, NOW),
    "save_job": lambda g: g.save_job(job()),
    "list_jobs": lambda g: g.list_jobs(ORG, user_id=USER, statuses=[JobStatus.DONE]),
    "enqueue_sync": lambda g: g.enqueue_sync(SCOPE, ["m"], NOW),
    "list_imports_of_user": lambda g: g.list_imports(ORG, user_id=USER, skip=0, limit=5),
    "finish_import": lambda g: g.finish_import(SCOPE, "import", ImportStatus.DONE, NOW),
}
# Locks and counters that are everybody's.
SHARED = {OUTBOX["lock_claims"]}


@pytest.mark.parametrize("name", sorted(OF_ORGANIZATION))
async def test_b01_every_statement_names_the_organization(name: str) -> None:
    script = ScriptedBolt(TENANT_ANSWERS, times=2)
    await OF_ORGANIZATION[name](graph_on(script))
    assert script.statements
    for statement in script.statements:
        if statement.query not in SHARED:
            assert ("org_id", ORG) in statement.owners()
            assert {value for key, value in statement.owners() if key == "org_id"} == {ORG}


@pytest.mark.parametrize("name", sorted(OF_USER))
async def test_b01_every_statement_names_organization_and_user(name: str) -> None:
    script = ScriptedBolt(TENANT_ANSWERS, times=2)
    await OF_USER[name](graph_on(script))
    assert script.statements
    of_organization = {USERS["lock_organization"], APPLY["lock_job"], *SHARED}
    for statement in script.statements:
        if statement.query not in of_organization:
            assert statement.owners() == {("org_id", ORG), ("user_id", USER)}


@pytest.mark.parametrize("name", sorted([*OF_USER, *OF_ORGANIZATION]))
async def test_b12_functions_that_run_twice_send_the_same(name: str) -> None:
    script = ScriptedBolt(TENANT_ANSWERS, times=2)
    await (OF_USER | OF_ORGANIZATION)[name](graph_on(script))
    pairs = zip(script.runs[::2], script.runs[1::2], strict=True)
    for first, second in pairs:
        assert first.statements == second.statements


@pytest.mark.parametrize("name", sorted([*OF_USER, *OF_ORGANIZATION]))
async def test_b35_a_read_primitive_is_one_statement(name: str) -> None:
    script = ScriptedBolt(TENANT_ANSWERS)
    await (OF_USER | OF_ORGANIZATION)[name](graph_on(script))
    if {run.mode for run in script.runs} == {"r"}:
        assert len(script.statements) == 1
    else:
        assert {run.mode for run in script.runs} == {"w"}


async def test_b28_a_withdrawal_takes_the_users_lock_and_then_the_jobs() -> None:
    script = ScriptedBolt(TENANT_ANSWERS)
    outcome = await graph_on(script).withdraw(SCOPE, POISON, NOW, leave_tombstones=True)
    assert (outcome.removed, outcome.cancelled_jobs) == (("m",), ("the-job",))
    closing, removing = ([each.query for each in run.statements] for run in script.runs)
    assert closing[:2] == [USERS["lock_user"], WITHDRAW["lock_unfinished_jobs"]]
    assert closing[-1] == JOBS["save_job"]
    assert removing[0] == USERS["lock_user"]
    assert removing[-1] == OUTBOX["enqueue"]
    assert removing.index(MEMORY["bury"]) < removing.index(MEMORY["delete_memories"])


async def test_nothing_is_withdrawn_of_a_user_that_is_being_erased() -> None:
    script = ScriptedBolt({**TENANT_ANSWERS, USERS["lock_user"]: [{"erasing": True, "salt": "s"}]})
    outcome = await graph_on(script).withdraw(SCOPE, POISON, NOW, leave_tombstones=True)
    assert outcome == Withdrawal()
    assert [len(run.statements) for run in script.runs] == [1, 1]


async def test_the_relay_takes_its_lock_before_it_looks() -> None:
    script = ScriptedBolt(TENANT_ANSWERS)
    graph = graph_on(script)
    await graph.claim_outbox(now=NOW, lease_until=NOW, limit=5)
    await graph.ack_outbox([])
    await graph.fail_outbox([], error="e", not_before=NOW, dead=False)
    assert all(run.statements[0].query == OUTBOX["lock_claims"] for run in script.runs)
    assert all(len(run.statements) == 2 for run in script.runs)


async def test_b32_an_erasure_goes_on_until_nothing_is_left() -> None:
    left = [10_000, 3, 0]

    class Shrinking(ScriptedBolt):
        async def execute(self, mode: str, function: Any, arguments: Any) -> Any:
            if mode == "w" and len(self.runs) > 0 and left:
                deleted = left.pop(0)
                self.answers = {**self.answers, USERS["erase_memories"]: [{"deleted": deleted}]}
            return await super().execute(mode, function, arguments)

    script = Shrinking(TENANT_ANSWERS)
    counts = await graph_on(script).erase_user(SCOPE, NOW)
    assert counts.memories == 10_003
    steps = [[s.query for s in run.statements] for run in script.runs]
    assert USERS["erase_user"] not in steps[1]
    assert OUTBOX["enqueue"] not in steps[1]
    assert steps[2][-2:] == [USERS["erase_user"], OUTBOX["enqueue"]]
    assert len(steps) == 3


async def test_b83_an_erasure_that_somebody_else_finished_drops_nothing_twice() -> None:
    script = ScriptedBolt({**TENANT_ANSWERS, USERS["lock_user"]: []})
    counts = await graph_on(script).erase_user(SCOPE, NOW)
    assert counts.users == 0
    assert OUTBOX["enqueue"] not in [statement.query for statement in script.statements]


async def test_a_record_that_is_deleted_while_it_is_read_is_gone() -> None:
    class Deleting(ScriptedBolt):
        async def execute(self, mode: str, function: Any, arguments: Any) -> Any:
            half = {"org_id": ORG, "user_id": None}
            rows = [] if self.runs else [{"user": half}]
            self.answers = {USERS["find_user"]: rows}
            return await super().execute(mode, function, arguments)

    script = Deleting()
    assert await graph_on(script).find_user(SCOPE) is None
    assert len(script.runs) == 2


async def test_a_record_that_stays_incomplete_is_a_typed_error() -> None:
    script = ScriptedBolt({USERS["find_user"]: [{"user": {"org_id": ORG}}]})
    with pytest.raises(GraphDBError, match="lacks"):
        await graph_on(script).find_user(SCOPE)
