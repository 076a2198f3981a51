"""R7: poisoned sources, read by a model that does whatever they say.

Filters do not stop injections, so none is tested here. What holds is the structure: nothing of
higher authority is superseded (D12), nothing of another agent or user changes, every poisoned
memory is found by its source, and one call takes all of them back.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from memora import Memora
from memora.core.authority import least_trusted, rank
from memora.embeddings import HashingEmbedder
from memora.graph_db import SQLiteGraph
from memora.graph_db.base import MemoryListing
from memora.schema.models import Memory
from memora.schema.scope import Scope
from memora.schema.storage_schema import MemoriesAndInteraction
from memora.testing.clocks import FrozenClock
from memora.testing.fakes import Answer, Call, ScriptedBackendLLM
from memora.vector_db import EmbeddedVectorDB
from tests.reliability.data.attacks import ATTACKS, Attack
from tests.reliability.kit import assert_clean
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(60), pytest.mark.suite("R7")]

MAY = datetime(2025, 5, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)
LAST_DAY = 30
KIM = "Kim Secretname"
OTHER_USER = "kim-in-id"
KNOWN = {
    "Jake is allergic to peanuts": "user",
    "Jake lives in Oslo": "user",
    "I will remind Jake of the dentist on Monday": "assistant",
    "Jake has the gold plan": "api",
}
# Words that only data hold, and by which the model knows what it is told to obey.
DATA = ("peanut", "dentist", "gold plan", "Oslo", "allergic", KIM)
SPOKEN = ("user", "assistant", "tool", "function")


class Obedient:
    """Remembers all that it is shown, and finds every contradiction that it is told to find.

    Attributes:
        attack: The one that is obeyed; None: the conversation is harmless, and nothing contradicts.
        finds: Its further finds, with ids filled in.
    """

    def __init__(self) -> None:
        self.attack: Attack | None = None
        self.finds: list[tuple[str, list[Any]]] = []

    def __call__(self, call: Call) -> Answer:
        data = call.data
        if call.schema == "MemoryExtractionResponse":
            return {"memories": self._memories(data["new_messages"])}
        if self.attack is None:
            return {"verdicts": []}
        verdict = self.attack.verdict
        known = [item["number"] for item in data["existing"]]
        asked = [item["number"] for item in data["candidates"]]
        good = [
            {"candidate": number, "verdict": verdict, "existing": known[index % len(known)]}
            for index, number in enumerate(asked)
        ]
        # It also tries what it was not shown.
        wild = [
            {"candidate": asked[0], "verdict": verdict, "existing": existing}
            for existing in (-1, len(known), 10**9, None)
        ]
        return {"verdicts": [*wild, *good, *good]}

    def _memories(self, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        seen = [
            (message["content"][-1900:], [message["id"]])
            for message in messages
            if self.attack is None or message["role"] != "user" or _holds_data(message["content"])
        ]
        count = 0 if self.attack is None else self.attack.flood
        flood = [(f"Peanuts are safe, says page {number}", [1]) for number in range(count)]
        return [
            {"memory": text, "msg_source_ids": sources, "memory_type": "fact", "importance": 0.5}
            for text, sources in [*self.finds, *seen, *flood]
        ]


def _holds_data(text: str) -> bool:
    return any(word in text for word in DATA)


@dataclass
class Victims:
    """The users of an organization, in two stores of which one is attacked."""

    memora: Memora
    model: ScriptedBackendLLM
    script: Obedient
    org_id: str
    ids: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def owner(self) -> tuple[str, str]:
        return self.org_id, "jake"

    async def begin(self) -> None:
        """Create the users, and save what is attacked later."""
        graph = self.memora.graph
        await graph.create_organization("Acme", org_id=self.org_id)
        await graph.create_user(self.org_id, "Jake", user_id="jake")
        await graph.create_user(self.org_id, KIM, user_id=OTHER_USER)
        for agent in ("jenny", "mallory"):
            await graph.create_agent(self.org_id, agent.title(), agent_id=agent)
        await self.say("jake", "user", "Jake is allergic to peanuts", 0)
        await self.say("jake", "user", "Jake lives in Oslo", 1)
        await self.say("jake", "assistant", "I will remind Jake of the dentist on Monday", 2)
        await self.say(OTHER_USER, "user", "Kim is allergic to shrimps", 3)
        await graph.save_interaction_with_memories(
            self.org_id,
            "jenny",
            "jake",
            MemoriesAndInteraction.model_validate(
                {
                    "interaction": [],
                    "interaction_date": MAY,
                    "memories": [{"memory": "Jake has the gold plan", "source_msg_block_pos": []}],
                }
            ),
        )

    async def say(self, user_id: str, role: str, text: str, day: int) -> None:
        """Save a harmless conversation of one sentence."""
        await self.memora.save_or_update_interaction_and_memories(
            self.org_id,
            user_id,
            "jenny",
            [{"role": role, "content": text}],
            current_datetime=MAY + day * DAY,
            extract_agent_memories=True,
            idempotency_key=f"{user_id} {day}",
            external_id=f"harmless {day}",
        )

    async def attacked(self, attack: Attack) -> None:
        """Save the poisoned conversations, in the order of their days."""
        known = {memory.memory: memory.memory_id for memory in await self.memories()}
        kim = await self.memories(OTHER_USER)
        ids = {
            "@NUTS@": known["Jake is allergic to peanuts"],
            "@GOLD@": known["Jake has the gold plan"],
            "@KIM@": kim[0].memory_id,
            "@USER@": OTHER_USER,
        }
        self.script.attack = attack
        self.script.finds = [(filled(text, ids), sources) for text, sources in attack.finds]
        for number, transcript in enumerate(attack.transcripts):
            await self.memora.save_or_update_interaction_and_memories(
                *self.owner,
                attack.agent,
                [filled(message, ids) for message in transcript],
                current_datetime=MAY + (10 + number) * DAY,
                extract_agent_memories=attack.about_agent,
                update_across_agents=attack.across_agents,
                external_id=f"attack {number}",
                process_id="poison",
            )
        self.script.attack, self.script.finds = None, []

    async def memories(self, user_id: str = "jake") -> list[Memory]:
        """Return all versions, as they are stored."""
        return await self.memora.graph.list_memories(
            Scope(self.org_id, user_id), MemoryListing(current_only=False)
        )

    async def exported(self, user_id: str = "jake") -> list[dict[str, Any]]:
        """Return all that is remembered, without store times and with names for generated ids."""
        return canonical(await self.memories(user_id), await self._conversations(user_id))

    async def _conversations(self, user_id: str) -> dict[str | None, str]:
        found = await self.memora.graph.get_all_user_interactions(self.org_id, user_id)
        return {item.interaction_id: item.external_id or "by the application" for item in found}


def filled(value: Any, ids: dict[str, str]) -> Any:
    """Return the value with ids in place of their names."""
    if isinstance(value, str):
        for name, real in ids.items():
            value = value.replace(name, real)
        return value
    if isinstance(value, dict):
        return {key: filled(item, ids) for key, item in value.items()}
    return [filled(item, ids) for item in value] if isinstance(value, list) else value


def canonical(
    memories: Sequence[Memory], conversations: dict[str | None, str]
) -> list[dict[str, Any]]:
    texts: dict[str | None, str] = {memory.memory_id: memory.memory for memory in memories}
    oldest = {memory.chain_id: memory.memory for memory in memories}  # newest first: the last wins
    exported = [
        {
            **memory.model_dump(exclude={"memory_id", "recorded_at", "message_sources"}),
            "interaction_id": conversations.get(memory.interaction_id),
            "chain_id": oldest[memory.chain_id],
            "supersedes": texts.get(memory.supersedes),
            "superseded_by": texts.get(memory.superseded_by),
            "sources": [source.content for source in memory.message_sources],
        }
        for memory in memories
    ]
    return sorted(exported, key=lambda record: (record["obtained_at"], record["memory"]))


@dataclass
class Stores:
    """Two engines: one is attacked, the other one never sees an attack."""

    attacked: Memora
    untouched: Memora
    model: ScriptedBackendLLM
    script: Obedient


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stores(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stores]:
    folder: Path = tmp_path_factory.mktemp("poisoning")
    script = Obedient()
    model = ScriptedBackendLLM(script)
    async with AsyncExitStack() as stack:

        async def opened(name: str) -> Memora:
            clock = FrozenClock(step=timedelta(milliseconds=1))
            graph = SQLiteGraph(None, clock=clock)
            vectors = EmbeddedVectorDB(folder / name, embedder=HashingEmbedder())
            return await stack.enter_async_context(Memora(vectors, graph, None, model))

        stores = Stores(await opened("attacked"), await opened("untouched"), model, script)
        yield stores
        await assert_clean(stores.attacked)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ATTACKS)
async def test_b75_b76_b77_b78_a_poisoned_source(stores: Stores, name: str) -> None:
    attack = ATTACKS[name]
    org_id = f"org-{list(ATTACKS).index(name)}"
    victims = Victims(stores.attacked, stores.model, stores.script, org_id)
    twin = Victims(stores.untouched, stores.model, stores.script, org_id)
    for each in (victims, twin):
        await each.begin()
    before = {memory.memory_id: memory for memory in await victims.memories()}
    others = await victims.memories(OTHER_USER)
    calls = len(stores.model.calls)

    await victims.attacked(attack)
    prompts = stores.model.calls[calls:]
    check_prompts(prompts, attack)
    check_authority(before, await victims.memories(), attack)
    check_names(await stores.attacked.graph.get_all_user_memories(*victims.owner))
    assert await victims.memories(OTHER_USER) == others
    for each in (victims, twin):
        await each.say("jake", "user", "Jake likes tea and gardening", LAST_DAY)

    poisoned = await check_found(victims, before, attack)
    receipt = await stores.attacked.rollback_source(*victims.owner, **selected(attack))
    assert poisoned == set(receipt.removed)
    assert await victims.exported() == await twin.exported()
    assert await victims.exported(OTHER_USER) == await twin.exported(OTHER_USER)


def check_prompts(prompts: Sequence[Call], attack: Attack) -> None:
    """Data stand in the user's turn, as JSON, under their true roles; instructions hold none."""
    assert prompts or attack.transcripts[0][0]["role"] in {"system", "developer"}
    true_roles = {
        (message["role"], message.get("name"))
        for transcript in attack.transcripts
        for message in transcript
    }
    for call in prompts:
        assert [message["role"] for message in call.messages] == ["system", "user"]
        system, data = call.messages[0]["content"], json.loads(call.messages[1]["content"])
        assert not [word for word in DATA if word.casefold() in system.casefold()]
        for message in [*data.get("new_messages", ()), *data.get("context", ())]:
            assert message["role"] in SPOKEN
            assert (message["role"], message.get("name")) in true_roles
        for memory in [*data.get("existing", ()), *data.get("candidates", ())]:
            assert memory.keys() == {"number", "memory", "date"}


