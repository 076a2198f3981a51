"""What the verbs of the facade share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from memora.agent.bound import Creations
from memora.agent.imports import Running
from memora.agent.inputs import Defaults, Transcripts
from memora.agent.pacing import Lane
from memora.agent.ports import Ports
from memora.schema.scope import (
    Scope,
)
from memora.schema.times import checked_time

if TYPE_CHECKING:
    from memora.embeddings.base import BaseEmbedder


class Verbs(ABC):
    """Stores, models and defaults that every verb works with."""

    _ports: Ports
    _defaults: Defaults
    _transcripts: Transcripts
    _importing: Running
    _lane: Lane
    _creations: Creations
    _is_open: bool
    _embedder_named: Callable[[str], BaseEmbedder] | None

    @abstractmethod
    async def setup(self) -> None:
        """Prepare both stores."""

    @abstractmethod
    async def close(self) -> None:
        """Close stores and models."""

    async def _check_owner(self, org_id: str, user_id: str | None, agent_id: str | None) -> None:
        graph = self._ports.graph
        if user_id is None:
            await graph.get_organization(org_id)
            if agent_id is not None:
                await graph.get_agent(org_id, agent_id)
            return
        await graph.get_user(org_id, user_id)
        await graph.get_agent_for(Scope(org_id, user_id, agent_id))

    def _time(self, given: datetime | None) -> datetime:
        if given is None:
            return self._ports.graph.clock.now()
        return checked_time(given, "current_datetime")
