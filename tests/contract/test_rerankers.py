"""Rerankers against a server that speaks their protocol, and on a tiny ONNX model."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fastembed.rerank.cross_encoder import TextCrossEncoder

from memora.errors import (
    InvalidInputError,
    MissingExtraError,
    RerankAuthError,
    RerankConnectionError,
    RerankError,
    RerankRateLimitError,
    RerankResponseError,
    RerankTimeoutError,
)
from memora.rerankers.base import BaseReranker
from memora.rerankers.fastembed import MODEL, FastEmbedReranker
from memora.rerankers.http import HTTPReranker
from tests.contract import onnx_models
from tests.contract.rerank_server import RerankServer, raw, status

TEXTS = ["the tax report", "a grey dog", "the dog is a dog"]


@pytest.fixture
async def server() -> AsyncIterator[RerankServer]:
    async with RerankServer() as running:
        yield running


@pytest.fixture
async def reranker(server: RerankServer) -> AsyncIterator[HTTPReranker]:
    async with HTTPReranker(server.url, "words-1", "key-1", max_retries=1) as opened:
        yield opened


@pytest.fixture
def models(tmp_path: Path) -> Path:
    listed = next(m for m in TextCrossEncoder.list_supported_models() if m["model"] == MODEL)
    onnx_models.write_cross_encoder(tmp_path, listed["sources"]["hf"], listed["model_file"])
    return tmp_path


async def test_scores_come_in_the_order_of_the_texts(
    server: RerankServer, reranker: HTTPReranker
) -> None:
    assert await reranker.rerank("grey dog", TEXTS) == [0.0, 1.0, 0.5]
    assert server.requests == [
        {"model": "words-1", "query": "grey dog", "documents": TEXTS, "top_n": 3}
    ]
    assert server.keys == ["Bearer key-1"]


async def test_no_texts_are_no_call(server: RerankServer, reranker: HTTPReranker) -> None:
    assert await reranker.rerank("dog", []) == []
    assert server.requests == []


async def test_a_long_text_is_judged_by_its_beginning(server: RerankServer) -> None:
    async with HTTPReranker(f"{server.url}/rerank/", "m", max_text_chars=3) as reranker:
        await reranker.rerank("a dog", ["abcdef"])
    assert server.requests[0]["documents"] == ["abc"]
    assert server.keys == [None]


@pytest.mark.parametrize(
    ("code", "error"),
    [(401, RerankAuthError), (403, RerankAuthError), (400, RerankError), (404, RerankError)],
)
async def test_refusals_are_typed_and_not_repeated(
    server: RerankServer, reranker: HTTPReranker, code: int, error: type[RerankError]
) -> None:
    server.script.append(status(code))
    with pytest.raises(error, match=f"HTTP {code}") as caught:
        await reranker.rerank("my secret", TEXTS)
    assert type(caught.value) is error
    assert "secret" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [408, 409, 429, 500, 503])
async def test_a_busy_endpoint_is_asked_again(
    server: RerankServer, reranker: HTTPReranker, code: int
) -> None:
    server.script.append(status(code, Retry_After="0"))
    assert await reranker.rerank("dog", ["dog"]) == [1.0]
    assert len(server.requests) == 2


async def test_one_that_stays_busy_says_for_how_long(
    server: RerankServer, reranker: HTTPReranker
) -> None:
    server.script.extend([status(429, Retry_After="0"), status(429, Retry_After="7")])
    with pytest.raises(RerankRateLimitError) as caught:
        await reranker.rerank("dog", ["dog"])
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    "answer",
    [
        "", "<html>", "[]", "{}", '{"results": null}', '{"results": [1]}', '{"results": []}',
        '{"results": [{"index": 0}]}',
        '{"results": [{"index": 5, "relevance_score": 1}]}',
        '{"results": [{"index": 0, "relevance_score": "my secret"}]}',
        '{"results": [{"index": 0, "relevance_score": NaN}]}',
        '{"results": [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 1}]}',
    ],
)  # fmt: skip
async def test_malformed_answers_are_typed(
    server: RerankServer, reranker: HTTPReranker, answer: str
) -> None:
    server.script.append(raw(answer))
    with pytest.raises(RerankResponseError) as caught:
        await reranker.rerank("dog", ["dog"])
    assert "secret" not in str(caught.value)


async def test_the_other_name_of_the_list(server: RerankServer, reranker: HTTPReranker) -> None:
    server.script.append(raw(json.dumps({"data": [{"index": 0, "relevance_score": 0.25}]})))
    assert await reranker.rerank("dog", ["dog"]) == [0.25]


async def test_silence_is_a_timeout(server: RerankServer) -> None:
    async def silence(_request: dict[str, Any]) -> web.StreamResponse:
        await server.released.wait()
        return web.Response(status=503)

    server.script.append(silence)
    async with HTTPReranker(server.url, "m", timeout=0.05, max_retries=0) as reranker:
        with pytest.raises(RerankTimeoutError):
            await reranker.rerank("dog", ["dog"])


async def test_nobody_there_is_a_connection_error() -> None:
    async with HTTPReranker("http://127.0.0.1:9/v2", "m", max_retries=0) as reranker:
        with pytest.raises(RerankConnectionError, match="cannot be reached"):
            await reranker.rerank("dog", ["dog"])


@pytest.mark.parametrize(
    "wrong", [{"timeout": 0}, {"max_retries": -1}, {"max_text_chars": 0}], ids=str
)
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        HTTPReranker("http://127.0.0.1:9", "m", **wrong)


async def test_a_cross_encoder_reads_question_and_text(models: Path) -> None:
    async with FastEmbedReranker(cache_dir=models, allow_download=False, batch_size=2) as reranker:
        tax, one, two = await reranker.rerank("which", TEXTS)
    assert 0 < tax < 0.5 < one <= two <= 1


async def test_a_missing_model_is_a_typed_error_that_names_it(tmp_path: Path) -> None:
    async with FastEmbedReranker(cache_dir=tmp_path, allow_download=False) as reranker:
        with pytest.raises(RerankError, match=MODEL) as caught:
            await reranker.rerank("a secret", ["text"])
    assert "secret" not in str(caught.value)


async def test_without_the_package_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "fastembed.rerank", None)
    async with FastEmbedReranker() as reranker:
        with pytest.raises(MissingExtraError, match=r"memora-core\[fastembed\]"):
            await reranker.rerank("dog", ["text"])


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"batch_size": 0}], ids=str)
def test_arguments_of_the_cross_encoder_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        FastEmbedReranker(**wrong)


async def test_an_adapter_that_loses_a_score_is_found_out() -> None:
    class Short(BaseReranker):
        @property
        def model_id(self) -> str:
            return "short"

        async def _score(self, query: str, texts: list[str]) -> list[float]:
            return [1.0]

    async with Short() as reranker:
        with pytest.raises(RerankResponseError, match="1 scores for 2 texts"):
            await reranker.rerank("dog", ["a", "b"])
    await asyncio.sleep(0)
