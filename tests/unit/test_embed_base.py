"""Cache, batches, checks and threads that all embedders share."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from memora.embeddings.base import BaseEmbedder, Kind, LocalEmbedder
from memora.embeddings.hashing import HashingEmbedder
from memora.embeddings.openai_compatible import OpenAICompatibleEmbedder
from memora.embeddings.static import StaticEmbedder
from memora.errors import EmbeddingResponseError, InvalidInputError

ROOT = Path(__file__).parents[2]


class Recording(BaseEmbedder):
    """Answers (length of the text, 1) and keeps the batches it was asked for."""

    @property
    def model_id(self) -> str:
        return "recording"

    @property
    def dimensions(self) -> int:
        return 2

    def __init__(self, **options: int) -> None:
        super().__init__(**options)
        self.batches: list[tuple[Kind, list[str]]] = []
        self.answer: NDArray[np.float32] | None = None
        self.gate: asyncio.Event | None = None

    async def _embed_batch(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:
        self.batches.append((kind, texts))
        if self.gate is not None:
            await self.gate.wait()
        rows = np.array([[len(text), 1] for text in texts], dtype=np.float32)
        return rows if self.answer is None else self.answer


class Threads(LocalEmbedder):
    """Records the thread, the number of calls at once and the BLAS threads of every call."""

    @property
    def model_id(self) -> str:
        return "threads"

    @property
    def dimensions(self) -> int:
        return 1

    def __init__(self) -> None:
        super().__init__(cache_size=0)
        self.threads: list[int] = []
        self.blas: list[int] = []
        self.release = threading.Event()
        self.running = self.most = 0

    def _compute(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:
        self.running += 1
        self.most = max(self.most, self.running)
        self.release.wait(5)
        self.threads.append(threading.get_ident())
        self.blas.extend(_blas_threads())
        self.running -= 1
        return np.ones((len(texts), 1), dtype=np.float32)


def _blas_threads() -> list[int]:
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]


async def test_only_distinct_misses_reach_the_model_in_batches() -> None:
    embedder = Recording(batch_size=2)
    rows = await embedder.embed_documents(["aaa", "b", "aaa", "", "cc", "b"])
    assert embedder.batches == [("document", ["aaa", "b"]), ("document", ["cc"])]
    assert rows[:, 1] == pytest.approx([10**-0.5, 2**-0.5, 10**-0.5, 0, 5**-0.5, 2**-0.5])
    await embedder.embed_documents(["cc", "dddd"])
    assert embedder.batches[2:] == [("document", ["dddd"])]


async def test_queries_and_documents_are_cached_apart() -> None:
    embedder = Recording()
    await embedder.embed_documents(["a"])
    await embedder.embed_queries(["a"])
    assert [kind for kind, _ in embedder.batches] == ["document", "query"]


async def test_the_cache_keeps_the_last_used_entries_only() -> None:
    embedder = Recording(cache_size=2)
    for text in ("a", "bb", "a", "ccc", "a", "bb"):
        await embedder.embed_queries([text])
    assert [texts for _, texts in embedder.batches] == [["a"], ["bb"], ["ccc"], ["bb"]]


async def test_without_a_cache_every_call_reaches_the_model() -> None:
    embedder = Recording(cache_size=0)
    for _ in range(2):
        assert (await embedder.embed_queries(["a", "a"])).shape == (2, 2)
    assert len(embedder.batches) == 2


async def test_a_cancelled_call_keeps_what_was_finished_and_nothing_else() -> None:
    embedder = Recording(batch_size=1)
    await embedder.embed_documents(["done"])
    embedder.gate = asyncio.Event()
    task = asyncio.create_task(embedder.embed_documents(["done", "not done"]))
    while len(embedder.batches) < 2:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    embedder.gate = None
    rows = await embedder.embed_documents(["done", "not done"])
    assert [texts for _, texts in embedder.batches] == [["done"], ["not done"], ["not done"]]
    assert rows[:, 1] == pytest.approx([17**-0.5, 65**-0.5])


@pytest.mark.parametrize(
    "answer",
    [np.ones((1, 2)), np.ones((2, 3)), np.ones(2), np.array([[1, np.nan], [1, 1]]),
     np.array([[np.inf, 0], [1, 1]])],
    ids=["count", "dimension", "flat", "nan", "inf"],
)  # fmt: skip
async def test_unusable_answers_are_typed_and_never_cached(answer: np.ndarray) -> None:
    embedder = Recording()
    embedder.answer = answer.astype(np.float32)
    with pytest.raises(EmbeddingResponseError, match="recording"):
        await embedder.embed_documents(["a", "bb"])
    embedder.answer = None
    await embedder.embed_documents(["a", "bb"])
    assert len(embedder.batches) == 2


async def test_large_components_do_not_overflow_to_a_row_of_zeros() -> None:
    embedder = Recording()
    embedder.answer = np.array([[3e30, 4e30]], dtype=np.float32)
    assert (await embedder.embed_documents(["a"]))[0] == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"cache_size": -1}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match="must be"):
        Recording(**options)


async def test_b33_local_models_run_one_at_a_time_in_one_worker_thread() -> None:
    async with Threads() as embedder:
        calls = [asyncio.create_task(embedder.embed_documents([str(i)])) for i in range(8)]
        while not embedder.running:
            await asyncio.sleep(0.001)
        # The loop turns while the model works: that is what this test is about.
        assert not any(call.done() for call in calls)
        embedder.release.set()
        await asyncio.gather(*calls)
        assert embedder.most == 1
        assert set(embedder.threads) - {threading.get_ident()} == {embedder.threads[0]}


@pytest.mark.parametrize("make", [HashingEmbedder, StaticEmbedder])
async def test_b33_shipped_local_embedders_never_compute_on_the_loop(
    make: type[LocalEmbedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    compute = make._compute

    def recording(self: LocalEmbedder, texts: list[str], kind: Kind) -> NDArray[np.float32]:
        seen.append(threading.get_ident())
        return compute(self, texts, kind)

    monkeypatch.setattr(make, "_compute", recording)
    async with make() as embedder:
        await embedder.embed_documents(["a text"])
        await embedder.embed_queries(["a question"])
    assert len(seen) == 2
    assert threading.get_ident() not in seen


async def test_b33_blas_has_one_thread_while_models_work_and_its_own_number_after() -> None:
    before = await asyncio.to_thread(_blas_threads)
    assert before
    async with Threads() as one, Threads() as two:
        both = asyncio.gather(one.embed_documents(["a"]), two.embed_documents(["b"]))
        one.release.set()
        two.release.set()
        await both
        assert set(one.blas + two.blas) == {1}
    assert await asyncio.to_thread(_blas_threads) == before


async def test_close_waits_for_the_running_call() -> None:
    # Other tests of this process may have left threads of theirs.
    before = set(threading.enumerate())
    embedder = Threads()
    task = asyncio.create_task(embedder.embed_documents(["a"]))
    while not embedder.running:
        await asyncio.sleep(0.001)
    closing = asyncio.create_task(embedder.close())
    await asyncio.sleep(0)
    embedder.release.set()
    await closing
    assert (await task).tolist() == [[1.0]]
    new = set(threading.enumerate()) - before
    assert not any(thread.name.startswith("memora-embed") for thread in new)


def test_b23_models_and_sizes_have_different_stamps() -> None:
    embedders = [
        StaticEmbedder(),
        HashingEmbedder(),
        HashingEmbedder(64),
        OpenAICompatibleEmbedder(),
        OpenAICompatibleEmbedder(model="text-embedding-3-large"),
        OpenAICompatibleEmbedder(dimensions=256),
    ]
    assert len({embedder.model_id for embedder in embedders}) == len(embedders)
    assert StaticEmbedder().model_id == "wordllama/l2_supercat_256"


def test_s03_importing_the_package_imports_no_model_and_no_sdk() -> None:
    code = (
        "import sys, memora.embeddings as e\n"
        "heavy = {'numpy', 'openai', 'fastembed', 'onnxruntime', 'tokenizers', 'safetensors',\n"
        "         'wordllama', 'snowballstemmer', 'threadpoolctl', 'tenacity'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "e.BaseEmbedder, e.SparseVector, e.StaticEmbedder(), e.HashingEmbedder()\n"
        "e.FastEmbedEmbedder(), e.LexicalEncoder()\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "e.OpenAICompatibleEmbedder()\n"
        "print(sorted(heavy & set(sys.modules)), set(e.__all__) <= set(dir(e)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "['numpy']", "['numpy', 'tenacity'] True"]


def test_every_exported_name_resolves() -> None:
    import memora.embeddings as package

    assert [getattr(package, name).__name__ for name in package.__all__] == package.__all__
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        package.Nothing  # noqa: B018 - it raises # pyright: ignore[reportAttributeAccessIssue]
