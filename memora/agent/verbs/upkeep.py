"""What an operator does: jobs, checks, repair, erasure, copies, keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from memora.agent import (
    jobs,
    reindex,
)
from memora.graph_db.base import RekeyProgress
from memora.graph_db.outbox import DrainReport
from memora.ops import backup as backing_up
from memora.ops import doctor as doctoring
from memora.ops import erase as erasing
from memora.ops import export as exporting
from memora.ops import importing
from memora.ops import reconcile as reconciling
from memora.ops import reindex as reindexing
from memora.schema.erasure import ErasureReceipt
from memora.schema.jobs import ExtractionJob, JobStatus
from memora.schema.scope import (
    OrganizationScope,
    Scope,
    SearchScope,
)
from memora.schema.validation import (
    checked_bool,
    checked_id,
    checked_list,
    checked_optional_id,
    checked_page,
)

if TYPE_CHECKING:
    from memora.embeddings.base import BaseEmbedder


from memora.agent.verbs.base import Verbs


class UpkeepVerbs(Verbs):
    """Care of the stores."""

    async def list_jobs(
        self,
        org_id: str,
        *,
        user_id: str | None = None,
        statuses: Sequence[JobStatus | str] = (
            JobStatus.PENDING,
            JobStatus.RUNNING,
            JobStatus.FAILED,
        ),
        skip: int = 0,
        limit: int = 1000,
    ) -> list[ExtractionJob]:
        """Return extraction jobs, oldest first; by default those that are not done.

        Raises:
            OrganizationNotFoundError: There is no such organization.
            InvalidInputError: A status is unknown.
        """
        skip, limit = checked_page(skip, limit)
        await self._ports.graph.get_organization(org_id)
        return await self._ports.graph.list_jobs(
            org_id,
            user_id=checked_optional_id(user_id, "user_id"),
            statuses=[
                jobs.status(s) for s in checked_list(statuses, "statuses", "a list of states")
            ],
            skip=skip,
            limit=limit,
        )

    async def resume_job(self, org_id: str, job_id: str) -> bool:
        """Finish an extraction that failed; stages that were paid for are not paid again.

        Returns:
            False when there was nothing to do: it is done, or somebody else is at it.

        Raises:
            JobNotFoundError: There is no such job in the organization.
            ExtractionError: It failed again.
        """
        resumed = await jobs.resume(self._ports, org_id, checked_id(job_id, "job_id"))
        await self._ports.graph.drain_outbox()
        return resumed is not None

    async def drain_outbox(self) -> DrainReport:
        """Bring the vector store up to date with the graph; a failing one is reported.

        Counts of usage that wait are written too.
        """
        await self._usage.flush()
        await reindexing.verify(self._ports.graph, self._ports.vector)
        return await self._ports.graph.drain_outbox()

    async def erase_user(self, org_id: str, user_id: str) -> ErasureReceipt:
        """Erase a user with everything that belongs to it, and look whether anything is left.

        Repeating the call finishes an erasure that was interrupted, or that had to leave the
        vectors for later; of a user that is gone already it counts nothing.

        Raises:
            GraphDBError: The graph store failed; repeat the call.
        """
        return await self._erase(Scope(org_id, user_id))

    async def erase_organization(self, org_id: str) -> ErasureReceipt:
        """Erase an organization with all its users and agents; see `erase_user`."""
        return await self._erase(OrganizationScope(org_id))

    async def _erase(self, scope: SearchScope) -> ErasureReceipt:
        self._creations.forbid(scope)
        receipt = await erasing.erase(self._ports.graph, self._ports.vector, scope)
        self._transcripts.forget(scope)
        await self._usage.forget(scope)
        return receipt

    async def doctor(self) -> doctoring.Diagnosis:
        """Check the invariants of both stores, read-only; also of a store that `setup` refuses."""
        return await doctoring.diagnose(self._ports.graph, self._ports.vector)

    async def reconcile(
        self, *, apply: bool = False, on_progress: reconciling.Progress | None = None
    ) -> reconciling.Reconciliation:
        """Say what would repair the findings of `doctor`, or repair them; see `ops.reconcile`.

        Args:
            apply: Repair, deleting nothing that cannot be made again; else nothing is changed.
            on_progress: Called with the numbers of repairs tried and known so far.
        """
        apply = checked_bool(apply, "apply")
        ports = self._ports
        return await reconciling.reconcile(
            ports.graph, ports.vector, apply=apply, on_progress=on_progress
        )

    async def reindex(
        self,
        on_progress: reindexing.Progress | None = None,
        *,
        embedder: BaseEmbedder | str | None = None,
    ) -> int:
        """Make all vectors again from the graph, also by another model; no language model is asked.

        Recalls are answered by the old vectors until all new ones are there; whatever ends this
        early leaves them in use. For a store of another embedder, set up the graph alone before.

        Args:
            on_progress: Called with the number of memories done so far.
            embedder: The new model, or its name; None: the engine's own.

        Returns:
            How many memories were indexed.

        Raises:
            RebuildRunningError: Another reindex of this store is running.
            EmbeddingError: The model failed.
            VectorDBError: The vector store failed.
        """
        return await reindex.reindex(self._ports, on_progress, embedder, self._embedder_named)

    async def export_to(
        self,
        path: str | Path,
        *,
        org_id: str | None = None,
        on_progress: exporting.Progress | None = None,
    ) -> exporting.ExportReport:
        """Write everything but the vectors into one file, which any pair of stores can import.

        Args:
            path: The file; one that is there is replaced, when the new one is complete.
            org_id: Only this organization.
            on_progress: Called with the number of records written so far.

        Raises:
            OrganizationNotFoundError: There is no such organization.
            TransferError: The file cannot be written; nothing of it is left.
        """
        return await exporting.export_to(self._ports.graph, path, org_id, on_progress)

    async def import_from(
        self, path: str | Path, *, on_progress: exporting.Progress | None = None
    ) -> importing.ImportReport:
        """Read the file of an export into this store, and make the vectors.

        All of it is checked before anything is written. An import that was interrupted is
        finished by the same call; one that is complete changes nothing.

        Args:
            path: The file.
            on_progress: Called with the number of records written so far.

        Raises:
            InvalidInputError: A line is malformed, not in its place, or contradicts itself.
            SchemaVersionError: The file is of a newer memora.
            ConflictError: An organization of the file exists and did not come from it.
            TransferError: The file cannot be read.
        """
        return await importing.import_from(self._ports.graph, path, on_progress)

    async def backup(self, directory: str | Path) -> backing_up.BackupReport:
        """Copy the stores into a directory, while they go on being used.

        Args:
            directory: A new or empty one; it has its name only when it is complete.

        Raises:
            TransferError: It is not empty, or cannot be written; nothing is left.
        """
        return await backing_up.backup(self._ports.graph, directory)

    async def restore(self, directory: str | Path) -> backing_up.RestoreReport:
        """Fill this store, which must be empty, from a backup, and check it.

        Args:
            directory: The backup.

        Raises:
            TransferError: The backup is damaged, or of another kind of store.
            ConflictError: The store is not empty.
            SchemaVersionError: The backup is newer than this memora.
        """
        return await backing_up.restore(self._ports.graph, self._ports.vector, directory)

    async def rotate_key(
        self,
        new_key: str | SecretStr | None,
        *,
        reencrypt: bool = False,
        on_progress: RekeyProgress | None = None,
    ) -> int:
        """Change the key of the embedded store, encrypt a plain one, or decrypt it for good.

        Another key takes effect at once and for all rows, in one transaction: it only wraps the
        store's own key. Encrypting a plain store, its decryption and `reencrypt` go through all
        rows while reading and writing go on; when that was interrupted, the same call goes on with
        it. Old backups keep the old key.

        Args:
            new_key: Opens the store from now on; None: it is plain again.
            reencrypt: Renew the store's own key too, for when the old one may be known together
                with a copy of the store.
            on_progress: Called with the number of rows done so far.

        Returns:
            How many rows were gone through; 0 when only the key changed.

        Raises:
            InvalidInputError: The key is malformed, or the graph is on a server.
            GraphDBError: A value cannot be decrypted; the old key stays valid.
        """
        return await self._ports.graph.rotate_key(
            new_key,
            reencrypt=checked_bool(reencrypt, "reencrypt"),
            on_progress=on_progress,
        )
