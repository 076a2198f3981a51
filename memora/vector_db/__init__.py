"""Vector stores; each is imported when it is first named."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memora.vector_db.base import BaseVectorDB, MemorySearchScope
    from memora.vector_db.embedded import EmbeddedVectorDB
    from memora.vector_db.qdrant import QdrantDB

_MODULES = {
    "BaseVectorDB": "base",
    "EmbeddedVectorDB": "embedded",
    "MemorySearchScope": "base",
    "QdrantDB": "qdrant",
}

__all__ = ["BaseVectorDB", "EmbeddedVectorDB", "MemorySearchScope", "QdrantDB"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
