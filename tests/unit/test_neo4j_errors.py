"""Every error of the driver becomes one of memora's, and none quotes what is stored."""

from __future__ import annotations

import inspect
import traceback

import neo4j.exceptions
import pytest
from neo4j.exceptions import DriverError, Neo4jError

from memora.errors import ConflictError, GraphDBConnectionError, GraphDBError, RetryableError
from memora.graph_db.neo4j import Neo4jGraphInterface
from memora.graph_db.neo4j._base import map_neo4j_errors, translated

PASSING = {
    "ConnectionAcquisitionTimeoutError",
    "ConnectionPoolError",
    "DatabaseUnavailable",
    "ForbiddenOnReadOnlyDatabase",
    "IncompleteCommit",
    "NotALeader",
    "ReadServiceUnavailable",
    "RoutingServiceUnavailable",
    "ServiceUnavailable",
    "SessionExpired",
    "TransientError",
    "WriteServiceUnavailable",
}
FINAL = {
    "AuthConfigurationError",
    "AuthError",
    "BrokenRecordError",
    "CertificateConfigurationError",
    "ClientError",
    "ConfigurationError",
    "CypherSyntaxError",
    "CypherTypeError",
    "DatabaseError",
    "DriverError",
    "Forbidden",
    "Neo4jError",
    "ResultConsumedError",
    "ResultError",
    "ResultFailedError",
    "ResultNotSingleError",
    "SessionError",
    "TokenExpired",
    "TransactionError",
    "TransactionNestingError",
    "UnsupportedServerProduct",
}
# Bases and additions that are never raised by themselves, or are no errors of a call.
BASES = {"GqlError", "GqlErrorClassification"}

SECRET = "what Jake said"


def error_classes() -> dict[str, type[Exception]]:
    return {
        name: value
        for name, value in vars(neo4j.exceptions).items()
        if inspect.isclass(value) and issubclass(value, Exception) and not name.startswith("_")
    }


def make(cls: type[Exception]) -> Exception:
    error = cls.__new__(cls)
    if isinstance(error, Neo4jError):
        Neo4jError.__init__(error, SECRET)
    else:
        Exception.__init__(error, "host.example:7687")
    return error


def from_server(code: str, message: str = SECRET) -> Neo4jError:
    return Neo4jError._basic_hydrate(neo4j_code=code, message=message)


def test_the_tables_name_every_error_of_the_driver() -> None:
    assert set(error_classes()) - BASES <= PASSING | FINAL | {"ConstraintError"}


@pytest.mark.parametrize("name", sorted(PASSING & error_classes().keys()))
def test_what_may_pass_is_retryable(name: str) -> None:
    error = translated(make(error_classes()[name]))
    assert isinstance(error, GraphDBConnectionError)
    assert isinstance(error, RetryableError)


@pytest.mark.parametrize("name", sorted(FINAL & error_classes().keys()))
def test_what_stays_is_not_retryable(name: str) -> None:
    error = translated(make(error_classes()[name]))
    assert type(error) is GraphDBError
    assert error.backend == "neo4j"


@pytest.mark.parametrize(
    "code",
    [
        "Neo.TransientError.Transaction.DeadlockDetected",
        "Neo.TransientError.General.MemoryPoolOutOfMemoryError",
        "Neo.TransientError.Transaction.Terminated",
        "Neo.TransientError.Transaction.LockClientStopped",
        "Neo.ClientError.Transaction.TransactionTimedOut",
        "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration",
        "Neo.ClientError.Statement.EntityNotFound",
        "Neo.ClientError.Cluster.NotALeader",
    ],
)
def test_codes_of_busy_servers_are_retryable(code: str) -> None:
    assert isinstance(translated(from_server(code)), GraphDBConnectionError)


@pytest.mark.parametrize(
    "code",
    [
        "Neo.ClientError.Security.Unauthorized",
        "Neo.ClientError.Database.DatabaseNotFound",
        "Neo.ClientError.Statement.SyntaxError",
        "Neo.DatabaseError.General.UnknownError",
    ],
)
def test_codes_that_stay_are_named(code: str) -> None:
    error = translated(from_server(code))
    assert type(error) is GraphDBError
    assert code in str(error)


@pytest.mark.parametrize(
    ("label", "record"),
    [
        ("Memory", "memory"),
        ("Interaction", "interaction"),
        ("IdempotencyKey", "idempotency_key"),
        ("Job", "job"),
    ],
)
def test_b31_a_violated_constraint_is_a_conflict(label: str, record: str) -> None:
    message = f"Node(7) already exists with label `{label}` and properties `text` = '{SECRET}'"
    error = translated(from_server("Neo.ClientError.Schema.ConstraintValidationFailed", message))
    assert isinstance(error, ConflictError)
    assert error.record == record
    assert SECRET not in str(error)


def test_b86_the_servers_message_is_not_shown() -> None:
    with pytest.raises(GraphDBError) as caught, map_neo4j_errors():
        raise from_server("Neo.ClientError.Statement.TypeError")
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown


def test_a_lone_surrogate_is_a_typed_error() -> None:
    with pytest.raises(GraphDBError), map_neo4j_errors():
        "\ud83d".encode()


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(KeyError), map_neo4j_errors():
        raise KeyError("mine")


async def test_a_malformed_address_is_a_typed_error() -> None:
    graph = Neo4jGraphInterface("nonsense://host", "neo4j", "pass-word", "neo4j")
    with pytest.raises(GraphDBError, match="nonsense") as caught:
        await graph.setup()
    assert not isinstance(caught.value, RetryableError)
    assert "pass-word" not in str(caught.value)


async def test_a_server_that_is_not_there_is_retryable() -> None:
    graph = Neo4jGraphInterface("bolt://127.0.0.1:1", "neo4j", "pass-word", "neo4j")
    with pytest.raises(GraphDBConnectionError) as caught:
        await graph.setup()
    assert "pass-word" not in str(caught.value)
    await graph.close()


def test_driver_errors_are_known() -> None:
    assert issubclass(error_classes()["ServiceUnavailable"], DriverError)
