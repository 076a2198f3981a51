"""Puts engines together; the only place that names concrete classes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SecretStr

from memora.config import ModelSpec, Settings, azure_access, default_path, provider_key
from memora.embeddings.base import BaseEmbedder, SparseEncoder
from memora.errors import InvalidInputError
from memora.graph_db.base import BaseGraphDB
from memora.llm_backends.base import BaseBackendLLM
from memora.rerankers.base import BaseReranker
from memora.schema.validation import checked_bool, checked_path
from memora.vector_db.base import BaseVectorDB

if TYPE_CHECKING:
    from memora.agent.main import Memora

M = TypeVar("M", bound="Memora")

_OPENROUTER_URL = "https://openrouter.ai/api/v1"
_OLLAMA_URL = "http://localhost:11434/v1"
_OPENAI_URL = "https://api.openai.com/v1"
_TOGETHER_URL = "https://api.together.xyz/v1"
_RERANKER_URLS = {"cohere": "https://api.cohere.com/v2", "jina": "https://api.jina.ai/v1"}

# A directory that has it holds an embedded store.
GRAPH_FILE = "graph.sqlite3"


def embedded(
    cls: type[M],
    path: str | Path | None,
    memory_search_model: BaseBackendLLM | str | None,
    extraction_model: BaseBackendLLM | str | None,
    embedder: BaseEmbedder | str | None,
    reranker: BaseReranker | str | None,
    enable_logging: bool,  # noqa: FBT001 - passed on as it came
    encryption_key: str | SecretStr | None = None,
    language: str = "en",
    *,
    own_process: bool = False,
    **retention: Any,
) -> M:
    """Build the embedded engine on one directory; see `Memora.embedded`."""
    settings = Settings(
        path=None if path is None else checked_path(path, "path"),
        language=language,
        vector_own_process=checked_bool(own_process, "own_process"),
    )
    return cls(
        _embedded_vectors(settings, _given_embedder(settings, embedder)),
        _embedded_graph(settings, encryption_key),
        _given_model(settings, memory_search_model, "memory_search_model"),
        _given_model(settings, extraction_model, "extraction_model"),
        enable_logging,
        reranker=_given_reranker(settings, reranker),
        embedder_named=partial(_given_embedder, settings),
        **retention,
    )


def from_settings(cls: type[M], settings: Settings | Mapping[str, Any] | None) -> M:
    """Build the engine that the settings describe; see `Memora.from_settings`.

    Raises:
        InvalidInputError: A setting is unknown or malformed, or a provider's key is missing.
    """
    if settings is None:
        settings = Settings.from_env()
    elif isinstance(settings, Mapping):
        settings = Settings.from_mapping(settings)
    chosen = embedder(settings, settings.embedder)
    if settings.graph_url is None:
        graph = _embedded_graph(settings, settings.encryption_key)
    else:
        graph = _neo4j(settings)
    vectors = (
        _embedded_vectors(settings, chosen)
        if settings.vector_url is None
        else _qdrant(settings, chosen)
    )
    return cls(
        vectors,
        graph,
        model(settings, settings.memory_search_model),
        model(settings, settings.extraction_model),
        recall_limit=settings.recall_limit,
        min_similarity=settings.min_similarity,
        ranking=settings.ranking,
        reranker=reranker(settings, settings.reranker),
        rerank_candidates=settings.rerank_candidates,
        similarity_threshold={chosen.model_id: settings.similarity_threshold},
        short_term_days=settings.short_term_days,
        archive_after_days=settings.archive_after_days,
        embedder_named=partial(_given_embedder, settings),
    )


def _directory(settings: Settings) -> Path:
    return settings.path or default_path()


def _embedded_graph(settings: Settings, encryption_key: str | SecretStr | None) -> BaseGraphDB:
    from memora.graph_db.sqlite.interface import SQLiteGraph  # noqa: PLC0415 - only if used

    return SQLiteGraph(_directory(settings) / GRAPH_FILE, encryption_key=encryption_key)


def _embedded_vectors(settings: Settings, chosen: BaseEmbedder) -> BaseVectorDB:
    from memora.vector_db.embedded import EmbeddedVectorDB  # noqa: PLC0415 - only if used

    return EmbeddedVectorDB(
        _directory(settings) / "vectors",
        embedder=chosen,
        lexical=_lexical(settings),
        own_process=settings.vector_own_process,
    )


def _lexical(settings: Settings) -> SparseEncoder:
    from memora.embeddings import LexicalEncoder  # noqa: PLC0415 - only if used

    return LexicalEncoder(settings.language)


def _neo4j(settings: Settings) -> BaseGraphDB:
    if settings.encryption_key is not None:
        allowed = "not set with graph_url: encryption at rest is the server's own business"
        raise InvalidInputError("encryption_key", allowed)
    from memora.graph_db.neo4j.interface import Neo4jGraphInterface  # noqa: PLC0415 - only if used

    return Neo4jGraphInterface(
        settings.graph_url or "",
        settings.graph_username,
        _secret(settings.graph_password) or "",
        settings.graph_database,
    )


def _qdrant(settings: Settings, chosen: BaseEmbedder) -> BaseVectorDB:
    from qdrant_client import AsyncQdrantClient  # noqa: PLC0415 - only if used

    from memora.vector_db.qdrant import COLLECTION, QdrantDB  # noqa: PLC0415 - only if used

    # The server's version is checked by `setup`, with an error instead of a warning.
    client = AsyncQdrantClient(
        url=settings.vector_url, api_key=_secret(settings.vector_api_key), check_compatibility=False
    )
    return QdrantDB(
        client,
        settings.vector_collection or COLLECTION,
        embedder=chosen,
        lexical=_lexical(settings),
        owns_client=True,
    )


def _given_model(
    settings: Settings, given: BaseBackendLLM | str | None, field: str
) -> BaseBackendLLM | None:
    if isinstance(given, str):
        return model(settings, ModelSpec.parse(given, field))
    return given


def model(settings: Settings, spec: ModelSpec | None) -> BaseBackendLLM | None:
    """Build the backend of a language model.

    Raises:
        InvalidInputError: The provider's key is not in the environment.
        MissingExtraError: The provider's SDK is not installed.
    """
    if spec is None:
        return None
    timeout = settings.llm_timeout
    if spec.provider in {"openai-compatible", "ollama", "openrouter"}:
        return _openai_compatible(settings, spec)
    key = _secret(provider_key(spec.provider)) or ""
    if spec.provider == "openai":
        from memora.llm_backends import OpenAIBackendLLM  # noqa: PLC0415 - only if used

        return OpenAIBackendLLM(key, model=spec.model, timeout=timeout)
    if spec.provider == "groq":
        from memora.llm_backends import GroqBackendLLM  # noqa: PLC0415 - only if used

        return GroqBackendLLM(key, spec.model, timeout=timeout)
    if spec.provider == "together":
        from memora.llm_backends import TogetherBackendLLM  # noqa: PLC0415 - only if used

        return TogetherBackendLLM(key, spec.model, timeout=timeout)
    if spec.provider == "anthropic":
        from memora.llm_backends import AnthropicBackendLLM  # noqa: PLC0415 - only if used

        return AnthropicBackendLLM(key, spec.model, timeout=timeout)
    return _azure(spec, key, timeout)


def _azure(spec: ModelSpec, key: str, timeout: float) -> BaseBackendLLM:
    from memora.llm_backends.azure_openai_backend_llm import (  # noqa: PLC0415 - only if used
        AZURE_API_VERSION,
        AzureOpenAIBackendLLM,
    )

    access = azure_access()
    return AzureOpenAIBackendLLM(
        model=spec.model,
        azure_endpoint=access.endpoint,
        api_key=key,
        api_version=access.api_version or AZURE_API_VERSION,
        timeout=timeout,
    )


def _openai_compatible(settings: Settings, spec: ModelSpec) -> BaseBackendLLM:
    from memora.llm_backends import OpenAICompatibleBackendLLM  # noqa: PLC0415 - only if used

    urls = {"openrouter": _OPENROUTER_URL, "ollama": settings.llm_base_url or _OLLAMA_URL}
    key = provider_key(spec.provider) if spec.provider == "openrouter" else settings.llm_api_key
    return OpenAICompatibleBackendLLM(
        urls.get(spec.provider) or settings.llm_base_url or "",
        spec.model,
        _secret(key),
        timeout=settings.llm_timeout,
        provider=spec.provider,
    )


def _given_embedder(settings: Settings, given: BaseEmbedder | str | None) -> BaseEmbedder:
    if given is None:
        return embedder(settings, settings.embedder)
    if isinstance(given, str):
        return embedder(settings, ModelSpec.parse_embedder(given))
    return given


def embedder(settings: Settings, spec: ModelSpec) -> BaseEmbedder:
    """Build an embedder.

    Raises:
        InvalidInputError: The provider's key is not in the environment.
        MissingExtraError: The embedder's library is not installed.
    """
    batch, cache = settings.embedding_batch_size, settings.embedding_cache_size
    if spec.provider == "wordllama":
        from memora.embeddings import StaticEmbedder  # noqa: PLC0415 - only if used

        return StaticEmbedder(batch_size=batch, cache_size=cache)
    if spec.provider == "hashing":
        from memora.embeddings import HashingEmbedder  # noqa: PLC0415 - only if used

        return HashingEmbedder(
            settings.embedder_dimensions or 256, batch_size=batch, cache_size=cache
        )
    if spec.provider == "fastembed":
        from memora.embeddings.fastembed import DENSE_MODEL, FastEmbedEmbedder  # noqa: PLC0415 - lazy

        return FastEmbedEmbedder(spec.model or DENSE_MODEL, batch_size=batch, cache_size=cache)
    return _endpoint_embedder(settings, spec, batch, cache)


def _endpoint_embedder(settings: Settings, spec: ModelSpec, batch: int, cache: int) -> BaseEmbedder:
    from memora.embeddings import OpenAICompatibleEmbedder  # noqa: PLC0415 - only if used

    urls = {
        "openai": _OPENAI_URL,
        "together": _TOGETHER_URL,
        "openrouter": _OPENROUTER_URL,
        "ollama": _OLLAMA_URL,
    }
    key = (
        settings.embedder_api_key
        if spec.provider in {"openai-compatible", "ollama"}
        else provider_key(spec.provider)
    )
    url = settings.embedder_base_url or urls.get(spec.provider)
    if spec.provider == "azure" and settings.embedder_base_url is None:
        url = f"{azure_access().endpoint.rstrip('/')}/openai/v1"
    return OpenAICompatibleEmbedder(
        url,
        spec.model,
        _secret(key),
        settings.embedder_dimensions,
        timeout=settings.llm_timeout,
        batch_size=batch,
        cache_size=cache,
    )


def _given_reranker(settings: Settings, given: BaseReranker | str | None) -> BaseReranker | None:
    if isinstance(given, str):
        return reranker(settings, ModelSpec.parse_reranker(given))
    return given


def reranker(settings: Settings, spec: ModelSpec | None) -> BaseReranker | None:
    """Build a reranker.

    Raises:
        InvalidInputError: The provider's key is not in the environment, or there is no address.
    """
    if spec is None:
        return None
    if spec.provider == "fastembed":
        from memora.rerankers.fastembed import MODEL, FastEmbedReranker  # noqa: PLC0415 - lazy

        return FastEmbedReranker(spec.model or MODEL)
    from memora.rerankers import HTTPReranker  # noqa: PLC0415 - only if used

    is_known = spec.provider in _RERANKER_URLS
    key = provider_key(spec.provider) if is_known else settings.reranker_api_key
    url = settings.reranker_base_url or _RERANKER_URLS.get(spec.provider)
    if url is None:
        raise InvalidInputError("reranker_base_url", "set with a rerank-compatible model")
    return HTTPReranker(url, spec.model, _secret(key))


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()
