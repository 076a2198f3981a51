"""What QdrantDB sends, whom it refuses, and what its errors become."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import pkgutil
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import qdrant_client
from qdrant_client import AsyncQdrantClient, models

from memora.core.filters import AnyOf, Range
from memora.core.ids import RandomIds
from memora.core.indexing import KEYWORD_FIELDS, NUMBER_FIELDS
from memora.embeddings.hashing import HashingEmbedder
from memora.errors import (
    RetryableError,
    SchemaVersionError,
    VectorDBConnectionError,
    VectorDBError,
)
from memora.schema.findings import FindingKind
from memora.schema.scope import Scope
from memora.testing.vector_clauses.documents import document, stored
from memora.vector_db import QdrantDB
from memora.vector_db._qdrant_errors import foreign_errors, memora_error, translated
from tests.contract.qdrant_bridge import QdrantBridge, Sent

NAME = "memories"
ALICE = Scope("org", "alice")


@pytest.fixture
async def bridge() -> AsyncIterator[QdrantBridge]:
    bridge = QdrantBridge()
    yield bridge
    await bridge.local.close()


@pytest.fixture
async def store(bridge: QdrantBridge) -> AsyncIterator[QdrantDB]:
    client = bridge.client()
    async with QdrantDB(client, NAME, embedder=HashingEmbedder(16)) as store:
        bridge.sent.clear()
        yield store
    await client.close()


def field_conditions(filter_: dict[str, Any]) -> dict[str, Any]:
    return {condition["key"]: condition.get("match") for condition in filter_["must"]}


async def test_b03_b04_every_query_carries_its_tenant(
    store: QdrantDB, bridge: QdrantBridge
) -> None:
    await store.search_memories(
        ["tea", "coffee"],
        "user",
        "org",
        "alice",
        "agent",
        limit=9,
        conditions=(AnyOf("tags", ("x", "y")), Range("archived", lt=1)),
    )
    (sent,) = bridge.sent
    assert sent.path == f"/collections/{NAME}/points/query/batch"
    assert [search["using"] for search in sent.body["searches"]] == ["dense", "bm25"] * 2
    for search in sent.body["searches"]:
        assert search["limit"] >= 9
        assert search["with_payload"] == ["org_id", "user_id", "agent_id"]
        assert field_conditions(search["filter"]) == {
            "org_id": {"value": "org"},
            "user_id": {"value": "alice"},
            "agent_id": {"value": "agent"},
            "tags": {"any": ["x", "y"]},
            "archived": None,
        }
    for search in sent.body["searches"][1::2]:
        assert field_conditions(search["params"]["idf"]["corpus"]) == {
            "org_id": {"value": "org"},
            "user_id": {"value": "alice"},
        }


async def test_the_organization_scope_filters_the_organization(
    store: QdrantDB, bridge: QdrantBridge
) -> None:
    await store.search_memory("tea", "organization", "org", "ignored")
    for search in bridge.sent[0].body["searches"]:
        assert field_conditions(search["filter"]) == {"org_id": {"value": "org"}}
    corpus = bridge.sent[0].body["searches"][1]["params"]["idf"]["corpus"]
    assert field_conditions(corpus) == {"org_id": {"value": "org"}}


async def test_queries_without_any_token_are_not_sent(
    store: QdrantDB, bridge: QdrantBridge
) -> None:
    answers = await store.search_memories(["…", "?!"], "user", "org", "alice")
    assert len(answers) == 2
    assert bridge.sent == []


async def test_b34_writes_wait_and_hold_no_text(store: QdrantDB, bridge: QdrantBridge) -> None:
    canary = "canary phrase"
    owners = [ALICE, Scope("org", "bob"), Scope("other", "alice")]
    await store.upsert([document(canary, owner) for owner in owners for _ in range(40)])
    assert len(bridge.sent) == 2
    for sent in bridge.sent:
        assert sent.path.endswith("/points/batch")
        assert sent.params["wait"] == "true"
        assert canary not in str(sent.body)
        for operation in sent.body["operations"]:
            owned = field_conditions(operation["upsert"]["update_filter"])
            for point in operation["upsert"]["points"]:
                assert owned == {
                    "org_id": {"value": point["payload"]["org_id"]},
                    "user_id": {"value": point["payload"]["user_id"]},
                }


async def test_b02_deletes_name_the_owner_and_are_ordered(
    store: QdrantDB, bridge: QdrantBridge
) -> None:
    memory_id = RandomIds().memory()
    await store.delete_memory(memory_id, "org", "alice")
    await store.delete_all_user_memories("org", "alice")
    await store.delete_all_organization_memories("org")
    deletes = [sent for sent in bridge.sent if sent.path.endswith("/points/delete")]
    one, user, organization = (sent.body["filter"]["must"] for sent in deletes)
    assert [condition.get("key") for condition in one] == ["org_id", "user_id", None]
    assert one[2] == {"has_id": [memory_id]}
    assert [condition["key"] for condition in user] == ["org_id", "user_id"]
    assert [condition["key"] for condition in organization] == ["org_id"]
    assert all(
        (sent.params["wait"], sent.params["ordering"]) == ("true", "strong") for sent in deletes
    )


async def test_b11_setup_indexes_every_filtered_field_once(bridge: QdrantBridge) -> None:
    client = bridge.client()
    for _ in range(2):
        store = QdrantDB(client, NAME, embedder=HashingEmbedder(16))
        await store.setup()
    created = [sent.body for sent in bridge.sent if sent.path.endswith("/index")]
    assert [body["field_name"] for body in created] == [*KEYWORD_FIELDS, *NUMBER_FIELDS]
    tenants = [b["field_name"] for b in created if b["field_schema"].get("is_tenant")]
    assert tenants == ["org_id"]
    await client.close()


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_b21_a_write_never_makes_a_collection(
    store: QdrantDB, bridge: QdrantBridge, status: int
) -> None:
    bridge.fail = lambda _sent: httpx.Response(status, json={"status": {"error": "no"}})
    with pytest.raises(VectorDBError):
        await store.upsert([document("tea", ALICE)])
    with pytest.raises(VectorDBError):
        await store.search_memory("tea", "user", "org", "alice")
    # What is in use may be looked up again; nothing is made.
    assert {sent.method for sent in bridge.sent} <= {"POST", "GET"}


async def test_b21_a_dropped_collection_stays_dropped(
    store: QdrantDB, bridge: QdrantBridge
) -> None:
    await bridge.local.delete_collection(NAME)
    with pytest.raises(VectorDBError, match="404"):
        await store.upsert([document("tea", ALICE)])
    assert not await bridge.local.collection_exists(NAME)
    assert await store.stamp() is None


async def test_b21_setup_does_not_take_a_failure_for_absence(bridge: QdrantBridge) -> None:
    def refuse(sent: Sent) -> httpx.Response | None:
        if sent.path.endswith("/exists"):
            return httpx.Response(401, json={"status": {"error": "no"}})
        return None

    bridge.fail = refuse
    store = QdrantDB(bridge.client(), NAME, embedder=HashingEmbedder(16))
    with pytest.raises(VectorDBError, match="401"):
        await store.setup()
    assert not await bridge.local.collection_exists(NAME)


@pytest.mark.parametrize(
    ("version", "fits"),
    [("1.18.4", False), ("0.19.0", False), ("1.19.0", True), ("1.20.1-dev", True), ("2.0.0", True)],
)
async def test_servers_without_idf_per_tenant_are_refused(
    bridge: QdrantBridge, version: str, fits: bool
) -> None:
    bridge.version = version
    store = QdrantDB(bridge.client(), NAME, embedder=HashingEmbedder(16))
    if fits:
        await store.setup()
    else:
        with pytest.raises(VectorDBError, match=rf"Qdrant {version}; memora needs 1\.19"):
            await store.setup()
    assert await bridge.local.collection_exists(NAME) is fits


async def test_another_process_may_set_up_first(store: QdrantDB, bridge: QdrantBridge) -> None:
    asked = itertools.count()

    def not_there_when_asked_first(sent: Sent) -> httpx.Response | None:
        if sent.path.endswith("/exists") and next(asked) == 0:
            return httpx.Response(200, json={"result": {"exists": False}})
        return None

    bridge.fail = not_there_when_asked_first
    await store.setup()
    assert ("PUT", f"/collections/{NAME}") in [(sent.method, sent.path) for sent in bridge.sent]
    assert await store.stamp() is not None


async def test_a_failed_create_is_reported(bridge: QdrantBridge) -> None:
    def refuse(sent: Sent) -> httpx.Response | None:
        if (sent.method, sent.path) == ("PUT", f"/collections/{NAME}"):
            return httpx.Response(403, json={"status": {"error": "no"}})
        return None

    bridge.fail = refuse
    with pytest.raises(VectorDBError, match="403"):
        await QdrantDB(bridge.client(), NAME, embedder=HashingEmbedder(16)).setup()


async def made_by_v03(client: AsyncQdrantClient) -> None:
    await client.create_collection(
        NAME,
        vectors_config={
            "fast-paraphrase-multilingual-minilm-l12-v2": models.VectorParams(
                size=384, distance=models.Distance.COSINE
            )
        },
        sparse_vectors_config={"fast-sparse-splade_pp_en_v1": models.SparseVectorParams()},
    )


async def made_by_others(client: AsyncQdrantClient) -> None:
    await client.create_collection(
        NAME, vectors_config=models.VectorParams(size=16, distance=models.Distance.DOT)
    )


async def made_by_later(client: AsyncQdrantClient) -> None:
    await client.create_collection(
        NAME,
        vectors_config={"dense": models.VectorParams(size=16, distance=models.Distance.COSINE)},
        metadata={"memora": {"schema": 2, "model": "changed its name"}},
    )


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (made_by_v03, "memora 0.3"),
        (made_by_others, "memora did not make"),
        (made_by_later, "layout 2"),
    ],
)
async def test_b23_foreign_collections_are_refused_and_kept(make: Any, found: str) -> None:
    client = AsyncQdrantClient(":memory:")
    await make(client)
    store = QdrantDB(client, NAME, embedder=HashingEmbedder(16))
    for call in (store.setup, store.clear, store.stamp):
        with pytest.raises(SchemaVersionError, match=found):
            await call()
    assert await client.collection_exists(NAME)
    await client.close()


async def test_the_clients_owner_closes_it() -> None:
    client = AsyncQdrantClient(":memory:")
    async with QdrantDB(client, NAME, embedder=HashingEmbedder(16)):
        pass
    assert await client.collection_exists(NAME)
    await client.close()


async def test_a_client_that_was_handed_over_is_closed() -> None:
    store = QdrantDB(AsyncQdrantClient(":memory:"), owns_client=True, embedder=HashingEmbedder(16))
    assert store.collection_name == "memory_collection_v0_4"
    await store.setup()
    await store.close()
    await store.close()
    with pytest.raises(VectorDBError):
        await store.scan()


async def test_an_unreachable_server_may_come_back() -> None:
    client = AsyncQdrantClient(url="http://127.0.0.1:9", check_compatibility=False)
    store = QdrantDB(client, embedder=HashingEmbedder(16), owns_client=True)
    with pytest.raises(VectorDBConnectionError, match="ConnectError") as caught:
        await store.setup()
    assert isinstance(caught.value, RetryableError)
    await store.close()
    await store.close()


class TestLocalFiles:
    @pytest.fixture(autouse=True)
    def no_blocking_calls(self) -> None:
        """Local mode reads and writes its files on the event loop; it is for tests only."""

    async def test_a_new_client_finds_everything(self, tmp_path: Path) -> None:
        tea = document("tea", ALICE)
        client = AsyncQdrantClient(path=str(tmp_path))
        async with QdrantDB(client, NAME, embedder=HashingEmbedder(16)) as store:
            await store.upsert([tea, document("coffee", Scope("org", "bob"))])
            before = await store.search_memory("tea", "user", "org", "alice")
        await client.close()
        client = AsyncQdrantClient(path=str(tmp_path))
        async with QdrantDB(client, NAME, embedder=HashingEmbedder(16)) as store:
            assert await store.search_memory("tea", "user", "org", "alice") == before
            assert len(await stored(store, "org")) == 2
        with pytest.raises(SchemaVersionError):
            await QdrantDB(client, NAME, embedder=HashingEmbedder(17)).setup()
        await client.close()
        with pytest.raises(VectorDBError):
            await store.scan()


# Errors


@pytest.mark.parametrize(
    ("status", "may_pass"),
    [
        *((status, False) for status in (400, 401, 403, 404, 409, 422)),
        *((status, True) for status in (408, 429, 500, 502, 503, 504)),
    ],
)
async def test_statuses(store: QdrantDB, bridge: QdrantBridge, status: int, may_pass: bool) -> None:
    secret = "the server quotes something"
    bridge.fail = lambda _sent: httpx.Response(status, json={"status": {"error": secret}})
    with pytest.raises(VectorDBError, match=f"HTTP {status}") as caught:
        await store.search_memory("tea", "user", "org", "alice")
    assert isinstance(caught.value, VectorDBConnectionError) is may_pass
    assert secret not in str(caught.value)


async def test_retry_after_is_kept(store: QdrantDB, bridge: QdrantBridge) -> None:
    bridge.fail = lambda _sent: httpx.Response(
        429, json={"status": {"error": "slow down"}}, headers={"Retry-After": "7"}
    )
    with pytest.raises(VectorDBConnectionError) as caught:
        await store.upsert([document("tea", ALICE)])
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"result": 5}', b'{"result": {"points": 1}}'])
async def test_answers_that_make_no_sense(
    store: QdrantDB, bridge: QdrantBridge, body: bytes
) -> None:
    bridge.fail = lambda _sent: httpx.Response(200, content=body)
    for call in (
        store.search_memory("tea", "user", "org", "alice"),
        store.upsert([document("tea", ALICE)]),
        store.scan(),
    ):
        with pytest.raises(VectorDBError):
            await call


async def test_a_late_answer(store: QdrantDB, bridge: QdrantBridge) -> None:
    def late(_sent: Sent) -> httpx.Response | None:
        raise httpx.ReadTimeout("late")

    bridge.fail = late
    with pytest.raises(VectorDBConnectionError, match="ReadTimeout"):
        await store.scan()


def exception_classes() -> Iterator[type[Exception]]:
    """Every public exception class of the client and of the two libraries it talks through."""
    for module in pkgutil.walk_packages(qdrant_client.__path__, "qdrant_client."):
        if "fastembed" not in module.name and "_pb2" not in module.name:
            importlib.import_module(module.name)
    pending: list[type[Exception]] = [Exception]
    while pending:
        for cls in pending.pop().__subclasses__():
            pending.append(cls)
            if cls.__module__.startswith("qdrant_client."):
                yield cls
    for library in (httpx, grpc, grpc.aio):
        for value in vars(library).values():
            if isinstance(value, type) and issubclass(value, Exception):
                yield value


def test_every_error_of_the_client_is_translated() -> None:
    classes = set(exception_classes())
    names = {cls.__name__ for cls in classes}
    assert {
        "UnexpectedResponse",
        "ReadTimeout",
        "AioRpcError",
        "ResourceExhaustedResponse",
    } <= names
    for cls in classes:
        assert issubclass(cls, foreign_errors()), cls
        if cls is not grpc.aio.AioRpcError:
            assert isinstance(memora_error(cls.__new__(cls)), VectorDBError), cls


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_grpc_codes(code: grpc.StatusCode) -> None:
    empty = grpc.aio.Metadata()
    with pytest.raises(VectorDBError, match=code.name) as caught, translated():
        raise grpc.aio.AioRpcError(code, empty, empty, "details of the server")
    outages = "UNAVAILABLE DEADLINE_EXCEEDED RESOURCE_EXHAUSTED ABORTED INTERNAL CANCELLED"
    may_pass = code.name in outages.split()
    assert isinstance(caught.value, VectorDBConnectionError) is may_pass
    assert "details" not in str(caught.value)


def test_programming_errors_are_not_hidden() -> None:
    with pytest.raises(AttributeError), translated():
        raise AttributeError("ours")
    with pytest.raises(asyncio.CancelledError), translated():
        raise asyncio.CancelledError


async def test_memories_of_year_9999_are_stored(store: QdrantDB) -> None:
    late = document("tea", ALICE, obtained_at=datetime(9999, 12, 31, 23, 59, tzinfo=UTC))
    await store.upsert([late])
    found = await store.search_memory(
        "tea", "user", "org", "alice", conditions=(Range("obtained_at", gt=253e9),)
    )
    assert [hit.memory_id for hit in found.dense] == [late.memory_id]


async def test_b23_a_collection_that_takes_other_vectors_than_it_says_is_refused() -> None:
    client = AsyncQdrantClient(":memory:")
    store = QdrantDB(client, "store", embedder=HashingEmbedder(16))
    await store.setup()
    info = await client.get_collection("store")
    await client.delete_collection("store")
    await client.create_collection(
        "store",
        vectors_config={"dense": models.VectorParams(size=8, distance=models.Distance.COSINE)},
        metadata=info.config.metadata,
    )
    with pytest.raises(SchemaVersionError, match="8 dimensions"):
        await store.setup()
    [finding] = await store.inspect()
    assert finding.kind is FindingKind.MODEL_MISMATCH
    await store.mend()  # not by itself: a reindex makes it anew
    assert len(await store.inspect()) == 1
    await store.clear()
    assert await store.inspect() == []
    await client.close()


async def test_b11_a_missing_index_is_found_and_made_again(
    store: QdrantDB, bridge: QdrantBridge
) -> None:
    [indexes] = bridge.indexes.values()
    del indexes["agent_id"]
    [finding] = await store.inspect()
    assert (finding.kind, finding.detail) == (FindingKind.HALF_MIGRATION, "no index on agent_id")
    await store.mend()
    assert "agent_id" in indexes


async def test_a_collection_that_is_not_there_has_no_findings(bridge: QdrantBridge) -> None:
    client = bridge.client()
    store = QdrantDB(client, "nowhere", embedder=HashingEmbedder(16))
    assert await store.inspect() == []
    await client.close()
