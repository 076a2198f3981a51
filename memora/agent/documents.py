"""The flow of documents: each becomes messages of an interaction, at its own time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, cast

from memora.agent import jobs, save
from memora.agent.imports import Ledger, Running
from memora.agent.pacing import Lane, Pace, PacedLLM, Turns
from memora.agent.ports import Ports, check_owner, create_owner
from memora.agent.threads import EACH, off_loop
from memora.core import documents
from memora.core.messages import Transcript, text_parts
from memora.errors import ConflictError, InvalidInputError, MemoraError
from memora.schema.jobs import JobStatus
from memora.schema.models import Interaction
from memora.schema.scope import Scope
from memora.schema.seeding import (
    DocumentMode,
    DocumentResult,
    DocumentStatus,
    SeedConfig,
    SeedDocument,
)
from memora.schema.times import parsed_time
from memora.schema.validation import (
    checked_id,
    checked_json_object,
    checked_name,
    kind_of,
    shown_key,
)

DOCUMENTS = 100
DEFAULT_ORG = "default"
# Longest text of one document, in characters; each of its messages has the limit of a message.
TEXT_CHARS = 16 * 1024 * 1024
_TRIES = 8
_WORKERS = 10
_FIELDS = frozenset(each.name for each in fields(SeedDocument))
_LEFT = (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Batch:
    """One call of `batch_create`, validated as far as it is about all documents.

    Attributes:
        org_id: Organization of documents that name none.
        import_id: Of all documents, which are one user's then; None: a new one for each user.
        now: Conversation time of what has none.
    """

    items: tuple[object, ...] = field(repr=False)
    org_id: str
    import_id: str | None
    now: datetime
    fail_fast: bool
    create_missing: bool


@dataclass(frozen=True, slots=True)
class Document:
    """A document, validated.

    Attributes:
        external_id: Of its interaction: the conversation's id, or the document's own.
    """

    scope: Scope
    external_id: str
    document_id: str
    turn: documents.Turn
    metadata: dict[str, Any] = field(repr=False)
    is_fast: bool


@dataclass(slots=True)
class _Group:
    """The documents of one call that belong into one interaction.

    Attributes:
        numbers: Places of each document in the call; more than one when it is given twice.
    """

    scope: Scope
    external_id: str
    turns: dict[str, documents.Turn] = field(default_factory=dict[str, documents.Turn])
    numbers: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    metadata: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    is_fast: bool = True

    @property
    def first(self) -> int:
        """Place of its first document in the call."""
        return min(places[0] for places in self.numbers.values())

    def time(self) -> float:
        """Return when it began, for the order among others; undated ones come last."""
        times = [turn.at.timestamp() for turn in self.turns.values() if turn.at is not None]
        return min(times, default=float("inf"))

    def add(self, document: Document, number: int) -> None:
        """Add a document.

        Raises:
            InvalidInputError: Another one has its id.
        """
        known = self.turns.setdefault(document.document_id, document.turn)
        if known.said() != document.turn.said():
            got = "another text under an id used before"
            raise InvalidInputError("document_id", "unique in one call", got=got)
        self.numbers.setdefault(document.document_id, []).append(number)
        self.metadata |= document.metadata
        self.is_fast = self.is_fast and document.is_fast


def parse(item: object, org_id: str = DEFAULT_ORG) -> Document:
    """Return a document as the caller gave it, checked and divided into messages.

    Raises:
        InvalidInputError: Naming the field at fault.
    """
    given = _as_document(item)
    text = _checked_document(given.document)
    scope = Scope(
        org_id if given.customer_id is None else checked_id(given.customer_id, "customer_id"),
        checked_id(given.user_id, "user_id"),
    )
    created = given.document_created_at
    at = None if created is None else parsed_time(created, "document_created_at")
    kind = checked_name(given.document_type, "document_type")
    metadata = {} if given.metadata is None else checked_json_object(given.metadata, "metadata")
    document_id = (
        documents.derived_id(scope.user_id, at, text)
        if given.document_id is None
        else checked_id(given.document_id, "document_id")
    )
    conversation_id = metadata.get("conversation_id") if kind == documents.CHAT else None
    said = documents.messages_of(text, kind)
    if not said:
        raise InvalidInputError("document", "a text in which something is said")
    turn = documents.as_turn(document_id, at, said, document_type=kind, metadata=metadata)
    Transcript(turn.messages, None, "document")
    return Document(
        scope=scope,
        external_id=document_id
        if conversation_id is None
        else checked_id(conversation_id, "metadata.conversation_id"),
        document_id=document_id,
        turn=turn,
        metadata=metadata,
        is_fast=_checked_mode(given.mode) is DocumentMode.FAST,
    )


def _as_document(item: object) -> SeedDocument:
    if isinstance(item, SeedDocument):
        return item
    if not isinstance(item, Mapping):
        raise InvalidInputError("document", "a SeedDocument or a mapping", got=kind_of(item))
    given = cast("Mapping[str, Any]", item)
    unknown = [key for key in given if key not in _FIELDS]
    if unknown:
        allowed = f"a mapping with {', '.join(sorted(_FIELDS))}"
        raise InvalidInputError("document", allowed, got=shown_key(unknown[0]))
    for name in ("document", "user_id"):
        if name not in given:
            raise InvalidInputError(name, "given")
    return SeedDocument(**given)


def _checked_document(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInputError("document", "a text", got=kind_of(value))
    if not value.strip() or len(value) > TEXT_CHARS:
        allowed = f"a text of 1 to {TEXT_CHARS} characters that is not blank"
        raise InvalidInputError("document", allowed, got=f"{len(value)} characters")
    return value


def _checked_mode(value: object) -> DocumentMode:
    if not isinstance(value, str) or value not in set(DocumentMode):
        raise InvalidInputError("mode", f"one of {', '.join(DocumentMode)}", got=kind_of(value))
    return DocumentMode(value)


async def create(
    ports: Ports, batch: Batch, lane: Lane, importing: Running
) -> list[DocumentResult]:
    """Store the documents and make their memories; one result each, in their order.

    Raises:
        InvalidInputError: There is an import id, and the documents are of several users.
    """
    async with AsyncExitStack() as stack:
        return await _Work(ports, batch, lane, importing, stack).run()


class _Work:
    """One call at work."""

    def __init__(
        self, ports: Ports, batch: Batch, lane: Lane, importing: Running, stack: AsyncExitStack
    ) -> None:
        config = SeedConfig()
        model = ports.extraction_model
        if model is not None:
            model = PacedLLM(model, Pace(config.retry_delay), lane, config.max_retries)
        self._ports = replace(ports, extraction_model=model)
        self._batch = batch
        self._lane = lane
        self._retries = config.max_retries
        self._slots = asyncio.Semaphore(_WORKERS)
        self._results: dict[int, DocumentResult] = {}
        self._left: dict[Scope, dict[str, list[str]]] = {}
        self._importing = importing
        self._stack = stack
        self._ledgers: dict[Scope, Ledger] = {}

    async def run(self) -> list[DocumentResult]:
        groups = await self._grouped()
        if self._batch.import_id is not None and len({group.scope for group in groups}) > 1:
            raise InvalidInputError("import_id", "given only for documents of one user")
        if self._batch.fail_fast:
            await self._in_order(groups)
        else:
            users: dict[Scope, list[_Group]] = {}
            for group in sorted(groups, key=_Group.time):
                users.setdefault(group.scope, []).append(group)
            async with asyncio.TaskGroup() as tasks:
                for of_user in users.values():
                    tasks.create_task(self._user(of_user))
        await self._ports.graph.drain_outbox()
        return [self._results[number] for number in range(len(self._batch.items))]

    async def _grouped(self) -> list[_Group]:
        groups: dict[tuple[Scope, str], _Group] = {}
        for number, item in enumerate(self._batch.items):
            size = len(_text_of(item))
            try:
                document = await off_loop(size, parse, item, self._batch.org_id)
                key = (document.scope, document.external_id)
                group = groups.setdefault(key, _Group(document.scope, document.external_id))
                group.add(document, number)
            except InvalidInputError as error:
                self._failed(number, _id_of(item), error)
        return [group for group in groups.values() if group.numbers]

    async def _in_order(self, groups: list[_Group]) -> None:
        """Work in the order of the call, and stop at the first failure."""
        of_number = {group.first: group for group in groups}
        items = self._batch.items
        for number in range(len(items)):
            if number in of_number:
                await self._one(of_number[number])
            if not self._results[number].success:
                break
        else:
            return
        for later in range(number + 1, len(items)):
            result = self._results.get(later)
            if result is None or not result.success:
                self._results[later] = DocumentResult(
                    document_id=_id_of(items[later]), status=DocumentStatus.SKIPPED
                )

    async def _user(self, groups: list[_Group]) -> None:
        """Work on all of one user at the same time; what is written is written in their order."""
        try:
            await self._begin(groups[0].scope)
        except MemoraError as error:
            for group in groups:
                self._all_failed(group, error)
            return
        turns = Turns()
        async with asyncio.TaskGroup() as tasks:
            for number, group in enumerate(groups):
                await self._slots.acquire()
                tasks.create_task(self._in_turn(group, turns, number))

    async def _in_turn(self, group: _Group, turns: Turns, number: int) -> None:
        try:
            await self._stored(group, turns, number)
        finally:
            turns.finish(number)
            self._slots.release()

    async def _one(self, group: _Group) -> None:
        try:
            await self._begin(group.scope)
        except MemoraError as error:
            self._all_failed(group, error)
            return
        await self._stored(group, Turns(), 0)

    async def _begin(self, scope: Scope) -> None:
        """Begin the import of a user, unless that is done.

        Raises:
            UserNotFoundError: There is no such user, and none is to be created.
            ConflictError: The import was taken back, or its id is that of another user's.
        """
        if scope in self._ledgers:
            return
        graph = self._ports.graph
        if self._batch.create_missing:
            await create_owner(graph, scope)
        await check_owner(graph, scope)
        ledger = Ledger(self._ports, scope, self._batch.import_id or graph.ids.short())
        await self._stack.enter_async_context(ledger.open(None, self._importing))
        self._ledgers[scope] = ledger

    async def _stored(self, group: _Group, turns: Turns, number: int) -> None:
        @asynccontextmanager
        async def turn() -> AsyncGenerator[None]:
            await turns.wait(number)
            await self._lane.give_way()
            if self._ports.extraction_model is not None and not group.is_fast:
                # What was written before can only be found again once it has its vectors.
                await self._ports.graph.drain_outbox()
            yield

        await self._lane.give_way()
        try:
            await self._store(group, turn)
        except MemoraError as error:
            self._all_failed(group, error)
        try:
            for places in group.numbers.values():
                for place in places:
                    await self._ledgers[group.scope].note(self._results[place])
        except MemoraError as error:
            # The import was taken back by another process, or the store is gone.
            self._all_failed(group, error)

    async def _store(self, group: _Group, turn: jobs.Turn) -> None:
        """Put the documents into their interaction; what others write meanwhile stays."""
        graph = self._ports.graph
        for _attempt in range(_TRIES):
            stored = await graph.find_interaction(group.scope, group.external_id)
            known: list[documents.Turn] = []
            if stored is not None:
                found = await graph.read_messages(
                    group.scope, stored.interaction_id, 0, stored.message_count
                )
                known = documents.stored_turns(item.message for item in found)
            turns, changed = documents.merged(known, group.turns.values())
            if stored is not None and not changed:
                resumed = await self._resumed(group.scope, stored.interaction_id, turn)
                status = DocumentStatus.DUPLICATE if resumed is None else DocumentStatus.UPDATED
                self._done(
                    group, stored.interaction_id, dict.fromkeys(group.turns, status), resumed or 0
                )
                return
            request = await self._request(group, stored, turns, changed)
            ports = replace(self._ports, extraction_model=None) if group.is_fast else self._ports
            try:
                outcome = await save.save(ports, request, drain=False, turn=turn)
            except ConflictError as error:
                if error.record not in {"interaction", "external_id"}:
                    raise
                continue
            before = {each.document_id for each in known}
            statuses = {
                document_id: _status(document_id, changed, before) for document_id in group.turns
            }
            self._done(group, outcome.interaction_id, statuses, outcome.memories)
            return
        raise ConflictError("interaction", group.external_id)

    async def _request(
        self,
        group: _Group,
        stored: Interaction | None,
        turns: list[documents.Turn],
        changed: set[str],
    ) -> save.SaveRequest:
        messages = [message for turn in turns for message in turn.messages]
        size = sum(EACH + len(text_parts(message.get("content")) or "") for message in messages)
        times = [turn.at for turn in turns if turn.at is not None and turn.document_id in changed]
        at = (min if stored is None else max)(times, default=self._batch.now)
        return save.SaveRequest(
            scope=group.scope,
            transcript=await off_loop(size, Transcript, messages, None, "document"),
            at=at,
            external_id=group.external_id,
            metadata={**({} if stored is None else stored.metadata), **group.metadata} or None,
            import_id=self._ledgers[group.scope].import_id,
            max_retries=self._retries,
            expected_revision=None if stored is None else stored.revision,
        )

    async def _resumed(self, scope: Scope, interaction_id: str, turn: jobs.Turn) -> int | None:
        """Finish what an earlier call left of this interaction; None: there is nothing.

        Returns:
            How many versions of memories were written.

        Raises:
            ConflictError: Somebody else is at it.
            ExtractionError: It failed again.
        """
        graph = self._ports.graph
        if scope not in self._left:
            found = await graph.list_jobs(scope.org_id, user_id=scope.user_id, statuses=_LEFT)
            left = self._left[scope] = {}
            for job in found:
                left.setdefault(job.interaction_id, []).append(job.job_id)
        resumed: int | None = None
        for job_id in self._left[scope].get(interaction_id, []):
            written = await jobs.resume(self._ports, scope.org_id, job_id, turn)
            if written is not None:
                resumed = (resumed or 0) + written.memories
                continue
            job = await graph.find_job(scope.org_id, job_id)
            if job is not None and job.status is not JobStatus.DONE:
                raise ConflictError("job", job_id, actual="under way elsewhere")
        return resumed

    def _done(
        self,
        group: _Group,
        interaction_id: str,
        statuses: Mapping[str, DocumentStatus],
        memories: int,
    ) -> None:
        """Note what became of the documents; the first that changed something brought it all."""
        for document_id, places in group.numbers.items():
            for number in places:
                again = number != places[0]
                status = DocumentStatus.DUPLICATE if again else statuses[document_id]
                brought = 0
                if status is not DocumentStatus.DUPLICATE:
                    brought, memories = memories, 0
                self._results[number] = DocumentResult(
                    document_id=document_id,
                    status=status,
                    memories=brought,
                    interaction_id=interaction_id,
                    import_id=self._ledgers[group.scope].import_id,
                )

    def _all_failed(self, group: _Group, error: MemoraError) -> None:
        for document_id, places in group.numbers.items():
            for number in places:
                self._failed(number, document_id, error)

    def _failed(self, number: int, document_id: str, error: MemoraError) -> None:
        self._results[number] = DocumentResult(
            document_id=document_id,
            status=DocumentStatus.FAILED,
            interaction_id=getattr(error, "interaction_id", None),
            error_type=type(error).__name__,
            error=str(error),
        )


def _status(document_id: str, changed: set[str], before: set[str | None]) -> DocumentStatus:
    if document_id not in changed:
        return DocumentStatus.DUPLICATE
    return DocumentStatus.UPDATED if document_id in before else DocumentStatus.CREATED


def _field_of(item: object, name: str) -> object:
    if isinstance(item, Mapping):
        return cast("Mapping[str, object]", item).get(name)
    return getattr(item, name, None)


def _text_of(item: object) -> str:
    text = _field_of(item, "document")
    return text if isinstance(text, str) else ""


def _id_of(item: object) -> str:
    given = _field_of(item, "document_id")
    return given[:255] if isinstance(given, str) else ""
