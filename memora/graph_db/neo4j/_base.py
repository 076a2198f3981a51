"""Sessions, transactions and errors: the only place that talks to the driver."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

from memora.errors import ConflictError, GraphDBConnectionError, GraphDBError, MemoraError
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.neo4j.records import Row

if TYPE_CHECKING:
    from neo4j import AsyncDriver, AsyncManagedTransaction, AsyncSession, AsyncTransaction

T = TypeVar("T")

PACKAGE = "memora.graph_db.neo4j"
BACKEND = "neo4j"

logger = logging.getLogger(PACKAGE)
_WIRE_LOG = "neo4j.io"
_in_our_call: ContextVar[bool] = ContextVar("memora_neo4j_call", default=False)

# How many records are packed or built at a time: beyond that the event loop gets its turn (D10).
BLOCK = 200
# How often a record is read that seems incomplete.
_READS = 3

# By name: driver 5 has no class for a connection pool that is exhausted.
_PASSING_CLASSES = {"ServiceUnavailable", "SessionExpired", "ConnectionPoolError"}
# Codes that the driver does not retry although the same call may succeed later.
_PASSING_CODES = (
    "Neo.ClientError.Transaction.TransactionTimedOut",
    "Neo.ClientError.Transaction.Terminated",
    "Neo.ClientError.Transaction.LockClientStopped",
    "Neo.ClientError.Statement.EntityNotFound",
)
# A violated constraint names the node's label.
_LABEL = re.compile(r"with label `(\w+)`")
_RECORDS = {"IdempotencyKey": "idempotency_key"}


def batched(items: Sequence[T], size: int = BLOCK) -> list[Sequence[T]]:
    """Cut a list into blocks that do not hold up the event loop for long."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def withhold_parameters(record: logging.LogRecord) -> bool:
    """Keep what our queries carry out of the driver's wire log, in which it is written in full.

    A filter of that logger, in which queries of others pass as they are.
    """
    if _in_our_call.get() and "RUN" in str(record.msg) and isinstance(record.args, tuple):
        port, *_fields = record.args
        record.args = (port, "(withheld by memora)")
    return True


@contextmanager
def map_neo4j_errors() -> Generator[None]:
    """Turn the driver's errors into memora's, and mark its calls as ours for the wire log.

    Raises:
        GraphDBConnectionError: The server cannot be reached, is busy, or the outcome of a commit
            is not known.
        ConflictError: A uniqueness constraint was violated.
        GraphDBError: Anything else.
    """
    from neo4j.exceptions import (  # noqa: PLC0415 - the driver is imported when used
        DriverError,
        Neo4jError,
        UnsupportedServerProduct,
    )

    token = _in_our_call.set(True)
    try:
        yield
    except (DriverError, Neo4jError, UnsupportedServerProduct) as error:
        # Not chained: a server's message may quote stored values.
        raise translated(error) from None
    except UnicodeEncodeError:
        raise GraphDBError(BACKEND, "a text that is not valid Unicode") from None
    finally:
        _in_our_call.reset(token)


def translated(error: Exception) -> MemoraError:
    """Return memora's error for one of the driver's."""
    from neo4j.exceptions import (  # noqa: PLC0415 - the driver is imported when used
        ConfigurationError,
        ConstraintError,
        IncompleteCommit,
        Neo4jError,
    )

    name = type(error).__name__
    if isinstance(error, ConstraintError):
        label = _LABEL.search(error.message or "")
        record = label.group(1) if label else "record"
        return ConflictError(
            _RECORDS.get(record, record.lower()), "", expected="a free key", actual="a taken one"
        )
    if isinstance(error, IncompleteCommit):
        return GraphDBConnectionError(BACKEND, "the connection broke while committing")
    if isinstance(error, Neo4jError):
        code = error.code or "no code"
        passing = error.is_retryable() or code.startswith(_PASSING_CODES)
        return (GraphDBConnectionError if passing else GraphDBError)(BACKEND, f"{name} ({code})")
    # What the driver says by itself names addresses and settings, but no stored value; where it
    # quotes the whole URI, there may be a password in it.
    reason = f"{name}: {error}".partition("\n")[0].partition(" Given URI")[0]
    if _PASSING_CLASSES & {cls.__name__ for cls in type(error).__mro__}:
        return GraphDBConnectionError(BACKEND, reason)
    return GraphDBError(BACKEND, reason if isinstance(error, ConfigurationError) else name)


class Transaction:
    """One try of a transaction.

    The function that gets it may run again, so it changes nothing but the database.
    """

    def __init__(self, transaction: AsyncManagedTransaction | AsyncTransaction) -> None:
        self._transaction = transaction

    async def rows(self, query: LiteralString, **parameters: Any) -> list[Row]:
        """Run a query to its end."""
        result = await self._transaction.run(query, parameters)
        return [record async for record in result]

    async def stream(self, query: LiteralString, **parameters: Any) -> AsyncIterator[Row]:
        """Run a query, and yield its rows as the server sends them."""
        result = await self._transaction.run(query, parameters)
        async for record in result:
            yield record

    async def row(self, query: LiteralString, **parameters: Any) -> Row | None:
        """Run a query to its end, and return its first row, or None."""
        rows = await self.rows(query, **parameters)
        return rows[0] if rows else None


