"""Arguments of the public calls, checked and turned into requests."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any, cast

from memora.agent.adding import AddRequest
from memora.agent.recall import Search
from memora.agent.save import SaveRequest
from memora.core.chunking import without_recall
from memora.core.messages import KnownTranscript, Transcript, parse_messages
from memora.errors import InvalidInputError
from memora.llm_backends.base import BaseBackendLLM
from memora.schema.models import Memory
from memora.schema.ranking import RankingConfig
from memora.schema.recall import MemoryFilters
from memora.schema.scope import Scope, SearchScope
from memora.schema.seeding import SeedConfig, SeedData, TokenPrice
from memora.schema.times import checked_time, parsed_time
from memora.schema.validation import (
    PAGE,
    QUERIES,
    checked_bool,
    checked_id,
    checked_int,
    checked_json_object,
    checked_labels,
    checked_list,
    checked_name,
    checked_optional_id,
    checked_share,
    checked_text,
    kind_of,
    shown_key,
)

SIMILARITY_THRESHOLD = 0.8
_RETRIES = 20
# What a model costs: reading, writing.
_PRICES = 2
_REVISION = 2**53

RERANK_CANDIDATES = 50


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a recall uses when the call does not say.

    Attributes:
        rerank_candidates: How many found memories a reranker reads.
    """

    limit: int = 12
    min_similarity: float | None = None
    ranking: RankingConfig = field(default_factory=RankingConfig)
    rerank_candidates: int = RERANK_CANDIDATES
    # Similarity from which two statements are compared: one for all embedders, or by model id.
    similarity_threshold: float | Mapping[str, float] = SIMILARITY_THRESHOLD

    def __post_init__(self) -> None:
        checked_int(self.limit, "recall_limit", 1, PAGE)
        checked_int(self.rerank_candidates, "rerank_candidates", 1, PAGE)
        if self.min_similarity is not None:
            checked_share(self.min_similarity, "min_similarity")
        given = self.similarity_threshold
        for value in given.values() if isinstance(given, Mapping) else [given]:
            checked_share(value, "similarity_threshold")

    def threshold_of(self, model_id: str | None) -> float:
        """Return the threshold for an embedder's similarities; None: no embedder is known."""
        given = self.similarity_threshold
        if isinstance(given, Mapping):
            return given.get(model_id or "", SIMILARITY_THRESHOLD)
        return given


def search_of(
    defaults: Defaults,
    scope: SearchScope,
    queries: Sequence[str],
    exclude: Collection[str],
    *,
    limit: int | None,
    filters: MemoryFilters | Mapping[str, Any] | None,
    as_of: datetime | None,
    min_similarity: float | None,
    explain: bool,
    ranking: RankingConfig | Mapping[str, Any] | None = None,
) -> Search:
    """Build a search from public arguments.

    Raises:
        InvalidInputError: One of them is malformed.
    """
    texts = checked_list(queries, "search_queries", "a list of texts")
    checked_int(len(texts), "search_queries", 0, QUERIES)
    floor = defaults.min_similarity if min_similarity is None else min_similarity
    return Search(
        scope=scope,
        queries=tuple(checked_text(q, f"search_queries[{i}]") for i, q in enumerate(texts)),
        limit=checked_int(defaults.limit if limit is None else limit, "limit", 1, PAGE),
        filters=MemoryFilters.parse(filters),
        exclude=_excluded(exclude),
        as_of=None if as_of is None else checked_time(as_of, "as_of"),
        min_similarity=None if floor is None else checked_share(floor, "min_similarity"),
        explain=checked_bool(explain, "explain"),
        config=RankingConfig.parse(ranking, defaults.ranking),
    )


def _excluded(value: object) -> frozenset[str]:
    if value is None:
        return frozenset()
    ids = checked_list(value, "filter_out_memory_ids_set", "a set of ids")
    if not all(isinstance(item, str) for item in ids):
        raise InvalidInputError("filter_out_memory_ids_set", "a set of texts")
    return frozenset(cast("list[str]", ids))


def save_request(
    now: datetime,
    scope: Scope,
    transcript: Transcript,
    *,
    interaction_id: str | None,
    current_datetime: datetime | None,
    extract_agent_memories: bool,
    update_across_agents: bool,
    max_retries: int,
    expected_revision: int | None = None,
    idempotency_key: str | None = None,
    external_id: str | None = None,
    title: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    process_id: str | None = None,
) -> SaveRequest:
    """Build a save from public arguments.

    Raises:
        InvalidInputError: One of them is malformed.
    """
    at = now if current_datetime is None else checked_time(current_datetime, "current_datetime")
    return SaveRequest(
        scope=scope,
        transcript=transcript,
        at=at,
        interaction_id=checked_optional_id(interaction_id, "interaction_id"),
        external_id=checked_optional_id(external_id, "external_id"),
        title=None if title is None else checked_name(title, "title"),
        metadata=None if metadata is None else checked_json_object(metadata, "metadata"),
        process_id=checked_optional_id(process_id, "process_id"),
        about_agent=checked_bool(extract_agent_memories, "extract_agent_memories"),
        across_agents=checked_bool(update_across_agents, "update_across_agents"),
        max_retries=checked_int(max_retries, "max_retries", 0, _RETRIES),
        expected_revision=None
        if expected_revision is None
        else checked_int(expected_revision, "expected_revision", 0, _REVISION),
        idempotency_key=None
        if idempotency_key is None
        else checked_id(idempotency_key, "idempotency_key"),
    )


