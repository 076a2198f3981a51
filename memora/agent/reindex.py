"""The reindex story: the new model by its name, all vectors again, and what waited meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from memora.agent.ports import Ports
from memora.embeddings.base import BaseEmbedder
from memora.errors import InvalidInputError
from memora.ops.reindex import Progress
from memora.ops.reindex import reindex as rebuild
from memora.schema.validation import kind_of

EmbedderNamed = Callable[[str], BaseEmbedder]


async def reindex(
    ports: Ports,
    on_progress: Progress | None,
    embedder: BaseEmbedder | str | None,
    embedder_named: EmbedderNamed | None,
) -> int:
    """Make all vectors again; see `Memora.reindex`."""
    made = None
    given = cast("object", embedder)
    if not isinstance(given, BaseEmbedder | str | None):
        raise InvalidInputError("embedder", "an embedder or its name", got=kind_of(given))
    if isinstance(embedder, str):
        if embedder_named is None:
            raise InvalidInputError("embedder", "an object, where the engine was made of stores")
        embedder = made = embedder_named(embedder)
    try:
        done = await rebuild(ports.graph, ports.vector, on_progress, embedder=embedder)
    except BaseException:
        if made is not None:
            await made.close()
        raise
    await ports.graph.drain_outbox()
    return done
