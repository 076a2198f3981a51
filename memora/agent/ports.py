"""What every flow works with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from memora.graph_db.base import BaseGraphDB
from memora.llm_backends.base import BaseBackendLLM
from memora.rerankers.base import BaseReranker
from memora.schema.scope import Scope
from memora.vector_db.base import BaseVectorDB


@dataclass(frozen=True, slots=True)
class Ports:
    """The stores and models of one engine; the graph also brings clock and ids."""

    graph: BaseGraphDB
    vector: BaseVectorDB
    search_model: BaseBackendLLM | None = None
    extraction_model: BaseBackendLLM | None = None
    reranker: BaseReranker | None = None


async def create_owner(graph: BaseGraphDB, scope: Scope) -> None:
    """Create what is missing of organization, user and agent; the id serves as the name."""
    if await graph.find_organization(scope.org_id) is None:
        await graph.create_organization(scope.org_id, org_id=scope.org_id)
    if await graph.find_user(scope) is None:
        await graph.create_user(scope.org_id, scope.user_id, user_id=scope.user_id)
    agent_id = scope.agent_id
    if agent_id is not None and await graph.find_agent(scope.org_id, agent_id) is None:
        await graph.create_agent(scope.org_id, agent_id, agent_id=agent_id)


async def check_owner(graph: BaseGraphDB, scope: Scope) -> None:
    """Check that user and agent of a call exist; of two that do not, the user is named.

    Raises:
        UserNotFoundError: There is no such user.
        AgentNotFoundError: There is no such agent, or it belongs to another user.
    """
    answers = await asyncio.gather(
        graph.get_user(scope.org_id, scope.user_id),
        graph.get_agent_for(scope),
        return_exceptions=True,
    )
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
