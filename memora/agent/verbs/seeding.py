"""Bringing in what happened before, elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from memora.agent import seed as seeding
from memora.agent.inputs import checked_config, checked_data
from memora.agent.verbs.base import Verbs
from memora.schema.seeding import SeedConfig, SeedData, SeedEvent, SeedProgress, SeedResult
from memora.schema.validation import checked_id, checked_int


class SeedVerbs(Verbs):
    """Imports in bulk."""

    async def seed(
        self,
        data: SeedData,
        *,
        seed_config: SeedConfig | None = None,
        batch_size: int = 10,
        on_progress: SeedProgress | None = None,
        import_id: str | None = None,
        create_missing: bool = True,
        dry_run: bool = False,
        price_per_million: float | None = None,
    ) -> SeedResult:
        """Import conversations that happened elsewhere, at their own dates.

        Running it again is free and finishes what an earlier run left; a conversation that grew or
        changed since is updated.

        Args:
            data: The conversations and their user.
            seed_config: Bounds of the model requests, retries, and what is remembered.
            batch_size: Conversations that are worked on at the same time, 1 to 256.
            on_progress: Called with (processed, total, result) after each conversation; the total
                is None when the input has no length.
            import_id: Name of the import, to go on under it; None: a new one.
            create_missing: Create organization, user and agent where they are missing.
            dry_run: Write nothing and ask no model; `estimate` tells what it would cost.
            price_per_million: For the estimate: price of a million prompt tokens.

        Returns:
            Counts and one result per conversation; a conversation that fails stops no other.

        Raises:
            InvalidInputError: An argument is malformed; nothing was stored.
            UserNotFoundError, AgentNotFoundError: With `create_missing=False`.
            VectorDBError: All is stored, but the vector store could not follow; its work waits.
        """
        given = self._import(data, seed_config, batch_size, import_id)
        result = SeedResult(import_id=given.import_id)
        if dry_run:
            result.estimate = await seeding.estimate(self._ports, given, price_per_million)
            return result
        loop = asyncio.get_running_loop()
        started = loop.time()
        async for event in seeding.run(
            self._ports, given, self._lane, create_missing=create_missing
        ):
            if event.result is None:
                continue
            result.add(event.result, is_undated=event.is_undated)
            if on_progress is not None:
                answer = on_progress(event.processed, event.total, event.result)
                if answer is not None:
                    await answer
        result.duration_ms = 1000 * (loop.time() - started)
        return result

    async def seed_events(
        self,
        data: SeedData,
        *,
        seed_config: SeedConfig | None = None,
        batch_size: int = 10,
        import_id: str | None = None,
        create_missing: bool = True,
    ) -> AsyncGenerator[SeedEvent]:
        """Import conversations like `seed`, and yield what happens as it happens.

        Leaving the loop early stops the import; what it did so far stays.
        """
        given = self._import(data, seed_config, batch_size, import_id)
        events = seeding.run(self._ports, given, self._lane, create_missing=create_missing)
        async for event in events:
            yield event

    def _import(
        self,
        data: SeedData,
        config: SeedConfig | None,
        batch_size: int,
        import_id: str | None,
    ) -> seeding.Import:
        graph = self._ports.graph
        return seeding.Import(
            checked_data(data),
            checked_config(config),
            graph.ids.short() if import_id is None else checked_id(import_id, "import_id"),
            checked_int(batch_size, "batch_size", 1, 256),
            graph.clock.now(),
        )
