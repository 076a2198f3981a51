"""The calls of the seed document "getting started", block by block, in its order and names.

The fixtures are the blocks that later blocks build on; `preamble.py` says what is put in place of
provider, stores and placeholders.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Set, Tuple  # noqa: UP035 - as the document writes it
from uuid import UUID

import pytest

from memora import Memora
from memora.schema.models import Memory
from tests.docs.player import Player, lines_of
from tests.docs.provider import Provider
from tests.docs.seeds.preamble import GraphSubstitute, Reader, graphs

__all__ = ["graphs"]

FACTS = {
    "hives after the shrimp": "[[user]] is allergic to shrimp.",
    "my husband Tom": "[[user]]'s husband is called Tom.",
    "opens his bakery": "Tom opens his bakery on March 3rd.",
    "moved the opening": "Tom opens his bakery on April 7th.",
}
REPLIES = {"husband": "He is called Tom.", "breakfast": "Ask Tom for fresh rolls."}


@pytest.fixture
def reader(player: Player, provider: Provider) -> Reader:
    """The scripted model of fast and strong model, and of the assistant."""
    return Reader(provider, FACTS, REPLIES)


@pytest.fixture
async def memora(reader: Reader, graphs: GraphSubstitute) -> AsyncIterator[Memora]:
    """Block "Basic Setup"."""
    from qdrant_client import AsyncQdrantClient

    from memora import Memora
    from memora.graph_db import Neo4jGraphInterface
    from memora.llm_backends import GroqBackendLLM
    from memora.vector_db import QdrantDB

    vector_db = QdrantDB(async_client=AsyncQdrantClient(url="QDRANT_URL", api_key="QDRANT_API_KEY"))

    graph_db = Neo4jGraphInterface(
        uri="Neo4jURI", username="Username", password="Password", database="DBName"
    )

    await vector_db.setup()
    await graph_db.setup()

    memora = Memora(
        vector_db=vector_db,
        graph_db=graph_db,
        memory_search_model=GroqBackendLLM(api_key="GROQ_API_KEY", model="llama-3.1-8b-instant"),
        extraction_model=GroqBackendLLM(
            api_key="GROQ_API_KEY", model="llama-3.3-70b-specdec", max_tokens=8000
        ),
    )
    yield memora
    await memora.close()


@dataclass
class Ids:
    """What block "Creating An Organization, User, and Agent" leaves behind."""

    org_id: str
    user_id: str
    agent_id: str


@pytest.fixture
async def ids(memora: Memora) -> AsyncIterator[Ids]:
    """Block "Creating An Organization, User, and Agent"."""
    org = await memora.graph.create_organization("My Organization")
    org_id = org["org_id"]

    user = await memora.graph.create_user(org_id, "Alice")
    user_id = user["user_id"]

    agent = await memora.graph.create_agent(org_id, "Jenny, Personal AI", user_id=user_id)
    agent_id = agent["agent_id"]

    yield Ids(org_id, user_id, agent_id)
    await memora.graph.delete_organization(org_id)


@dataclass
class Saved:
    """What block "Saving an Interaction and its Memories" leaves behind."""

    interaction: list[dict[str, str]]
    interaction_id: str
    created_at_timestamp: datetime


@pytest.fixture
async def saved(memora: Memora, ids: Ids) -> Saved:
    """Block "1. Saving an Interaction and its Memories"."""
    org_id, user_id, agent_id = ids.org_id, ids.user_id, ids.agent_id
    interaction = [
        {"role": "user", "content": "I got hives after the shrimp last night. No more of it."},
        {"role": "assistant", "content": "That sounds bad! No shrimp from now on 🦐."},
        {"role": "user", "content": "Luckily my husband Tom knew what to do."},
        {"role": "assistant", "content": "Good that he was there. How is he?"},
        {"role": "user", "content": "Nervous: he opens his bakery on March 3rd."},
        {"role": "assistant", "content": "What a day that will be 🥐!"},
    ]

    interaction_id, created_at_timestamp = await memora.save_or_update_interaction_and_memories(
        org_id=org_id,
        user_id=user_id,
        agent_id=agent_id,
        interaction=interaction,
        current_datetime=datetime.now(),  # noqa: DTZ005 - as in the guide
    )
    return Saved(interaction, interaction_id, created_at_timestamp)


def test_ids_have_the_form_that_the_document_shows(ids: Ids) -> None:
    for short in (ids.org_id, ids.user_id, ids.agent_id):
        assert len(short) == 22
        assert short.isalnum()


async def test_save_block(memora: Memora, ids: Ids, saved: Saved) -> None:
    assert saved.created_at_timestamp.tzinfo is not None
    stored = await memora.graph.get_interaction(ids.org_id, ids.user_id, saved.interaction_id)
    assert [message.as_message() for message in stored.messages or []] == saved.interaction
    assert {memory.memory for memory in stored.memories or []} == {
        "Alice is allergic to shrimp.",
        "Alice's husband is called Tom.",
        "Tom opens his bakery on March 3rd.",
    }
    for memory in stored.memories or []:
        assert UUID(memory["memory_id"]).version in {4, 5}
        assert abs((memory.obtained_at - saved.created_at_timestamp).total_seconds()) < 1


async def test_naive_time_is_logged_once_and_never_a_warning(
    memora: Memora,
    ids: Ids,
    saved: Saved,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The document passes `datetime.now()`; the test suite makes every warning an error."""
    monkeypatch.setattr("memora.schema.times._told_about_naive", False)
    with caplog.at_level(logging.WARNING, logger="memora"):
        for _again in range(2):
            await memora.recall_memories_for_message(
                ids.org_id,
                ids.user_id,
                "shrimp?",
                current_datetime=datetime.now(),  # noqa: DTZ005 - as in the guide
            )
    told = [record for record in caplog.records if "naive" in record.message]
    assert len(told) == 1


