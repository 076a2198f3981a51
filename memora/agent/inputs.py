"""Arguments of the public calls, checked and turned into requests."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any, cast

from memora.agent.recall import Search
from memora.agent.save import SaveRequest
from memora.core.messages import KnownTranscript, Transcript
from memora.errors import InvalidInputError
from memora.llm_backends.base import BaseBackendLLM
from memora.schema.models import Memory
from memora.schema.ranking import RankingConfig
from memora.schema.recall import MemoryFilters
from memora.schema.scope import Scope, SearchScope
from memora.schema.seeding import SeedConfig, SeedData, TokenPrice
from memora.schema.times import checked_time
from memora.schema.validation import (
    PAGE,
    QUERIES,
    checked_bool,
    checked_id,
    checked_int,
    checked_json_object,
    checked_list,
    checked_name,
    checked_optional_id,
    checked_share,
    checked_text,
    kind_of,
)

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

    def __post_init__(self) -> None:
        checked_int(self.limit, "recall_limit", 1, PAGE)
        checked_int(self.rerank_candidates, "rerank_candidates", 1, PAGE)
        if self.min_similarity is not None:
            checked_share(self.min_similarity, "min_similarity")


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
        InvalidInputError: It is no `SeedData`.
    """
    if not isinstance(value, SeedData):
        raise InvalidInputError("data", "SeedData.for_conversations(...)", got=kind_of(value))
    return value


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
