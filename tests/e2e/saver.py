"""A process that saves until it is killed, and says what has been acknowledged.

What step n does depends on n alone, so that everybody can compute what must be there after it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from memora import Memora
from memora.testing.fakes import Answer, Call, ScriptedBackendLLM

CONVERSATIONS = 4
START = datetime(2025, 1, 1, tzinfo=UTC)


def conversation_of(step: int) -> str:
    return f"chat-{step % CONVERSATIONS}"


def pair(step: int) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": f"Remember the number {step}, said in step {step}."},
        {"role": "assistant", "content": f"Noted: {step}."},
    ]


def transcript(conversation: str, last: int) -> list[dict[str, Any]]:
    """The conversation after step `last`: every fourth step takes the pair before back."""
    messages: list[dict[str, Any]] = []
    for step in range(last + 1):
        if conversation_of(step) == conversation:
            if step // CONVERSATIONS % 4 == 3:
                messages = messages[:-2]
            messages = [*messages, *pair(step)]
    return messages


def said(last: int) -> list[str]:
    """Every statement that was ever stored; what is cut later stays known."""
    return sorted(pair(step)[0]["content"] for step in range(last + 1))


def scripted_model() -> ScriptedBackendLLM:
    """A model that finds each user message worth remembering as it is."""

    def answer(call: Call) -> Answer:
        if call.schema != "MemoryExtractionResponse":
            return {"verdicts": []}
        return {
            "memories": [
                {
                    "memory": message["content"],
                    "msg_source_ids": [message["id"]],
                    "memory_type": "fact",
                    "importance": 0.5,
                }
                for message in call.data["new_messages"]
                if message["role"] == "user"
            ]
        }

    return ScriptedBackendLLM(answer)


async def save(memora: Memora, step: int, org_id: str = "acme") -> None:
    conversation = conversation_of(step)
    await memora.save_or_update_interaction_and_memories(
        org_id,
        "jake",
        interaction=transcript(conversation, step),
        current_datetime=START + timedelta(minutes=step),
        external_id=conversation,
        idempotency_key=f"step-{step}",
    )


async def save_for_ever(memora: Memora, first: int, org_id: str = "acme") -> None:
    """Save from step `first` on, and print the number of each that was acknowledged."""
    async with memora:
        await memora.for_user("jake", org_id=org_id).ensure()
        step = first
        while True:
            await save(memora, step, org_id)
            os.write(sys.stdout.fileno(), f"{step}\n".encode())
            step += 1


def run(path: str, first: int, with_model: bool) -> None:
    """Save on the embedded pair from step `first` on."""
    model = scripted_model() if with_model else None
    memora = Memora.embedded(path, embedder="hashing", extraction_model=model)
    asyncio.run(save_for_ever(memora, first))
