"""Every embedder passes the same contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import fastembed
import pytest

from memora.embeddings.fastembed import (
    DENSE_MODEL,
    SPARSE_MODEL,
    FastEmbedEmbedder,
    FastEmbedSparseEncoder,
)
from memora.embeddings.hashing import HashingEmbedder
from memora.embeddings.openai_compatible import OpenAICompatibleEmbedder
from memora.embeddings.static import StaticEmbedder
from memora.errors import EmbeddingError
from memora.testing.embedder_contract import TEXTS, EmbedderContract, MakeEmbedder
from tests.contract import onnx_models
from tests.contract.embedding_server import EmbeddingServer


class TestStatic(EmbedderContract):
    @pytest.fixture
    def make_embedder(self) -> MakeEmbedder:
        return StaticEmbedder


class TestHashing(EmbedderContract):
    @pytest.fixture
    def make_embedder(self) -> MakeEmbedder:
        return HashingEmbedder


@pytest.mark.parametrize("base64_known", [True, False], ids=["base64", "numbers"])
class TestOpenAICompatible(EmbedderContract):
    @pytest.fixture
    async def make_embedder(self, base64_known: bool) -> AsyncIterator[MakeEmbedder]:
        async with EmbeddingServer(base64_known=base64_known) as server:
            yield lambda: OpenAICompatibleEmbedder(server.url, "bag-of-words")


class TestFastEmbed(EmbedderContract):
    """On a tiny ONNX model in the place of the real one: loading, pooling and threads are real."""

    @pytest.fixture
    def make_embedder(self, tmp_path: Path) -> MakeEmbedder:
        listed = _listed(fastembed.TextEmbedding.list_supported_models(), DENSE_MODEL)
        source, file_name = listed["sources"]["hf"], listed["model_file"]
        onnx_models.write_dense_model(tmp_path, source, file_name, listed["dim"])
        return lambda: FastEmbedEmbedder(cache_dir=tmp_path, allow_download=False)


async def test_the_real_fastembed_model_where_it_was_downloaded() -> None:
    async with FastEmbedEmbedder(allow_download=False) as embedder:
        try:
            documents = await embedder.embed_documents(TEXTS)
        except EmbeddingError as error:
            pytest.skip(f"not on this machine: {error}")
        queries = await embedder.embed_queries(["Who went hiking in the mountains?"])
        assert (documents @ queries[0]).argmax() == 2


def test_the_sparse_model_gives_sorted_weights(tmp_path: Path) -> None:
    listed = _listed(fastembed.SparseTextEmbedding.list_supported_models(), SPARSE_MODEL)
    onnx_models.write_sparse_model(tmp_path, listed["sources"]["hf"], listed["model_file"])
    encoder = FastEmbedSparseEncoder(cache_dir=tmp_path, allow_download=False)
    documents = encoder.encode_documents(["the grey dog", "tax report"])
    (query,) = encoder.encode_queries(["dog"])
    dog = onnx_models.VOCABULARY.index("dog")
    assert dog in documents[0].indices
    assert dog not in documents[1].indices
    assert dog in query.indices
    for vector in (*documents, query):
        assert list(vector.indices) == sorted(set(vector.indices))
        assert len(vector.indices) == len(vector.values)
        assert min(vector.values) > 0
    assert encoder.recipe == f"fastembed/{SPARSE_MODEL}"


def _listed(models: list[dict], name: str) -> dict:
    return next(model for model in models if model["model"] == name)
