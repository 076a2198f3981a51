"""The save story: transcript first, then what is worth remembering."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from memora.agent import compare, jobs
from memora.agent.extract import (
    Conversation,
    as_stored,
    verbatim,
    worth_extracting,
)
from memora.agent.parts import CONTEXT_MESSAGES, Bounds
from memora.agent.ports import Ports, check_owner
from memora.agent.threads import EACH, off_loop
from memora.core import messages as transcripts
from memora.core import planning
from memora.core.hashing import body_hash
from memora.core.ids import derived_short_id
from memora.core.lifetimes import ExpireFrom
from memora.errors import (
    ConflictError,
    InteractionNotFoundError,
    InvalidInputError,
    JobNotFoundError,
)
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.models import Interaction, Memory
from memora.schema.scope import Scope
from memora.schema.write_plan import (
    IdempotencyRecord,
    InteractionWrite,
    MessageEdit,
    WritePlan,
)

_TRIES = 8


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """One call of `save_or_update_interaction_and_memories`, validated.

    Attributes:
        interaction_id: Interaction to update; None creates one (or finds `external_id`).
        at: Conversation time.
        about_agent: Also remember what the agent says.
        across_agents: Memories of other agents may be repeated or superseded.
        max_retries: Transport retries of each model call.
        bounds: How much of it goes into one request of the model.
        expire_from: From when the time of its short-term memories runs.
    """

    scope: Scope
    transcript: transcripts.Transcript
    at: datetime
    interaction_id: str | None = None
    external_id: str | None = None
    title: str | None = field(default=None, repr=False)
    metadata: dict[str, Any] | None = field(default=None, repr=False)
    process_id: str | None = None
    import_id: str | None = None
    about_agent: bool = False
    across_agents: bool = True
    max_retries: int = 3
    expected_revision: int | None = None
    idempotency_key: str | None = None
    bounds: Bounds = field(default_factory=Bounds)
    expire_from: ExpireFrom = ExpireFrom.OBTAINED_AT

    def body(self) -> str:
        """Return the hash that two calls with the same idempotency key must share."""
        return body_hash(
            {
                "scope": [self.scope.org_id, self.scope.user_id, self.scope.agent_id],
                "interaction": [self.interaction_id, self.external_id, self.expected_revision],
                "messages": self.transcript.last_hash,
                "options": [self.about_agent, self.across_agents, self.title, self.metadata],
            }
        )


@dataclass(frozen=True, slots=True)
class SaveOutcome:
    """What a save did.

    Attributes:
        at: Creation time of a new interaction, otherwise the time of the update.
        changed: False when the transcript was stored like this already.
        memories: How many versions of memories were written.
        expired: How many of them are expired already.
    """

    interaction_id: str
    at: datetime
    changed: bool
    memories: int = 0
    expired: int = 0


async def save(
    ports: Ports, request: SaveRequest, *, drain: bool = True, turn: jobs.Turn | None = None
) -> SaveOutcome:
    """Store a transcript and extract memories from what is new in it.

    Args:
        ports: Stores and models.
        request: What to save.
        drain: Bring the vectors up to date before returning.
        turn: Held while memories are compared and written, so that several saves of one user
            can be ordered although their models work at the same time.

    Raises:
        UserNotFoundError: There is no such user.
        AgentNotFoundError: There is no such agent, or it belongs to another user.
        InteractionNotFoundError: The user has no such interaction.
        ConflictError: The interaction changed; nothing was written.
        ExtractionError: The transcript is stored, its memories are not; the job can be resumed.
    """
    graph = ports.graph
    await check_owner(graph, request.scope)
    stored = await _find(ports, request)
    replayed = await _replay(ports, request)
    if replayed is not None:
        return replayed
    if request.expected_revision is not None and stored is not None:
        if stored.revision != request.expected_revision:
            raise await graph.conflict(request.scope, stored, request.expected_revision)
    elif request.expected_revision is not None:
        raise InvalidInputError("expected_revision", "given together with an interaction")
    hold = turn or nullcontext
    # Without a model the memories are written together with the transcript.
    async with hold() if ports.extraction_model is None else nullcontext():
        outcome, job, conversation = await _store_transcript(ports, request, stored)
    if job is not None and conversation is not None:
        written = await jobs.run(ports, job, conversation, turn) or jobs.Written()
        outcome = replace(outcome, memories=written.memories, expired=written.expired)
    if drain and outcome.changed:
        await graph.drain_outbox()
    return outcome


async def _find(ports: Ports, request: SaveRequest) -> Interaction | None:
    wanted = request.interaction_id or request.external_id
    if wanted is None:
        return None
    found = await ports.graph.find_interaction(request.scope, wanted)
    if found is None and request.interaction_id is not None:
        raise InteractionNotFoundError(request.interaction_id)
    return found


async def _replay(ports: Ports, request: SaveRequest) -> SaveOutcome | None:
    """Answer a repeated call like the first one; finish its extraction if that is left."""
    if request.idempotency_key is None:
        return None
    known = await ports.graph.find_idempotency(request.scope, request.idempotency_key)
    if known is None:
        return None
    if known.body_hash != request.body():
        raise ConflictError(
            "idempotency_key", request.idempotency_key, expected="an equal call", actual="another"
        )
    return await _replayed(ports, request, known.result)


async def _replayed(ports: Ports, request: SaveRequest, result: dict[str, Any]) -> SaveOutcome:
    if result["job_id"] is not None:
        # The job went with its interaction: then nothing is left to extract from.
        with suppress(JobNotFoundError):
            await jobs.resume(ports, request.scope.org_id, result["job_id"])
        await ports.graph.drain_outbox()
    return SaveOutcome(
        result["interaction_id"], datetime.fromisoformat(result["at"]), changed=False
    )


async def _store_transcript(
    ports: Ports, request: SaveRequest, stored: Interaction | None
) -> tuple[SaveOutcome, ExtractionJob | None, Conversation | None]:
    """Commit the transcript; with a model also the job, without one also the memories.

    A conflict is replanned when the caller named no revision and nothing is cut that was not
    there when the call started.
    """
    graph = ports.graph
    new_id = _derived(request, "interaction") or graph.ids.short()
    job_id = _derived(request, "job") or graph.ids.short()
    at_start: _Comparison | None = None
    for _attempt in range(_TRIES):
        now = await _compare(ports, request, stored)
        edit = now.edit
        if at_start is None:
            at_start = now
        elif stored is not None and (
            request.expected_revision not in {None, stored.revision} or _cuts_unseen(now, at_start)
        ):
            raise await graph.conflict(request.scope, stored, request.expected_revision)
        unchanged = (
            stored is not None
            and not transcripts.changes(edit, stored.message_count)
            and not _tells_more(request, stored)
        )
        if unchanged and request.idempotency_key is None and stored is not None:
            return SaveOutcome(stored.interaction_id, stored.updated_at, changed=False), None, None
        plan, conversation = await _plan(ports, request, stored, edit, new_id, job_id)
        try:
            receipt = await graph.apply(plan)
        except asyncio.CancelledError:
            # The transcript may be stored all the same, with the job under our lease.
            if plan.job is not None:
                await asyncio.shield(jobs.release(ports, plan.job))
            raise
        except ConflictError as error:
            if error.record not in {"interaction", "external_id", "memory"}:
                raise
            stored = await _reload(ports, request, stored)
            continue
        if receipt.replayed:
            replayed = await _replayed(ports, request, receipt.result or {})
            return replayed, None, None
        at = _answer_time(plan, stored)
        outcome = SaveOutcome(
            planning.interaction_id_of(plan),
            at,
            changed=not unchanged,
            memories=len(plan.memories),
        )
        return outcome, plan.job, conversation
    raise ConflictError("interaction", new_id if stored is None else stored.interaction_id)


def _tells_more(request: SaveRequest, stored: Interaction) -> bool:
    """Tell whether the call says something about the conversation that is not stored yet."""
    agent_id = request.scope.agent_id
    return (
        request.title not in {None, stored.title}
        or request.metadata not in (None, stored.metadata)
        or (agent_id is not None and agent_id not in stored.participants)
    )


def _derived(request: SaveRequest, kind: str) -> str | None:
    """Return the id that belongs to the idempotency key, so that a repetition has the same.

    Not one by another import: of an import that was taken back, others may have kept something.
    """
    if request.idempotency_key is None:
        return None
    owner = (request.scope.org_id, request.scope.user_id)
    made_by = () if request.import_id is None else (request.import_id,)
    return derived_short_id(kind, *owner, request.idempotency_key, *made_by)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The caller's transcript next to the stored one.

    Attributes:
        hashes: The stored prefix hashes; None when the transcript only extends what is stored, so
            that its own are the same and none had to be read.
    """

    edit: MessageEdit
    count: int
    hashes: Sequence[str] | None
    transcript: transcripts.Transcript

    def cut_hashes(self, start: int, end: int) -> list[str]:
        """Return the stored prefix hashes of positions [start, end)."""
        if self.hashes is not None:
            return list(self.hashes[start:end])
        own = self.transcript.messages()[start : min(end, self.count)]
        return [message.prefix_hash for message in own]


