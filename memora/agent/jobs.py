"""Extraction jobs: run one, resume one, and see which are left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

from memora.agent import compare, extract
from memora.agent.extract import Conversation, ExtractedItem
from memora.agent.parts import CONTEXT_MESSAGES, Bounds, Room
from memora.agent.ports import Ports
from memora.agent.threads import EACH, off_loop
from memora.core import planning
from memora.core.lifetimes import ExpireFrom
from memora.core.planning import Candidate, Decision, Verdict
from memora.errors import (
    ConflictError,
    EmbeddingError,
    ExtractionError,
    InteractionNotFoundError,
    InvalidInputError,
    JobNotFoundError,
    LLMError,
    MemoraError,
    VectorDBError,
)
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.models import Memory
from memora.schema.scope import Scope
from memora.schema.validation import kind_of
from memora.schema.write_plan import MemoryWrite, WritePlan

LEASE = timedelta(minutes=10)
_TRIES = 8

# Held while memories are compared and written.
Turn = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the candidates of a conversation become."""

    candidates: tuple[Candidate, ...]
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """What a job wrote.

    Attributes:
        memories: Versions of memories.
        expired: How many of them no read returns any more, since they were said so long ago.
    """

    memories: int = 0
    expired: int = 0

    @classmethod
    def by(cls, memories: Sequence[MemoryWrite], now: datetime) -> Written:
        """Return what writing these versions is counted as."""
        ends = [memory.expires_at for memory in memories]
        return cls(len(ends), sum(end is not None and end <= now for end in ends))


def status(value: object) -> JobStatus:
    """Return the status of that name.

    Raises:
        InvalidInputError: There is no such status.
    """
    try:
        return JobStatus(cast("str", value))
    except ValueError:
        known = ", ".join(status.value for status in JobStatus)
        raise InvalidInputError("statuses", f"of {known}", got=kind_of(value)) from None


def memory_scope(scope: Scope, *, across_agents: bool) -> Scope:
    """Return whose memories a save may repeat or supersede."""
    return scope if not across_agents else Scope(scope.org_id, scope.user_id)


async def find_buried(
    ports: Ports, scope: Scope, candidates: Sequence[Candidate]
) -> frozenset[int]:
    """Return positions of candidates that were purged from every message they come from."""
    if not candidates:
        return frozenset()
    salt = await ports.graph.read_salt(scope)
    size = sum(EACH + len(candidate.text) for candidate in candidates)
    marks = await off_loop(size, _marks, candidates, salt)
    found = await ports.graph.find_tombstones(scope, {mark for each in marks for mark in each})
    return frozenset(
        position for position, each in enumerate(marks) if each and found.issuperset(each)
    )


def _marks(candidates: Sequence[Candidate], salt: str) -> list[tuple[str, ...]]:
    return [planning.tombstones_of(candidate, salt) for candidate in candidates]


async def resume(
    ports: Ports, org_id: str, job_id: str, turn: Turn | None = None
) -> Written | None:
    """Run a job that is left and return what was written.

    None: there was nothing to do: it is done, or somebody else runs or finished it.

    Raises:
        JobNotFoundError: There is no such job in the organization.
        ExtractionError: It failed again, and stays resumable.
    """
    now = ports.graph.clock.now()
    await ports.graph.get_job(org_id, job_id)
    claim = asyncio.ensure_future(
        ports.graph.claim_job(org_id, job_id, now=now, lease_until=now + LEASE)
    )
    try:
        job = await asyncio.shield(claim)
        conversation = None if job is None else await _load(ports, job)
    except asyncio.CancelledError:
        await asyncio.shield(_given_back(ports, claim))
        raise
    if job is None or conversation is None:
        return None
    return await run(ports, job, conversation, turn)


async def _given_back(ports: Ports, claim: asyncio.Future[ExtractionJob | None]) -> None:
    """Give a job back whose claim was not waited for, as soon as it is claimed."""
    with suppress(MemoraError):
        job = await claim
        if job is not None:
            await release(ports, job)


async def _load(ports: Ports, job: ExtractionJob) -> Conversation:
    scope = Scope(job.org_id, job.user_id, job.agent_id)
    start = max(0, job.start - CONTEXT_MESSAGES)
    stored = await ports.graph.read_messages(scope, job.interaction_id, start, job.end)
    return Conversation(
        key=job.job_id,
        interaction_id=job.interaction_id,
        user_id=job.user_id,
        agent_id=job.agent_id,
        new=tuple(stored[job.start - start :]),
        context=tuple(item.message for item in stored[: job.start - start]),
        at=datetime.fromisoformat(job.params["at"]),
        about_agent=job.params["about_agent"],
    )


