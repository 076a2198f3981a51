"""The defects: each replaces a piece of the engine by one that has the fault of its id.

They are what reviewers found in engines of this kind, not random edits: each is small, looks
harmless, and passes a test of the happy path.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from memora import Memora
from memora.agent import compare, extract, jobs, main, recall, save
from memora.agent.extract import Conversation
from memora.agent.ports import Ports
from memora.agent.verbs import recalling
from memora.core import indexing, placeholders, planning
from memora.embeddings.base import LocalEmbedder
from memora.errors import ConflictError, ExtractionError, InvalidInputError, NotFoundError
from memora.graph_db import SQLiteGraph
from memora.schema.extraction_schema import ComparisonVerdict
from memora.schema.index import IndexDocument, QueryHits
from memora.schema.jobs import ExtractionJob
from memora.schema.models import Interaction, Memory
from memora.schema.scope import OrganizationScope, Scope, SearchScope, search_scope
from memora.schema.write_plan import DeleteCounts, MemoryWrite, WritePlan, WriteReceipt
from memora.vector_db import _rows, base

IMPORTED_AT = datetime.now(UTC)


@dataclass(frozen=True)
class Defect:
    """One defect.

    Attributes:
        put_back: Patches the engine in this process; there is no way back.
    """

    title: str
    put_back: Callable[[], None]


DEFECTS: dict[str, Defect] = {}


def defect(pitfall: str, title: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(put_back: Callable[[], None]) -> Callable[[], None]:
        DEFECTS[pitfall] = Defect(title, put_back)
        return put_back

    return register


def _patch(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    setattr(owner, name, wrap(getattr(owner, name)))


def _document(scope: Scope, write: MemoryWrite) -> IndexDocument:
    dense, lexical, text_hash = indexing.index_texts(write.text, write.obtained_at)
    return IndexDocument(
        memory_id=write.memory_id,
        org_id=scope.org_id,
        user_id=scope.user_id,
        agent_id=write.agent_id,
        interaction_id=write.interaction_id,
        dense_text=dense,
        lexical_text=lexical,
        text_hash=text_hash,
        memory_type=write.memory_type,
        obtained_at=write.obtained_at,
    )


async def _write_vectors(graph: SQLiteGraph, plan: WritePlan) -> None:
    vector = graph.get_associated_vector_db()
    if vector is not None and plan.memories:
        await vector.upsert([_document(plan.scope, write) for write in plan.memories])


Apply = Callable[[SQLiteGraph, WritePlan], Awaitable[WriteReceipt]]


@defect("b01", "a scope that is no known name filters nothing")
def unknown_scope_searches_everything() -> None:
    def lenient(
        kind: object,
        org_id: str,
        user_id: str | None,
        agent_id: str | None,
        *,
        across_agents: bool = True,
    ) -> SearchScope:
        try:
            return search_scope(kind, org_id, user_id, agent_id, across_agents=across_agents)
        except InvalidInputError:
            return OrganizationScope(org_id)

    recalling.search_scope = lenient
    base.search_scope = lenient


@defect("b02", "vectors are deleted by id alone")
def vector_delete_without_tenant() -> None:
    queries: Any = _rows._VECTOR
    queries._queries["remove_vector"] = "DELETE FROM vector WHERE memory_id = :memory_id"


@defect("b12", "vectors are written before the graph's transaction")
def vectors_before_commit() -> None:
    def wrap(real: Apply) -> Apply:
        async def apply(self: SQLiteGraph, plan: WritePlan) -> WriteReceipt:
            await _write_vectors(self, plan)
            return await real(self, plan)

        return apply

    _patch(SQLiteGraph, "apply", wrap)


@defect("b13", "a repeated call is a new one")
def idempotency_key_ignored() -> None:
    def wrap(real: Any) -> Any:
        async def keyless(ports: Ports, request: save.SaveRequest, **options: Any) -> Any:
            return await real(ports, replace(request, idempotency_key=None), **options)

        return keyless

    _patch(save, "save", wrap)


@defect("b14", "memories of a user who is gone are written to the vectors")
def late_answer_reaches_the_vectors() -> None:
    def wrap(real: Any) -> Any:
        async def run(ports: Ports, job: ExtractionJob, conversation: Conversation) -> bool:
            try:
                return await real(ports, job, conversation)
            except NotFoundError:
                model = ports.extraction_model
                assert model is not None
                items = await extract.extract(model, conversation)
                scope = Scope(job.org_id, job.user_id)
                found = extract.candidates(conversation, items)
                origin = planning.Origin(job.interaction_id, None)
                writes = [planning._statement(candidate, origin) for candidate in found]
                await ports.vector.upsert([_document(scope, write) for write in writes])
                return True

        return run

    _patch(jobs, "run", wrap)


@defect("b15", "a cancelled write is not cleaned up")
def cancellation_leaves_vectors() -> None:
    def wrap(real: Apply) -> Apply:
        async def apply(self: SQLiteGraph, plan: WritePlan) -> WriteReceipt:
            try:
                await _write_vectors(self, plan)
                return await real(self, plan)
            except Exception:
                vector = self.get_associated_vector_db()
                assert vector is not None
                ids = [write.memory_id for write in plan.memories]
                await vector.delete_memories(ids, plan.scope.org_id, plan.scope.user_id)
                raise

        return apply

    _patch(SQLiteGraph, "apply", wrap)


@defect("b24", "a transcript is written over whatever is there by now")
def last_writer_wins() -> None:
    def wrap(real: Apply) -> Apply:
        async def apply(self: SQLiteGraph, plan: WritePlan) -> WriteReceipt:
            while True:
                write = plan.interaction
                if write is not None and write.expected_revision is not None:
                    stored = await self.find_interaction(plan.scope, write.interaction_id)
                    if stored is not None:
                        write = replace(write, expected_revision=stored.revision)
                with suppress(ConflictError):
                    return await real(self, replace(plan, interaction=write))

        return apply

    _patch(SQLiteGraph, "apply", wrap)


@defect("b28", "two writers of one statement both become current")
def second_head_beside_the_first() -> None:
    def wrap(real: Apply) -> Apply:
        async def apply(self: SQLiteGraph, plan: WritePlan) -> WriteReceipt:
            try:
                return await real(self, plan)
            except ConflictError as error:
                if error.record != "memory":
                    raise
            alone = [
                replace(
                    write,
                    chain_id=write.memory_id,
                    predecessor_id=None,
                    predecessor_superseded_at=None,
                    successor_id=None,
                    superseded_at=None,
                    replaces_head=None,
                )
                for write in plan.memories
            ]
            return await real(self, replace(plan, memories=tuple(alone)))

        return apply

    _patch(SQLiteGraph, "apply", wrap)


@defect("b33", "texts are embedded on the event loop")
def embedding_on_the_loop() -> None:
    async def embed_batch(self: Any, texts: list[str], kind: Any) -> Any:
        return self._compute(texts, kind)

    LocalEmbedder._embed_batch = embed_batch


@defect("b45", "the listing reads a link that nothing writes")
def listing_finds_nothing() -> None:
    async def list_live_memories(*_arguments: Any, **_options: Any) -> list[Memory]:
        return []

    SQLiteGraph.list_live_memories = list_live_memories


@defect("b46", "the default time is that of the import")
def default_time_of_the_import() -> None:
    def wrap(real: Any) -> Any:
        def save_request(_now: datetime, *arguments: Any, **options: Any) -> Any:
            return real(IMPORTED_AT, *arguments, **options)

        return save_request

    _patch(main, "save_request", wrap)


@defect("b47", "what a deleted agent wrote is not found any more")
def interactions_need_their_agent() -> None:
    def wrap(real: Any) -> Any:
        async def find_interaction(
            self: SQLiteGraph, scope: Scope, interaction_id: str
        ) -> Interaction | None:
            found: Interaction | None = await real(self, scope, interaction_id)
            if found is None or found.agent_id is None:
                return found
            agent = await self.find_agent(scope.org_id, found.agent_id)
            return None if agent is None else found

        return find_interaction

    _patch(SQLiteGraph, "find_interaction", wrap)


@defect("b48", "names are put in as replacement patterns")
def names_are_patterns() -> None:
    def render(text: str, users: Mapping[str, str], agents: Mapping[str, str]) -> str:
        for span, names in ((placeholders.user_span, users), (placeholders.agent_span, agents)):
            for record_id, name in names.items():
                text = re.sub(re.escape(span(record_id)), name, text)
        return text

    placeholders.render = render


@defect("b49", "whatever looks like a placeholder is one")
def greedy_placeholders() -> None:
    def wrap(real: Any) -> Any:
        def render(text: str, users: Mapping[str, str], agents: Mapping[str, str]) -> str:
            rendered = real(text, users, agents)
            for name in users.values():
                rendered = re.sub(r"user_\w+", lambda _match, name=name: name, rendered)
            return rendered

        return render

    _patch(placeholders, "render", wrap)

    def wrap_names(real: Any) -> Any:
        async def with_names(
            self: SQLiteGraph, org_id: str, memories: Sequence[Memory]
        ) -> list[Memory]:
            named: list[Memory] = await real(self, org_id, memories)
            names, _labels = await self.read_names(org_id, {m.user_id for m in named}, set())
            return [
                memory.model_copy(
                    update={
                        "memory": placeholders.render(
                            memory.memory, {memory.user_id: names[memory.user_id]}, {}
                        )
                    }
                )
                for memory in named
            ]

        return with_names

    _patch(SQLiteGraph, "with_names", wrap_names)


@defect("b52", "a memory without source messages does not exist")
def sources_are_mandatory() -> None:
    def wrap(real: Any) -> Any:
        async def read_memories(self: SQLiteGraph, *arguments: Any) -> list[Memory]:
            return [memory for memory in await real(self, *arguments) if memory.message_sources]

        return read_memories

    _patch(SQLiteGraph, "read_memories", wrap)


@defect("b54", "deleting the current version makes the one before it current")
def deletion_revives_the_version_before() -> None:
    def wrap(real: Any) -> Any:
        async def purge_memories(
            self: SQLiteGraph, scope: Scope, memory_ids: Sequence[str] | None, now: datetime
        ) -> DeleteCounts:
            ids = [] if memory_ids is None else list(memory_ids)
            chains = await self.read_chains(scope, ids)
            counts = await real(self, scope, memory_ids, now)
            left = [m.memory_id for chain in chains.values() for m in chain[1:2]]
            await self._store.write(
                lambda connection: connection.executemany(
                    "UPDATE memory SET superseded_at = NULL"
                    " WHERE memory_id = ? AND successor_id IS NULL",
                    [(memory_id,) for memory_id in left],
                )
            )
            return counts

        return purge_memories

    _patch(SQLiteGraph, "purge_memories", wrap)


@defect("b55", "a deleted statement is extracted again")
def deletion_leaves_no_tombstone() -> None:
    def wrap(real: Any) -> Any:
        async def purge_memories(self: SQLiteGraph, *arguments: Any) -> DeleteCounts:
            counts = await real(self, *arguments)
            await self._store.write(lambda connection: connection.execute("DELETE FROM tombstone"))
            return counts

        return purge_memories

    _patch(SQLiteGraph, "purge_memories", wrap)


@defect("b58", "exclusions are compared with the versions that were hit")
def exclusion_before_resolution() -> None:
    def wrap(real: Any) -> Any:
        async def resolved(
            ports: Ports, search: recall.Search, hits: Sequence[QueryHits]
        ) -> list[Memory]:
            left = [
                QueryHits(
                    tuple(h for h in answer.dense if h.memory_id not in search.exclude),
                    tuple(h for h in answer.lexical if h.memory_id not in search.exclude),
                )
                for answer in hits
            ]
            return await real(ports, replace(search, exclude=frozenset()), left)

        return resolved

    _patch(recall, "_resolved", wrap)


@defect("b59", "queries without a hit have no list")
def empty_answers_are_dropped() -> None:
    def wrap(real: Any) -> Any:
        async def find_batch(ports: Ports, search: recall.Search) -> list[list[Memory]]:
            return [found for found in await real(ports, search) if found]

        return find_batch

    _patch(recall, "find_batch", wrap)


@defect("b60", "nothing recalled is None")
def nothing_is_none() -> None:
    def wrap(real: Any) -> Any:
        async def recall_memories_for_message(self: Memora, *args: Any, **options: Any) -> Any:
            memories, ids = await real(self, *args, **options)
            return (memories, ids) if memories else (None, None)

        return recall_memories_for_message

    _patch(Memora, "recall_memories_for_message", wrap)


@defect("b70", "a conversation is only kept when its extraction succeeds")
def transcript_depends_on_the_model() -> None:
    def wrap(real: Any) -> Any:
        async def run(ports: Ports, job: ExtractionJob, conversation: Conversation) -> bool:
            try:
                return await real(ports, job, conversation)
            except ExtractionError:
                scope = Scope(job.org_id, job.user_id)
                now = ports.graph.clock.now()
                await ports.graph.erase_interactions(scope, [job.interaction_id], now)
                raise

        return run

    _patch(jobs, "run", wrap)


class _LaxVerdict(BaseModel):
    candidate: int
    verdict: ComparisonVerdict
    existing: int | None = None


class _LaxResponse(BaseModel):
    verdicts: list[_LaxVerdict]
    rejected: dict[str, int] = {}


# The scripted models answer by the name of the schema.
_LaxResponse.__name__ = "MemoryComparisonResponse"


def _compare_without_checks(existing_of: Callable[[int, int], int]) -> None:
    async def lax_compare(
        model: Any,
        candidates: Sequence[planning.Candidate],
        related: compare.Related,
        max_retries: int | None = None,
    ) -> list[planning.Decision]:
        decisions = compare.equal_or_new(candidates, related.equal)
        prompt = compare.render.compare_memories(
            [
                compare.render.PromptMemory(number, candidate.text, candidate.obtained_at)
                for number, candidate in enumerate(candidates)
            ],
            [
                compare.render.PromptMemory(number, memory.memory, memory.obtained_at)
                for number, memory in enumerate(related.similar)
            ],
        )
        answer = await model(prompt, _LaxResponse, max_retries=max_retries)
        for item in answer.verdicts:
            if item.existing is not None and related.similar:
                with suppress(IndexError):
                    found = related.similar[existing_of(item.existing, len(related.similar))]
                    verdict = planning.Verdict(item.verdict.value)
                    decisions[item.candidate] = planning.Decision(verdict, found.memory_id)
        return decisions

    compare.compare = lax_compare


@defect("b71", "a negative number of the model counts from the end")
def negative_numbers_count_from_the_end() -> None:
    _compare_without_checks(lambda number, _count: number)


@defect("b73", "a number that the model was not shown names some memory all the same")
def invented_numbers_hit_something() -> None:
    _compare_without_checks(lambda number, count: number % count)


@defect("b83", "erasing a user leaves its vectors")
def erasure_leaves_vectors() -> None:
    def wrap(real: Any) -> Any:
        async def erase_user(self: SQLiteGraph, *arguments: Any) -> DeleteCounts:
            counts = await real(self, *arguments)
            await self._store.write(
                lambda connection: connection.execute("DELETE FROM outbox WHERE op = 'drop_user'")
            )
            return counts

        return erase_user

    _patch(SQLiteGraph, "erase_user", wrap)


@defect("b84", "an interaction without messages is not deleted")
def empty_interactions_stay() -> None:
    def wrap(real: Any) -> Any:
        async def erase_interactions(
            self: SQLiteGraph, scope: Scope, interaction_ids: Sequence[str] | None, now: datetime
        ) -> DeleteCounts:
            if interaction_ids is None:
                return await real(self, scope, interaction_ids, now)
            found = [await self.find_interaction(scope, one) for one in interaction_ids]
            full = [one.interaction_id for one in found if one is not None and one.message_count]
            return await real(self, scope, full, now)

        return erase_interactions

    _patch(SQLiteGraph, "erase_interactions", wrap)
