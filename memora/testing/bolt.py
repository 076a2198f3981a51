"""Statement-level stand-ins for a Neo4j driver, to test what transaction functions do.

`ScriptedBolt` is a protocol fake for tests without a server: it records statements and answers
by script. It is no Neo4j, and no contract is claimed on it. `BoltProxy` goes in front of a live
driver and makes happen there what happens rarely: functions that run twice, statements that fail,
commits whose answer is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

Function = Callable[..., Awaitable[Any]]
Answers = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Statement:
    """One query that was sent, with its parameters."""

    query: str
    parameters: Mapping[str, Any]

    def owners(self) -> set[tuple[str, Any]]:
        """Return every value that the parameters give for `org_id` and `user_id`, at any depth."""
        return set(_owners(self.parameters))


def _owners(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, Any]", value).items():
            if key in {"org_id", "user_id"}:
                yield key, inner
            yield from _owners(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _owners(inner)


@dataclass
class Run:
    """One run of a transaction function.

    Attributes:
        mode: `r` or `w`.
        statements: What it sent, in order.
    """

    mode: str
    statements: list[Statement] = field(default_factory=list[Statement])


class _Records:
    """A result that is iterated over, as the driver's is."""

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        self.records = list(records)

    async def __aiter__(self) -> Any:
        for record in self.records:
            yield record


class _ScriptedTransaction:
    def __init__(self, bolt: ScriptedBolt, run: Run) -> None:
        self._bolt = bolt
        self._run = run

    async def run(self, query: str, parameters: Mapping[str, Any]) -> _Records:
        self._run.statements.append(Statement(query, dict(parameters)))
        if self._bolt.error is not None and len(self._run.statements) == self._bolt.abort_at:
            raise self._bolt.error
        return _Records(self._bolt.answers.get(query, ()))


class _ScriptedSession:
    def __init__(self, bolt: ScriptedBolt) -> None:
        self._bolt = bolt

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        return None

    async def execute_read(self, function: Function, *arguments: Any) -> Any:
        return await self._bolt.execute("r", function, arguments)

    async def execute_write(self, function: Function, *arguments: Any) -> Any:
        return await self._bolt.execute("w", function, arguments)


class ScriptedBolt:
    """Takes the place of a driver: records what is sent and answers by script.

    Args:
        answers: Rows by query text; a query that is not named answers nothing.
        times: How often each transaction function runs; the last run counts.
        abort_at: Number of the statement, from 1, at which each run fails with `error`.
        error: What it fails with.

    Attributes:
        runs: Every run of every transaction function.
        sessions: What each session was opened with.
    """

    def __init__(
        self,
        answers: Answers | None = None,
        *,
        times: int = 1,
        abort_at: int | None = None,
        error: Exception | None = None,
    ) -> None:
        self.answers: Answers = answers or {}
        self.times = times
        self.abort_at = abort_at
        self.error = error
        self.runs: list[Run] = []
        self.sessions: list[dict[str, Any]] = []
        self.closed = 0
        self.execute_query_bookmark_manager = object()

    @property
    def statements(self) -> list[Statement]:
        """Everything that was sent."""
        return [statement for run in self.runs for statement in run.statements]

    def session(self, **config: Any) -> _ScriptedSession:
        """Open a session."""
        self.sessions.append(config)
        return _ScriptedSession(self)

    async def execute_query(
        self, query: str, parameters: Mapping[str, Any], *, routing_: str = "w", **_config: Any
    ) -> _Records:
        """Run one query in a transaction of its own."""

        async def function(transaction: _ScriptedTransaction) -> _Records:
            return await transaction.run(query, parameters)

        return await self.execute(routing_, function, ())

    async def execute(self, mode: str, function: Function, arguments: Sequence[Any]) -> Any:
        """Run a transaction function as often as asked, each time from the start."""
        result: Any = None
        for _time in range(self.times):
            run = Run(mode)
            self.runs.append(run)
            result = await function(_ScriptedTransaction(self, run), *arguments)
        return result

    async def verify_connectivity(self) -> None:
        """Do nothing: a script is always there."""

    async def close(self) -> None:
        """Count the call."""
        self.closed += 1


