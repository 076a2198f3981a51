"""The calls of the seed document "memory seeding", block by block, in its order and names.

What differs from the document: the engine is `memora.Memora` on a directory where the document has
`Memori(conn=Session)` on a database, so `attribution` and `config.storage.build()` fall away (the
user is named in `SeedData`, opening creates the store); the model is a setting of the engine; and a
chat recalls by a call of its own where the document registers the client.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import memora.sync
from memora import Memora, SeedConfig, SeedData
from memora.llm_backends import OpenAIBackendLLM
from memora.schema.models import Memory
from tests.docs.player import Player
from tests.docs.provider import Provider
from tests.docs.seeds.preamble import Reader

FACTS = {
    "Tesla Model 3": "[[user]] owns a Tesla Model 3.",
    "software engineer at Google": "[[user]] is a software engineer at Google.",
    "search team": "[[user]] works on the search team at Google.",
    "I like tea": "[[user]] likes tea.",
}
REPLIES = {"Where do I work?": "You work at Google on the search team!"}


def conversations() -> list[dict[str, Any]]:
    """Block "Async (Recommended)": its conversations."""
    return [
        {
            "id": "conv-1",
            "messages": [
                {"role": "user", "content": "I just bought a Tesla Model 3!"},
                {"role": "assistant", "content": "Congratulations! That's exciting."},
            ],
        },
    ]


@pytest.fixture
def reader(player: Player, provider: Provider) -> Reader:
    """The scripted model behind the provider."""
    return Reader(provider, FACTS, REPLIES)


@pytest.fixture
async def m(reader: Reader, tmp_path: Path) -> AsyncIterator[Memora]:
    """The engine of the blocks."""
    model = OpenAIBackendLLM(api_key="OPENAI_API_KEY", model="gpt-4.1-mini")
    async with Memora.embedded(tmp_path / "memora", extraction_model=model) as m:
        yield m


async def memories(m: Memora, user_id: str = "user-123") -> list[Memory]:
    return await m.graph.get_all_user_memories("default", user_id)


async def test_quick_start_async_block(m: Memora, capsys: pytest.CaptureFixture[str]) -> None:
    seed_data = SeedData.for_conversations(
        entity_id="user-123",
        conversations=conversations(),
    )

    result = await m.seed(seed_data)
    print(f"Processed: {result.successful}/{result.total}")

    assert capsys.readouterr().out == "Processed: 1/1\n"
    (memory,) = await memories(m)
    assert memory.memory == "user-123 owns a Tesla Model 3."


def test_quick_start_sync_block(tmp_path: Path) -> None:
    with memora.sync.Memora.embedded(tmp_path / "memora") as m:
        seed_data = SeedData.for_conversations(
            entity_id="user-123",
            conversations=conversations(),
        )

        result = m.seed_sync(seed_data)

        assert (result.successful, result.total) == (1, 1)
        found, _ids = m.recall_memories_for_message("default", "user-123", "Which car?")
        assert [memory.memory for memory in found] == ["I just bought a Tesla Model 3!"]


async def test_seed_data_block_keeps_the_source(m: Memora) -> None:
    seed_data = SeedData.for_conversations(
        entity_id="user-123",
        conversations=conversations(),
        process_id="onboarding",
    )

    await m.seed(seed_data)
    assert {memory.process_id for memory in await memories(m)} == {"onboarding"}
    stored = await m.graph.get_interaction("default", "user-123", "conv-1")
    assert stored.process_id == "onboarding"


async def test_conversation_format_block(m: Memora) -> None:
    conversation = {
        "id": "unique-conversation-id",
        "messages": [
            {"role": "user", "content": "Hello!"},
            {"role": "assistant", "content": "Hi there!"},
        ],
    }
    result = await m.seed(SeedData.for_conversations("user-123", [conversation]))
    assert result.successful == 1
    stored = await m.graph.get_interaction("default", "user-123", "unique-conversation-id")
    assert [message.as_message() for message in stored.messages or []] == conversation["messages"]
    for required in ("id", "messages"):
        lacking = {key: value for key, value in conversation.items() if key != required}
        result = await m.seed(SeedData.for_conversations("user-123", [lacking]))
        (failed,) = result.results
        assert (failed.success, required in (failed.error or "")) == (False, True)


async def test_seed_config_block_and_its_defaults(m: Memora) -> None:
    config = SeedConfig(
        max_messages_per_request=4000,
        max_chars_per_request=800_000,
        max_retries=3,
        retry_delay=1.0,
        chunk_large_conversations=True,
    )

    seed_data = SeedData.for_conversations(entity_id="user-123", conversations=conversations())
    result = await m.seed(seed_data, seed_config=config)
    assert result.successful == 1
    assert config == SeedConfig()


async def test_seed_result_block(m: Memora, capsys: pytest.CaptureFixture[str]) -> None:
    seed_data = SeedData.for_conversations(
        entity_id="user-123", conversations=[*conversations(), {"id": "bad"}]
    )
    result = await m.seed(seed_data)

    print(f"Total: {result.total}")
    print(f"Successful: {result.successful}")
    print(f"Failed: {result.failed}")
    print(f"Triples extracted: {result.total_triples}")
    print(f"Duration: {result.duration_ms:.0f}ms")

    printed = capsys.readouterr().out.splitlines()
    assert printed[:4] == ["Total: 2", "Successful: 1", "Failed: 1", "Triples extracted: 1"]
    assert printed[4].startswith("Duration: ")
    assert len(result.results) == 2


async def test_batch_processing_block(m: Memora, reader: Reader) -> None:
    many = [{**conversations()[0], "id": f"conv-{number}"} for number in range(20)]
    seed_data = SeedData.for_conversations(entity_id="user-123", conversations=many)
    result = await m.seed(
        seed_data,
        batch_size=10,
    )
    assert result.successful == 20
    (memory,) = await memories(m)
    assert len(memory.message_sources) == 20


async def test_progress_tracking_block(m: Memora, capsys: pytest.CaptureFixture[str]) -> None:
    def on_progress(processed, total, result) -> None:  # type: ignore[no-untyped-def]
        status = "✓" if result.success else "✗"
        print(f"[{processed}/{total}] {status} {result.conversation_id}")

    seed_data = SeedData.for_conversations(
        entity_id="user-123", conversations=[*conversations(), {"id": "bad", "messages": []}]
    )
    await m.seed(
        seed_data,
        on_progress=on_progress,
    )
    printed = capsys.readouterr().out.splitlines()
    assert {line.split(" ", 1)[1] for line in printed} == {"✓ conv-1", "✗ bad"}
    assert [line.split()[0] for line in printed] == ["[1/2]", "[2/2]"]


async def test_large_conversations_are_cut_and_a_summary_goes_in_front(
    m: Memora, provider: Provider
) -> None:
    said = [
        {"role": "user", "content": text}
        for text in ("I like tea. " + "x" * 700, "y" * 700, "I just bought a Tesla Model 3!")
    ]
    config = SeedConfig(max_chars_per_request=1000)
    data = SeedData.for_conversations("user-123", [{"id": "long", "messages": said}])
    result = await m.seed(data, seed_config=config)
    assert result.successful == 1
    assert {memory.memory for memory in await memories(m)} == {
        "user-123 likes tea.",
        "user-123 owns a Tesla Model 3.",
    }
    asked = [body["messages"][-1]["content"] for body in provider.bodies]
    assert sum('"new_messages"' in prompt for prompt in asked) > 1
    assert any('"summary_of_before"' in prompt for prompt in asked)


async def test_auto_chunking_block_disabled(m: Memora) -> None:
    config = SeedConfig(chunk_large_conversations=False, max_chars_per_request=1000)
    said = [{"role": "user", "content": "x" * 600}, {"role": "user", "content": "y" * 600}]
    data = SeedData.for_conversations("user-123", [{"id": "long", "messages": said}])
    result = await m.seed(data, seed_config=config)
    (failed,) = result.results
    assert (failed.success, failed.interaction_id) == (False, None)
    assert await memories(m) == []


def test_cli_usage_block(tmp_path: Path) -> None:
    """Block "CLI Usage", with the file of the block below it."""
    path = tmp_path / "conversations.json"
    path.write_text(
        json.dumps(
            [
                {
                    "id": "conv-1",
                    "messages": [
                        {"role": "user", "content": "Hello!"},
                        {"role": "assistant", "content": "Hi!"},
                    ],
                }
            ]
        )
    )
    command = f"-m memora seed {path} --entity-id user-123 --path {tmp_path / 'store'}"
    argv = [sys.executable, *command.split()]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 created" in done.stdout


async def test_seed_and_chat_block(m: Memora, reader: Reader) -> None:
    from openai import AsyncOpenAI

    conversations = [
        {
            "id": "conv-1",
            "messages": [
                {"role": "user", "content": "I'm a software engineer at Google."},
                {"role": "assistant", "content": "Nice! What do you work on?"},
                {"role": "user", "content": "I work on the search team."},
            ],
        },
    ]

    seed_data = SeedData.for_conversations(
        entity_id="user-123",
        conversations=conversations,
    )
    await m.seed(seed_data)

    client = AsyncOpenAI(api_key="OPENAI_API_KEY")
    user = m.for_user("user-123")

    message = "Where do I work?"
    found, _ids = await user.recall_memories_for_message(message)
    response = await client.chat.completions.create(
        model="gpt-4.1-mini",
        messages=[{"role": "user", "content": f"{m.format_memories(found)}\n{message}"}],
    )
    await client.close()

    assert response.choices[0].message.content == "You work at Google on the search team!"
    assert "user-123 works on the search team at Google." in reader.prompts[-1]


async def test_memories_are_there_at_once_and_a_second_run_is_free(
    m: Memora, provider: Provider
) -> None:
    """Best practices: unique ids keep a conversation from being processed twice."""
    data = SeedData.for_conversations(entity_id="user-123", conversations=conversations())
    await m.seed(data)
    calls = len(provider.bodies)
    result = await m.seed(data)
    assert (result.skipped, result.total_memories) == (1, 0)
    assert len(provider.bodies) == calls
    assert len(await memories(m)) == 1


async def test_failures_are_in_the_results_and_stop_no_other(
    m: Memora, caplog: pytest.LogCaptureFixture
) -> None:
    """Best practices: check `result.failed` and `result.results`."""
    caplog.set_level(logging.CRITICAL, logger="memora")
    given = [{"id": "bad", "messages": [{"role": "robot"}]}, *conversations()]
    result = await m.seed(SeedData.for_conversations("user-123", given))
    assert (result.failed, result.successful) == (1, 1)
    assert [each.conversation_id for each in result.results if not each.success] == ["bad"]


async def test_memories_belong_to_the_entity(m: Memora) -> None:
    """Best practices: set `entity_id` to scope memories to users."""
    for user_id in ("user-1", "user-2"):
        await m.seed(SeedData.for_conversations(user_id, conversations()))
    assert [memory.memory for memory in await memories(m, "user-1")] == [
        "user-1 owns a Tesla Model 3."
    ]
    assert [memory.memory for memory in await memories(m, "user-2")] == [
        "user-2 owns a Tesla Model 3."
    ]


async def test_any_source_of_conversations_is_read_one_by_one(m: Memora) -> None:
    async def cursor() -> AsyncIterator[dict[str, Any]]:
        for number in range(3):
            await asyncio.sleep(0)
            yield {**conversations()[0], "id": f"conv-{number}"}

    result = await m.seed(SeedData.for_conversations("user-123", cursor()))
    assert result.successful == 3
