"""The calls of the seed document "historical backfill", in its order and names.

What differs from the document: `sdk.initialize()` is opening the engine, `CreateMemoryRequest` is
`SeedDocument`, `sdk.memories.batch_create` is `memora.batch_create`, and a document that is there
already is answered with `duplicate` where the document has a 409.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memora import Memora, SeedDocument
from memora.errors import InvalidInputError, MemoraError
from memora.llm_backends import OpenAIBackendLLM
from memora.seeding import DocumentStatus
from tests.docs.player import Player
from tests.docs.provider import Provider
from tests.docs.seeds.preamble import Reader

DAY = timedelta(days=1)
JANUARY = datetime(2024, 1, 5, 9, tzinfo=UTC)
FACTS = {
    "I live in Rome": "[[user]] lives by the river in Rome.",
    "I moved to Oslo": "[[user]] lives by the river in Oslo.",
    "I love the snow": "[[user]] loves the snow in Oslo.",
}


@dataclass
class HistoricalTurn:
    """Block "load and replay": one row of the application's database."""

    user_id: str
    customer_id: str
    conversation_id: str
    user_message: str
    assistant_message: str
    happened_at: datetime
    message_index: int = 0


ROWS = [
    HistoricalTurn("jake", "acme", "c-1", "I live in Rome.", "A fine city.", JANUARY),
    HistoricalTurn("jake", "acme", "c-1", "Work is fine.", "Good.", JANUARY + DAY / 24, 1),
    HistoricalTurn("jake", "acme", "c-2", "I moved to Oslo.", "Cold!", JANUARY + 90 * DAY),
    HistoricalTurn("ann", "acme", "c-3", "I love the snow.", "Nice.", JANUARY + 91 * DAY),
    HistoricalTurn("bob", "other", "c-1", "Hello.", "Hi.", JANUARY + 92 * DAY),
]


async def load_historical_turns() -> AsyncIterator[HistoricalTurn]:
    for row in ROWS:
        await asyncio.sleep(0)
        yield row


@pytest.fixture
def reader(player: Player, provider: Provider) -> Reader:
    """The scripted model behind the provider."""
    reader = Reader(provider, FACTS, {})
    reader.contradictions = {"Oslo": "Rome"}
    return reader


@pytest.fixture
async def memora(reader: Reader, tmp_path: Path) -> AsyncIterator[Memora]:
    model = OpenAIBackendLLM(api_key="OPENAI_API_KEY", model="gpt-4.1-mini")
    async with Memora.embedded(tmp_path / "memora", extraction_model=model) as memora:
        yield memora


async def batch_replay(memora: Memora, batch_size: int = 50) -> int:
    """Block "load and replay"."""
    batch: list[SeedDocument] = []
    total = 0

    async for turn in load_historical_turns():
        batch.append(
            SeedDocument(
                document=f"User: {turn.user_message}\nAssistant: {turn.assistant_message}",
                document_type="ai-chat-conversation",
                document_created_at=turn.happened_at,
                user_id=turn.user_id,
                customer_id=turn.customer_id,
                mode="long-range",
                metadata={
                    "conversation_id": turn.conversation_id,
                    "source": "backfill",
                },
            )
        )

        if len(batch) >= batch_size:
            await memora.batch_create(documents=batch, fail_fast=False)
            total += len(batch)
            print(f"backfilled {total} turns")
            batch.clear()

    if batch:
        await memora.batch_create(documents=batch, fail_fast=False)
        total += len(batch)

    print(f"done: {total} historical turns ingested")
    return total


async def texts(memora: Memora, org_id: str, user_id: str) -> list[str]:
    found = await memora.graph.get_all_user_memories(org_id, user_id)
    return sorted(memory.memory for memory in found)


@pytest.mark.parametrize("batch_size", [2, 50])
async def test_replay_block(
    memora: Memora, capsys: pytest.CaptureFixture[str], batch_size: int
) -> None:
    assert await batch_replay(memora, batch_size) == 5
    assert capsys.readouterr().out.endswith("done: 5 historical turns ingested\n")
    assert await texts(memora, "acme", "jake") == ["jake lives by the river in Oslo."]
    assert await texts(memora, "acme", "ann") == ["ann loves the snow in Oslo."]
    talk = await memora.graph.get_interaction("acme", "jake", "c-1")
    assert [message.content for message in talk.messages or []] == [
        "I live in Rome.",
        "A fine city.",
        "Work is fine.",
        "Good.",
    ]
    assert (await memora.graph.get_interaction("other", "bob", "c-1")).message_count == 2
    assert (await memora.doctor()).clean