async def run(
    ports: Ports, job: ExtractionJob, conversation: Conversation, turn: Turn | None = None
) -> Written | None:
    """Finish a claimed job: extract, compare, write; return what was written.

    A lease that ran out may have gone to somebody else: then nothing is written any more, and the
    answer is None.

    Raises:
        ExtractionError: A model or store failed; what was paid for is kept with the job.
        NotFoundError: User, agent or interaction are gone; nothing was written.
    """
    try:
        return await _run(ports, job, replace(conversation, key=job.job_id), turn or nullcontext)
    except asyncio.CancelledError:
        # The caller gave up, the job did not: whoever resumes it need not wait for the lease.
        await asyncio.shield(release(ports, job))
        raise
    except ConflictError as error:
        if error.record != "job":
            raise
        return None


async def release(ports: Ports, job: ExtractionJob) -> None:
    """Give a claimed job back, if it is there and still running."""
    # What fails here must not hide the cancellation; the lease runs out by itself.
    with suppress(MemoraError):
        current = await ports.graph.find_job(job.org_id, job.job_id)
        if current is not None and current.status is JobStatus.RUNNING:
            released = replace(current, status=JobStatus.PENDING, lease_until=None)
            await ports.graph.save_job(replace(released, attempts=job.attempts))


async def _run(ports: Ports, job: ExtractionJob, conversation: Conversation, turn: Turn) -> Written:
    stage = "extract"
    try:
        if "extracted" not in job.outputs:
            job = await _extract(ports, job, conversation)
        stage = "compare"
        async with turn():
            outcome, job = await _compare(ports, job, conversation)
            return await _write(ports, job, outcome)
    except (LLMError, EmbeddingError, VectorDBError) as error:
        await _fail(ports, job, error)
        raise ExtractionError(
            job.interaction_id, job.job_id, stage=stage, reason=f"{type(error).__name__}: {error}"
        ) from error


async def _extract(ports: Ports, job: ExtractionJob, conversation: Conversation) -> ExtractionJob:
    """Ask the model for what the messages hold, part by part, and keep each part's answer."""
    model = ports.extraction_model
    if model is None or not extract.worth_extracting(conversation):
        # Without a model (any more) there is nothing to keep here.
        return await _keep(ports, job, {"extracted": []})
    room = Room.of(Bounds.of(job.params), model)
    kept: dict[str, Any] = job.outputs.get("parts") or {}
    start: extract.Progress | None = None
    if kept.get("room") == room.as_json():
        start = extract.Progress(kept["done"], kept["of"], tuple(kept["items"]), kept["before"])
    progress = start or extract.Progress(0, 0)
    async for progress in extract.by_parts(
        model, conversation, room, job.params["max_retries"], start
    ):
        if progress.done < progress.of:
            job = await _keep(ports, job, {"parts": {"room": room.as_json(), **asdict(progress)}})
    return await _keep(ports, job, {"extracted": list(progress.items), "parts": None})


async def _compare(
    ports: Ports, job: ExtractionJob, conversation: Conversation
) -> tuple[Outcome, ExtractionJob]:
    """Decide what the candidates become; the job keeps the decisions."""
    items = cast("list[ExtractedItem]", job.outputs["extracted"])
    found = extract.candidates(conversation, items)
    if ports.extraction_model is None:
        found = extract.verbatim(conversation)
    scope = Scope(job.org_id, job.user_id, job.agent_id)
    if "decisions" not in job.outputs:
        decided = await _decided(ports, job, scope, found)
        job = await _keep(ports, job, {"decisions": decided})
    kept = cast("dict[str, dict[str, Any]]", job.outputs["decisions"])
    decisions = tuple(_from_json(kept.get(candidate.memory_id)) for candidate in found)
    return Outcome(tuple(found), decisions), job


async def _decided(
    ports: Ports, job: ExtractionJob, scope: Scope, found: Sequence[Candidate]
) -> dict[str, dict[str, Any]]:
    known = memory_scope(scope, across_agents=job.params["across_agents"])
    if ports.extraction_model is None:
        equal = await compare.find_equal(ports, known, found)
        decisions = compare.equal_or_new(found, equal)
    else:
        related = await compare.find_related(ports, known, found)
        decisions = await compare.compare(
            ports.extraction_model, found, related, job.params["max_retries"]
        )
    return {
        candidate.memory_id: {"verdict": decision.verdict.value, "existing": decision.existing_id}
        for candidate, decision in zip(found, decisions, strict=True)
    }