async def test_update_block(memora: Memora, ids: Ids, saved: Saved, reader: Reader) -> None:
    org_id, user_id, agent_id = ids.org_id, ids.user_id, ids.agent_id
    interaction, interaction_id = saved.interaction, saved.interaction_id
    reader.contradictions = {"April 7th": "March 3rd"}

    updated_interaction = [
        *interaction,
        {"role": "user", "content": "They moved the opening to April 7th, the oven is late."},
        {"role": "assistant", "content": "Then there is time to taste the rolls."},
    ]

    interaction_id, updated_at_timestamp = await memora.save_or_update_interaction_and_memories(
        org_id=org_id,
        user_id=user_id,
        agent_id=agent_id,
        interaction=updated_interaction,
        interaction_id=interaction_id,
        current_datetime=datetime.now(),  # noqa: DTZ005 - as in the guide
    )

    assert interaction_id == saved.interaction_id
    assert updated_at_timestamp >= saved.created_at_timestamp
    stored = await memora.graph.get_interaction(org_id, user_id, interaction_id)
    assert [message.as_message() for message in stored.messages or []] == updated_interaction
    current = await memora.graph.get_all_user_memories(org_id, user_id)
    opening = next(memory for memory in current if "bakery" in memory.memory)
    assert opening.memory == "Tom opens his bakery on April 7th."
    history = await memora.graph.get_user_memory_history(org_id, user_id, opening.memory_id)
    assert [version.memory for version in history] == [
        "Tom opens his bakery on April 7th.",
        "Tom opens his bakery on March 3rd.",
    ]


async def test_update_that_differs_truncates_and_keeps_the_memories(
    memora: Memora, ids: Ids, saved: Saved
) -> None:
    changed = [*saved.interaction[:4], {"role": "user", "content": "Let us talk about the sea."}]
    await memora.save_or_update_interaction_and_memories(
        org_id=ids.org_id,
        user_id=ids.user_id,
        agent_id=ids.agent_id,
        interaction=changed,
        interaction_id=saved.interaction_id,
        current_datetime=datetime.now(),  # noqa: DTZ005 - as in the guide
    )
    stored = await memora.graph.get_interaction(ids.org_id, ids.user_id, saved.interaction_id)
    assert [message.as_message() for message in stored.messages or []] == changed
    cut = next(memory for memory in stored.memories or [] if "bakery" in memory.memory)
    assert cut.message_sources == []
    kept = next(memory for memory in stored.memories or [] if "husband" in memory.memory)
    assert [source.msg_position for source in kept.message_sources] == [2]


async def test_search_block(memora: Memora, ids: Ids, saved: Saved) -> None:
    org_id, user_id = ids.org_id, ids.user_id
    from memora.vector_db.base import MemorySearchScope

    memories = await memora.search_memories_as_one(
        org_id=org_id,
        user_id=user_id,
        search_queries=["Who is my husband?", "When does the bakery open?"],
        search_across_agents=True,
    )

    found = {memory["memory"] for memory in memories}
    assert {"Alice's husband is called Tom.", "Tom opens his bakery on March 3rd."} <= found
    assert all(memory["memory_id"] and memory["obtained_at"] for memory in memories)

    batch_memories = await memora.search_memories_as_batch(
        org_id=org_id,
        search_queries=["user's allergies", "opening of the bakery"],
        user_id=user_id,
        memory_search_scope=MemorySearchScope.USER,
        search_across_agents=True,
    )

    assert len(batch_memories) == 2
    assert batch_memories[1][0]["memory"] == "Tom opens his bakery on March 3rd."
    named = await memora.search_memories_as_batch(
        org_id=org_id,
        search_queries=["user's allergies"],
        user_id=user_id,
        memory_search_scope="organization",
        search_across_agents=True,
    )
    assert {memory["user_id"] for memory in named[0]} == {user_id}


