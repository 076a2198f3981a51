"""What every embedder must do; subclass `EmbedderContract` and give it a factory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
import pytest_asyncio

from memora.embeddings.base import BaseEmbedder
from memora.errors import InvalidInputError

MakeEmbedder = Callable[[], BaseEmbedder]

TEXTS = [
    "Caroline adopted a grey dog called Biscuit",
    "The quarterly tax report is due in April",
    "Wir wandern am Wochenende in den Bergen",
    "她喜欢喝绿茶",
    "naïve café, 3.5 km — 🎉 yes!",
    "nul \x00 and tab\tand\nnewline </s> <unk>",
]


class EmbedderContract:
    """Subclasses bring the fixture `make_embedder`: a function that makes a new embedder."""

    @pytest_asyncio.fixture
    async def embedder(self, make_embedder: MakeEmbedder) -> AsyncIterator[BaseEmbedder]:
        """An embedder, closed after the test."""
        async with make_embedder() as embedder:
            yield embedder

    async def test_rows_are_unit_vectors_of_the_stated_size(self, embedder: BaseEmbedder) -> None:
        await embedder.prepare()
        await embedder.prepare()
        for rows in (await embedder.embed_documents(TEXTS), await embedder.embed_queries(TEXTS)):
            assert rows.shape == (len(TEXTS), embedder.dimensions)
            assert rows.dtype == np.float32
            assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)

    async def test_no_texts_give_no_rows(self, embedder: BaseEmbedder) -> None:
        rows = await embedder.embed_documents([])
        assert rows.shape == (0, embedder.dimensions)

    async def test_blank_texts_give_rows_of_zeros(self, embedder: BaseEmbedder) -> None:
        rows = await embedder.embed_documents(["", TEXTS[0], " \n\t"])
        assert rows.any(axis=1).tolist() == [False, True, False]

    async def test_order_is_kept_over_batches_and_repeats(self, embedder: BaseEmbedder) -> None:
        texts = [f"{TEXTS[i % 3]} number {i % 130}" for i in range(260)]
        rows = await embedder.embed_documents(texts)
        for i in (0, 1, 99, 100, 129, 130, 259):
            alone = await embedder.embed_documents([texts[i]])
            assert rows[i] == pytest.approx(alone[0], abs=1e-5)

    async def test_a_new_embedder_gives_the_same_rows(
        self, embedder: BaseEmbedder, make_embedder: MakeEmbedder
    ) -> None:
        async with make_embedder() as other:
            assert other.model_id == embedder.model_id != ""
            expected = await other.embed_queries(TEXTS)
        assert await embedder.embed_queries(TEXTS) == pytest.approx(expected, abs=1e-5)

    async def test_related_texts_are_nearer(self, embedder: BaseEmbedder) -> None:
        documents = await embedder.embed_documents(TEXTS[:2])
        queries = await embedder.embed_queries(["Which dog was adopted?", "When is the tax due?"])
        scores = queries @ documents.T
        assert scores[0, 0] > scores[0, 1]
        assert scores[1, 1] > scores[1, 0]

    async def test_composed_and_decomposed_text_are_one(self, embedder: BaseEmbedder) -> None:
        rows = await embedder.embed_documents(["caf\u00e9", "cafe\u0301"])
        assert np.array_equal(rows[0], rows[1])

    async def test_rows_belong_to_the_caller(self, embedder: BaseEmbedder) -> None:
        first = await embedder.embed_queries(TEXTS[:1])
        expected = first.copy()
        first[:] = 7.0
        assert np.array_equal(await embedder.embed_queries(TEXTS[:1]), expected)

    @pytest.mark.parametrize("texts", ["one string", ["fine", "lone \ud83c surrogate"]])
    async def test_bad_texts_are_refused_without_quoting_them(
        self, embedder: BaseEmbedder, texts: list[str]
    ) -> None:
        with pytest.raises(InvalidInputError) as caught:
            await embedder.embed_documents(texts)
        assert "one string" not in str(caught.value)
        assert "lone \ud83c" not in str(caught.value)

    async def test_a_very_long_text_is_embedded(self, embedder: BaseEmbedder) -> None:
        rows = await embedder.embed_documents([(TEXTS[0] + " ") * 20_000])
        assert np.linalg.norm(rows[0]) == pytest.approx(1.0, abs=1e-5)

    async def test_concurrent_calls_agree(self, embedder: BaseEmbedder) -> None:
        answers = await asyncio.gather(*(embedder.embed_documents(TEXTS) for _ in range(8)))
        for rows in answers:
            assert rows == pytest.approx(answers[0], abs=1e-5)

    async def test_a_cancelled_call_leaves_the_embedder_in_order(
        self, embedder: BaseEmbedder, make_embedder: MakeEmbedder
    ) -> None:
        task = asyncio.create_task(embedder.embed_documents(TEXTS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with make_embedder() as other:
            expected = await other.embed_documents(TEXTS)
        assert await embedder.embed_documents(TEXTS) == pytest.approx(expected, abs=1e-5)

    async def test_close_may_be_repeated_and_use_opens_again(self, embedder: BaseEmbedder) -> None:
        before = await embedder.embed_documents(TEXTS)
        await embedder.close()
        await embedder.close()
        again = await embedder.embed_documents([*TEXTS, "a text that no cache holds"])
        assert again[: len(TEXTS)] == pytest.approx(before, abs=1e-5)
