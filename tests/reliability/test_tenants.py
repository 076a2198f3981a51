"""R4: random calls of every public method, with ids that are not the caller's, and nothing leaks.

Callers live in some of the houses of a `Town`; most people are victims, who never call. A caller
names one id of somebody else, or something that looks like it. Then no answer, error or log line
tells anything of the other tenant, a foreign id answers like a missing one, and in the end the
victims have in both stores what they had before, found with the same scores.
"""

from __future__ import annotations

import inspect
import random
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError
from qdrant_client import AsyncQdrantClient

from memora import Memora, SeedData
from memora.embeddings import HashingEmbedder
from memora.errors import MemoraError
from memora.graph_db import SQLiteGraph
from memora.graph_db.base import BaseGraphDB, MemoryListing
from memora.graph_db.neo4j.interface import Neo4jGraphInterface
from memora.schema.imports import ImportCounts, ImportStatus
from memora.schema.index import IndexDocument
from memora.schema.lifetime import Access
from memora.schema.models import Memory
from memora.schema.scope import Scope
from memora.schema.sources import SourceSelector
from memora.schema.storage_schema import (
    ContraryMemoryToStore,
    MemoriesAndInteraction,
    MemoryToStore,
)
from memora.testing.clocks import FrozenClock
from memora.vector_db import EmbeddedVectorDB, QdrantDB
from memora.vector_db.base import BaseVectorDB
from tests.blocking import blocking_forbidden
from tests.neo4j_server.process import Neo4jServer
from tests.reliability.interleaving import at_once
from tests.reliability.scorecard import Score
from tests.reliability.town import Person, Town, kept_log, spelled, spelled_error, vectors_of

# The nightly run takes a quarter of an hour.
pytestmark = [pytest.mark.timeout(7_200), pytest.mark.suite("R4")]

HOUSES, PEOPLE, CALLERS = 200, 5, 24
CALLS, NIGHTLY_CALLS = 20_000, 500_000

