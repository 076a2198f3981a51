"""The SQLite graph store."""

from __future__ import annotations

from memora.graph_db.sqlite.agent import AgentPart
from memora.graph_db.sqlite.apply import apply_plan, find_idempotency
from memora.graph_db.sqlite.entity import EntityPart
from memora.graph_db.sqlite.erasure import ErasurePart
from memora.graph_db.sqlite.imports import ImportPart
from memora.graph_db.sqlite.inspect import InspectPart
from memora.graph_db.sqlite.interaction import InteractionPart
from memora.graph_db.sqlite.jobs import JobPart
from memora.graph_db.sqlite.memory import MemoryPart
from memora.graph_db.sqlite.organization import OrganizationPart
from memora.graph_db.sqlite.outbox import OutboxPart
from memora.graph_db.sqlite.rekey import RekeyPart
from memora.graph_db.sqlite.repair import RepairPart
from memora.graph_db.sqlite.transfer import TransferPart
from memora.graph_db.sqlite.user import UserPart
from memora.graph_db.sqlite.withdraw import WithdrawPart
from memora.schema.scope import Scope
from memora.schema.write_plan import IdempotencyRecord, WritePlan, WriteReceipt


class SQLiteGraph(
    OrganizationPart,
    UserPart,
    AgentPart,
    InteractionPart,
    MemoryPart,
    EntityPart,
    JobPart,
    OutboxPart,
    ErasurePart,
    InspectPart,
    RekeyPart,
    WithdrawPart,
    ImportPart,
    TransferPart,
    RepairPart,
):
    """A graph in one SQLite file, for one process at a time; no server.

    Args:
        path: The database file, created with its folder on `setup`; None keeps all in memory.
        associated_vector_db: Vector store that follows this graph.
        clock: Source of store times.
        ids: Source of new ids.
        encryption_key: Encrypts stored text: 32 bytes in base64, see `memora.encryption.new_key`.

    Example:
        ```python
        async with SQLiteGraph("./memory/graph.db") as graph:
            organization = await graph.create_organization("My Organization")
        ```
    """

    async def apply(self, plan: WritePlan) -> WriteReceipt:
        return await self._store.write(lambda connection: apply_plan(connection, plan))

    async def find_idempotency(self, scope: Scope, key: str) -> IdempotencyRecord | None:
        return await self._store.read(lambda connection: find_idempotency(connection, scope, key))
