"""What every flow works with."""

from __future__ import annotations

from dataclasses import dataclass

from memora.graph_db.base import BaseGraphDB
from memora.llm_backends.base import BaseBackendLLM
from memora.vector_db.base import BaseVectorDB


@dataclass(frozen=True, slots=True)
class Ports:
    """The stores and models of one engine; the graph also brings clock and ids."""

    graph: BaseGraphDB
    vector: BaseVectorDB
    search_model: BaseBackendLLM | None = None
    extraction_model: BaseBackendLLM | None = None