# Methods that no tenant's call reaches, and why.
EXEMPT = {
    "graph.setup": "lifecycle",
    "graph.close": "lifecycle",
    "graph.get_associated_vector_db": "no data",
    "graph.with_vector_db": "no data",
    "graph.get_all_organizations": "administration: lists all tenants on purpose",
    "graph.list_organizations": "administration: lists all tenants on purpose",
    "graph.create_organization": "administration: makes tenants",
    "graph.put_organization": "takes a whole record; contract clauses",
    "graph.begin_import": "takes a whole record; contract clauses",
    "graph.put_user": "takes a whole record; contract clauses",
    "graph.put_agent": "takes a whole record; contract clauses",
    "graph.apply": "takes a whole plan; contract clauses",
    "graph.save_job": "takes a whole job; contract clauses",
    "graph.conflict": "takes a record that the caller has read",
    "graph.drain_outbox": "relay: works for every tenant",
    "graph.claim_outbox": "relay: works for every tenant",
    "graph.ack_outbox": "relay: works for every tenant",
    "graph.fail_outbox": "relay: works for every tenant",
    "graph.retry_outbox": "operator",
    "graph.list_outbox": "operator",
    "graph.outbox_status": "operator",
    "graph.inspect": "operator: doctor",
    "facade.sweep": "operator: of a user it is `bound.sweep`",
    "vectors.setup": "lifecycle",
    "vectors.close": "lifecycle",
    "vectors.stamp": "operator",
    "vectors.scan": "operator: doctor and reindex",
    "vectors.clear": "operator: reindex",
    "vectors.rewrite": "operator: reindex",
    "vectors.run_queries": "hits as the engine found them; the public methods check them again",
    "graph.dump_records": "operator: export of a store or an organization",
    "graph.load_records": "operator: import",
    "graph.replace_with": "operator: restore",
    "graph.rotate_key": "operator: works for every tenant",
    "vectors.replace_with": "operator: restore",
    "vectors.use_keys": "operator: takes the keys of the graph",
    "vectors.begin_rebuild": "operator: reindex",
    "vectors.rebuilding": "operator: reindex",
    "graph.known_memories": "operator: doctor, over all tenants",
    "graph.open_as_is": "lifecycle",
    "graph.pin": "operator: backup",
    "graph.pin_with_vectors": "operator: backup",
    "graph.repair": "operator: reconcile",
    "graph.scrub": "operator: erasure of what is deleted already",
    "graph.without_drains": "operator: import",
    "vectors.discard": "operator: reconcile",
    "vectors.forget_texts": "operator: erasure of what is deleted already",
    "vectors.inspect": "operator: doctor",
    "vectors.lookup": "operator: doctor, over all tenants like `scan`",
    "vectors.is_unverified": "operator: restore",
    "vectors.mark_verified": "operator: restore",
    "vectors.mend": "operator: reconcile",
    "vectors.pin": "operator: backup",
    "facade.export_to": "operator: writes a file",
    "facade.import_from": "operator: reads a file",
    "facade.backup": "operator: writes files",
    "facade.restore": "operator: reads files",
    "facade.reconcile": "operator: works for every tenant",
    "facade.rotate_key": "operator: works for every tenant",
    "facade.setup": "lifecycle",
    "facade.close": "lifecycle",
    "facade.for_user": "its methods are the surface `bound`",
    "facade.drain_outbox": "relay: works for every tenant",
    "facade.doctor": "operator",
    "facade.reindex": "operator",
    "facade.seed_events": "the same as `facade.seed`, step by step",
}
# Ids for which the organization itself is the authority: naming another one is being there.
ERASES_HOUSE = {
    "graph.delete_organization",
    "graph.erase_organization",
    "vectors.delete_all_organization_memories",
    "vectors.remove_organization",
    "facade.erase_organization",
}
# Calls of an organization in which the user is only part of what they are about.
OF_A_HOUSE = {
    "graph.create_user", "graph.create_agent", "graph.list_jobs", "graph.list_agents",
    "graph.read_names", "facade.list_jobs", "graph.list_imports", "facade.list_imports",
    "facade.add_memories", "facade.list_memories",
    "facade.memory_health",
}  # fmt: skip
# Dropping a tenant's vectors writes the shard anew, so these have their turn less often.
COSTLY = ERASES_HOUSE | {
    "graph.delete_user", "graph.erase_user", "facade.erase_user", "bound.erase_user",
    "vectors.remove_user", "vectors.delete_all_user_memories", "graph.enqueue_drop",
}  # fmt: skip
# Calls that take exactly one of these.
ONE_SOURCE = ("memories_by_source", "rollback_source")
SOURCES = ("interaction_id", "agent_id", "import_id", "process_id")
DESTROYS = (
    "withdraw", "enqueue_drop", "delete_", "erase_", "purge_", "remove", "claim_", "resume_",
    "retract_", "rollback_", "undo_", "archive_",
)  # fmt: skip
# The vectors follow these at once, which takes longer than an answer.
WRITES = (
    "save", "update_", "revert_", "delete_", "purge_", "erase_", "add_", "upsert", "batch_create",
    "seed",
)  # fmt: skip
FIELDS = ("org_id", "user_id", "agent_id", "interaction_id", "memory_id", "job_id", "import_id")
# Which ids a parameter is made of.
MADE_OF = {
    "scope": ("org_id", "user_id", "agent_id"),
    "agent_ids": ("agent_id",),
    "user_ids": ("user_id",),
    "interaction_ids": ("interaction_id",),
    "memory_ids": ("memory_id",),
    "org_user_mem_ids": ("memory_id",),
    "batch_org_user_mem_ids": ("memory_id",),
    "documents": ("memory_id",),
    "data": ("org_id", "user_id", "agent_id"),
    "listing": ("interaction_id", "agent_id"),
    "selector": ("interaction_id",),
    "filters": ("interaction_id", "agent_id"),
    "memories_and_interaction": ("memory_id",),
    "updated_memories_and_interaction": ("memory_id",),
    "key": ("user_id",),
    "accesses": ("memory_id",),
}
# Cyrillic letters that look like Latin ones, and another hyphen.
HOMOGLYPHS = str.maketrans({"o": "\u043e", "e": "\u0435", "a": "\u0430", "-": "\u2010"})


@dataclass
class Call:
    """One call that is about to be made.

    Attributes:
        ids: The ids that it names.
        memory: One of the caller's.
    """

    surface: str
    name: str
    caller: Person
    rng: random.Random
    now: Any
    ids: dict[str, Any]
    memory: Memory | None = None

    @property
    def path(self) -> str:
        return f"{self.surface}.{self.name}"

    def say(self, text: str) -> str:
        return f"{text} {self.caller.token}"


def _scope(call: Call) -> Scope:
    agent = call.ids["agent_id"] if call.rng.random() < 0.3 else None
    return Scope(call.ids["org_id"], call.ids["user_id"], agent)


def _given(call: Call) -> MemoriesAndInteraction:
    contrary: list[ContraryMemoryToStore] = []
    if call.rng.random() < 0.7:
        contrary = [
            ContraryMemoryToStore(
                memory=call.say("no cat"),
                source_msg_block_pos=[0],
                existing_contrary_memory_id=call.ids["memory_id"],
            )
        ]
    return MemoriesAndInteraction(
        interaction=_talk(call),
        memories=[MemoryToStore(memory=call.say("a cat"), source_msg_block_pos=[0])],
        contrary_memories=contrary,
    )