async def test_original_times_are_the_memories_times(memora: Memora) -> None:
    """Why `document_created_at`: what was known when."""
    await batch_replay(memora)
    (memory,) = await memora.graph.get_all_user_memories("acme", "jake")
    assert memory.obtained_at == JANUARY + 90 * DAY
    assert memory.recorded_at > memory.obtained_at
    history = await memora.memory_history("acme", "jake", memory.memory_id)
    assert [(version.memory, version.obtained_at) for version in history] == [
        ("jake lives by the river in Oslo.", JANUARY + 90 * DAY),
        ("jake lives by the river in Rome.", JANUARY),
    ]
    then, _ids = await memora.recall_memories_for_message(
        "acme", "jake", "Where does he live?", as_of=JANUARY + 30 * DAY
    )
    assert [found.memory for found in then] == ["jake lives by the river in Rome."]


async def test_long_range_asks_the_model_and_fast_does_not(
    memora: Memora, provider: Provider
) -> None:
    """Why `mode="long-range"` for a backfill."""
    turn: dict[str, Any] = {
        "document": "User: I live in Rome.\nAssistant: A fine city.",
        "document_type": "ai-chat-conversation",
    }
    await memora.batch_create([{**turn, "user_id": "quick", "mode": "fast"}])
    assert provider.bodies == []
    assert await texts(memora, "default", "quick") == ["I live in Rome."]
    await memora.batch_create([SeedDocument(**turn, user_id="deep")])
    assert provider.bodies != []
    assert await texts(memora, "default", "deep") == ["deep lives by the river in Rome."]


async def test_at_most_100_documents_per_call(memora: Memora) -> None:
    """Why batch: "up to 100 documents per call"."""
    many = [SeedDocument(document=f"Note {n}.", user_id="jake", mode="fast") for n in range(101)]
    with pytest.raises(InvalidInputError):
        await memora.batch_create(documents=many)
    assert await memora.graph.find_organization("default") is None
    results = await memora.batch_create(documents=many[:100])
    assert [result.status for result in results] == [DocumentStatus.CREATED] * 100


async def test_idempotency_block(memora: Memora, provider: Provider) -> None:
    """Block "Idempotency": a stable `document_id`; a second run is told and free."""
    batch = [
        SeedDocument(
            document_id=f"backfill:{turn.conversation_id}:{turn.message_index}",
            document=f"User: {turn.user_message}\nAssistant: {turn.assistant_message}",
            document_type="ai-chat-conversation",
            document_created_at=turn.happened_at,
            user_id=turn.user_id,
            customer_id=turn.customer_id,
            metadata={"conversation_id": turn.conversation_id},
        )
        for turn in ROWS
    ]
    results = await memora.batch_create(documents=batch, fail_fast=False)
    assert [result.document_id for result in results] == [each.document_id for each in batch]
    assert {result.status for result in results} == {DocumentStatus.CREATED}
    calls = len(provider.bodies)
    results = await memora.batch_create(documents=batch, fail_fast=False)
    assert {result.status for result in results} == {DocumentStatus.DUPLICATE}
    assert len(provider.bodies) == calls
    (memory,) = await memora.graph.get_all_user_memories("acme", "ann")
    assert memory.external_id == "backfill:c-3:0"


async def test_per_document_results_block(memora: Memora) -> None:
    """Block "Idempotency", second part: nothing is raised, each document has its result."""
    batch: list[Any] = [
        SeedDocument(document="Tea at five.", user_id="jake", document_id="good"),
        SeedDocument(document="  ", user_id="jake", document_id="bad"),
    ]
    try:
        results = await memora.batch_create(documents=batch, fail_fast=False)
    except MemoraError:
        pytest.fail("a bad document must not stop the others")
    assert [(each.document_id, each.status.value, each.error_type) for each in results] == [
        ("good", "created", None),
        ("bad", "failed", "InvalidInputError"),
    ]
