"""A local HTTP server that speaks OpenAI's embeddings protocol, with scripted misbehaviour."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Reply = Callable[["EmbeddingServer", dict[str, Any]], Awaitable[web.StreamResponse]]


class EmbeddingServer:
    """Answers with hashed bags of words; `script` holds replies for the next requests.

    Args:
        dimensions: Length of the vectors where the request asks for no other.
        base64_known: Whether the server honours `encoding_format`; many only send numbers.
    """

    def __init__(self, dimensions: int = 64, *, base64_known: bool = True) -> None:
        self.dimensions = dimensions
        self.base64_known = base64_known
        self.script: deque[Reply] = deque()
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.url = ""
        self.transport: asyncio.Transport | None = None
        self._released = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> EmbeddingServer:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/embeddings", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._released.set()
        assert self._runner is not None
        await self._runner.cleanup()

    def body(self, request: dict[str, Any]) -> dict[str, Any]:
        """The right answer to a request."""
        packed = self.base64_known and request.get("encoding_format") == "base64"
        dimensions = request.get("dimensions") or self.dimensions
        data = [
            {"object": "embedding", "index": i, "embedding": _vector(text, dimensions, packed)}
            for i, text in enumerate(request["input"])
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return {"object": "list", "data": data, "model": request["model"], "usage": usage}

    async def hang(self) -> None:
        """Wait until the server stops."""
        await self._released.wait()

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        request = await http.json()
        self.requests.append(request)
        self.keys.append(http.headers.get("Authorization"))
        self.paths.append(http.path)
        self.transport = http.transport
        reply = self.script.popleft() if self.script else None
        return await reply(self, request) if reply else web.json_response(self.body(request))


def error(status: int, code: str = "boom", **headers: str) -> Reply:
    """An error in OpenAI's form that quotes the first text, as real endpoints do."""

    async def reply(server: EmbeddingServer, request: dict[str, Any]) -> web.StreamResponse:
        body = {"error": {"message": f"bad: {request['input'][0]}", "type": "x", "code": code}}
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response(body, status=status, headers=names)

    return reply


def changed(change: Callable[[dict[str, Any]], Any]) -> Reply:
    """The right answer after `change`, which may return a body of its own."""

    async def reply(server: EmbeddingServer, request: dict[str, Any]) -> web.StreamResponse:
        body = server.body(request)
        return web.json_response(change(body) or body)

    return reply


def raw(text: str) -> Reply:
    """A 200 with any body."""

    async def reply(server: EmbeddingServer, request: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text=text, content_type="application/json")

    return reply


async def silence(server: EmbeddingServer, request: dict[str, Any]) -> web.StreamResponse:
    """No answer while the server runs."""
    await server.hang()
    return web.Response(status=503)


async def hang_up(server: EmbeddingServer, request: dict[str, Any]) -> web.StreamResponse:
    """The connection closes without an answer."""
    assert server.transport is not None
    server.transport.close()
    return web.Response()


def _vector(text: str, dimensions: int, packed: bool) -> str | list[float]:
    row = [0.0] * dimensions
    for word in text.lower().split():
        row[zlib.crc32(word.strip("?.,!").encode()) % dimensions] += 1.0
    return base64.b64encode(struct.pack(f"<{dimensions}f", *row)).decode() if packed else row