async def test_recall_block(memora: Memora, ids: Ids, saved: Saved) -> None:
    org_id, user_id = ids.org_id, ids.user_id

    recalled_memories, memory_ids = await memora.recall_memories_for_message(
        org_id,
        user_id,
        latest_msg="We are invited for seafood, can I have the shrimp?",
        preceding_msg_for_context=[],
        filter_out_memory_ids_set={"4b9df118-fa11-4e29-abfd-3b02587aa251"},
    )

    assert recalled_memories[0].memory == "Alice is allergic to shrimp."
    assert memory_ids == [memory["memory_id"] for memory in recalled_memories]
    rest, _ids = await memora.recall_memories_for_message(
        org_id,
        user_id,
        latest_msg="We are invited for seafood, can I have the shrimp?",
        filter_out_memory_ids_set={memory_ids[0], "no-uuid-at-all"},
    )
    assert memory_ids[0] not in {memory.memory_id for memory in rest}


async def test_manage_block(memora: Memora, ids: Ids, saved: Saved) -> None:
    org_id, user_id, interaction_id = ids.org_id, ids.user_id, saved.interaction_id

    all_memories = await memora.graph.get_all_user_memories(org_id, user_id)

    interaction_memories = await memora.graph.get_all_interaction_memories(
        org_id, user_id, interaction_id
    )

    assert {memory.memory_id for memory in interaction_memories} == {
        memory.memory_id for memory in all_memories
    }
    memory_uuid = all_memories[0].memory_id

    history = await memora.graph.get_user_memory_history(org_id, user_id, memory_uuid)

    assert [memory.memory_id for memory in history] == [memory_uuid]

    await memora.graph.delete_user_memory(org_id, user_id, memory_uuid)

    left = await memora.graph.get_all_user_memories(org_id, user_id)
    assert memory_uuid not in {memory.memory_id for memory in left}
    assert len(left) == len(all_memories) - 1


