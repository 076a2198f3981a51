"""What goes into a vector store, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class IndexDocument:
    """One searchable memory version.

    Attributes:
        dense_text: Text to embed; lexical_text: text for the lexical vector. Both without name
            placeholders. Neither may be stored in the payload of a vector.
        text_hash: Hash over both texts; compared by doctor.
        metadata: Top-level scalars and lists of scalars; indexed for filters.
    """

    memory_id: str
    org_id: str
    user_id: str
    agent_id: str | None
    interaction_id: str | None
    dense_text: str = field(repr=False)
    lexical_text: str = field(repr=False)
    text_hash: str
    memory_type: str
    obtained_at: datetime
    importance: float = 0.5
    tags: tuple[str, ...] = field(default=(), repr=False)
    entities: tuple[str, ...] = field(default=(), repr=False)
    source_role: str = "user"
    archived: bool = False
    expires_at: datetime | None = None
    process_id: str | None = None
    import_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)


class Hit(NamedTuple):
    """One search hit with its raw score (dense: cosine, -1 to 1; lexical: BM25, 0 and up)."""

    memory_id: str
    org_id: str
    user_id: str
    agent_id: str | None
    score: float


class ListLimits(NamedTuple):
    """How many hits the lists of a query may have."""

    dense: int
    lexical: int


@dataclass(frozen=True, slots=True)
class QueryHits:
    """The two raw lists that answer one query, best first, ties by id."""

    dense: tuple[Hit, ...] = ()
    lexical: tuple[Hit, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One vector as doctor and reindex see it.

    Attributes:
        org_id, user_id: Owner under which the vector is deleted; empty where it has none.
        fingerprint: Hash over everything that is stored of the memory but its vectors; that of
            its document (`core.indexing.fingerprint`) when nothing changed since.
        payload: Everything that is stored beside the vector; see `core.indexing.payload`. Like
            `searchable` it is told by a lookup only.
        searchable: Whether the engine has it as it is stored, where these are two places.
    """

    memory_id: str
    org_id: str
    user_id: str
    text_hash: str
    model_id: str
    fingerprint: str = ""
    payload: dict[str, Any] = field(default_factory=dict[str, Any])
    searchable: bool = True


@dataclass(frozen=True, slots=True)
class IndexStamp:
    """What a vector store was made with.

    Attributes:
        model_id: Embedding model; dimensions: length of its vectors.
        recipe: Version of the lexical encoder and of how the texts are built.
    """

    model_id: str
    dimensions: int
    recipe: str
