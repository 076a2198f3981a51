"""Graph stores: the port and its two adapters, each imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memora.graph_db.base import BaseGraphDB
    from memora.graph_db.neo4j.interface import Neo4jGraphInterface
    from memora.graph_db.sqlite.interface import SQLiteGraph

__all__ = ["BaseGraphDB", "Neo4jGraphInterface", "SQLiteGraph"]

_HOMES = {
    "BaseGraphDB": "memora.graph_db.base",
    "Neo4jGraphInterface": "memora.graph_db.neo4j.interface",
    "SQLiteGraph": "memora.graph_db.sqlite.interface",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