async def test_simple_example_block(
    memora: Memora, ids: Ids, saved: Saved, reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    org_id, user_id = ids.org_id, ids.user_id
    from openai import AsyncOpenAI

    client = AsyncOpenAI(api_key="YourOpenAIAPIKey")

    messages: list[Any] = [
        {"role": "system", "content": "You are jake's assistant, given memories in 'memory recall'"}
    ]

    user_message = "Hello, what is my husband's name ?"
    recalled_memories, _ = await memora.recall_memories_for_message(
        org_id, user_id, latest_msg=user_message
    )

    include_memory_in_message = """
        memory recall: {memories}\n---\nmessage: {message}
    """.format(  # noqa: UP032 - as in the guide
        memories=str(recalled_memories), message=user_message
    )

    messages.append({"role": "user", "content": include_memory_in_message})
    response = await client.chat.completions.create(model="gpt-4o", messages=messages)

    print(f">>> Assistant Reply: {response.choices[0].message.content}")

    assert capsys.readouterr().out == ">>> Assistant Reply: He is called Tom.\n"
    await client.close()
    prompt = reader.prompts[-1]
    assert "memory=\"Alice's husband is called Tom.\", obtained_at='" in prompt
    for hidden in (org_id, user_id, recalled_memories[0].memory_id, "content_hash"):
        assert hidden not in prompt


class PersonalAssistant:
    """Block "A Tad Bit Complex Personal Assistant with Memora"."""

    def __init__(self, org_id: str, user_id: str, system_prompt: str):
        from groq import AsyncGroq
        from qdrant_client import AsyncQdrantClient

        from memora.graph_db import Neo4jGraphInterface
        from memora.llm_backends import GroqBackendLLM
        from memora.vector_db import QdrantDB

        self.org_id = org_id
        self.user_id = user_id

        vector_db = QdrantDB(
            async_client=AsyncQdrantClient(url="QDRANT_URL", api_key="QDRANT_API_KEY")
        )
        graph_db = Neo4jGraphInterface(
            uri="NEO4J_URI",
            username="NEO4J_USERNAME",
            password="NEO4J_PASSWORD",
            database="NEO4J_DATABASE",
        )

        self.memora = Memora(
            vector_db=vector_db,
            graph_db=graph_db,
            memory_search_model=GroqBackendLLM(
                api_key="GROQ_API_KEY", model="llama-3.1-8b-instant"
            ),
            extraction_model=GroqBackendLLM(
                api_key="GROQ_API_KEY", model="llama-3.3-70b-specdec", max_tokens=8000
            ),
        )

        self.chat_client = AsyncGroq(api_key=os.getenv("GROQ_API_KEY"))

        self.base_history: list[Any] = [{"role": "system", "content": system_prompt}]

        self.prompt_history = self.base_history.copy()
        self.already_recalled_memory_ids: Set[str] = set()  # noqa: UP006 - as in the guide

    async def chat(self, user_message: str) -> str:
        recalled_memories, recalled_memory_ids = await self.memora.recall_memories_for_message(
            self.org_id,
            self.user_id,
            user_message,
            preceding_msg_for_context=self.base_history[1:],
            filter_out_memory_ids_set=self.already_recalled_memory_ids,
        )

        include_memory_in_message = """
            memory recall: {memories}\n---\nmessage: {message}
        """.format(  # noqa: UP032 - as in the guide
            memories=str(recalled_memories), message=user_message
        )

        response = await self.chat_client.chat.completions.create(
            messages=[
                *self.prompt_history,
                {"role": "user", "content": include_memory_in_message},
            ],
            model="llama-3.3-70b-specdec",
            stream=False,
        )
        assistant_reply = response.choices[0].message.content or ""

        self.base_history.extend(
            [
                {"role": "user", "content": user_message},
                {"role": "assistant", "content": assistant_reply},
            ]
        )

        self.prompt_history.extend(
            [
                {"role": "user", "content": include_memory_in_message},
                {"role": "assistant", "content": assistant_reply},
            ]
        )

        self.already_recalled_memory_ids.update(recalled_memory_ids or [])

        return assistant_reply

    async def save_interaction(self) -> Tuple[str, datetime]:  # noqa: UP006 - as in the guide
        interaction_id, created_at = await self.memora.save_or_update_interaction_and_memories(
            self.org_id,
            self.user_id,
            interaction=self.base_history[1:],
        )
        return interaction_id, created_at


async def test_personal_assistant_block(
    memora: Memora,
    ids: Ids,
    saved: Saved,
    reader: Reader,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    org_id, user_id = ids.org_id, ids.user_id
    lines_of(monkeypatch, "Who is my husband again?", "What is for breakfast?", "quit()")
    assistants: list[PersonalAssistant] = []

    async def main() -> None:
        assistant = PersonalAssistant(
            org_id, user_id, "You are jake's assistant, given memories in 'memory recall: ...'"
        )
        assistants.append(assistant)

        while True:
            msg = await asyncio.to_thread(input, ">>> Jake: ")
            if msg == "quit()":
                break
            print(f">>> Assistant: {await assistant.chat(msg)}")

        interaction_id, created_at = await assistant.save_interaction()
        print(f"Interaction saved with ID: {interaction_id} and created at: {created_at}")

    await main()

    printed = capsys.readouterr().out
    assert ">>> Assistant: He is called Tom." in printed
    assert ">>> Assistant: Ask Tom for fresh rolls." in printed
    interaction_id = printed.split("saved with ID: ")[1].split(" and")[0]
    stored = await memora.graph.get_interaction(org_id, user_id, interaction_id)
    assert stored.agent_id is None
    assert [message.content for message in stored.messages or []] == [
        "Who is my husband again?",
        "He is called Tom.",
        "What is for breakfast?",
        "Ask Tom for fresh rolls.",
    ]
    first, second = reader.prompts
    assert "husband is called Tom" in first
    assert "husband is called Tom" not in second.split("---")[0]
    (assistant,) = assistants
    assert all("memory recall:" not in message["content"] for message in assistant.base_history[1:])
    assert isinstance(assistant.already_recalled_memory_ids, set)
    await assistant.chat_client.close()
    await assistant.memora.close()


async def test_nothing_to_recall_is_two_empty_lists(memora: Memora, ids: Ids) -> None:
    answer = await memora.recall_memories_for_message(
        ids.org_id, ids.user_id, latest_msg="Do you know me?"
    )
    assert answer == ([], [])
    seen: set[str] = set()
    seen.update(answer[1] or [])
    assert seen == set()


def test_memory_prints_statement_and_time_only() -> None:
    memory = Memory(
        org_id="o",
        user_id="u",
        memory_id="m",
        memory="Alice is allergic to shrimp.",
        obtained_at=datetime.fromisoformat("2026-02-01T10:00:00+00:00"),
        recorded_at=datetime.fromisoformat("2026-02-01T10:00:01+00:00"),
        chain_id="m",
    )
    expected = (
        "Memory(memory='Alice is allergic to shrimp.', obtained_at='2026-02-01 10:00:00+00:00')"
    )
    assert str([memory]) == f"[{expected}]"
    assert str(memory) == expected
