"""What every test gets: a clean environment, a loop that must not block, and predictable parts."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from memora.embeddings.hashing import HashingEmbedder
from memora.testing.clocks import FrozenClock, SequentialIds
from tests.blocking import blocking_forbidden

if TYPE_CHECKING:
    from memora import Memora

# Keys, addresses and proxies of the developer must not decide a test, nor be sent anywhere.
CLEANED_PREFIXES = (
    "MEMORA_",
    "OPENAI_",
    "AZURE_",
    "ANTHROPIC_",
    "GROQ_",
    "TOGETHER_",
    "OPENROUTER_",
    "OLLAMA_",
    "NEO4J_",
    "QDRANT_",
)
CLEANED = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
# Folders whose tests are the suites of the same name; `pytest` leaves them out by default.
SUITES = ("reliability", "e2e")

OpenMemora = Callable[..., Awaitable["Memora"]]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of a suite by their folder, before -m looks at marks."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        if folder in SUITES:
            item.add_marker(folder)
    # Long ones first, so that no worker is left alone with one at the end.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist hand out one test at a time, for the same reason."""
    if getattr(config.option, "dist", None) == "load" and config.option.maxschedchunk is None:
        config.option.maxschedchunk = 1


def pytest_collection_finish() -> None:
    """Keep modules and test items, which stay, out of what is searched for garbage and copied."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Delete what memora or an SDK might read, and keep out of the developer's data directory."""
    for name in os.environ:
        if name.upper().startswith(CLEANED_PREFIXES) or name.upper() in CLEANED:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data"))


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Watch the loop of every asynchronous test."""
    if request.node.get_closest_marker("asyncio") is None:
        yield
        return
    with blocking_forbidden():
        yield


@pytest.fixture(autouse=True)
def silent_again() -> Iterator[None]:
    """Take back what a test turned on at the logger `memora`."""
    logger = logging.getLogger("memora")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.fixture
def clock() -> FrozenClock:
    """A clock that stands still until it is moved."""
    return FrozenClock()


@pytest.fixture
def ids() -> SequentialIds:
    """Ids that count up."""
    return SequentialIds()


@pytest.fixture
async def embedder() -> AsyncIterator[HashingEmbedder]:
    """A deterministic embedder without a model."""
    async with HashingEmbedder() as embedder:
        yield embedder


@pytest.fixture
async def open_memora(
    tmp_path: Path, clock: FrozenClock, ids: SequentialIds, embedder: HashingEmbedder
) -> AsyncIterator[OpenMemora]:
    """Opens an engine on the embedded pair, closed after the test.

    Takes what `Memora` takes by keyword, and `path` for another directory than the test's own.
    """
    from memora import Memora
    from memora.graph_db import SQLiteGraph
    from memora.vector_db import EmbeddedVectorDB

    async with AsyncExitStack() as stack:

        async def open_at(path: Path = tmp_path, **arguments: Any) -> Memora:
            graph = SQLiteGraph(path / "graph.sqlite3", clock=clock, ids=ids)
            vector = EmbeddedVectorDB(path / "vectors", embedder=embedder)
            return await stack.enter_async_context(Memora(vector, graph, **arguments))

        yield open_at


@pytest.fixture
async def memora(open_memora: OpenMemora) -> Memora:
    """An engine on the embedded pair, without any model."""
    return await open_memora()
