"""Conversations of a benchmark in a memory engine, seeded and recalled through its public calls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from retrieval import Conversation, Question, Scores, score

from memora import Memora, RankingConfig
from memora.schema.models import Memory

LIMIT = 50


@dataclass
class Haystack:
    """One conversation as a user of the engine.

    Attributes:
        places: Turn id by interaction id and position.
    """

    conversation: Conversation
    org_id: str
    user_id: str
    places: dict[tuple[str, int], str] = field(default_factory=dict)

    def turns(self, memories: Sequence[Memory]) -> list[str]:
        """Return the turns that memories came from, in their order."""
        return [
            self.places[memory.interaction_id, message.msg_position]
            for memory in memories
            for message in memory.message_sources
            if memory.interaction_id is not None
            and (memory.interaction_id, message.msg_position) in self.places
        ]

    @property
    def latest(self) -> datetime:
        """A time after everything that was said."""
        return max(self.conversation.dates.values()) + timedelta(days=1)


async def seed(memora: Memora, conversation: Conversation) -> Haystack:
    """Store a conversation, a session an interaction, each with its time."""
    org = await memora.graph.create_organization(conversation.name)
    user = await memora.graph.create_user(org.org_id, "User")
    haystack = Haystack(conversation, org.org_id, user.user_id)
    for _session, turns in conversation.sessions():
        at = conversation.dates[turns[0].session]
        messages: list[dict[str, Any]] = []
        for turn in turns:
            message = {"role": turn.role, "content": turn.text or " "}
            messages.append(message if turn.name is None else {**message, "name": turn.name})
        interaction_id, _at = await memora.save_or_update_interaction_and_memories(
            org.org_id,
            user.user_id,
            interaction=messages,
            current_datetime=at,
            extract_agent_memories=True,
        )
        for position, turn in enumerate(turns):
            haystack.places[interaction_id, position] = turn.turn_id
    return haystack


async def ask(
    memora: Memora,
    haystack: Haystack,
    question: Question,
    ranking: RankingConfig | None = None,
    limit: int = LIMIT,
) -> tuple[list[Memory], float]:
    """Recall for a question; return the memories and the time that it took, in milliseconds."""
    started = time.perf_counter()
    memories, _ids = await memora.recall_memories_for_message(
        haystack.org_id,
        haystack.user_id,
        question.text,
        current_datetime=question.date or haystack.latest,
        limit=limit,
        ranking=ranking,
    )
    return memories, 1000 * (time.perf_counter() - started)


async def measure(
    memora: Memora, haystacks: Sequence[Haystack], ranking: RankingConfig | None = None
) -> tuple[list[Scores], list[float]]:
    """Ask every question that has an answer; return the scores and the times."""
    scores: list[Scores] = []
    times: list[float] = []
    for haystack in haystacks:
        for question in haystack.conversation.questions:
            if not question.evidence and not question.sessions:
                continue
            memories, spent = await ask(memora, haystack, question, ranking)
            times.append(spent)
            scores.append(score(haystack.conversation, question, haystack.turns(memories)))
    return scores, times