def checked_data(value: object) -> SeedData:
    """Return what an import is about.

    Raises:
        InvalidInputError: It is no `SeedData`, or holds what is no id, or nothing to iterate over.
    """
    if not isinstance(value, SeedData):
        raise InvalidInputError("data", "SeedData.for_conversations(...)", got=kind_of(value))
    return SeedData.for_conversations(
        conversations=value.conversations,
        user_id=value.user_id,
        org_id=value.org_id,
        agent_id=value.agent_id,
        process_id=value.process_id,
    )


def checked_config(value: object) -> SeedConfig:
    """Return how an import goes; None: as usual.

    Raises:
        InvalidInputError: It is no `SeedConfig`.
    """
    if value is None:
        return SeedConfig()
    if not isinstance(value, SeedConfig):
        raise InvalidInputError("seed_config", "a SeedConfig", got=kind_of(value))
    return value


def checked_price(prices: object, model: BaseBackendLLM | None) -> TokenPrice | None:
    """Return what the model costs, from a table by `provider:model` or `model`; None: no table.

    Raises:
        InvalidInputError: The table is malformed, or the model is not in it.
    """
    if prices is None or model is None:
        return None
    if not isinstance(prices, Mapping):
        raise InvalidInputError("prices", "a mapping from models to prices", got=kind_of(prices))
    table = cast("Mapping[str, object]", prices)
    name = f"{model.provider}:{model.model}"
    price = table.get(name, table.get(model.model))
    allowed = f"prices of a million tokens, (read, written), for {name}"
    if not isinstance(price, (tuple, list)):
        raise InvalidInputError("prices", allowed, got=kind_of(price))
    numbers = [
        float(number)
        for number in cast("Sequence[object]", price)
        if isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number < inf
    ]
    if len(numbers) != _PRICES or len(cast("Sequence[object]", price)) != _PRICES:
        raise InvalidInputError("prices", allowed)
    return numbers[0], numbers[1]


# Fields of an item of `add_memories`, which are the arguments of `add_memory`.
ITEM_FIELDS = frozenset(
    {
        "user_id", "content", "agent_id", "interaction_id", "memory_type", "importance", "tags",
        "entities", "metadata", "obtained_at", "expires_at", "pinned", "idempotency_key",
    }
)  # fmt: skip


def add_request(
    org_id: str,
    fields: Mapping[str, Any],
    where: str = "",
    *,
    create_missing: bool,
    threshold: float,
) -> AddRequest:
    """Build an addition from public arguments.

    Args:
        org_id: The organization.
        fields: The other arguments by name; what is missing has its default.
        where: What errors put before a field's name.
        create_missing: Whether organization, user and agent are created.
        threshold: See `AddRequest`.

    Raises:
        InvalidInputError: One of them is malformed.
    """
    agent_id = checked_optional_id(fields.get("agent_id"), f"{where}agent_id")
    user_id = checked_id(fields.get("user_id"), f"{where}user_id")
    metadata = fields.get("metadata")
    key = fields.get("idempotency_key")
    obtained_at, expires_at = fields.get("obtained_at"), fields.get("expires_at")
    return AddRequest(
        scope=Scope(org_id, user_id, agent_id),
        content=_added_text(fields.get("content"), f"{where}content"),
        interaction_id=checked_optional_id(fields.get("interaction_id"), f"{where}interaction_id"),
        memory_type=checked_name(fields.get("memory_type", "fact"), f"{where}memory_type"),
        importance=checked_share(fields.get("importance", 0.5), f"{where}importance"),
        tags=checked_labels(fields.get("tags", ()), f"{where}tags"),
        entities=checked_labels(fields.get("entities", ()), f"{where}entities"),
        metadata={} if metadata is None else checked_json_object(metadata, f"{where}metadata"),
        obtained_at=None
        if obtained_at is None
        else parsed_time(obtained_at, f"{where}obtained_at"),
        expires_at=None if expires_at is None else parsed_time(expires_at, f"{where}expires_at"),
        pinned=checked_bool(fields.get("pinned", False), f"{where}pinned"),
        idempotency_key=None if key is None else checked_id(key, f"{where}idempotency_key"),
        create_missing=create_missing,
        threshold=threshold,
    )


def checked_items(items: object) -> list[Mapping[str, Any]]:
    """Return the items of `add_memories`.

    Raises:
        InvalidInputError: They are no list of mappings, too many, or have unknown fields.
    """
    given = checked_list(items, "items", "a list of mappings")
    checked_int(len(given), "items", 0, PAGE)
    found: list[Mapping[str, Any]] = []
    for number, item in enumerate(given):
        if not isinstance(item, Mapping):
            raise InvalidInputError(f"items[{number}]", "a mapping", got=kind_of(item))
        fields = cast("Mapping[str, Any]", item)
        unknown = [key for key in fields if key not in ITEM_FIELDS]
        if unknown:
            allowed = f"a mapping with fields of {', '.join(sorted(ITEM_FIELDS))}"
            raise InvalidInputError(f"items[{number}]", allowed, got=shown_key(unknown[0]))
        found.append(fields)
    return found


