"""A local HTTP server that plays a model provider: chat completions and Anthropic messages."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any, Self

from aiohttp import web

from memora.testing.llm_contract import (
    COMPLETION_TOKENS,
    PROMPT_TOKENS,
    SeenRequest,
    Turn,
)

_ANTHROPIC_FILTER = Turn(
    error={
        "type": "invalid_request_error",
        "message": "Output blocked by content filtering policy",
    }
)
PAGE = "<!DOCTYPE html><html><body><h1>Bad gateway {oops}</h1></body></html>"


class LLMServer:
    """Plays planned turns; a request beyond the plan is answered with 418."""

    def __init__(self) -> None:
        self.requests: list[SeenRequest] = []
        self.url = ""
        self._turns: deque[Turn] = deque()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)

    def plan(self, *turns: Turn) -> None:
        self._turns.extend(turns)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(SeenRequest(request.path_qs, headers, body))
        turn = self._turns.popleft() if self._turns else Turn("status", status=418)
        if turn.kind == "slow":
            await asyncio.Event().wait()
        if turn.kind == "dripping":
            return await _dripping(request)
        if turn.kind == "html":
            return web.Response(text=PAGE, content_type="text/html")
        if turn.kind == "status":
            return web.json_response(
                _error(turn, request.path), status=turn.status, headers=turn.headers
            )
        if turn.kind == "error_body":
            return web.json_response(_error(turn, request.path))
        if turn.kind == "filtered" and _is_anthropic(request.path):
            return web.json_response(_error(_ANTHROPIC_FILTER, request.path), status=400)
        payload = _completion(turn, body, request.path)
        if turn.kind == "dropped":
            return await _broken_off(request, json.dumps(payload))
        return web.json_response(payload)


async def _broken_off(request: web.Request, text: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json"})
    response.content_length = len(text)
    await response.prepare(request)
    await response.write(text[: len(text) // 2].encode())
    assert request.transport is not None
    request.transport.close()
    return response


async def _dripping(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


def _error(turn: Turn, path: str) -> dict[str, Any]:
    error = {"message": "scripted failure", "type": "scripted_error", **turn.error}
    return {"type": "error", "error": error} if _is_anthropic(path) else {"error": error}


def _completion(turn: Turn, body: dict[str, Any], path: str) -> dict[str, Any]:
    return _anthropic(turn, body) if _is_anthropic(path) else _openai(turn, body)


def _is_anthropic(path: str) -> bool:
    return path.endswith("/v1/messages")


def _openai(turn: Turn, body: dict[str, Any]) -> dict[str, Any]:
    stops = {"truncated": "length", "filtered": "content_filter"}
    message: dict[str, Any] = {"role": "assistant", "content": turn.text}
    if turn.kind == "refusal":
        message = {"role": "assistant", "content": None, "refusal": turn.text or "I cannot."}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [
            {"index": 0, "message": message, "finish_reason": stops.get(turn.kind, "stop")}
        ],
        "usage": {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": COMPLETION_TOKENS,
            "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
        },
    }


def _anthropic(turn: Turn, body: dict[str, Any]) -> dict[str, Any]:
    stops = {"truncated": "max_tokens", "refusal": "refusal"}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": _blocks(turn.text, forced="tool_choice" in body),
        "stop_reason": stops.get(turn.kind, "end_turn"),
        "stop_sequence": None,
        "usage": {
            "input_tokens": PROMPT_TOKENS - 4,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 1,
            "output_tokens": COMPLETION_TOKENS,
        },
    }


def _blocks(text: str, *, forced: bool) -> list[dict[str, Any]]:
    try:
        value = json.loads(text) if forced else None
    except ValueError:
        value = None
    if isinstance(value, dict):
        return [{"type": "tool_use", "id": "toolu_1", "name": "answer", "input": value}]
    return [{"type": "text", "text": text}] if text else []
