"""Errors and stamps of the fastembed adapter; the models themselves run in the contract tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from memora.embeddings.fastembed import (
    DENSE_MODEL,
    SPARSE_MODEL,
    FastEmbedEmbedder,
    FastEmbedSparseEncoder,
)
from memora.errors import EmbeddingError, InvalidInputError, MissingExtraError


def test_the_two_models_of_0_3_are_the_defaults() -> None:
    assert FastEmbedEmbedder().model_id == f"fastembed/{DENSE_MODEL}"
    assert FastEmbedEmbedder().dimensions == 384
    assert FastEmbedSparseEncoder().recipe == f"fastembed/{SPARSE_MODEL}"


async def test_a_missing_model_is_a_typed_error_that_names_it(tmp_path: Path) -> None:
    async with FastEmbedEmbedder(cache_dir=tmp_path, allow_download=False) as embedder:
        with pytest.raises(EmbeddingError, match=DENSE_MODEL) as caught:
            await embedder.embed_documents(["a secret text"])
    assert "secret" not in str(caught.value)
    encoder = FastEmbedSparseEncoder(cache_dir=tmp_path, allow_download=False)
    with pytest.raises(EmbeddingError, match=SPARSE_MODEL):
        encoder.encode_queries(["a secret text"])


async def test_the_size_of_a_listed_model_is_learnt_without_loading_it() -> None:
    async with FastEmbedEmbedder("BAAI/bge-small-zh-v1.5") as embedder:
        with pytest.raises(EmbeddingError, match="prepare"):
            _ = embedder.dimensions
        await embedder.prepare()
        assert embedder.dimensions == 512


async def test_unlisted_and_sparse_models_are_refused() -> None:
    async with FastEmbedEmbedder("nobody/nothing") as embedder:
        with pytest.raises(InvalidInputError, match="nobody/nothing"):
            await embedder.prepare()
    with pytest.raises(InvalidInputError, match="FastEmbedSparseEncoder"):
        FastEmbedEmbedder(SPARSE_MODEL)


async def test_without_the_package_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "fastembed", None)
    async with FastEmbedEmbedder() as embedder:
        with pytest.raises(MissingExtraError, match=r"memora-core\[fastembed\]"):
            await embedder.embed_documents(["text"])
