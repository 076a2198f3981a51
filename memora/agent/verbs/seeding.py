"""Bringing in what happened before, elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from memora.agent import seed as seeding
from memora.agent.documents import DEFAULT_ORG, DOCUMENTS, Batch, create
from memora.agent.inputs import checked_config, checked_data, checked_price
from memora.agent.seed_estimate import estimate
from memora.agent.seed_input import Import
from memora.agent.verbs.base import Verbs
from memora.errors import InvalidInputError
from memora.schema.seeding import (
    DocumentResult,
    SeedConfig,
    SeedData,
    SeedDocument,
    SeedEvent,
    SeedProgress,
    SeedResult,
    TokenPrice,
)
from memora.schema.validation import (
    checked_bool,
    checked_id,
    checked_int,
    checked_list,
    checked_optional_id,
)


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
        prices: Mapping[str, TokenPrice] | None = None,
    ) -> SeedResult:
        """Import conversations that happened elsewhere, at their own dates.

        Running it again is free and finishes what an earlier run left; a conversation that grew or
        changed since is updated.

        Args:
            data: The conversations and their user.
            seed_config: Bounds of the model requests, retries, and what is remembered.
            batch_size: Conversations that are worked on at the same time, 1 to 256.
            on_progress: Called with (processed, total, result) after each conversation, and
                awaited if it is async; the total is None when the input has no length. What it
                raises stops the import and reaches the caller; what is stored stays.
            import_id: Name of the import, to go on under it; None: a new one.
            create_missing: Create organization, user and agent where they are missing.
            dry_run: Write nothing and ask no model; `estimate` tells what it would cost. An
                iterator is used up by it.
            prices: For the estimate: price of a million tokens (read, written), by
                `provider:model` or the model's name.

        Returns:
            Counts and one result per conversation; a conversation that fails stops no other.

        Raises:
            InvalidInputError: An argument is malformed; nothing was stored.
            UserNotFoundError, AgentNotFoundError: With `create_missing=False`.
            ConflictError: The import was taken back, or its id is that of another user's.
            VectorDBError: All is stored, but the vector store could not follow; its work waits.
            Exception: What iterating over the conversations raised, after those read were stored.
        """
        given = self._import(data, seed_config, batch_size, import_id)
        result = SeedResult(import_id=given.import_id)
        if dry_run:
            result.estimate = await estimate(
                self._ports, given, checked_price(prices, self._ports.extraction_model)
            )
            return result
        loop = asyncio.get_running_loop()
        started = loop.time()
        events = seeding.run(
            self._ports, given, self._lane, self._importing, create_missing=create_missing
        )
        async with aclosing(events):
            async for event in events:
                if event.result is None:
                    continue
                result.add(
                    event.result,
                    is_undated=event.is_undated,
                    max_results=given.config.max_results,
                )
                if on_progress is not None:
                    answer = on_progress(event.processed, event.total, event.result)
                    if answer is not None:
                        await answer
        result.duration_ms = 1000 * (loop.time() - started)
        return result

    def seed_sync(
        self,
        data: SeedData,
        *,
        seed_config: SeedConfig | None = None,
        batch_size: int = 10,
        on_progress: SeedProgress | None = None,
        import_id: str | None = None,
        create_missing: bool = True,
        dry_run: bool = False,
        prices: Mapping[str, TokenPrice] | None = None,
    ) -> SeedResult:
        """Import like `seed`, where no event loop runs.

        The engine is open only meanwhile, and its models are closed with it. For more than one
        import, `memora.sync.Memora` has all verbs.

        Raises:
            InvalidInputError: An event loop runs here, or the engine is open; or an argument is
                malformed.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            is_blocking = True
        else:
            is_blocking = False
        if not is_blocking or self._is_open:
            allowed = "called on an engine that is not open, where no event loop runs; await seed"
            raise InvalidInputError("seed_sync", allowed)

        async def whole() -> SeedResult:
            await self.setup()
            try:
                return await self.seed(
                    data,
                    seed_config=seed_config,
                    batch_size=batch_size,
                    on_progress=on_progress,
                    import_id=import_id,
                    create_missing=create_missing,
                    dry_run=dry_run,
                    prices=prices,
                )
            finally:
                await self.close()

        return asyncio.run(whole())

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

        Closing the iterator (`contextlib.aclosing`) stops the import; what it did so far stays.
        A caller that is slow to take the events slows the import down.
        """
        given = self._import(data, seed_config, batch_size, import_id)
        events = seeding.run(
            self._ports, given, self._lane, self._importing, create_missing=create_missing
        )
        async with aclosing(events):
            async for event in events:
                yield event

    async def batch_create(
        self,
        documents: Sequence[SeedDocument | Mapping[str, Any]],
        *,
        fail_fast: bool = False,
        org_id: str | None = None,
        import_id: str | None = None,
        create_missing: bool = True,
    ) -> list[DocumentResult]:
        """Remember documents and single turns of conversations, at their own dates.

        Doing it again is free: a document that is stored like this is a duplicate, one with
        another text is updated. What an earlier call left is finished.

        Args:
            documents: At most 100, as `SeedDocument` or mappings with its fields.
            fail_fast: Stop at the first failure; what comes after it is skipped.
            org_id: Organization of documents without `customer_id`; None: `default`.
            import_id: Name of the import, so that several calls for one user are one; None: a new
                one for each user.
            create_missing: Create organizations and users where they are missing.

        Returns:
            One result per document, in their order; a document that fails stops no other.

        Raises:
            InvalidInputError: An argument is malformed, there are more than 100 documents, or there
                is an import id for documents of several users; nothing was stored.
        """
        given = checked_list(documents, "documents", "a list of documents")
        if len(given) > DOCUMENTS:
            allowed = f"at most {DOCUMENTS} documents"
            raise InvalidInputError("documents", allowed, got=str(len(given)))
        graph = self._ports.graph
        batch = Batch(
            tuple(given),
            DEFAULT_ORG if org_id is None else checked_id(org_id, "org_id"),
            checked_optional_id(import_id, "import_id"),
            graph.clock.now(),
            fail_fast=checked_bool(fail_fast, "fail_fast"),
            create_missing=checked_bool(create_missing, "create_missing"),
        )
        return await create(self._ports, batch, self._lane, self._importing)

    def _import(
        self,
        data: SeedData,
        config: SeedConfig | None,
        batch_size: int,
        import_id: str | None,
    ) -> Import:
        graph = self._ports.graph
        return Import(
            checked_data(data),
            checked_config(config),
            graph.ids.short() if import_id is None else checked_id(import_id, "import_id"),
            checked_int(batch_size, "batch_size", 1, 256),
            graph.clock.now(),
        )