def _from_json(kept: dict[str, Any] | None) -> Decision:
    if kept is None:
        return Decision(Verdict.NEW)
    return Decision(Verdict(kept["verdict"]), kept["existing"])


async def _keep(ports: Ports, job: ExtractionJob, outputs: dict[str, Any]) -> ExtractionJob:
    """Keep what a stage answered with the job: it was paid for."""
    now = ports.graph.clock.now()
    current = await ports.graph.find_job(job.org_id, job.job_id)
    if current is None:
        raise InteractionNotFoundError(job.interaction_id)
    kept = replace(
        job,
        end=current.end,
        outputs={**job.outputs, **outputs},
        updated_at=max(now, job.updated_at),
        lease_until=now + LEASE,
    )
    await _save(ports, kept)
    return kept


async def _save(ports: Ports, job: ExtractionJob) -> None:
    """Store a job; one that is gone went with its interaction.

    Raises:
        InteractionNotFoundError: It is gone.
    """
    try:
        await ports.graph.save_job(job)
    except JobNotFoundError:
        raise InteractionNotFoundError(job.interaction_id) from None


async def _fail(ports: Ports, job: ExtractionJob, error: MemoraError) -> None:
    """Note that a job failed; what its stages kept since it was read stays with it."""
    current = await ports.graph.find_job(job.org_id, job.job_id)
    failed = replace(
        job,
        outputs=job.outputs if current is None else current.outputs,
        status=JobStatus.FAILED,
        error=f"{type(error).__name__}: {error}",
        updated_at=max(ports.graph.clock.now(), job.updated_at),
        lease_until=None,
    )
    await _save(ports, failed)


async def _write(ports: Ports, job: ExtractionJob, outcome: Outcome) -> Written:
    """Plan and apply; when a chain changed in the meantime, plan again without asking a model."""
    scope = Scope(job.org_id, job.user_id, job.agent_id)
    for _attempt in range(_TRIES):
        now = ports.graph.clock.now()
        planned = await plan_memories(ports, job, scope, outcome, now)
        done = replace(
            job,
            status=JobStatus.DONE,
            outputs={},
            error=None,
            updated_at=max(now, job.updated_at),
            lease_until=None,
        )
        plan = WritePlan(
            scope,
            now,
            memories=planned.memories,
            links=planned.links,
            job=done,
            job_must_exist=True,
        )
        try:
            await ports.graph.apply(plan)
        except ConflictError as error:
            if error.record != "memory":
                raise
            continue
        return Written.by(planned.memories, now)
    error = ConflictError("memories", job.interaction_id)
    await _fail(ports, job, error)
    raise ExtractionError(job.interaction_id, job.job_id, stage="write", reason=str(error))


async def plan_memories(
    ports: Ports, job: ExtractionJob, scope: Scope, outcome: Outcome, now: datetime
) -> planning.Planned:
    """Read what the decisions rest on as it is now, and plan.

    What is known word for word by now is a duplicate, whatever was decided before it was.
    """
    across_agents = job.params["across_agents"]
    expire_from = ExpireFrom.parse(job.params.get("expire_from", ExpireFrom.OBTAINED_AT))
    ended = planning.stamped(
        outcome.candidates, ports.graph.lifetimes, now, expire_from=expire_from
    )
    buried = await find_buried(ports, scope, outcome.candidates)
    equal = await compare.find_equal(
        ports, memory_scope(scope, across_agents=across_agents), outcome.candidates
    )
    decisions = [
        Decision(Verdict.DUPLICATE, equal[position].memory_id) if position in equal else decision
        for position, decision in enumerate(outcome.decisions)
    ]
    named = {decision.existing_id for decision in decisions if decision.existing_id}
    chains: dict[str, list[Memory]] = {}
    user = Scope(scope.org_id, scope.user_id)
    if named:
        chains = await ports.graph.read_chains(user, sorted(named))
    return planning.build(
        scope,
        ended.candidates,
        decisions,
        chains,
        planning.Origin(
            job.interaction_id,
            scope.agent_id,
            import_id=job.params.get("import_id"),
            process_id=job.params.get("process_id"),
        ),
        buried,
        across_agents=across_agents,
        equal=equal,
        stored=await compare.find_origins(ports, user, chains),
    )
