"""Opens the store that a command is about, and runs the command's work on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from memora.agent.main import Memora
from memora.bootstrap import GRAPH_FILE
from memora.cli.boundary import NoStoreError
from memora.cli.options import Owner
from memora.config import Settings, default_path
from memora.errors import AgentNotFoundError, OrganizationNotFoundError, UserNotFoundError

T = TypeVar("T")
Work = Callable[[Memora], Awaitable[T]]

_SHOWN = 10


def run(
    path: Path | None,
    work: Work[T],
    owner: Owner | None = None,
    *,
    models: bool = False,
    setup: bool = True,
    vectors: bool = True,
    drain: bool = True,
    create: bool = False,
) -> T:
    """Open the store, check that the owner exists, and return what `work` returns.

    Args:
        path: Directory of an embedded store; None: what the environment's settings say. Models
            and embedder are those of the settings in both cases.
        work: The command's work on the open engine.
        owner: Whose records it is about.
        models: Whether language models are needed; a missing key stops only those commands.
        setup: Set the stores up; not for a command that also opens damaged ones by itself.
        vectors: Set the vector store up, which refuses one that was made with another embedder.
        drain: Work off on opening what an earlier process left.
        create: Create an embedded store that is not there.

    Raises:
        NoStoreError: There is no embedded store, and none is to be created.
        NotFoundError: There is no such owner; its notes say who there is.
    """
    settings = _settings(path)
    if not models:
        settings = settings.model_copy(
            update={"extraction_model": None, "memory_search_model": None}
        )
    directory = settings.path or default_path()
    if settings.graph_url is None and not create and not (directory / GRAPH_FILE).is_file():
        raise NoStoreError(directory)
    memora = Memora.from_settings(settings)
    if not setup:
        return asyncio.run(_closing(memora, work))
    return asyncio.run(_run(memora, work, owner, vectors=vectors, drain=drain and vectors))


def has_store(path: Path | None) -> bool:
    """Tell whether there is a store already, as far as that can be told without a server."""
    settings = _settings(path)
    directory = settings.path or default_path()
    return settings.graph_url is not None or (directory / GRAPH_FILE).is_file()


def _settings(path: Path | None) -> Settings:
    settings = Settings.from_env()
    if path is None:
        return settings
    return settings.model_copy(update={"path": path, "graph_url": None, "vector_url": None})


async def _closing(memora: Memora, work: Work[T]) -> T:
    try:
        return await work(memora)
    finally:
        await memora.close()


async def _run(
    memora: Memora, work: Work[T], owner: Owner | None, *, vectors: bool, drain: bool
) -> T:
    try:
        await memora.graph.setup()
        if vectors:
            await memora.vector_db.setup()
        if drain:
            await memora.drain_outbox()
        if owner is not None:
            await _check(memora, owner)
        return await work(memora)
    except (OrganizationNotFoundError, UserNotFoundError, AgentNotFoundError) as error:
        if owner is not None:
            error.add_note(await _who_there_is(memora, error, owner.org_id))
        raise
    finally:
        await memora.close()


async def _check(memora: Memora, owner: Owner) -> None:
    await memora.graph.get_organization(owner.org_id)
    if owner.user_id is not None:
        await memora.graph.get_user(owner.org_id, owner.user_id)


async def _who_there_is(
    memora: Memora,
    error: OrganizationNotFoundError | UserNotFoundError | AgentNotFoundError,
    org_id: str,
) -> str:
    graph = memora.graph
    if isinstance(error, OrganizationNotFoundError):
        option = "--org"
        ids = [found.org_id for found in await graph.get_all_organizations(0, _SHOWN + 1)]
    elif isinstance(error, UserNotFoundError):
        option = "--user"
        ids = [found.user_id for found in await graph.get_all_org_users(org_id, 0, _SHOWN + 1)]
    else:
        option = "--agent"
        ids = [found.agent_id for found in await graph.get_all_org_agents(org_id, 0, _SHOWN + 1)]
    if not ids:
        return f"there is nothing yet that {option} could name"
    more = ", ..." if len(ids) > _SHOWN else ""
    return f"{option} can be {', '.join(ids[:_SHOWN])}{more}"
