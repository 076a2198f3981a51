"""The OpenAI-compatible embedder against a real HTTP server that misbehaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tenacity import wait_none

from memora.embeddings import openai_compatible
from memora.embeddings.openai_compatible import OpenAICompatibleEmbedder
from memora.errors import (
    EmbeddingAuthError,
    EmbeddingConnectionError,
    EmbeddingError,
    EmbeddingRateLimitError,
    EmbeddingResponseError,
    EmbeddingTimeoutError,
    InvalidInputError,
)
from tests.contract.embedding_server import (
    EmbeddingServer,
    Reply,
    changed,
    error,
    hang_up,
    raw,
    silence,
)

SECRET = "my secret diary"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_compatible, "_backoff", wait_none())


@pytest.fixture
async def server() -> AsyncIterator[EmbeddingServer]:
    async with EmbeddingServer() as server:
        yield server


def embedder_of(server: EmbeddingServer, **options: Any) -> OpenAICompatibleEmbedder:
    return OpenAICompatibleEmbedder(server.url, "some-model", **options)


async def test_the_size_is_learnt_once_by_prepare(server: EmbeddingServer) -> None:
    async with embedder_of(server) as embedder:
        with pytest.raises(EmbeddingError, match="prepare"):
            _ = embedder.dimensions
        await embedder.prepare()
        await embedder.prepare()
        assert embedder.dimensions == 64
        assert len(server.requests) == 1
        assert "dimensions" not in server.requests[0]
        assert embedder.model_id == "openai-compatible/some-model"


async def test_known_models_need_no_request() -> None:
    assert OpenAICompatibleEmbedder().dimensions == 1536
    assert OpenAICompatibleEmbedder(model="text-embedding-3-large").dimensions == 3072
    same = OpenAICompatibleEmbedder(model="text-embedding-ada-002", dimensions=1536)
    assert same.model_id == "openai-compatible/text-embedding-ada-002"


async def test_shorter_vectors_are_asked_for_and_stamped(server: EmbeddingServer) -> None:
    async with embedder_of(server, dimensions=16) as embedder:
        assert (await embedder.embed_documents([SECRET])).shape == (1, 16)
        assert server.requests[0]["dimensions"] == 16
        assert embedder.model_id == "openai-compatible/some-model@16"


@pytest.mark.parametrize("ending", ["", "/", "/embeddings"])
async def test_the_url_may_name_the_endpoint_and_the_key_is_sent(
    server: EmbeddingServer, ending: str
) -> None:
    async with OpenAICompatibleEmbedder(server.url + ending, "m", "the-key") as embedder:
        await embedder.embed_documents([SECRET])
    assert server.paths[-1] == "/v1/embeddings"
    assert server.keys[-1] == "Bearer the-key"


async def test_the_key_in_the_environment_never_reaches_another_server(
    server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai-only")
    async with embedder_of(server) as embedder:
        await embedder.embed_documents([SECRET])
    assert server.keys
    assert "sk-for-openai-only" not in str(server.keys)


async def test_rows_follow_the_index_not_the_order_of_the_answer(server: EmbeddingServer) -> None:
    texts = ["red apples", "blue whales", "green tea"]
    async with embedder_of(server, cache_size=0, dimensions=64) as embedder:
        expected = await embedder.embed_documents(texts)
        server.script.append(changed(lambda body: body["data"].reverse()))
        assert await embedder.embed_documents(texts) == pytest.approx(expected)


@pytest.mark.parametrize(
    "reply",
    [error(429, retry_after="0"), error(429, retry_after_="x"), error(500), error(503), hang_up],
    ids=["429", "429 without a time", "500", "503", "broken off"],
)
async def test_passing_failures_are_tried_again(server: EmbeddingServer, reply: Reply) -> None:
    server.script.extend([reply, reply])
    async with embedder_of(server, max_retries=2, dimensions=64) as embedder:
        assert (await embedder.embed_documents([SECRET])).shape == (1, 64)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "kind", "status", "requests"),
    [
        (error(429, "slow_down", retry_after="0"), EmbeddingRateLimitError, 429, 3),
        (error(500), EmbeddingConnectionError, 500, 3),
        (hang_up, EmbeddingConnectionError, None, 3),
        (error(401), EmbeddingAuthError, 401, 1),
        (error(403), EmbeddingAuthError, 403, 1),
        (error(400, f"code {SECRET}"), EmbeddingError, 400, 1),
        (error(404, "model_not_found"), EmbeddingError, 404, 1),
    ],
)
async def test_failures_are_typed_and_quote_nothing(
    server: EmbeddingServer,
    reply: Reply,
    kind: type[EmbeddingError],
    status: int | None,
    requests: int,
) -> None:
    server.script.extend([reply] * 5)
    async with embedder_of(server, max_retries=2, dimensions=64) as embedder:
        with pytest.raises(kind) as caught:
            await embedder.embed_documents([SECRET])
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or SECRET not in str(caught.value.__cause__)
    assert len(server.requests) == requests


async def test_a_retry_after_beyond_the_deadline_is_reported_at_once(
    server: EmbeddingServer,
) -> None:
    server.script.append(error(429, retry_after="3600"))
    async with embedder_of(server, timeout=5, dimensions=64) as embedder:
        with pytest.raises(EmbeddingRateLimitError) as caught:
            await embedder.embed_documents([SECRET])
    assert caught.value.retry_after == 3600
    assert len(server.requests) == 1


async def test_a_retry_after_date_counts_from_the_servers_clock(server: EmbeddingServer) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.script.append(error(429, date=date, retry_after="Wed, 21 Oct 2015 07:30:00 GMT"))
    async with embedder_of(server, timeout=5, dimensions=64) as embedder:
        with pytest.raises(EmbeddingRateLimitError) as caught:
            await embedder.embed_documents([SECRET])
    assert caught.value.retry_after == 120


async def test_b36_a_silent_endpoint_ends_at_the_deadline(server: EmbeddingServer) -> None:
    server.script.extend([silence] * 5)
    async with embedder_of(server, timeout=0.1, dimensions=64) as embedder:
        with pytest.raises(EmbeddingTimeoutError):
            await embedder.embed_documents([SECRET])


async def test_an_unreachable_endpoint_is_a_connection_error(server: EmbeddingServer) -> None:
    url = server.url
    await server.__aexit__()
    async with OpenAICompatibleEmbedder(url, "m", max_retries=1) as embedder:
        with pytest.raises(EmbeddingConnectionError):
            await embedder.prepare()


def _set(field: str, value: Any) -> Reply:
    return changed(lambda body: body["data"][0].__setitem__(field, value))


@pytest.mark.parametrize(
    "reply",
    [
        changed(lambda body: body["data"].pop()),
        changed(lambda body: body["data"].append(body["data"][0])),
        _set("index", 1),
        _set("index", None),
        _set("embedding", [1.0] * 63),
        _set("embedding", []),
        _set("embedding", "!!! no base64"),
        _set("embedding", "AAAA"),
        _set("embedding", [[1.0]] * 64),
        _set("embedding", ["x"] * 64),
        _set("embedding", [None] * 64),
        _set("embedding", [float("nan")] * 64),
        _set("embedding", [1e300] * 64),
        changed(lambda body: [item.update(embedding=[1.0] * 32) for item in body["data"]] and None),
        changed(lambda body: {"data": None}),
        changed(lambda body: {"error": "none"}),
        changed(lambda body: [1, 2]),
        raw("<html>busy</html>"),
        raw(""),
    ],
)
async def test_unusable_answers_are_response_errors(server: EmbeddingServer, reply: Reply) -> None:
    async with embedder_of(server, cache_size=0) as embedder:
        await embedder.prepare()
        server.script.append(reply)
        with pytest.raises(EmbeddingResponseError) as caught:
            await embedder.embed_documents([SECRET, "another text"])
        assert SECRET not in str(caught.value)
        assert (await embedder.embed_documents([SECRET, "another text"])).shape == (2, 64)


@pytest.mark.parametrize("body", ['{"data": [{"index": 0, "embedding": []}]}', '{"data": []}'])
async def test_an_empty_first_answer_teaches_no_size(server: EmbeddingServer, body: str) -> None:
    server.script.append(raw(body))
    async with embedder_of(server) as embedder:
        with pytest.raises(EmbeddingResponseError):
            await embedder.prepare()
        await embedder.prepare()
        assert embedder.dimensions == 64


async def test_texts_are_cut_at_a_character_and_requests_at_a_size(server: EmbeddingServer) -> None:
    texts = [f"{i} " + "é" * 8_000 for i in range(50)]
    async with embedder_of(server, dimensions=64, max_text_bytes=15_001) as embedder:
        assert (await embedder.embed_documents(texts)).shape == (50, 64)
    sent = [text for request in server.requests for text in request["input"]]
    assert len(server.requests) == 2
    assert all(long.startswith(short) for long, short in zip(texts, sent, strict=True))
    assert {len(text.encode()) for text in sent} <= {14_999, 15_000, 15_001}


async def test_b33_answers_are_parsed_in_a_thread(
    server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    parse = openai_compatible._parse

    def recording(provider: str, body: bytes, count: int) -> Any:
        seen.append(threading.get_ident())
        return parse(provider, body, count)

    monkeypatch.setattr(openai_compatible, "_parse", recording)
    async with embedder_of(server, dimensions=64) as embedder:
        await asyncio.gather(*(embedder.embed_queries([f"text {i}"]) for i in range(4)))
    assert len(seen) == 4
    assert threading.get_ident() not in seen


@pytest.mark.parametrize(
    "options",
    [{"dimensions": 0}, {"timeout": 0}, {"max_retries": -1}, {"max_text_bytes": 0}],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        OpenAICompatibleEmbedder(**options)