def _talk(call: Call) -> list[dict[str, str]]:
    return [{"role": "user", "content": call.say("I have a cat")}]


def _known(call: Call) -> list[Memory]:
    """Return a memory of the caller's that names somebody else."""
    if call.memory is None:
        return []
    text = f"[[u:{call.ids['user_id']}]] and [[a:{call.ids['agent_id']}]]"
    return [call.memory.model_copy(update={"memory": text})]


def _document(call: Call) -> IndexDocument:
    return IndexDocument(
        memory_id=call.ids["memory_id"],
        org_id=call.caller.house.org_id,
        user_id=call.caller.user_id,
        agent_id=None,
        interaction_id=None,
        dense_text="cat",
        lexical_text="cat",
        text_hash="0",
        memory_type="fact",
        obtained_at=call.now,
    )


def _paper(call: Call) -> dict[str, Any]:
    """Return a turn of a conversation that the caller may have or not."""
    return {
        "document": f"User: {call.say('I have a cat')}",
        "document_type": "ai-chat-conversation",
        "document_id": call.say("turn").replace(" ", "-"),
        "user_id": call.ids["user_id"],
        "customer_id": call.ids["org_id"],
        "metadata": {"conversation_id": call.ids["interaction_id"]},
    }


def _seed(call: Call) -> SeedData:
    talk = {"id": call.ids["interaction_id"], "messages": _talk(call)}
    return SeedData(call.ids["user_id"], [talk], call.ids["org_id"], call.ids["agent_id"])


def _owned(call: Call) -> list[Any]:
    """Return the items of a fetch, plain or with the owner that a payload would claim."""
    memory_id = call.ids["memory_id"]
    if call.ids["user_id"] is not None and call.rng.random() < 0.5:
        return [memory_id]
    claimed = {"org_id": call.ids["org_id"], "memory_id": memory_id}
    if call.rng.random() < 0.7:
        claimed["user_id"] = call.ids["user_id"] or call.caller.user_id
    return [claimed]


