"""memora: the memory engine for assistants and agents."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memora import errors
    from memora.agent.main import Memora
    from memora.schema.ranking import RankingConfig
    from memora.schema.recall import MemoryFilters
    from memora.schema.scope import MemorySearchScope
    from memora.schema.seeding import SeedConfig, SeedData, SeedDocument, SeedResult

__version__ = "0.4.0"
__all__ = [
    "Memora",
    "MemoryFilters",
    "MemorySearchScope",
    "RankingConfig",
    "SeedConfig",
    "SeedData",
    "SeedDocument",
    "SeedResult",
    "__version__",
    "errors",
]

_LAZY = {
    "Memora": "memora.agent.main",
    "MemoryFilters": "memora.schema.recall",
    "MemorySearchScope": "memora.schema.scope",
    "RankingConfig": "memora.schema.ranking",
    "SeedConfig": "memora.schema.seeding",
    "SeedData": "memora.schema.seeding",
    "SeedDocument": "memora.schema.seeding",
    "SeedResult": "memora.schema.seeding",
}

logging.getLogger("memora").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415 - keeps the import of memora quick

    if name == "errors":
        return import_module("memora.errors")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'memora' has no attribute {name!r}")
