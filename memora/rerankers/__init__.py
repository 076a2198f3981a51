"""Rerankers; each is imported when it is first named."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memora.rerankers.base import BaseReranker
    from memora.rerankers.fastembed import FastEmbedReranker
    from memora.rerankers.http import HTTPReranker

_MODULES = {
    "BaseReranker": "base",
    "FastEmbedReranker": "fastembed",
    "HTTPReranker": "http",
}

__all__ = ["BaseReranker", "FastEmbedReranker", "HTTPReranker"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
