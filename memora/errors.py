"""Every error memora raises, as one tree.

```text
MemoraError
├── InvalidInputError (also a ValueError)
├── NotFoundError
│   ├── OrganizationNotFoundError, UserNotFoundError, AgentNotFoundError
│   ├── InteractionNotFoundError, MemoryNotFoundError, EntityNotFoundError
│   └── JobNotFoundError, ImportNotFoundError
├── ConflictError
├── ExtractionError
├── MemoryUpdateError, MemoryDeleteError
├── LLMError
│   └── LLM{Connection,Timeout,RateLimit,Auth,Response}Error
├── EmbeddingError
│   └── Embedding{Connection,Timeout,RateLimit,Auth,Response}Error
├── RerankError
│   └── Rerank{Connection,Timeout,RateLimit,Auth,Response}Error
├── GraphDBError ── GraphDBConnectionError
├── VectorDBError
│   └── VectorDBConnectionError, RebuildRunningError
├── EngineClosedError (also a RuntimeError)
├── StoreLockedError
├── SchemaVersionError
├── EncryptionKeyError
├── TransferError
├── MissingExtraError (also an ImportError)
└── RetryableError  (base of every error that may pass when the call is made again)
```

Errors build their text from typed fields and never carry message or memory text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class MemoraError(Exception):
    """Base of all errors that memora raises on purpose."""


class RetryableError(MemoraError):
    """The same call may succeed later; `retry_after` is in seconds when the peer named a time."""

    retry_after: float | None = None


class InvalidInputError(MemoraError, ValueError):
    """An argument is outside what the call allows; nothing was stored.

    Args:
        field: Name of the argument or field.
        allowed: What is allowed, in words.
        got: A short description of what came, never the content itself.
    """

    def __init__(self, field: str, allowed: str, *, got: str | None = None) -> None:
        self.field = field
        self.allowed = allowed
        self.got = got
        super().__init__(f"{field}: must be {allowed}" + (f", got {got}" if got else ""))


class NotFoundError(MemoraError):
    """Nothing with this id exists in the scope of the call (a foreign id answers the same)."""

    kind = "record"

    def __init__(self, record_id: str) -> None:
        self.record_id = record_id
        super().__init__(f"{self.kind} {record_id!r} does not exist in this scope")


class OrganizationNotFoundError(NotFoundError):
    """The organization does not exist."""

    kind = "organization"


class UserNotFoundError(NotFoundError):
    """The user does not exist in the organization."""

    kind = "user"


class AgentNotFoundError(NotFoundError):
    """The agent does not exist in the organization, or belongs to another user."""

    kind = "agent"


class InteractionNotFoundError(NotFoundError):
    """The interaction does not exist for the user."""

    kind = "interaction"


class MemoryNotFoundError(NotFoundError):
    """The memory does not exist for the user."""

    kind = "memory"


class EntityNotFoundError(NotFoundError):
    """No current memory of the user mentions the entity."""

    kind = "entity"


class JobNotFoundError(NotFoundError):
    """The job does not exist in the organization."""

    kind = "job"


class ImportNotFoundError(NotFoundError):
    """The import does not exist in the organization."""

    kind = "import"


class ConflictError(MemoraError):
    """Someone else changed the record first; nothing was written.

    Attributes:
        record_id: Id of the record.
        expected: Revision or value that the call was based on.
        actual: Revision or value found in the store.
        tail: The server's last messages as `{"role", "content", "msg_position"}`, newest last,
            where the record is an interaction; empty otherwise.
    """

    def __init__(
        self,
        record: str,
        record_id: str,
        *,
        expected: int | str | None = None,
        actual: int | str | None = None,
        tail: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.record = record
        self.record_id = record_id
        self.expected = expected
        self.actual = actual
        self.tail = list(tail)
        super().__init__(f"{record} {record_id!r} changed: expected {expected!r}, found {actual!r}")


class ExtractionError(MemoraError):
    """The transcript is stored, but its memories could not be extracted; the job can be resumed.

    Attributes:
        interaction_id: The stored interaction.
        job_id: The job that `resume_job` finishes.
        stage: The stage that failed (`extract` or `compare`).
    """

    def __init__(self, interaction_id: str, job_id: str, *, stage: str, reason: str) -> None:
        self.interaction_id = interaction_id
        self.job_id = job_id
        self.stage = stage
        self.reason = reason
        super().__init__(
            f"interaction {interaction_id!r} is stored, its memories are not: "
            f"{stage} failed ({reason}); job {job_id!r} can be resumed"
        )


class MemoryUpdateError(MemoraError):
    """A memory could not be changed in the way asked for.

    Args:
        memory_id: The memory.
        reason: Why, in words.
    """

    def __init__(self, memory_id: str, reason: str) -> None:
        self.memory_id = memory_id
        self.reason = reason
        super().__init__(f"memory {memory_id!r} cannot be updated: {reason}")


class MemoryDeleteError(MemoraError):
    """A memory could not be deleted.

    Args:
        memory_id: The memory.
        reason: Why, in words.
    """

    def __init__(self, memory_id: str, reason: str) -> None:
        self.memory_id = memory_id
        self.reason = reason
        super().__init__(f"memory {memory_id!r} cannot be deleted: {reason}")


class _ProviderError(MemoraError):
    """A model or embedding provider failed.

    Args:
        provider: Provider name, such as `openai`.
        reason: What happened, without the content sent or received.
        status: HTTP status, where there is one.
    """

    def __init__(self, provider: str, reason: str, *, status: int | None = None) -> None:
        self.provider = provider
        self.reason = reason
        self.status = status
        code = f" (HTTP {status})" if status is not None else ""
        super().__init__(f"{provider}: {reason}{code}")


class _TooManyCallsError(_ProviderError, RetryableError):
    """A provider asks for fewer calls."""

    def __init__(
        self,
        provider: str,
        reason: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(provider, reason, status=status)
        self.retry_after = retry_after


class LLMError(_ProviderError):
    """A language model call failed."""


class LLMConnectionError(LLMError, RetryableError):
    """The provider could not be reached, or answered with a server error."""


class LLMTimeoutError(LLMError, RetryableError):
    """The provider did not answer within the deadline."""


class LLMRateLimitError(_TooManyCallsError, LLMError):
    """The provider asks for fewer calls; `retry_after` holds the seconds it named."""


class LLMAuthError(LLMError):
    """The provider refused the key or the permission."""


class LLMResponseError(LLMError):
    """The answer is unusable: refused, cut off, filtered, or not of the requested schema.

    Attributes:
        kind: One of `refusal`, `truncated`, `filtered`, `empty`, `schema`, `too_long` (the prompt
            exceeds the model's window) and `request`.
    """

    def __init__(self, provider: str, reason: str, *, kind: str, status: int | None = None) -> None:
        super().__init__(provider, reason, status=status)
        self.kind = kind


class EmbeddingError(_ProviderError):
    """Texts could not be embedded."""


class EmbeddingConnectionError(EmbeddingError, RetryableError):
    """The embeddings endpoint could not be reached, or answered with a server error."""


class EmbeddingTimeoutError(EmbeddingError, RetryableError):
    """The embeddings endpoint did not answer within the deadline."""


class EmbeddingRateLimitError(_TooManyCallsError, EmbeddingError):
    """The embeddings endpoint asks for fewer calls; `retry_after` holds the seconds it named."""


class EmbeddingAuthError(EmbeddingError):
    """The embeddings endpoint refused the key or the permission."""


class EmbeddingResponseError(EmbeddingError):
    """The embeddings answer is unusable: wrong count, wrong dimension, or not numbers."""


class RerankError(_ProviderError):
    """Found memories could not be reranked."""


class RerankConnectionError(RerankError, RetryableError):
    """The rerank endpoint could not be reached, or answered with a server error."""


class RerankTimeoutError(RerankError, RetryableError):
    """The rerank endpoint did not answer within the deadline."""


class RerankRateLimitError(_TooManyCallsError, RerankError):
    """The rerank endpoint asks for fewer calls; `retry_after` holds the seconds it named."""


class RerankAuthError(RerankError):
    """The rerank endpoint refused the key or the permission."""


class RerankResponseError(RerankError):
    """The answer is unusable: not one finite score for each text."""


class GraphDBError(MemoraError):
    """The graph store failed.

    Args:
        backend: `sqlite` or `neo4j`.
        reason: What happened, without stored text.
    """

    def __init__(self, backend: str, reason: str) -> None:
        self.backend = backend
        self.reason = reason
        super().__init__(f"{backend}: {reason}")


class GraphDBConnectionError(GraphDBError, RetryableError):
    """The graph store could not be reached, or is busy."""


class VectorDBError(MemoraError):
    """The vector store failed.

    Args:
        backend: `embedded` or `qdrant`.
        reason: What happened, without stored text.
    """

    def __init__(self, backend: str, reason: str) -> None:
        self.backend = backend
        self.reason = reason
        super().__init__(f"{backend}: {reason}")


class VectorDBConnectionError(VectorDBError, RetryableError):
    """The vector store could not be reached, or is busy."""


class RebuildRunningError(VectorDBError, RetryableError):
    """Somebody is rebuilding this vector store at the moment; two at once would waste one."""

    def __init__(self, backend: str) -> None:
        super().__init__(backend, "another reindex of this store is running")


class EngineClosedError(MemoraError, RuntimeError):
    """The engine of `memora.sync` is closed; a store that is not open says so itself."""

    def __init__(self) -> None:
        super().__init__("the engine is closed; make a new one")


class StoreLockedError(MemoraError):
    """Another process owns the embedded store.

    Attributes:
        path: Directory of the store.
        pid: Process id of the owner, where it could be read.
    """

    def __init__(self, path: str, pid: int | None) -> None:
        self.path = path
        self.pid = pid
        owner = f"process {pid}" if pid is not None else "another process"
        super().__init__(f"{path}: the store is in use by {owner}; close it there first")


class SchemaVersionError(MemoraError):
    """The store was written by a version of memora that this one cannot read.

    Attributes:
        store: Which store.
        found: What was found.
        supported: What this version reads.
        remedy: The command that makes the store readable, where there is one.
    """

    def __init__(
        self, store: str, *, found: str, supported: str, remedy: str | None = None
    ) -> None:
        self.store = store
        self.found = found
        self.supported = supported
        self.remedy = remedy
        way = "" if remedy is None else f"; {remedy}"
        super().__init__(f"{store}: found {found}, this memora reads {supported}{way}")


class TransferError(MemoraError):
    """A file of an export or backup could not be written or read, or is not as it was written.

    Attributes:
        path: The file or directory.
        reason: What happened, without stored text.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class EncryptionKeyError(MemoraError):
    """The store and the encryption key do not belong together; nothing was read or written.

    Attributes:
        store: Which store.
        reason: What does not fit, in words.
    """

    def __init__(self, store: str, reason: str) -> None:
        self.store = store
        self.reason = reason
        super().__init__(f"{store}: {reason}")


class MissingExtraError(MemoraError, ImportError):
    """An optional dependency is not installed.

    Attributes:
        package: The package that could not be imported.
        extra: The extra of `memora-core` that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{package} is not installed: pip install 'memora-core[{extra}]'")
