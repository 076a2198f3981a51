"""A provider on a local port that speaks the chat-completions protocol and plays a part."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

from aiohttp import web

from tests.reliability.data.malformed import STAGES, Reply

_STAGE_OF = {stage.schema: stage.name for stage in STAGES.values()}


class Provider:
    """Answers well, but for the one stage that is played badly.

    Attributes:
        answers: How many answers of a model the bad stage was given.
        tries: How often it was tried, broken connections included.
        before_answering: Called before the bad stage is answered.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answers = 0
        self.tries = 0
        self.before_answering: Callable[[], Awaitable[None]] | None = None
        self._bad = ""
        self._replies: Sequence[Reply] = ()
        self._given_up = asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._given_up.set()
        await self._runner.cleanup()

    def play(self, stage: str, reply: Reply | Sequence[Reply]) -> None:
        """Answer this stage with these replies; the last one is repeated."""
        self._bad = stage
        self._replies = (reply,) if isinstance(reply, Reply) else reply
        self.answers = self.tries = 0
        self.before_answering = None
        self._given_up = asyncio.Event()

    def recover(self) -> None:
        """Answer well from now on; what was held back comes now, too late."""
        self._bad = ""
        self._given_up.set()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        wanted = body.get("response_format", {}).get("json_schema", {}).get("name")
        stage = STAGES[_STAGE_OF[wanted]]
        if stage.name != self._bad:
            return web.json_response(_completion(Reply(stage.answer()), body))
        reply = self._replies[min(self.tries, len(self._replies) - 1)]
        self.tries += 1
        if self.before_answering is not None:
            await self.before_answering()
        if reply.wire == "late":
            await self._given_up.wait()
            return web.json_response(_completion(reply, body))
        if reply.wire == "cut":
            return await _broken_off(request, json.dumps(_completion(reply, body)))
        self.answers += 1
        if reply.body is not None:
            return web.Response(body=reply.body, content_type="text/html")
        return web.json_response(_completion(reply, body))


async def _broken_off(request: web.Request, text: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json"})
    response.content_length = len(text)
    await response.prepare(request)
    await response.write(text[: len(text) // 2].encode())
    assert request.transport is not None
    request.transport.close()
    return response


def _completion(reply: Reply, body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.refusal is not None:
        message["refusal"] = reply.refusal
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
