"""A local HTTP server that speaks the rerank protocol of Cohere and Jina."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Reply = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]


class RerankServer:
    """Scores by the share of the query's words; `script` holds replies for the next requests."""

    def __init__(self) -> None:
        self.script: deque[Reply] = deque()
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.url = ""
        self.released = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> RerankServer:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v2/rerank", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v2"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.released.set()
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        request = await http.json()
        self.requests.append(request)
        self.keys.append(http.headers.get("Authorization"))
        if self.script:
            return await self.script.popleft()(request)
        return web.json_response(body(request))


def body(request: dict[str, Any]) -> dict[str, Any]:
    """The right answer to a request, best first as real endpoints have it."""
    wanted = set(request["query"].lower().split())
    scored = [
        {"index": i, "relevance_score": len(wanted & set(text.lower().split())) / len(wanted)}
        for i, text in enumerate(request["documents"])
    ]
    scored.sort(key=lambda item: -item["relevance_score"])
    return {"id": "x", "results": scored, "meta": {}}


def status(code: int, **headers: str) -> Reply:
    """An error that quotes the query, as real endpoints do."""

    async def reply(request: dict[str, Any]) -> web.StreamResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(
            {"message": f"bad: {request['query']}"}, status=code, headers=names
        )

    return reply


def raw(text: str) -> Reply:
    """A 200 with any body."""

    async def reply(_request: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text=text, content_type="application/json")

    return reply