QUESTIONS = ("what is my cat called", "cat", "called zq", "dog")
# How an argument is made, by its name, or by surface and name; ids are made by themselves.
ARGUMENTS: dict[str, Callable[[Call], Any]] = {
    "scope": _scope,
    "agent_ids": lambda c: [c.ids["agent_id"]],
    "user_ids": lambda c: [c.ids["user_id"]],
    "interaction_ids": lambda c: [c.ids["interaction_id"]],
    "memory_ids": lambda c: [c.ids["memory_id"]],
    "chain_ids": lambda c: [c.ids["memory_id"]],
    "org_user_mem_ids": _owned,
    "batch_org_user_mem_ids": lambda c: [_owned(c), []],
    "filter_out_memory_ids_set": lambda c: [c.ids["memory_id"]],
    "documents": lambda c: [_document(c)],
    "facade.documents": lambda c: [_paper(c)],
    "facade.fail_fast": lambda c: c.rng.random() < 0.5,
    "data": _seed,
    "create_missing": lambda _: False,
    "listing": lambda c: MemoryListing(
        agent_id=c.ids["agent_id"] if c.rng.random() < 0.5 else None,
        interaction_id=c.ids["interaction_id"] if c.rng.random() < 0.5 else None,
        current_only=c.rng.random() < 0.5,
    ),
    "filters": lambda c: c.rng.choice(
        [
            None,
            {"interaction_ids": [c.ids["interaction_id"]]},
            {"agent_ids": [c.ids["agent_id"]]},
            {"metadata": {"note": {"ne": c.caller.token}}},
        ]
    ),
    "selector": lambda c: SourceSelector.of(interaction_id=c.ids["interaction_id"]),
    "current_only": lambda c: c.rng.random() < 0.5,
    "dry_run": lambda c: c.rng.random() < 0.7,
    "leave_tombstones": lambda _: True,
    "key": lambda c: f"key-{c.ids['user_id']}".replace("key-user-", "key-"),
    "idempotency_key": lambda c: c.rng.choice([None, f"key-{c.caller.token}"]),
    "external_id": lambda c: c.rng.choice([None, None, c.caller.external_id]),
    "process_id": lambda c: c.rng.choice([None, c.caller.token]),
    "interaction": _talk,
    "preceding_msg_for_context": _talk,
    "preceding_messages_for_context": _talk,
    "memories_and_interaction": _given,
    "updated_memories_and_interaction": _given,
    "memories": _known,
    "retrieved_memories": _known,
    "vectors.memories": lambda c: [c.say("cat")],
    "content": lambda c: c.say("a cat called"),
    "entity": lambda c: c.rng.choice(["Tom", c.caller.token, c.ids["memory_id"]]),
    "into": lambda c: c.rng.choice(["Tom", c.ids["memory_id"]]),
    "names": lambda c: ["Tom", c.caller.token],
    "entity_ids": lambda c: [c.ids["memory_id"]],
    "entity_id": lambda c: c.ids["memory_id"],
    "moves": lambda c: {c.ids["memory_id"]: c.ids["memory_id"]},
    "each": lambda _: 10,
    "message": lambda c: c.rng.choice(QUESTIONS),
    "latest_msg": lambda c: c.rng.choice(QUESTIONS),
    "query": lambda c: c.rng.choice(QUESTIONS),
    "queries": lambda c: [c.rng.choice(QUESTIONS)],
    "dense_queries": lambda c: c.rng.choice([None, [c.rng.choice(QUESTIONS)]]),
    "search_queries": lambda c: [c.rng.choice(QUESTIONS)],
    "search_queries_used": lambda c: [c.rng.choice(QUESTIONS)],
    "memory_search_scope": lambda c: c.rng.choice(
        ["user", "user", "organization", None, "everything", "USER", " user", 7, {"any": 1}]
    ),
    "name": lambda c: c.say("Name"),
    "label": lambda c: c.say("Label"),
    "org_name": lambda c: c.say("House"),
    "new_org_name": lambda c: c.say("House"),
    "user_name": lambda c: c.say("Name"),
    "new_user_name": lambda c: c.say("Name"),
    "agent_label": lambda c: c.say("Label"),
    "new_agent_label": lambda c: c.say("Label"),
    "content_hashes": lambda _: ["0"],
    "tombstones": lambda _: ["0"],
    "statuses": lambda _: [],
    "status": lambda _: ImportStatus.DONE,
    "counts": lambda _: ImportCounts(1),
    "now": lambda c: c.now,
    "as_of": lambda c: c.rng.choice([None, c.now]),
    "obtained_at": lambda c: c.now,
    "lease_until": lambda c: c.now,
    "start": lambda _: 0,
    "end": lambda _: None,
    "skip": lambda _: 0,
    "limit": lambda c: c.rng.choice([5, 100]),
    "lexical_limit": lambda c: c.rng.choice([None, 1, 5]),
    "with_messages": lambda _: True,
    "with_memories": lambda _: True,
    "items": lambda c: [
        {"content": c.say("a cat"), "interaction_id": c.ids["interaction_id"]}
        if c.surface == "bound"
        else {"user_id": c.ids["user_id"], "content": c.say("a cat")}
    ],
    "accesses": lambda c: {c.ids["memory_id"]: Access(1, c.now)},
    "unused_since": lambda c: c.now,
    "after": lambda _: None,
    "sample": lambda _: 3,
    "explain": lambda c: c.rng.random() < 0.5,
    "search_across_agents": lambda c: c.rng.random() < 0.7,
    "search_memories_across_agents": lambda c: c.rng.random() < 0.7,
    "ranking": lambda c: c.rng.choice(
        [
            None,
            {"recency_weight": 0.5, "type_weights": {"fact": 0.5}},
            {"entity_weight": 1.0, "entity_hops": 2, "diversity": 0.5},
        ]
    ),
    "always": lambda c: c.rng.choice([(), ("fact", "other")]),
    "enable_final_model_based_memory_filter": lambda _: False,
}
# Defaults of these say what is wanted here.
LEFT_OUT = {
    "author", "at", "after", "memory_type", "importance", "tags", "entities", "expires_at",
    "pinned", "batch_size", "conditions", "current_datetime", "deadline_ms", "expected_revision",
    "extract_agent_memories", "max_retries", "metadata", "min_similarity", "newest_last",
    "on_applied", "on_progress", "prices", "seed_config", "title", "token_budget",
    "update_across_agents",
}  # fmt: skip


def methods(memora: Memora) -> dict[str, Callable[..., Any]]:
    """Return every public method of the four surfaces by its path."""
    surfaces = {
        "facade": type(memora),
        "bound": type(memora.for_user()),
        "graph": type(memora.graph),
        "vectors": type(memora.vector_db),
    }
    return {
        f"{surface}.{name}": method
        for surface, owner in surfaces.items()
        for name, method in inspect.getmembers(owner, inspect.isfunction)
        if not name.startswith("_")
    }


