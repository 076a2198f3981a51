"""A personal assistant that remembers, with the two histories and why there are two.

Runs without a key: an echo answers then. With OPENAI_API_KEY in the environment a model answers.
Type `quit()` to end; the conversation is saved then, and remembered at the next start.

    python examples/personal_assistant.py [DIRECTORY]

Why two histories?

* `base_history` holds what was said: the user's message and the reply. It is what gets saved, and
  what a recall reads as context. Recalled memories do not belong there: they are not new, and saved
  again they would come back as if they had been said twice.
* `prompt_history` holds what the model saw: the same turns, each user message together with the
  memories recalled for it. They stay in the prompt, so that "why did you suggest that?" can be
  answered three turns later, and so that no memory has to be recalled a second time.

`format_memories` marks its block, and a save strips marked blocks. So even an application that
keeps only one history does not feed its own memories back; two histories keep it readable too.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from memora import Memora

Chat = Callable[[list[dict[str, Any]]], Awaitable[str]]
SYSTEM_PROMPT = "You are Jake's assistant. What you know about him stands above his messages."


class PersonalAssistant:
    def __init__(self, memora: Memora, user_id: str, chat: Chat) -> None:
        self.memories = memora.for_user(user_id)
        self.chat_model = chat
        self.base_history: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM_PROMPT}]
        self.prompt_history = self.base_history.copy()
        self.recalled_ids: set[str] = set()
        self.format = memora.format_memories

    async def chat(self, message: str) -> str:
        memories, ids = await self.memories.recall_memories_for_message(
            message,
            preceding_msg_for_context=self.base_history[1:],
            # What was recalled before still stands in the prompt.
            filter_out_memory_ids_set=self.recalled_ids,
            limit=5,
        )
        self.recalled_ids.update(ids)
        prompt = f"{self.format(memories)}\n{message}" if memories else message

        reply = await self.chat_model([*self.prompt_history, {"role": "user", "content": prompt}])

        for history, said in ((self.base_history, message), (self.prompt_history, prompt)):
            history += [
                {"role": "user", "content": said},
                {"role": "assistant", "content": reply},
            ]
        return reply

    async def save(self) -> str:
        interaction_id, _saved_at = await self.memories.save(self.base_history[1:])
        return interaction_id


async def echo(messages: list[dict[str, Any]]) -> str:
    """Answer without a model: show what a model would have been given."""
    return f"(a model would see)\n{messages[-1]['content']}"


async def openai_chat(messages: list[dict[str, Any]]) -> str:
    """Answer with a model; your own client, so that streaming and tools stay yours."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI() as client:
        answer: Any = await client.chat.completions.create(model="gpt-4o", messages=messages)  # type: ignore[arg-type]
    return answer.choices[0].message.content


async def main(directory: str | None = None) -> None:
    has_key = bool(os.environ.get("OPENAI_API_KEY"))
    models: dict[str, Any] = (
        {"extraction_model": "openai:gpt-4o", "memory_search_model": "openai:gpt-4o-mini"}
        if has_key
        else {}
    )
    async with Memora.embedded(directory, **models) as memora:
        assistant = PersonalAssistant(memora, "jake", openai_chat if has_key else echo)
        while True:
            try:
                message = await asyncio.to_thread(input, "Jake: ")
            except EOFError:
                break
            if message.strip() == "quit()":
                break
            if message.strip():
                print("Assistant:", await assistant.chat(message))
        if len(assistant.base_history) > 1:
            print("Saved as interaction", await assistant.save())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "./personal-assistant"))
