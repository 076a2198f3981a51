"""A model provider for the blocks of the documentation: it answers instead of the network.

The SDKs and memora's backends are the real ones; only the transport below them is played. The
model is simple: what the user says becomes a memory as it was said, nothing contradicts anything,
and an assistant calls the tool that it is offered, then answers with what it was told.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from memora.embeddings import HashingEmbedder

HOSTS = frozenset(
    {
        "api.openai.com",
        "api.groq.com",
        "api.anthropic.com",
        "api.together.xyz",
        "openrouter.ai",
        "your-resource.openai.azure.com",
    }
)
LOCAL_PORTS = frozenset({11434, 8000})
REPLY = "Understood."


Script = Callable[[Sequence[dict[str, Any]]], Any]


class Provider:
    """Plays every provider of `HOSTS`, and model servers on this machine.

    Attributes:
        bodies: The requests so far.
        script: What the model says to a chat: an object where memora asks for one, else a text.
    """

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.script: Script = scripted

    def plays(self, host: str, port: int | None) -> bool:
        """Whether a model provider is there."""
        return host in HOSTS or (host == "localhost" and port in LOCAL_PORTS)

    async def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer a request in the protocol of its path."""
        self.bodies.append(body)
        if path.endswith("/embeddings"):
            return await _embeddings(body)
        if path.endswith("/v1/messages"):
            return _anthropic(body, self.script)
        return _completion(body, self.script)


def scripted(messages: Sequence[dict[str, Any]]) -> Any:
    """Answer as the module's docstring says."""
    try:
        data = json.loads(messages[-1]["content"])
    except (TypeError, ValueError):
        return REPLY
    match data:
        case {"new_messages": said}:
            return {"memories": [_memory(item) for item in said if item["role"] == "user"]}
        case {"candidates": _, "existing": _}:
            return {"verdicts": []}
        case {"latest_message": message}:
            return {"queries": [message]}
        case {"message": _, "queries": _, "memories": memories}:
            return {"relevant": [memory["number"] for memory in memories]}
        case {"message": _, "memories": memories}:
            return " ".join(memory["memory"] for memory in memories)
        case _:
            return REPLY


def _memory(message: dict[str, Any]) -> dict[str, Any]:
    return {
        "memory": message["content"],
        "msg_source_ids": [message["id"]],
        "memory_type": "fact",
        "importance": 0.5,
    }


def _completion(body: dict[str, Any], script: Script) -> dict[str, Any]:
    messages = body["messages"]
    message: dict[str, Any] = {"role": "assistant", "content": None}
    if body.get("tools") and messages[-1]["role"] == "user":
        function = body["tools"][0]["function"]
        arguments = json.dumps({_text_argument(function["parameters"]): messages[-1]["content"]})
        message["tool_calls"] = [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": function["name"], "arguments": arguments},
            }
        ]
    elif messages[-1]["role"] == "tool":
        message["content"] = messages[-1]["content"]
    else:
        said = script(messages)
        message["content"] = said if isinstance(said, str) else json.dumps(said)
    stop = "tool_calls" if "tool_calls" in message else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": stop}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def _text_argument(schema: dict[str, Any]) -> str:
    return next(name for name, kind in schema["properties"].items() if kind["type"] == "string")


def _anthropic(body: dict[str, Any], script: Script) -> dict[str, Any]:
    said = script(body["messages"])
    content = (
        {"type": "text", "text": said}
        if isinstance(said, str)
        else {"type": "tool_use", "id": "toolu_1", "name": "answer", "input": said}
    )
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [content],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


async def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    dimensions = body.get("dimensions") or 1536
    async with HashingEmbedder(dimensions) as embedder:
        rows = await embedder.embed_documents(body["input"])
    return {
        "object": "list",
        "model": body["model"],
        "data": [
            {"object": "embedding", "index": index, "embedding": _wire(row)}
            for index, row in enumerate(rows)
        ],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }


def _wire(row: np.ndarray[Any, np.dtype[np.float32]]) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()
