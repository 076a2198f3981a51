"""The hashing embedder gives the same numbers everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from memora.embeddings.hashing import HashingEmbedder
from memora.errors import InvalidInputError

ROOT = Path(__file__).parents[2]
CODE = """
import asyncio
from memora.embeddings import HashingEmbedder
rows = asyncio.run(HashingEmbedder(8).embed_documents(["The grey dog"]))
print(*(f"{x:.5f}" for x in rows[0]))
"""


def test_rows_do_not_depend_on_the_process_or_its_hash_seed() -> None:
    answers = {
        subprocess.run(
            [sys.executable, "-c", CODE],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert answers == {"-0.47140 -0.47140 0.00000 0.00000 0.47140 0.47140 0.23570 -0.23570\n"}


@pytest.mark.parametrize("dimensions", [1, 64, 1536])
async def test_any_size_is_possible(dimensions: int) -> None:
    async with HashingEmbedder(dimensions) as embedder:
        assert embedder.dimensions == dimensions
        assert (await embedder.embed_queries(["some words"])).shape == (1, dimensions)


async def test_spelling_decides_and_case_does_not() -> None:
    async with HashingEmbedder() as embedder:
        rows = await embedder.embed_documents(["Grey DOGS bark", "grey dogs bark", "a dog barked"])
        far = await embedder.embed_documents(["quarterly tax report"])
    assert np.array_equal(rows[0], rows[1])
    assert rows[1] @ rows[2] > rows[1] @ far[0] + 0.1


async def test_punctuation_alone_has_no_token() -> None:
    async with HashingEmbedder() as embedder:
        assert not (await embedder.embed_documents(["?! …"])).any()


def test_the_size_is_checked() -> None:
    with pytest.raises(InvalidInputError, match="dimensions"):
        HashingEmbedder(0)
