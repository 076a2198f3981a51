"""What every graph store must do, as a suite to subclass.

A subclass gives two fixtures:

- `graph`: a handle on which `setup` was called, on a store that may be shared with other tests:
  every test makes organizations of its own, whose ids start with `contract-`;
- `reopen`: an async function that closes that handle and returns a new one on the same store.

Both handles are closed by the fixtures that made them. Tests that run at the same time should not
share a store, since they claim each other's outbox entries.
"""

from __future__ import annotations

from memora.testing.graph_clauses.chains import ChainClauses
from memora.testing.graph_clauses.contexts import ContextClauses
from memora.testing.graph_clauses.directory import DirectoryClauses
from memora.testing.graph_clauses.entities import EntityClauses
from memora.testing.graph_clauses.equals import EqualClauses
from memora.testing.graph_clauses.erasure import ErasureClauses
from memora.testing.graph_clauses.imports import ImportClauses
from memora.testing.graph_clauses.isolation import IsolationClauses
from memora.testing.graph_clauses.lifetime import LifetimeClauses
from memora.testing.graph_clauses.memories import MemoryClauses
from memora.testing.graph_clauses.outbox import OutboxClauses
from memora.testing.graph_clauses.parting import PartingClauses
from memora.testing.graph_clauses.plans import PlanClauses
from memora.testing.graph_clauses.repair import RepairClauses
from memora.testing.graph_clauses.transcripts import TranscriptClauses
from memora.testing.graph_clauses.transfer import TransferClauses
from memora.testing.graph_clauses.withdrawal import WithdrawalClauses


class GraphContract(
    DirectoryClauses,
    TranscriptClauses,
    MemoryClauses,
    ChainClauses,
    ContextClauses,
    PlanClauses,
    EqualClauses,
    EntityClauses,
    OutboxClauses,
    ErasureClauses,
    IsolationClauses,
    WithdrawalClauses,
    ImportClauses,
    PartingClauses,
    LifetimeClauses,
    TransferClauses,
    RepairClauses,
):
    """The whole contract; no clause may be skipped or overridden."""
