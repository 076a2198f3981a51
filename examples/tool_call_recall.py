"""Recall as a function tool: the model asks for memories when it needs them.

Two forms. OpenAI style: the tool is described as JSON, the model answers with a tool call, and its
result goes back as a message of the role `tool`. Plain: for a model or framework without tool
calls, one line of text is the call.

Runs without a key: a scripted chat plays the model. With OPENAI_API_KEY a real one decides.

    python examples/tool_call_recall.py
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

from memora import Memora
from memora.agent.bound import BoundMemora

TOOL = {
    "type": "function",
    "function": {
        "name": "recall_memories",
        "description": "Look up what is known about the user. Use it before you say that you do "
        "not know something about them.",
        "parameters": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What you want to know, in a phrase."}
            },
            "required": ["query"],
            "additionalProperties": False,
        },
    },
}

Message = dict[str, Any]
Chat = Callable[[list[Message], list[Any]], Awaitable[Message]]


async def recall_memories(user: BoundMemora, query: str) -> str:
    """The function behind the tool: a text that a model can read."""
    memories = await user.recall(query, limit=5)
    if not memories:
        return "Nothing is known about that."
    return "\n".join(f"- {memory.memory} ({memory.obtained_at:%Y-%m-%d})" for memory in memories)


async def answer_with_tool(user: BoundMemora, chat: Chat, question: str) -> str:
    """OpenAI style: run tool calls until the model answers in words."""
    messages: list[Message] = [{"role": "user", "content": question}]
    for _round in range(4):
        reply = await chat(messages, [TOOL])
        if not reply.get("tool_calls"):
            return reply["content"]
        messages.append(reply)
        for call in reply["tool_calls"]:
            arguments = json.loads(call["function"]["arguments"])
            found = await recall_memories(user, **arguments)
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": found})
    return "The model kept asking for memories."


async def answer_plainly(user: BoundMemora, chat: Chat, question: str) -> str:
    """Plain: the model writes `RECALL: <query>`, gets the memories, and answers."""
    rule = "If you need to know something about the user, answer only with `RECALL: <query>`."
    messages: list[Message] = [
        {"role": "system", "content": rule},
        {"role": "user", "content": question},
    ]
    reply = await chat(messages, [])
    wish = reply["content"].strip()
    if not wish.startswith("RECALL:"):
        return wish
    found = await recall_memories(user, wish.removeprefix("RECALL:").strip())
    messages += [reply, {"role": "user", "content": f"Known about the user:\n{found}"}]
    return (await chat(messages, []))["content"]


async def scripted_chat(messages: list[Message], tools: list[Any]) -> Message:
    """Play a model that looks something up once and repeats what it was told."""
    last = messages[-1]
    if last["role"] == "tool" or "Known about the user" in last["content"]:
        return {"role": "assistant", "content": f"I know this:\n{last['content']}"}
    if not tools:
        return {"role": "assistant", "content": f"RECALL: {last['content']}"}
    call = {"name": "recall_memories", "arguments": json.dumps({"query": last["content"]})}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
    }


async def openai_chat(messages: list[Message], tools: list[Any]) -> Message:
    """Ask a real model."""
    from openai import AsyncOpenAI

    options: dict[str, Any] = {"tools": tools} if tools else {}
    async with AsyncOpenAI() as client:
        answer: Any = await client.chat.completions.create(
            model="gpt-4o",
            messages=messages,  # type: ignore[arg-type]
            **options,
        )
    return answer.choices[0].message.model_dump(exclude_none=True)


async def main() -> None:
    chat = openai_chat if os.environ.get("OPENAI_API_KEY") else scripted_chat
    with tempfile.TemporaryDirectory() as directory:
        async with Memora.embedded(directory) as memora:
            jake = memora.for_user("jake")
            await jake.save([{"role": "user", "content": "My sister Ana is a marine biologist."}])
            question = "What does my sister do?"
            print("With a tool:", await answer_with_tool(jake, chat, question))
            print("Plainly:", await answer_plainly(jake, chat, question))


if __name__ == "__main__":
    asyncio.run(main())