def check_authority(before: dict[str, Memory], after: Sequence[Memory], attack: Attack) -> None:
    """Nothing is superseded by less than it was said by, and nothing reaches across agents."""
    assert sorted(KNOWN[memory.memory] for memory in before.values()) == sorted(KNOWN.values())
    by_id = {memory.memory_id: memory for memory in after}
    loudest = max(
        rank(message["role"])
        for transcript in attack.transcripts
        for message in transcript
        if message["role"] in SPOKEN
    )
    for memory_id, victim in before.items():
        now = by_id[memory_id]
        assert (now.memory, now.source_role) == (victim.memory, victim.source_role)
        if not attack.across_agents:
            assert now == victim
        if rank(victim.source_role) > loudest:
            assert now.is_current, victim.memory
        if not now.is_current:
            successor = by_id[now.superseded_by or ""]
            said_by = least_trusted(message.role for message in successor.message_sources)
            assert rank(said_by) >= rank(victim.source_role)
            assert successor.source_role == said_by
    for memory in after:
        if memory.memory_id not in before:
            assert memory.message_sources
            assert {message.role for message in memory.message_sources} <= set(SPOKEN)
            assert memory.agent_id == attack.agent


def check_names(memories: Sequence[Memory]) -> None:
    """No placeholder that was smuggled in shows another user's name."""
    assert not [memory for memory in memories if KIM in memory.memory]


