"""The graph on a Neo4j server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memora._logging import enable_console
from memora.core.clock import Clock
from memora.core.ids import Ids
from memora.graph_db.neo4j import schema
from memora.graph_db.neo4j._base import Connection
from memora.graph_db.neo4j.agent import AgentPart
from memora.graph_db.neo4j.apply import ApplyPart
from memora.graph_db.neo4j.entity import EntityPart
from memora.graph_db.neo4j.erasure import ErasurePart
from memora.graph_db.neo4j.imports import ImportPart
from memora.graph_db.neo4j.inspect import InspectPart
from memora.graph_db.neo4j.interaction import InteractionPart
from memora.graph_db.neo4j.jobs import JobPart
from memora.graph_db.neo4j.memory import MemoryPart
from memora.graph_db.neo4j.organization import OrganizationPart
from memora.graph_db.neo4j.outbox import OutboxPart
from memora.graph_db.neo4j.repair import RepairPart
from memora.graph_db.neo4j.transfer import TransferPart
from memora.graph_db.neo4j.user import UserPart
from memora.graph_db.neo4j.withdraw import WithdrawPart
from memora.vector_db.base import BaseVectorDB

if TYPE_CHECKING:
    from neo4j import AsyncDriver


class Neo4jGraphInterface(
    OrganizationPart,
    UserPart,
    AgentPart,
    InteractionPart,
    ApplyPart,
    MemoryPart,
    EntityPart,
    JobPart,
    OutboxPart,
    ErasurePart,
    InspectPart,
    WithdrawPart,
    ImportPart,
    TransferPart,
    RepairPart,
):
    """The graph store on Neo4j 5.23 or later, Community, Enterprise or Aura.

    ```python
    graph = Neo4jGraphInterface("neo4j://localhost:7687", "neo4j", "password", "neo4j")
    async with graph:
        organization = await graph.create_organization("My Organization")
    ```

    Args:
        uri: Address of the server, such as `neo4j://localhost:7687`.
        username: Its user.
        password: The user's password.
        database: Name of the database.
        associated_vector_db: Vector store that follows this graph.
        enable_logging: Show memora's log on the console.
        driver: An open driver to use in place of the address; it stays open on `close`.
        clock: Source of store times.
        ids: Source of new ids.
    """

    def __init__(
        self,
        uri: str,
        username: str,
        password: str,
        database: str,
        associated_vector_db: BaseVectorDB | None = None,
        enable_logging: bool = False,  # noqa: FBT001, FBT002 - signature of memora 0.3
        *,
        driver: AsyncDriver | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        super().__init__(associated_vector_db, clock=clock, ids=ids)
        self._connection = Connection(uri, username, password, database, driver)
        if enable_logging:
            enable_console()

    async def setup(self) -> None:
        await schema.setup(self._connection)

    async def close(self) -> None:
        await self._connection.close()
