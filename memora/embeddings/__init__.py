"""Embedders and the lexical encoder; each is imported when it is first named."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memora.embeddings.base import BaseEmbedder, LocalEmbedder, SparseEncoder, SparseVector
    from memora.embeddings.fastembed import FastEmbedEmbedder, FastEmbedSparseEncoder
    from memora.embeddings.hashing import HashingEmbedder
    from memora.embeddings.lexical import LexicalEncoder
    from memora.embeddings.openai_compatible import OpenAICompatibleEmbedder
    from memora.embeddings.static import StaticEmbedder

_MODULES = {
    "BaseEmbedder": "base",
    "FastEmbedEmbedder": "fastembed",
    "FastEmbedSparseEncoder": "fastembed",
    "HashingEmbedder": "hashing",
    "LexicalEncoder": "lexical",
    "LocalEmbedder": "base",
    "OpenAICompatibleEmbedder": "openai_compatible",
    "SparseEncoder": "base",
    "SparseVector": "base",
    "StaticEmbedder": "static",
}

__all__ = [
    "BaseEmbedder",
    "FastEmbedEmbedder",
    "FastEmbedSparseEncoder",
    "HashingEmbedder",
    "LexicalEncoder",
    "LocalEmbedder",
    "OpenAICompatibleEmbedder",
    "SparseEncoder",
    "SparseVector",
    "StaticEmbedder",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