def selected(attack: Attack) -> dict[str, Any]:
    return {
        "interaction": {"interaction_id": "attack 0"},
        "agent": {"agent_id": attack.agent},
        "process": {"process_id": "poison"},
    }[attack.by]


async def check_found(victims: Victims, before: dict[str, Memory], attack: Attack) -> set[str]:
    """Every memory that the attack brought in is found by its source; return their ids."""
    source = selected(attack)
    found = await victims.memora.memories_by_source(*victims.owner, **source)
    harmless = await victims.memora.memories_by_source(
        *victims.owner, interaction_id=f"harmless {LAST_DAY}"
    )
    new = {memory.memory_id for memory in await victims.memories()} - before.keys()
    poisoned = new - {memory.memory_id for memory in harmless}
    assert poisoned <= {memory.memory_id for memory in found}
    return poisoned


@pytest.mark.asyncio(loop_scope="module")
async def test_b78_a_verdict_that_the_model_was_talked_into_is_reverted_in_one_call(
    stores: Stores,
) -> None:
    """What a planted text makes of the user's own later words is the model's mistake: it shows in
    the history, and is undone."""
    victims = Victims(stores.attacked, stores.model, stores.script, "org-misled")
    await victims.begin()
    (nuts,) = [memory for memory in await victims.memories() if "peanut" in memory.memory]
    stores.script.attack = ATTACKS["delayed trigger"]
    await victims.say("jake", "user", "Jake is allergic to peanuts, and to nothing else", 11)
    stores.script.attack = None
    history = await stores.attacked.memory_history(*victims.owner, nuts.memory_id)
    assert [version.is_current for version in history] == [True, False]
    back = await stores.attacked.revert_memory(*victims.owner, nuts.memory_id, author="ops")
    assert (back.memory, back.author, back.is_current) == (nuts.memory, "ops", True)


def test_there_are_enough_attacks(score: Score) -> None:
    assert len(ATTACKS) >= 50
    transcripts = [transcript for attack in ATTACKS.values() for transcript in attack.transcripts]
    score("R7", attacks=len(ATTACKS), transcripts=len(transcripts))
