"""Speaks Qdrant's REST protocol over the client's own local mode, to test what goes over the wire.

It stands for the protocol, not for the server: what a server does with a request only a server
shows (`MEMORA_TEST_QDRANT_URL`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from qdrant_client import AsyncQdrantClient, models

Handler = Callable[..., Awaitable[Any]]


@dataclass
class Sent:
    """A request as it came over the wire."""

    method: str
    path: str
    params: dict[str, str]
    body: Any


@dataclass
class QdrantBridge:
    """A transport for `AsyncQdrantClient(url=…, transport=…)`.

    Attributes:
        version: What the server says it is.
        sent: The requests so far.
        fail: Called with every request; what it returns is the answer, None lets it pass.
    """

    version: str = "1.19.0"
    sent: list[Sent] = field(default_factory=list)
    fail: Callable[[Sent], httpx.Response | None] = lambda _sent: None
    local: AsyncQdrantClient = field(default_factory=lambda: AsyncQdrantClient(":memory:"))
    indexes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def client(self, **arguments: Any) -> AsyncQdrantClient:
        return AsyncQdrantClient(
            url="http://qdrant.test",
            check_compatibility=False,
            transport=httpx.MockTransport(self.answer),
            **arguments,
        )

    async def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        sent = Sent(request.method, request.url.path, dict(request.url.params), body)
        self.sent.append(sent)
        if (failure := self.fail(sent)) is not None:
            return failure
        if sent.path == "/":
            return httpx.Response(200, json={"title": "qdrant", "version": self.version})
        if (handler := self.of_the_server().get((sent.method, sent.path))) is not None:
            result = await handler(body)
            return httpx.Response(200, json={"result": result, "status": "ok", "time": 0})
        found = re.fullmatch(r"/collections/([^/]+)(/.*)?", sent.path)
        assert found, sent.path
        handler = self.routes()[sent.method, found[2] or ""]
        try:
            result = await handler(found[1], body)
        except ValueError as error:
            status = 404 if "not found" in str(error) else 400
            return httpx.Response(status, json={"status": {"error": str(error)}, "time": 0})
        return httpx.Response(
            200, json={"result": to_jsonable_python(result), "status": "ok", "time": 0}
        )

    def of_the_server(self) -> dict[tuple[str, str], Handler]:
        return {
            ("GET", "/collections"): self.collections,
            ("GET", "/aliases"): self.aliases,
            ("POST", "/collections/aliases"): self.change_aliases,
        }

    async def collections(self, _body: Any) -> Any:
        return dumped(await self.local.get_collections())

    async def aliases(self, _body: Any) -> Any:
        return dumped(await self.local.get_aliases())

    async def change_aliases(self, body: Any) -> bool:
        asked = models.ChangeAliasesOperation(**body)
        return await self.local.update_collection_aliases(asked.actions)

    def routes(self) -> dict[tuple[str, str], Handler]:
        return {
            ("GET", "/exists"): self.exists,
            ("GET", ""): self.info,
            ("PUT", ""): self.create,
            ("PATCH", ""): self.change,
            ("DELETE", ""): self.drop,
            ("PUT", "/index"): self.index,
            ("POST", "/points/batch"): self.update,
            ("POST", "/points/query/batch"): self.query,
            ("POST", "/points/delete"): self.delete,
            ("POST", "/points/scroll"): self.scroll,
            ("POST", "/points/count"): self.count,
            ("POST", "/points"): self.retrieve,
        }

    async def exists(self, name: str, _body: Any) -> Any:
        return {"exists": await self.local.collection_exists(name)}

    async def info(self, name: str, _body: Any) -> Any:
        info = await self.local.get_collection(name)
        data = dumped(info)
        data["payload_schema"] = {
            key: {"data_type": schema["type"], "points": 0}
            for key, schema in self.indexes.get(name, {}).items()
        }
        return data

    async def create(self, name: str, body: Any) -> bool:
        asked = models.CreateCollection(**body)
        return await self.local.create_collection(
            name,
            vectors_config=asked.vectors,
            sparse_vectors_config=asked.sparse_vectors,
            metadata=asked.metadata,
        )

    async def change(self, name: str, body: Any) -> bool:
        asked = models.UpdateCollection(**body)
        return await self.local.update_collection(name, metadata=asked.metadata)

    async def drop(self, name: str, _body: Any) -> bool:
        self.indexes.pop(name, None)
        return await self.local.delete_collection(name)

    async def index(self, name: str, body: Any) -> Any:
        self.indexes.setdefault(name, {})[body["field_name"]] = body["field_schema"]
        return DONE

    async def update(self, name: str, body: Any) -> Any:
        operations = models.UpdateOperations(**body).operations
        await self.local.batch_update_points(name, operations)
        return [DONE] * len(operations)

    async def query(self, name: str, body: Any) -> Any:
        searches = models.QueryRequestBatch(**body).searches
        return [dumped(found) for found in await self.local.query_batch_points(name, searches)]

    async def delete(self, name: str, body: Any) -> Any:
        await self.local.delete(name, models.FilterSelector(**body))
        return DONE

    async def count(self, name: str, body: Any) -> Any:
        asked = models.CountRequest(**body)
        return dumped(await self.local.count(name, asked.filter, exact=asked.exact or False))

    async def scroll(self, name: str, body: Any) -> Any:
        asked = models.ScrollRequest(**body)
        records, after = await self.local.scroll(
            name,
            limit=asked.limit or 10,
            offset=asked.offset,
            with_payload=asked.with_payload or False,
        )
        return {"points": [dumped(record) for record in records], "next_page_offset": after}

    async def retrieve(self, name: str, body: Any) -> Any:
        asked = models.PointRequest(**body)
        records = await self.local.retrieve(
            name, asked.ids, with_payload=asked.with_payload or False
        )
        return [dumped(record) for record in records]


DONE = {"operation_id": 1, "status": "completed"}


def dumped(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_none=True)
