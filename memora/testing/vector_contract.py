"""What every vector store must do; subclass `VectorContract` and give it two fixtures."""

from __future__ import annotations

from memora.testing.vector_clauses.checking import CheckingClauses
from memora.testing.vector_clauses.conditions import ConditionClauses
from memora.testing.vector_clauses.counting import CountingClauses
from memora.testing.vector_clauses.documents import Reopen
from memora.testing.vector_clauses.finding import FindingClauses
from memora.testing.vector_clauses.living import LivingClauses
from memora.testing.vector_clauses.rebuild import RebuildClauses
from memora.testing.vector_clauses.scope import ScopeClauses
from memora.testing.vector_clauses.writing import WritingClauses

__all__ = ["Reopen", "VectorContract"]


class VectorContract(
    FindingClauses,
    ScopeClauses,
    ConditionClauses,
    WritingClauses,
    CountingClauses,
    LivingClauses,
    RebuildClauses,
    CheckingClauses,
):
    """Subclasses bring the fixtures `vectors`, a store that is set up, and `reopen`.

    `reopen` is a `Reopen`. Every test works in organizations of its own, so that a store may be
    shared.
    """