@cache
def parameters_of(method: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a method by name, without `self`."""
    return dict(list(inspect.signature(method).parameters.items())[1:])


@cache
def fields_of(path: str, method: Callable[..., Any]) -> list[str]:
    """Return which ids a call of the method names."""
    if path in {"facade.batch_create", "facade.seed"}:
        # Names of conversations and imports are the caller's own to choose.
        return ["org_id", "user_id", *(["agent_id"] if path == "facade.seed" else [])]
    if path == "vectors.add_memories":
        # The vector store knows no users: whoever is named there is the owner.
        return ["memory_id"]
    names: list[str] = ["org_id", "user_id", "agent_id"] if path.startswith("bound.") else []
    for name in parameters_of(method):
        names += [name] if name in FIELDS else MADE_OF.get(name, ())
    return list(dict.fromkeys(names))


@dataclass
class Forged:
    """Something in place of an id, and what an id that nobody has would be."""

    value: Any
    missing: Any = None


class Forger:
    """Makes ids that are not the caller's."""

    KINDS: ClassVar[tuple[str, ...]] = (
        *(["foreign"] * 8), "prefix", "suffix", "longer", "upper", "homoglyph",
        "joined", "wildcard", "pattern", "quoted", "braces", "blank", "type",
    )  # fmt: skip

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def forge(self, kind: str, name: str, victim: Person) -> Forged:
        """Return a forgery of the victim's id of that field."""
        genuine = self._genuine(name, victim)
        if kind == "foreign":
            return Forged(genuine, self._missing(name, genuine))
        if kind == "type":
            wrong = [{"$ne": ""}, {"any": [genuine]}, [genuine], 7, True, None, genuine.encode()]
            return Forged(self._rng.choice(wrong))
        return Forged(
            {
                "prefix": genuine[:-1],
                "suffix": genuine[1:],
                "longer": f"{genuine}0",
                "upper": genuine.upper(),
                "homoglyph": genuine.translate(HOMOGLYPHS),
                "joined": f"{victim.house.org_id}:{victim.user_id}",
                "wildcard": self._rng.choice(["*", "%", "_", ".*", "?"]),
                "pattern": genuine[:-4] + self._rng.choice(["*", "%", "____"]),
                "quoted": f"{genuine}' OR '1'='1",
                "braces": f"{{{genuine}}}",
                "blank": self._rng.choice(["", " ", f" {genuine} ", f"{genuine}\u2028"]),
            }[kind]
        )

    def _genuine(self, name: str, victim: Person) -> str:
        if name == "org_id":
            return victim.house.org_id
        if name == "memory_id":
            return self._rng.choice(victim.memory_ids)
        if name == "interaction_id":
            return self._rng.choice([victim.interaction_id, victim.external_id])
        return getattr(victim, name) or victim.interaction_id

    def _missing(self, name: str, genuine: str) -> str:
        if name == "memory_id":
            return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        nobody = f"zq{self._rng.getrandbits(48):012x}"
        return re.sub(r"zq[0-9a-f]{12}", nobody, genuine) if "zq" in genuine else f"{genuine}9999"


@dataclass
class Fuzz:
    """The callers and what has been seen so far."""

    memora: Memora
    town: Town
    rng: random.Random
    clock: FrozenClock
    callers: list[Person]
    victims: list[Person]
    log: list[str]
    calls: int = 0
    forged: int = 0
    compared: int = 0
    refused: int = 0
    paths: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        homes = {caller.house.token for caller in self.callers}
        self.strangers = [v for v in self.victims if v.house.token not in homes]
        self.fellows = {h: [v for v in self.victims if v.house.token == h] for h in homes}

    async def run(self, count: int) -> None:
        """Make that many calls, of every method, those that take long less often."""
        table = {p: m for p, m in methods(self.memora).items() if p not in EXEMPT}
        paths = sorted(table)
        rounds = 0
        while self.calls < count:
            self.rng.shuffle(paths)
            for path in paths:
                name = path.partition(".")[2]
                every = 40 if path in COSTLY else 3 if name.startswith(WRITES) else 1
                if rounds % every == 0:
                    await self._one(path, table[path])
            rounds += 1

    async def _one(self, path: str, method: Callable[..., Any]) -> None:
        caller = self.rng.choice(self.callers)
        call = await self._call(path, caller)
        names = fields_of(path, method)
        if path in ERASES_HOUSE and not names:
            return
        may = [name for name in names if not self._is_authority(path, name, names)]
        destroys = call.name.startswith(DESTROYS)
        if destroys and len(names) > 1:
            # What is destroyed does not depend on the agent that a scope names.
            may = [name for name in may if name != "agent_id"]
        honest = path not in ERASES_HOUSE and self.rng.random() < (0.03 if destroys else 0.25)
        forged: Forged | None = None
        target = ""
        if names and not honest:
            target = self.rng.choice(may or names)
            forged = self._forge(call, target, may, method)
            call.ids[target] = forged.value
        arguments = self._arguments(call, method)
        if arguments is None:
            return
        if call.name in ONE_SOURCE:
            kept = target if target in SOURCES else self.rng.choice(SOURCES)
            arguments = {k: v for k, v in arguments.items() if k == kept or k not in SOURCES}
        if target not in {"", "user_id"} and arguments.get("memory_search_scope") == "organization":
            # There a fellow's ids are within reach.
            arguments["memory_search_scope"] = "user"
        answer = await self._made(call, arguments)
        if forged is not None and forged.missing is not None:
            call.ids[target] = forged.missing
            twin = self._arguments(call, method, like=arguments, swap=forged)
            assert twin is not None
            expected = await self._made(call, twin)
            if answer != expected:
                assert _alike(answer, forged.value) == _alike(expected, forged.missing), path
            self.compared += 1
        if forged is None and destroys:
            await self._replace(caller)
        self.paths.add(path)

    async def _call(self, path: str, caller: Person) -> Call:
        surface, name = path.split(".")
        known = await self.memora.graph.read_memories(caller.scope, caller.memory_ids[:1])
        ids = {
            "org_id": caller.house.org_id,
            "user_id": caller.user_id,
            "agent_id": self.rng.choice([None, caller.agent_id, caller.house.agent_id]),
            "interaction_id": self.rng.choice([caller.interaction_id, caller.external_id]),
            "memory_id": self.rng.choice(caller.memory_ids),
            "job_id": caller.job_id or "no-job",
            "import_id": caller.import_id,
        }
        call = Call(surface, name, caller, self.rng, self.clock.now(), ids)
        call.memory = known[0] if known else None
        if "agent" in name and "agents" not in name:
            ids["agent_id"] = caller.agent_id
        return call

    @staticmethod
    def _is_authority(path: str, name: str, names: list[str]) -> bool:
        """Tell whether naming another tenant here means to be that tenant."""
        return name == "org_id" and ("user_id" not in names or path in OF_A_HOUSE)

    def _forge(self, call: Call, target: str, may: list[str], method: Callable[..., Any]) -> Forged:
        kind = self.rng.choice(Forger.KINDS)
        if target not in may and kind == "foreign":
            kind = "prefix"
        port = BaseVectorDB if call.surface == "vectors" else BaseGraphDB
        primitive = getattr(getattr(port, call.name, None), "__isabstractmethod__", False)
        if kind in {"type", "blank"} and (primitive or call.name == "read_index_documents"):
            # Primitives take what was checked before.
            kind = "pattern"
        house = call.caller.house
        fellow = target in {"memory_id", "interaction_id"} and self.rng.random() < 0.5
        victim = self.rng.choice(self.fellows[house.token] if fellow else self.strangers)
        self.forged += 1
        return Forger(self.rng).forge(kind, target, victim)

    def _arguments(
        self,
        call: Call,
        method: Callable[..., Any],
        like: Mapping[str, Any] | None = None,
        swap: Forged | None = None,
    ) -> dict[str, Any] | None:
        """Return the arguments; None when the forgery is refused before a call can be made."""
        if like is not None and swap is not None:
            return {k: _swapped(v, swap.value, swap.missing) for k, v in like.items()}
        arguments: dict[str, Any] = {}
        for name, parameter in parameters_of(method).items():
            optional = parameter.default is not inspect.Parameter.empty
            if name in LEFT_OUT and optional:
                continue
            if call.name.startswith("create_") and name == f"{call.name[7:]}_id":
                made = self.town.token(call.caller.house.token)
                self.town.owners[made] = call.caller.token
                arguments[name] = f"made-{made}"
                continue
            if name in FIELDS:
                arguments[name] = call.ids[name]
                continue
            make = ARGUMENTS.get(f"{call.surface}.{name}") or ARGUMENTS.get(name)
            assert make is not None, f"{call.path}({name}): say in ARGUMENTS how it is made"
            try:
                arguments[name] = make(call)
            except (MemoraError, ValidationError):
                self.calls += 1
                self.refused += 1
                return None
        return arguments

    async def _made(self, call: Call, arguments: dict[str, Any]) -> str:
        """Make the call; return what it told, which must hold nothing of anybody else."""
        caller = call.caller
        self.town.ids.caller = caller.token
        self.calls += 1
        self.log.clear()
        try:
            told = await spelled(await self._invoke(call, arguments))
        except MemoraError as error:
            self.refused += 1
            told = spelled_error(error)
        if call.name.startswith(("save", "resume", "update_", "batch_create", "seed")):
            await self.town.claim_unnoted(self.memora.graph, caller)
        given = repr(arguments) + repr(call.ids)
        is_whole = not isinstance(arguments.get("user_id", call.ids["user_id"]), str) or (
            "user_id" not in arguments and "scope" not in arguments and call.surface != "bound"
        )
        if arguments.get("memory_search_scope") == "organization":
            is_whole = True
            assert '"message_sources":[{' not in told, f"{call.path} shows raw messages (B10)"
        for text in (told, *self.log):
            leaks = self.town.leaks(text, caller, whole_house=is_whole, given=given)
            assert not leaks, f"{call.path} tells of {leaks}"
        return told

    async def _invoke(self, call: Call, arguments: dict[str, Any]) -> Any:
        owner: Any
        if call.surface == "bound":
            ids = call.ids
            owner = self.memora.for_user(
                ids["user_id"], org_id=ids["org_id"], agent_id=ids["agent_id"], create=False
            )
        else:
            owner = {
                "facade": self.memora,
                "graph": self.memora.graph,
                "vectors": self.memora.vector_db,
            }[call.surface]
        answer = getattr(owner, call.name)(**arguments)
        return await answer if inspect.isawaitable(answer) else answer

    async def _replace(self, caller: Person) -> None:
        """Let somebody new call in place of one who has taken apart what they had."""
        graph, house = self.memora.graph, caller.house
        self.town.ids.caller = house.token
        if await graph.find_agent(house.org_id, house.agent_id) is None:
            await graph.create_agent(house.org_id, f"Agent {house.token}", agent_id=house.agent_id)
        newcomer = self.town.new_person(house)
        await self.town.move_in(graph, newcomer)
        self.callers[self.callers.index(caller)] = newcomer


def _swapped(value: Any, old: Any, new: Any) -> Any:
    """Return the argument with one id in place of another, wherever it stands in it."""
    if isinstance(value, str):
        return new if value == old else value
    if isinstance(value, dict):
        return {k: _swapped(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [_swapped(item, old, new) for item in value]
    if isinstance(value, SeedData):
        return replace(
            value,
            user_id=_swapped(value.user_id, old, new),
            org_id=_swapped(value.org_id, old, new),
            agent_id=_swapped(value.agent_id, old, new),
        )
    if isinstance(value, Scope):
        return Scope(
            *(_swapped(x, old, new) for x in (value.org_id, value.user_id, value.agent_id))
        )
    if isinstance(value, SourceSelector):
        return SourceSelector(value.kind, _swapped(value.source_id, old, new))
    if isinstance(value, MemoryListing):
        return MemoryListing(
            _swapped(value.agent_id, old, new),
            _swapped(value.interaction_id, old, new),
            current_only=value.current_only,
        )
    if isinstance(value, Memory):
        return value.model_copy(update={"memory": value.memory.replace(old, new)})
    if isinstance(value, MemoriesAndInteraction):
        contrary = [item.model_copy() for item in value.contrary_memories]
        for item in contrary:
            item.existing_contrary_memory_id = _swapped(item.existing_contrary_memory_id, old, new)
        return value.model_copy(update={"contrary_memories": contrary})
    return value


def _alike(told: str, shown: str) -> str:
    """Return an answer without the id that was asked for and ids that were made just now."""
    told = re.sub(rf"(?<![\w-]){re.escape(shown)}(?![\w-])", "ID", told)
    # Ids of memories, and hashes of the id that was asked for (a receipt has one).
    told = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b", "MADE", told)
    return re.sub(r"num\w+x\d+|made-zq\w{12}|\b[0-9A-Za-z]{22}\b", "MADE", told)


@asynccontextmanager
async def town_of(
    memora: Memora, graph: BaseGraphDB, town: Town, houses: int, people: int, callers: int
) -> AsyncIterator[tuple[list[Person], list[Person]]]:
    """Yield the callers, and everybody else; two callers live in each house that has some."""
    await town.settle(graph, houses, people)
    calling = [p for p in town.people if town.people.index(p) % people < 2][:callers]
    known = set(map(id, calling))
    victims = [person for person in town.people if id(person) not in known]
    await town.leave_jobs(memora.vector_db, graph, [*calling, *victims[:: people - 1]])
    await memora.drain_outbox()
    yield calling, victims


async def scores(memora: Memora, people: list[Person]) -> list[list[float | None]]:
    """Return what a search finds for each, with the exact scores."""
    found: list[list[float | None]] = []
    for person in people:
        memories = await memora.search_memories_as_one(
            person.house.org_id, person.user_id, ["what is my cat called"], explain=True
        )
        found.append([memory.score for memory in memories])
        found.append(
            [memory.score_parts["lexical_raw"] for memory in memories if memory.score_parts]
        )
    return found


async def fuzz(
    memora: Memora,
    graph: BaseGraphDB,
    town: Town,
    clock: FrozenClock,
    seed: int,
    counts: dict[str, int],
) -> Fuzz:
    houses, people, callers = counts["houses"], counts["people"], counts["callers"]
    async with town_of(memora, graph, town, houses, people, callers) as (calling, victims):
        tokens = {person.token for person in victims}
        sampled = victims[:: max(1, len(victims) // 20)]
        ranked = await scores(memora, sampled)
        # These searches are the victims' own: they count before anybody else calls.
        await memora.sweep(dry_run=True)
        # The houses of callers are theirs to rename.
        before = await town.dump(memora.graph, victims)
        vectors = await vectors_of(memora.vector_db, tokens)
        with kept_log() as log:
            run = Fuzz(memora, town, random.Random(seed), clock, calling, victims, log)
            await run.run(counts["calls"])
        theirs = {person.house.token for person in calling}
        after = await town.dump(memora.graph, victims)
        for token in theirs:
            before.pop(token, None)
            after.pop(token, None)
        assert after == before
        assert await vectors_of(memora.vector_db, tokens) == vectors
        assert await scores(memora, sampled) == ranked
        return run


@pytest.mark.slow
def test_b01_to_b08_no_call_tells_or_changes_what_is_somebody_elses(
    tmp_path: Path, seed: int, nightly: bool, score: Score
) -> None:
    score("R4", seed=seed)
    with blocking_forbidden():
        at_once(fuzzed(tmp_path, seed, score, nightly=nightly))


async def fuzzed(tmp_path: Path, seed: int, score: Score, *, nightly: bool) -> None:
    clock = FrozenClock()
    town = Town(random.Random(seed))
    graph = SQLiteGraph(None, clock=clock, ids=town.ids)
    vectors = EmbeddedVectorDB(tmp_path / "vectors", embedder=HashingEmbedder())
    counts = {
        "houses": HOUSES,
        "people": PEOPLE,
        "callers": CALLERS,
        "calls": NIGHTLY_CALLS if nightly else CALLS,
    }
    async with Memora(vectors, graph) as memora:
        run = await fuzz(memora, graph, town, clock, seed, counts)
        every = {path for path in methods(memora) if path not in EXEMPT}
        assert every - run.paths == set()
    score(
        "R4",
        tenants=len(town.people),
        methods=len(run.paths),
        calls=run.calls,
        forged=run.forged,
        compared_with_missing=run.compared,
        violations=0,
    )
    assert run.calls >= CALLS


@pytest.mark.neo4j
async def test_b01_to_b08_nor_on_neo4j_and_qdrant(
    neo4j_server: Neo4jServer, seed: int, nightly: bool, score: Score
) -> None:
    score("R4", seed=seed)
    clock = FrozenClock()
    # One server is shared by all runs: tokens of this one are its own.
    town = Town(random.Random(f"{seed}-{uuid.uuid4().hex}"))
    graph = Neo4jGraphInterface(
        neo4j_server.uri,
        neo4j_server.username,
        str(neo4j_server.password),
        neo4j_server.database,
        clock=clock,
        ids=town.ids,
    )
    counts = {"houses": 8, "people": 4, "callers": 6, "calls": 20_000 if nightly else 1_200}
    async with AsyncExitStack() as stack:
        client = AsyncQdrantClient(":memory:")
        stack.push_async_callback(client.close)
        vectors = QdrantDB(client, "r4", embedder=HashingEmbedder())
        memora = await stack.enter_async_context(Memora(vectors, graph))
        run = await fuzz(memora, graph, town, clock, seed, counts)
        every = {path for path in methods(memora) if path not in EXEMPT}
        assert every - run.paths == set()
        for org_id in {person.house.org_id for person in town.people}:
            await memora.graph.delete_organization(org_id)
    score("R4", calls=run.calls, forged=run.forged, violations=0)


async def test_a_leak_is_told_from_what_is_the_callers_own(tmp_path: Path) -> None:
    """The net catches ids, texts and names of others, and lets pass what the caller may see."""
    town = Town(random.Random(1))
    graph = SQLiteGraph(None, ids=town.ids)
    async with Memora(EmbeddedVectorDB(tmp_path, embedder=HashingEmbedder()), graph) as memora:
        await town.settle(graph, 2, 2)
        me, fellow, *strangers = town.people

        async def leaks(answer: Any, *, whole_house: bool = False, given: str = "") -> bool:
            return bool(town.leaks(await spelled(answer), me, whole_house=whole_house, given=given))

        async def talk(person: Person) -> Any:
            return await memora.graph.get_interaction(
                person.house.org_id, person.user_id, person.interaction_id
            )

        assert not await leaks(await talk(me))
        for other in (fellow, *strangers):
            assert await leaks(await talk(other))
            for trace in (other.interaction_id, *other.memory_ids, other.user_id, other.agent_id):
                assert await leaks([{"id": trace}])
                assert not await leaks([{"id": trace}], given=repr([trace]))
        assert not await leaks(await talk(fellow), whole_house=True)
        assert await leaks(await talk(strangers[0]), whole_house=True)
        assert not await leaks(me.house.org_id)
