"""Users, and the names that texts are read with."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import partial
from typing import LiteralString

from memora._queries import load
from memora.errors import GraphDBConnectionError, OrganizationNotFoundError, UserNotFoundError
from memora.graph_db.neo4j import records
from memora.graph_db.neo4j._base import BACKEND, PACKAGE, Neo4jBase, Transaction, logger
from memora.graph_db.neo4j._erase import Erasure, erase
from memora.graph_db.neo4j.records import Row
from memora.schema.models import User
from memora.schema.scope import Scope
from memora.schema.write_plan import DeleteCounts, OutboxOp

_Q = load(PACKAGE, "queries/user.cypher")
_KINDS: dict[str, LiteralString] = {
    "memories": _Q["erase_memories"],
    "entities": _Q["erase_entities"],
    "messages": _Q["erase_messages"],
    "interactions": _Q["erase_interactions"],
    "jobs": _Q["erase_jobs"],
    "idempotency_keys": _Q["erase_keys"],
    "tombstones": _Q["erase_tombstones"],
    "imports": _Q["erase_imports"],
    "agents": _Q["erase_agents"],
    "outbox_entries": _Q["erase_outbox"],
}


async def lock_user(transaction: Transaction, scope: Scope) -> str | None:
    """Take the write lock that serialises all writes of a user, and return the user's salt.

    None: there is no such user, or it is being erased.
    """
    row = await transaction.row(_Q["lock_user"], org_id=scope.org_id, user_id=scope.user_id)
    return None if row is None or row["erasing"] else row["salt"]


async def lock_organization(transaction: Transaction, org_id: str) -> None:
    """Take the lock under which users and agents are added.

    Raises:
        OrganizationNotFoundError: There is no such organization, or it is being erased.
    """
    row = await transaction.row(_Q["lock_organization"], org_id=org_id)
    if row is None or row["erasing"]:
        raise OrganizationNotFoundError(org_id)


class UserPart(Neo4jBase):
    """Primitives on users."""

    async def put_user(self, user: User, *, salt: str) -> User:
        return await self._connection.write(partial(_put_user, user=user, salt=salt))

    async def rename_user(self, scope: Scope, name: str) -> User:
        rows = await self._connection.change(
            _Q["rename_user"], org_id=scope.org_id, user_id=scope.user_id, user_name=name
        )
        if not rows:
            raise UserNotFoundError(scope.user_id)
        return _user(rows[0])

    async def find_user(self, scope: Scope) -> User | None:
        found = await self._connection.read_records(
            _Q["find_user"], _user, org_id=scope.org_id, user_id=scope.user_id
        )
        return found[0] if found else None

    async def list_users(self, org_id: str, *, skip: int, limit: int) -> list[User]:
        return await self._connection.read_records(
            _Q["list_users"], _user, org_id=org_id, skip=skip, limit=limit
        )

    async def read_names(
        self, org_id: str, user_ids: Collection[str], agent_ids: Collection[str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        [row] = await self._connection.fetch(
            _Q["read_names"], org_id=org_id, user_ids=list(user_ids), agent_ids=list(agent_ids)
        )
        return dict(row["users"]), dict(row["agents"])

    async def read_salt(self, scope: Scope) -> str:
        rows = await self._connection.fetch(
            _Q["find_user"], org_id=scope.org_id, user_id=scope.user_id
        )
        if not rows:
            raise UserNotFoundError(scope.user_id)
        return rows[0]["user"]["salt"]

    async def erase_user(self, scope: Scope, now: datetime) -> DeleteCounts:
        owner = {"org_id": scope.org_id, "user_id": scope.user_id}
        if not await self._connection.change(_Q["mark_user"], **owner):
            return DeleteCounts()
        erasure = Erasure(
            _Q["lock_user"], _KINDS, _Q["erase_user"], "users", OutboxOp.DROP_USER, dict(owner)
        )
        counts = await erase(self._connection, erasure, records.micros(now))
        logger.info("erased a user of organization %s", scope.org_id)
        return counts


def _user(row: Row) -> User:
    return records.user(row["user"])


async def _put_user(transaction: Transaction, user: User, salt: str) -> User:
    await lock_organization(transaction, user.org_id)
    [row] = await transaction.rows(
        _Q["put_user"],
        org_id=user.org_id,
        user_id=user.user_id,
        user_name=user.user_name,
        created_at=records.micros(user.created_at),
        salt=salt,
    )
    if row["user"].get("erasing"):
        raise GraphDBConnectionError(BACKEND, "a user of this id is being erased")
    return _user(row)
