"""Repairs what doctor finds; without `apply` it only says what it would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from memora.core import repair
from memora.core.repair import Phase
from memora.errors import ConflictError, GraphDBError, RetryableError
from memora.graph_db.base import BaseGraphDB
from memora.ops.doctor import Diagnosis, diagnose
from memora.ops.reindex import reindex
from memora.schema.findings import Finding, FindingKind
from memora.schema.scope import Scope
from memora.vector_db.base import BaseVectorDB

# A repair can bring another finding to light: tables before rows, times before chains.
_ROUNDS = 6
# Memories in one outbox entry.
_CHUNK = 100
Progress = Callable[[int, int], None]


class RepairOutcome(StrEnum):
    """What became of a finding."""

    PLANNED = "planned"
    REPAIRED = "repaired"
    NOT_REPAIRED = "not_repaired"


@dataclass(frozen=True, slots=True)
class Repair:
    """A finding, and what is or would be done about it.

    Attributes:
        action: In words.
        reason: Why it was not repaired, where an error said so.
    """

    finding: Finding
    action: str
    outcome: RepairOutcome
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a reconcile did, or would do.

    Attributes:
        applied: Whether anything was to be changed.
        repairs: Every finding, those included that came to light on the way.
        findings: What is wrong with the store now.
        pending: Outbox entries that still wait.
        complete: Whether everything was checked; not while a finding `blocks`.
    """

    applied: bool
    repairs: tuple[Repair, ...]
    findings: tuple[Finding, ...]
    pending: int
    complete: bool = True

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong now."""
        return not self.findings


async def reconcile(
    graph: BaseGraphDB,
    vector: BaseVectorDB,
    *,
    apply: bool = False,
    on_progress: Progress | None = None,
) -> Reconciliation:
    """Repair both stores, one guarded transaction for each finding.

    Every repair looks at its record again, so it may run beside live writers, and an interrupted
    run is finished by the next one. Messages, memories, interactions, agents and users are never
    deleted.

    Args:
        graph: The graph store.
        vector: The vector store.
        apply: Repair; otherwise nothing is changed.
        on_progress: Called with the numbers of repairs tried and known so far.

    Raises:
        SchemaVersionError, StoreLockedError, GraphDBConnectionError, VectorDBConnectionError: As
            doctor; what was repaired before stays repaired.
        VectorDBError, EmbeddingError: Vectors could not be made.
    """
    diagnosis = await diagnose(graph, vector)
    if not apply:
        planned = tuple(
            Repair(finding, repair.action(finding), RepairOutcome.PLANNED)
            for finding in diagnosis.findings
        )
        return _result(diagnosis, planned, applied=False)
    run = _Run(graph.with_vector_db(vector), vector, on_progress)
    for _round in range(_ROUNDS):
        todo = run.open(diagnosis.findings)
        if not todo:
            break
        await run.repair(todo)
        diagnosis = await diagnose(graph, vector)
    return _report(run, diagnosis)


def _report(run: _Run, diagnosis: Diagnosis) -> Reconciliation:
    left = set(diagnosis.findings)
    seen = dict.fromkeys([*run.tried, *diagnosis.findings])
    repairs = tuple(
        Repair(
            finding,
            repair.action(finding),
            RepairOutcome.NOT_REPAIRED if finding in left else RepairOutcome.REPAIRED,
            run.tried.get(finding) if finding in left else None,
        )
        for finding in seen
    )
    return _result(diagnosis, repairs, applied=True)


def _result(diagnosis: Diagnosis, repairs: tuple[Repair, ...], *, applied: bool) -> Reconciliation:
    return Reconciliation(
        applied, repairs, diagnosis.findings, diagnosis.pending, diagnosis.complete
    )


class _Run:
    """One reconcile.

    Attributes:
        tried: Every finding that was tried to repair, with the error where there was one.
    """

    def __init__(
        self, graph: BaseGraphDB, vector: BaseVectorDB, on_progress: Progress | None
    ) -> None:
        self._graph = graph
        self._vector = vector
        self._on_progress = on_progress
        self._known = 0
        self._before: set[Finding] = set()
        self.tried: dict[Finding, str | None] = {}

    def open(self, findings: Sequence[Finding]) -> list[Finding]:
        """Return what is to be tried, in order: also what failed before others were repaired."""
        moved = set(findings) != self._before
        self._before = set(findings)
        return [
            finding
            for finding in repair.ordered(findings)
            if finding not in self.tried or (moved and self.tried[finding] is not None)
        ]

    async def repair(self, todo: Sequence[Finding]) -> None:
        """Repair findings in the order of their phases."""
        self._known = len(self.tried.keys() | set(todo))
        for phase, group in groupby(todo, key=repair.phase):
            findings = list(group)
            if phase is Phase.INDEX:
                await self._index(findings)
            elif phase is Phase.VECTORS:
                await self._vectors(findings)
            else:
                for finding in findings:
                    self._done([finding], await self._in_graph(finding))
                # What kept the store from being set up may be gone.
                await self._graph.open_as_is()
        if not any(finding.blocks for finding in todo):
            # What a repair changed is in the outbox.
            await self._graph.drain_outbox()

    async def _in_graph(self, finding: Finding) -> str | None:
        """Repair in the graph; return why not."""
        try:
            await self._graph.repair(finding, self._graph.clock.now())
        except (GraphDBError, ConflictError) as error:
            if isinstance(error, RetryableError):
                raise
            return str(error)
        return None

    async def _index(self, findings: Sequence[Finding]) -> None:
        """Make the vector store whole; one of another model is made anew."""
        other_model = FindingKind.MODEL_MISMATCH
        if any(finding.kind is other_model and finding.org_id is None for finding in findings):
            await reindex(self._graph, self._vector)
        await self._vector.mend()
        self._done(findings)

    async def _vectors(self, findings: Sequence[Finding]) -> None:
        """Drop the vectors that are somebody else's or nobody's, then make what is due again."""
        for start in range(0, len(findings), _CHUNK):
            chunk = findings[start : start + _CHUNK]
            await self._discard(chunk)
            scopes: dict[Scope, dict[str, None]] = {}
            for finding in chunk:
                if finding.org_id is not None and finding.user_id is not None:
                    scope = Scope(finding.org_id, finding.user_id)
                    scopes.setdefault(scope, {})[finding.record_id] = None
            for scope, ids in scopes.items():
                await self._graph.enqueue_sync(scope, list(ids), self._graph.clock.now())
            await self._graph.drain_outbox()
            self._done(chunk)

    async def _discard(self, findings: Sequence[Finding]) -> None:
        kinds = {FindingKind.ORPHAN_VECTOR, FindingKind.WRONG_TENANT_PAYLOAD}
        owners = {
            finding.record_id: (finding.org_id or "", finding.user_id or "", finding.kind)
            for finding in findings
            if finding.kind in kinds
        }
        if not owners:
            return
        # An orphan goes if it is still the one that was seen, another owner's vector if it still
        # is another's; if only the payload is wrong, the vector is replaced.
        seen = {entry.memory_id: entry for entry in await self._vector.lookup(list(owners))}
        await self._vector.discard(
            [
                entry
                for memory_id, (org_id, user_id, kind) in owners.items()
                if (entry := seen.get(memory_id)) is not None
                and ((entry.org_id, entry.user_id) == (org_id, user_id))
                is (kind is FindingKind.ORPHAN_VECTOR)
            ]
        )

    def _done(self, findings: Sequence[Finding], reason: str | None = None) -> None:
        self.tried |= dict.fromkeys(findings, reason)
        if self._on_progress is not None:
            self._on_progress(len(self.tried), self._known)
