"""Imports that were made, and taking one back."""

from __future__ import annotations

from memora.agent import imports
from memora.agent.verbs.base import Verbs
from memora.schema.imports import ImportRun, ImportUndo
from memora.schema.scope import Scope
from memora.schema.validation import checked_bool, checked_id, checked_page


class ImportVerbs(Verbs):
    """Imports as records."""

    async def list_imports(
        self,
        org_id: str,
        user_id: str | None = None,
        *,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[ImportRun]:
        """Return imports with their counts, the one that began last first.

        Args:
            org_id: The organization.
            user_id: Only imports for this user.
            skip: Leave out the first ones.
            limit: At most that many, 1 to 1000.

        Raises:
            InvalidInputError: An argument is malformed.
            OrganizationNotFoundError, UserNotFoundError: They are not there.
        """
        skip, limit = checked_page(skip, limit)
        await self._check_owner(org_id, user_id, None)
        return await self._ports.graph.list_imports(org_id, user_id=user_id, skip=skip, limit=limit)

    async def undo_import(
        self, org_id: str, import_id: str, *, dry_run: bool = False
    ) -> ImportUndo:
        """Take back all that an import wrote, as if it had never been made.

        Its conversations go, with messages, memories, vectors, jobs and idempotency keys; what
        they had superseded is current again; a conversation that it only updated is as before. What
        others state or continued since stays with them. There is no tombstone: the same
        conversations can be imported again, under another id. The import itself stays listed, as
        `undone`. A repetition finishes what was interrupted; one that is done changes nothing.

        Args:
            org_id: The organization.
            import_id: The import.
            dry_run: Tell what would be done, and write nothing.

        Raises:
            InvalidInputError: An argument is malformed.
            ImportNotFoundError: There is no such import in the organization.
            ConflictError: It is running in this engine.
        """
        done = await imports.undo(
            self._ports,
            org_id,
            checked_id(import_id, "import_id"),
            self._importing,
            dry_run=checked_bool(dry_run, "dry_run"),
        )
        if not done.dry_run:
            self._transcripts.forget(Scope(done.org_id, done.user_id))
        return done