async def _compare(ports: Ports, request: SaveRequest, stored: Interaction | None) -> _Comparison:
    """Find the common prefix; reads no message when the transcript was only extended."""
    transcript = request.transcript
    count = 0 if stored is None else stored.message_count
    if stored is None or transcript.starts_with(count, stored.content_hash):
        return _Comparison(MessageEdit(count, transcript.tail(count)), count, None, transcript)
    hashes = await ports.graph.read_prefix_hashes(request.scope, stored.interaction_id)
    edit = transcripts.diff(hashes, transcript.messages())
    return _Comparison(edit, count, hashes, transcript)


def _cuts_unseen(now: _Comparison, at_start: _Comparison) -> bool:
    """Tell whether the edit cuts a message that was not there when the call started."""
    cut = now.cut_hashes(now.edit.keep, now.count)
    return cut != at_start.cut_hashes(now.edit.keep, now.count)


async def _reload(
    ports: Ports, request: SaveRequest, stored: Interaction | None
) -> Interaction | None:
    if stored is not None:
        fresh = await ports.graph.find_interaction(request.scope, stored.interaction_id)
        if fresh is None:
            raise InteractionNotFoundError(stored.interaction_id)
        return fresh
    return await _find(ports, request)


def _answer_time(plan: WritePlan, stored: Interaction | None) -> datetime:
    write = plan.interaction
    return write.at if stored is None and write is not None else plan.now