Work = Callable[[Transaction], Awaitable[T]]


class Connection:
    """A driver, made when it is first used; all handles on one graph share it.

    Args:
        uri, username, password: Of the server.
        database: Name of the database.
        driver: An open driver to use instead; it stays open.
    """

    def __init__(
        self, uri: str, username: str, password: str, database: str, driver: AsyncDriver | None
    ) -> None:
        self.database = database
        self.is_supported = False
        self._uri = uri
        self._auth = (username, password)
        self._driver = driver
        self._is_ours = driver is None
        self._is_closed = False
        logging.getLogger(_WIRE_LOG).addFilter(withhold_parameters)

    async def _opened(self) -> AsyncDriver:
        """Return the driver.

        Raises:
            GraphDBError: It was closed, or the address is malformed.
        """
        if self._is_closed:
            raise GraphDBError(BACKEND, "closed")
        if self._driver is None:
            # The first import reads many files, which must not hold up the event loop.
            await asyncio.to_thread(import_module, "neo4j")
        if self._driver is None:
            from neo4j import AsyncGraphDatabase  # noqa: PLC0415 - imported when used

            with map_neo4j_errors():
                self._driver = AsyncGraphDatabase.driver(  # pyright: ignore[reportUnknownMemberType]
                    self._uri, auth=self._auth, notifications_min_severity="OFF"
                )
        return self._driver

    async def verify(self) -> None:
        """Ask the server once, without retries.

        Raises:
            GraphDBConnectionError: It cannot be reached.
            GraphDBError: It refuses us.
        """
        driver = await self._opened()
        with map_neo4j_errors():
            await driver.verify_connectivity()  # pyright: ignore[reportUnknownMemberType]

    async def read(self, work: Work[T]) -> T:
        """Run a function in one managed read transaction."""
        driver = await self._opened()
        with map_neo4j_errors():
            async with self._session(driver) as session:
                return await session.execute_read(_attempt, work)

    async def write(self, work: Work[T]) -> T:
        """Run a function in one managed write transaction."""
        driver = await self._opened()
        with map_neo4j_errors():
            async with self._session(driver) as session:
                return await session.execute_write(_attempt, work)

    @asynccontextmanager
    async def streaming(self, rows: int) -> AsyncGenerator[Transaction]:
        """Hold one transaction that reads much; it can take locks, and changes nothing.

        It is no managed one: what was handed on cannot be taken back, so it runs once.

        Args:
            rows: How many the server sends at a time.
        """
        driver = await self._opened()
        with map_neo4j_errors():
            async with self._session(driver, fetch_size=rows) as session:
                transaction = await session.begin_transaction()
                try:
                    yield Transaction(transaction)
                finally:
                    await transaction.close()

    def _session(self, driver: AsyncDriver, **settings: int) -> AsyncSession:
        """Return a session; all share the driver's bookmarks, and so see each other's writes (B30).

        A session serves one task at a time, so every transaction has its own.
        """
        return driver.session(  # pyright: ignore[reportUnknownMemberType]
            database=self.database,
            bookmark_manager=driver.execute_query_bookmark_manager,
            **settings,
        )

    async def fetch(self, query: LiteralString, **parameters: Any) -> list[Row]:
        """Run one reading query in a transaction of its own (a round trip less than `read`)."""
        driver = await self._opened()
        with map_neo4j_errors():
            result = await driver.execute_query(
                query, parameters, routing_="r", database_=self.database
            )
            return list(result.records)

    async def read_records(
        self, query: LiteralString, build: Callable[[Row], T], **parameters: Any
    ) -> list[T]:
        """Run one reading query, and build a record of each of its rows.

        Reads take no locks: a node that is deleted while it is read may lack some of its
        properties. Read again, it is gone.

        Raises:
            GraphDBError: It still lacks them.
        """
        for _attempt in range(_READS):
            rows = await self.fetch(query, **parameters)
            records: list[T] = []
            try:
                for block in batched(rows):
                    records += [build(row) for row in block]
                    if len(records) < len(rows):
                        await asyncio.sleep(0)
            except (KeyError, TypeError, ValueError):
                continue
            return records
        raise GraphDBError(BACKEND, "a record lacks some of its properties")

    async def change(self, query: LiteralString, **parameters: Any) -> list[Row]:
        """Run one writing query in a transaction of its own."""
        driver = await self._opened()
        with map_neo4j_errors():
            result = await driver.execute_query(query, parameters, database_=self.database)
            return list(result.records)

    async def close(self) -> None:
        """Close the driver if it is ours; a second call does nothing."""
        self._is_closed = True
        driver, self._driver = self._driver, None
        if driver is not None and self._is_ours:
            with map_neo4j_errors():
                await driver.close()


async def _attempt(transaction: AsyncManagedTransaction, work: Work[T]) -> T:
    return await work(Transaction(transaction))


class Neo4jBase(BaseGraphDB):
    """What all parts of the adapter use."""

    _connection: Connection

    @property
    def database(self) -> str:
        """Name of the database."""
        return self._connection.database
