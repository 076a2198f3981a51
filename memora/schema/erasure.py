"""The receipt of an erasure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from memora.schema.write_plan import DeleteCounts


@dataclass(frozen=True, slots=True)
class GraphErasure:
    """What an erasure did in the graph store.

    Attributes:
        erased: Records that this call deleted. After an interrupted call: the rest.
        left: Records that a search found afterwards, outbox entries included.
        scrubbed: Whether the store's own files were cleaned of deleted records too.
    """

    erased: DeleteCounts
    left: DeleteCounts
    scrubbed: bool


@dataclass(frozen=True, slots=True)
class VectorErasure:
    """What an erasure did in the vector store.

    Attributes:
        reachable: Whether it could be asked; if not, the drop waits in the outbox.
        erased: Vectors that are gone; None when that could not be counted.
        left: Vectors that a search found afterwards; None when it could not be asked.
    """

    reachable: bool
    erased: int | None
    left: int | None


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was erased, and what a search in both stores found afterwards.

    It names nobody: who knows the ids can check with `concerns` whom it is about.

    Attributes:
        subject: `user` or `organization`.
        subject_hash: Hash of the ids with the salt.
        salt: Random text of this receipt.
        started_at, finished_at: Store times.
        complete: Whether nothing is left.
        reason: What is left to do, in words, when it is not complete.
    """

    subject: str
    subject_hash: str
    salt: str
    started_at: datetime
    finished_at: datetime
    graph: GraphErasure
    vectors: VectorErasure
    complete: bool
    reason: str | None

    def concerns(self, org_id: str, user_id: str | None = None) -> bool:
        """Tell whether it is about this user, or, without one, about this organization."""
        return self.subject_hash == subject_hash_of(self.salt, org_id, user_id)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, to be kept."""
        times = {name: getattr(self, name).isoformat() for name in ("started_at", "finished_at")}
        return asdict(self) | times


def subject_hash_of(salt: str, org_id: str, user_id: str | None) -> str:
    """Return the hash that stands for the ids in a receipt with this salt."""
    texts = (salt, org_id) if user_id is None else (salt, org_id, user_id)
    digest = blake2b(digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
