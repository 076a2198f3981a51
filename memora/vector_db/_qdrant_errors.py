"""The one place that turns errors of qdrant-client, and of what it stands on, into memora's."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

from memora.errors import VectorDBConnectionError, VectorDBError

_BUSY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_BUSY_CODES = frozenset(
    {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "CANCELLED"}
)


@contextmanager
def translated() -> Generator[None]:
    """Raise what a call of the client raises as memora's error."""
    try:
        yield
    except foreign_errors() as error:
        # Not chained: a server's answer may quote what it was sent.
        raise memora_error(error) from None


@cache
def foreign_errors() -> tuple[type[Exception], ...]:
    """Return what a call may raise; local mode also raises plain errors and SQLite's."""
    import grpc  # noqa: PLC0415 - when used
    import httpx  # noqa: PLC0415 - as above
    from qdrant_client.common.client_exceptions import QdrantException  # noqa: PLC0415 - as above
    from qdrant_client.http.exceptions import ApiException  # noqa: PLC0415 - as above

    return (
        ApiException,
        QdrantException,
        httpx.HTTPError,
        httpx.InvalidURL,
        httpx.CookieConflict,
        grpc.RpcError,
        grpc.FutureTimeoutError,
        grpc.FutureCancelledError,
        grpc.aio.BaseError,
        sqlite3.Error,
        ValueError,
        RuntimeError,
        OSError,
    )


def memora_error(error: Exception) -> VectorDBError:
    """Return memora's error; its text names the kind of failure and quotes nothing."""
    import grpc  # noqa: PLC0415 - when used
    import httpx  # noqa: PLC0415 - as above
    from qdrant_client.common.client_exceptions import (  # noqa: PLC0415 - as above
        ResourceExhaustedResponse,
    )
    from qdrant_client.http.exceptions import (  # noqa: PLC0415 - as above
        ResponseHandlingException,
        UnexpectedResponse,
    )

    if isinstance(error, ResponseHandlingException):
        error = getattr(error, "source", error)
    if isinstance(error, UnexpectedResponse):
        status = getattr(error, "status_code", None)
        kind = VectorDBConnectionError if status in _BUSY_STATUSES else VectorDBError
        return kind("qdrant", f"HTTP {status} {getattr(error, 'reason_phrase', '')}".rstrip())
    if isinstance(error, ResourceExhaustedResponse):
        busy = VectorDBConnectionError("qdrant", "the server asks for fewer requests")
        busy.retry_after = getattr(error, "retry_after_s", None)
        return busy
    if isinstance(error, grpc.aio.AioRpcError):
        code = error.code().name
        kind = VectorDBConnectionError if code in _BUSY_CODES else VectorDBError
        return kind("qdrant", f"gRPC {code}")
    outages = (httpx.TransportError, grpc.RpcError, OSError, sqlite3.OperationalError)
    kind = VectorDBConnectionError if isinstance(error, outages) else VectorDBError
    return kind("qdrant", type(error).__name__)