class _ProxyTransaction:
    def __init__(self, proxy: BoltProxy, transaction: Any) -> None:
        self._proxy = proxy
        self._transaction = transaction

    async def run(self, query: str, parameters: Mapping[str, Any]) -> Any:
        self._proxy.statements.append(Statement(query, dict(parameters)))
        result = await self._transaction.run(query, parameters)
        if len(self._proxy.statements) == self._proxy.abort_at:
            raise self._proxy.error
        return result


class _ProxySession:
    def __init__(self, proxy: BoltProxy, session: Any) -> None:
        self._proxy = proxy
        self._session = session

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.__aexit__(*exc)

    async def execute_read(self, function: Function, *arguments: Any) -> Any:
        return await self._session.execute_read(function, *arguments)

    async def execute_write(self, function: Function, *arguments: Any) -> Any:
        async def watched(transaction: Any) -> Any:
            return await function(_ProxyTransaction(self._proxy, transaction), *arguments)

        rolled_back = await self._rehearse(watched) if self._proxy.repeats else None
        result = await self._session.execute_write(watched)
        if rolled_back is not None and rolled_back != [result]:
            self._proxy.differences.append((rolled_back, result))
        if self._proxy.loses_commits:
            raise self._proxy.error
        return result

    async def _rehearse(self, function: Function) -> list[Any] | None:
        """Run the function and roll it back; return its result in a list, None if it failed."""
        transaction = await self._session.begin_transaction()
        try:
            return [await function(transaction)]
        except Exception:  # noqa: BLE001 - the real run shows the failure again
            return None
        finally:
            await transaction.close()


class BoltProxy:
    """Goes in front of a live driver.

    Args:
        driver: The live driver.
        repeats: Run every writing function twice; the first run is rolled back.
        abort_at: Number of the writing statement, from 1, after which its transaction fails.
        loses_commits: Fail after each commit of a writing function.
        error: What it fails with.

    Attributes:
        differences: Results of a first run that are not those of the second.
        statements: What was sent in writing transactions.
    """

    def __init__(
        self,
        driver: Any,
        *,
        repeats: bool = False,
        abort_at: int | None = None,
        loses_commits: bool = False,
        error: Exception | None = None,
    ) -> None:
        self._driver = driver
        self.repeats = repeats
        self.abort_at = abort_at
        self.loses_commits = loses_commits
        self.error: Exception = error or ConnectionError("broken on purpose")
        self.differences: list[tuple[Any, Any]] = []
        self.statements: list[Statement] = []

    @property
    def execute_query_bookmark_manager(self) -> Any:
        """The live driver's."""
        return self._driver.execute_query_bookmark_manager

    def session(self, **config: Any) -> _ProxySession:
        """Open a session."""
        return _ProxySession(self, self._driver.session(**config))

    async def execute_query(self, query: str, parameters: Mapping[str, Any], **config: Any) -> Any:
        """Run one query in a transaction of its own; a writing one is rehearsed if asked for."""
        writes = config.get("routing_", "w") == "w"
        if writes:
            self.statements.append(Statement(query, dict(parameters)))
        aborts = writes and len(self.statements) == self.abort_at
        if writes and (self.repeats or aborts):
            async with self._driver.session(database=config["database_"]) as session:
                transaction = await session.begin_transaction()
                await transaction.run(query, parameters)
                await transaction.rollback()
        if aborts:
            raise self.error
        return await self._driver.execute_query(query, parameters, **config)

    async def verify_connectivity(self) -> None:
        """Ask the live driver."""
        await self._driver.verify_connectivity()

    async def close(self) -> None:
        """Close the live driver."""
        await self._driver.close()