def item_of(item: object, where: str, scope: Scope) -> dict[str, Any]:
    """Return an item of one user's `add_memories`, which may be a text, with its owner.

    Raises:
        InvalidInputError: It is neither a text nor a mapping, or names an owner.
    """
    if not isinstance(item, (str, Mapping)):
        raise InvalidInputError(where, "a text or a mapping", got=kind_of(item))
    fields = {"content": item} if isinstance(item, str) else dict(cast("Mapping[str, Any]", item))
    owner: dict[str, Any] = {"user_id": scope.user_id, "agent_id": scope.agent_id}
    if owner.keys() & fields.keys():
        raise InvalidInputError(where, "an item without user_id and agent_id")
    return {**fields, **owner}


def _added_text(content: object, field: str) -> str:
    """Return a text as it is, and messages as lines, without what was recalled into them."""
    if isinstance(content, (list, tuple)):
        spoken = [
            (message.role, without_recall(message.content or "").strip())
            for message in parse_messages(cast("list[Any]", content), field=field)
        ]
        content = "\n".join(f"{role}: {text}" for role, text in spoken if text)
    elif not isinstance(content, str):
        raise InvalidInputError(field, "a text or a list of messages", got=kind_of(content))
    return checked_text(content, field)


def place_after(value: object) -> tuple[datetime, str] | None:
    """Return the place in a listing that a caller names: a memory, or its time and id.

    Raises:
        InvalidInputError: It is neither.
    """
    if value is None:
        return None
    if isinstance(value, Memory):
        return value.obtained_at, value.memory_id
    if not isinstance(value, (list, tuple)) or len(cast("list[object]", value)) != 2:
        raise InvalidInputError("after", "a memory, or its obtained_at and memory_id")
    time, memory_id = cast("tuple[object, object]", value)
    return parsed_time(time, "after"), checked_id(memory_id, "after")


class Transcripts:
    """Remembers of the last saved conversations what a longer version of them need not repeat.

    Bounded; holds hashes and no text. Forgetting costs time and nothing else.
    """

    _SIZE = 1024
    # Parsing more messages than this goes to a thread, so that the event loop keeps turning.
    _LONG = 500

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, str], KnownTranscript] = OrderedDict()
        # How often something was forgotten: a save that began before is not remembered.
        self.forgotten = 0

    def forget(self, scope: SearchScope) -> None:
        """Forget the transcripts of a user, or of all users of an organization."""
        self.forgotten += 1
        for org_id, user_id, interaction_id in list(self._known):
            if scope.admits(org_id, user_id, scope.agent_id):
                del self._known[org_id, user_id, interaction_id]

    async def parse(
        self, scope: Scope, interaction: object, interaction_id: str | None
    ) -> Transcript:
        """Return the caller's transcript, parsed as far as it is new.

        Raises:
            InvalidInputError: Naming the message and field at fault.
        """
        checked = checked_optional_id(interaction_id, "interaction_id")
        key = (scope.org_id, scope.user_id, checked or "")
        known = self._known.get(key)
        size = len(interaction) if isinstance(interaction, Sized) else self._LONG + 1
        if known is None and size > self._LONG:
            return await asyncio.to_thread(Transcript, interaction)
        return Transcript(interaction, known)

    def remember(
        self, scope: Scope, interaction_id: str, transcript: Transcript, *, forgotten: int = 0
    ) -> None:
        """Remember a transcript that is stored.

        Args:
            scope: Whose it is.
            interaction_id: Its id.
            transcript: The transcript.
            forgotten: The count when the save began; what was erased since is not remembered.
        """
        known = transcript.known()
        if known is None or forgotten != self.forgotten:
            return
        key = (scope.org_id, scope.user_id, interaction_id)
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > self._SIZE:
            self._known.popitem(last=False)


def checked_memories(value: object, field: str) -> list[Memory]:
    """Return the value when it is a list of memories."""
    given = checked_list(value, field, "a list of memories")
    found = [item for item in given if isinstance(item, Memory)]
    if len(found) < len(given):
        raise InvalidInputError(field, "a list of memories")
    return found


def optional_int(value: int | None, field: str, high: int) -> int | None:
    """Return a number from 1 to `high`, or None."""
    return None if value is None else checked_int(value, field, 1, high)


def optional_name(value: str | None, field: str) -> str | None:
    """Return a name, or None."""
    return None if value is None else checked_name(value, field)


def seconds(deadline_ms: int | None) -> float | None:
    """Return a deadline given in milliseconds (1 to an hour) in seconds, or None."""
    return (
        None
        if deadline_ms is None
        else checked_int(deadline_ms, "deadline_ms", 1, 3_600_000) / 1000
    )