async def _plan(
    ports: Ports,
    request: SaveRequest,
    stored: Interaction | None,
    edit: MessageEdit,
    new_id: str,
    job_id: str,
) -> tuple[WritePlan, Conversation | None]:
    now = ports.graph.clock.now()
    write = InteractionWrite(
        interaction_id=new_id if stored is None else stored.interaction_id,
        expected_revision=None if stored is None else stored.revision,
        edit=edit,
        at=request.at,
        agent_id=request.scope.agent_id,
        external_id=request.external_id if stored is None else None,
        title=request.title,
        metadata=request.metadata,
        import_id=request.import_id,
        process_id=request.process_id,
    )
    size = sum(EACH + len(message.content or "") for message in edit.append)
    conversation = await off_loop(size, _conversation, request, write, job_id)
    planned: planning.Planned | None = None
    job: ExtractionJob | None = None
    if not worth_extracting(conversation):
        pass
    elif ports.extraction_model is None:
        planned = await _verbatim(ports, request, conversation, size)
    else:
        job = _job(request, write, job_id, now)
    idempotency = None
    if request.idempotency_key is not None:
        result = {
            "interaction_id": write.interaction_id,
            "at": (request.at if stored is None else now).isoformat(),
            "job_id": None if job is None else job.job_id,
        }
        idempotency = IdempotencyRecord(
            request.idempotency_key, request.body(), result, request.import_id
        )
    plan = planning.transcript(
        request.scope, write, now, planned=planned, job=job, idempotency=idempotency
    )
    return plan, conversation


def _conversation(request: SaveRequest, write: InteractionWrite, job_id: str) -> Conversation:
    keep = write.edit.keep
    return Conversation(
        key=job_id,
        interaction_id=write.interaction_id,
        user_id=request.scope.user_id,
        agent_id=request.scope.agent_id,
        new=as_stored(write.edit.append, keep),
        context=tuple(request.transcript.before(keep, CONTEXT_MESSAGES)),
        at=request.at,
        about_agent=request.about_agent,
    )


async def _verbatim(
    ports: Ports, request: SaveRequest, conversation: Conversation, size: int
) -> planning.Planned:
    candidates = await off_loop(size, verbatim, conversation)
    scope = jobs.memory_scope(request.scope, across_agents=request.across_agents)
    equal, buried = await asyncio.gather(
        compare.find_equal(ports, scope, candidates),
        jobs.find_buried(ports, request.scope, candidates),
    )
    chains, late = await _chains(ports, request.scope, candidates, equal)
    return await off_loop(
        size,
        planning.build,
        request.scope,
        candidates,
        compare.equal_or_new(candidates, equal),
        {**chains, **late},
        planning.Origin(
            conversation.interaction_id,
            request.scope.agent_id,
            import_id=request.import_id,
            process_id=request.process_id,
        ),
        buried,
        across_agents=request.across_agents,
        equal=equal,
        stored=await compare.find_origins(
            ports, Scope(request.scope.org_id, request.scope.user_id), late
        ),
    )


async def _chains(
    ports: Ports, scope: Scope, candidates: Sequence[planning.Candidate], equal: dict[int, Memory]
) -> tuple[dict[str, list[Memory]], dict[str, list[Memory]]]:
    """Return memories that are repeated, and the whole chains of those that were said before."""
    chains = {memory.memory_id: [memory] for memory in equal.values()}
    late = {
        memory.memory_id
        for position, memory in equal.items()
        if candidates[position].obtained_at < memory.obtained_at
    }
    user = Scope(scope.org_id, scope.user_id)
    return chains, await ports.graph.read_chains(user, sorted(late)) if late else {}


def _job(
    request: SaveRequest, write: InteractionWrite, job_id: str, now: datetime
) -> ExtractionJob:
    keep = write.edit.keep
    return ExtractionJob(
        job_id=job_id,
        org_id=request.scope.org_id,
        user_id=request.scope.user_id,
        agent_id=request.scope.agent_id,
        interaction_id=write.interaction_id,
        start=keep,
        end=keep + len(write.edit.append),
        created_at=now,
        updated_at=now,
        status=JobStatus.RUNNING,
        attempts=1,
        lease_until=now + jobs.LEASE,
        params={
            "at": request.at.isoformat(),
            "about_agent": request.about_agent,
            "across_agents": request.across_agents,
            "max_retries": request.max_retries,
            "bounds": asdict(request.bounds),
            "import_id": request.import_id,
            "process_id": request.process_id,
            "expire_from": request.expire_from.value,
        },
    )
