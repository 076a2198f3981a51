"""Single memories: their versions, their end, where they came from."""

from __future__ import annotations

from datetime import datetime

from memora.agent import (
    direct,
    sources,
)
from memora.agent.inputs import optional_name
from memora.agent.verbs.base import Verbs
from memora.schema.direct import DeleteReceipt
from memora.schema.models import Memory
from memora.schema.scope import (
    Scope,
)
from memora.schema.sources import RollbackReceipt, SourceSelector
from memora.schema.times import checked_time
from memora.schema.validation import (
    checked_bool,
    checked_id,
    checked_page,
    checked_text,
)


class MemoryVerbs(Verbs):
    """Changes of single memories by hand, and of all from one source."""

    async def update_memory(
        self,
        org_id: str,
        user_id: str,
        memory_id: str,
        content: str,
        *,
        author: str | None = None,
    ) -> Memory:
        """Give a statement a new text: a new version, the old one becomes history.

        Args:
            org_id: The organization.
            user_id: The user.
            memory_id: Any version of the statement.
            content: The new text.
            author: Who makes this version.

        Returns:
            The version that is current now.

        Raises:
            InvalidInputError: An argument is malformed.
            MemoryNotFoundError: The user has no such memory.
            MemoryUpdateError: The statement was retracted or its head deleted.
            ConflictError: Others kept changing it.
        """
        return await direct.update_memory(
            self._ports,
            Scope(org_id, user_id),
            checked_id(memory_id, "memory_id"),
            checked_text(content, "content"),
            optional_name(author, "author"),
        )

    async def revert_memory(
        self, org_id: str, user_id: str, memory_id: str, *, author: str | None = None
    ) -> Memory:
        """Make the text of one version of a statement current again, as a new version.

        Raises:
            InvalidInputError: An argument is malformed.
            MemoryNotFoundError: The user has no such memory.
            ConflictError: Others kept changing it.
        """
        return await direct.revert_memory(
            self._ports,
            Scope(org_id, user_id),
            checked_id(memory_id, "memory_id"),
            optional_name(author, "author"),
        )

    async def retract_memory(
        self, org_id: str, user_id: str, memory_id: str, *, at: datetime | None = None
    ) -> Memory:
        """End a statement that no longer holds; its history stays. Again changes nothing.

        Args:
            org_id: The organization.
            user_id: The user.
            memory_id: Any version of the statement.
            at: Conversation time from which it no longer holds; None: now.

        Returns:
            The newest version, which has ended.

        Raises:
            InvalidInputError: An argument is malformed.
            MemoryNotFoundError: The user has no such memory.
            ConflictError: Others kept changing it.
        """
        when = None if at is None else checked_time(at, "at")
        return await direct.retract_memory(
            self._ports, Scope(org_id, user_id), checked_id(memory_id, "memory_id"), when
        )

    async def delete_memory(self, org_id: str, user_id: str, memory_id: str) -> DeleteReceipt:
        """Purge one version: text and vectors are gone. Deleting twice is harmless."""
        return await direct.delete_memory(
            self._ports, Scope(org_id, user_id), checked_id(memory_id, "memory_id")
        )

    async def memory_history(self, org_id: str, user_id: str, memory_id: str) -> list[Memory]:
        """Return all versions of a statement, newest first, from any one of them.

        Raises:
            MemoryNotFoundError: The user has no such memory.
        """
        return await self._ports.graph.get_user_memory_history(org_id, user_id, memory_id)

    async def memories_by_source(
        self,
        org_id: str,
        user_id: str,
        *,
        interaction_id: str | None = None,
        agent_id: str | None = None,
        import_id: str | None = None,
        process_id: str | None = None,
        current_only: bool = False,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[Memory]:
        """Return the memories that come from one source, newest first; give exactly one source.

        A memory comes from a source in which it was obtained, or of which it has a source message.
        A version made by hand comes from its author. An unknown source has no memories.

        Args:
            org_id: The organization.
            user_id: The user.
            interaction_id: An interaction (or its external id).
            agent_id: All conversations of an agent.
            import_id: All that an import brought in.
            process_id: All that a process brought in.
            current_only: Without the versions that are history.
            skip: Leave out the first ones.
            limit: At most that many, 1 to 1000.

        Raises:
            InvalidInputError: An argument is malformed, or not exactly one source is given.
            UserNotFoundError: There is no such user.
        """
        selector = SourceSelector.of(
            interaction_id=interaction_id,
            agent_id=agent_id,
            import_id=import_id,
            process_id=process_id,
        )
        skip, limit = checked_page(skip, limit)
        return await sources.memories_by_source(
            self._ports,
            Scope(org_id, user_id),
            selector,
            current_only=checked_bool(current_only, "current_only"),
            skip=skip,
            limit=limit,
        )

    async def rollback_source(
        self,
        org_id: str,
        user_id: str,
        *,
        interaction_id: str | None = None,
        agent_id: str | None = None,
        import_id: str | None = None,
        process_id: str | None = None,
        author: str | None = None,
        dry_run: bool = False,
    ) -> RollbackReceipt:
        """Take everything back that one source brought in; give exactly one source.

        Versions that came from it alone are removed with text and vectors, and what they had
        superseded is current again. What another source states too, or somebody made by hand,
        stays and only loses its links to the source's messages. Extractions of the source that
        are not done are cancelled, and what it said is not extracted again from these messages.
        The transcripts stay. An unknown source changes nothing; a repetition finishes what was
        interrupted.

        Args:
            org_id: The organization.
            user_id: The user.
            interaction_id: An interaction (or its external id).
            agent_id: All conversations of an agent.
            import_id: All that an import brought in.
            process_id: All that a process brought in.
            author: Who asks for it; kept in the receipt.
            dry_run: Tell what would be done, and write nothing.

        Raises:
            InvalidInputError: An argument is malformed, or not exactly one source is given.
            UserNotFoundError: There is no such user.
        """
        selector = SourceSelector.of(
            interaction_id=interaction_id,
            agent_id=agent_id,
            import_id=import_id,
            process_id=process_id,
        )
        return await sources.rollback(
            self._ports,
            Scope(org_id, user_id),
            selector,
            author=optional_name(author, "author"),
            dry_run=checked_bool(dry_run, "dry_run"),
        )
