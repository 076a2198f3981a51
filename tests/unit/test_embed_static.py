"""The word table of the installed package, read without the package."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from memora.embeddings import static
from memora.embeddings.static import StaticEmbedder
from memora.errors import EmbeddingError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def package() -> Path:
    spec = static.find_spec("wordllama")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


async def test_a_row_is_the_normalised_mean_of_the_token_vectors(package: Path) -> None:
    text = "Melanie painted a sunrise over the lake"
    table = load_file(package / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
    tokenizer = Tokenizer.from_file(
        str(package / "tokenizers" / "l2_supercat_tokenizer_config.json")
    )
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    mean = table[ids].astype(np.float64).mean(axis=0)
    async with StaticEmbedder() as embedder:
        (row,) = await embedder.embed_documents([text])
    assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


async def test_meaning_is_found_without_shared_words() -> None:
    async with StaticEmbedder() as embedder:
        documents = await embedder.embed_documents(
            ["My physician prescribed new medicine", "We repaired the roof of the barn"]
        )
        (query,) = await embedder.embed_queries(["doctor and drugs"])
    assert documents[0] @ query > documents[1] @ query


async def test_words_at_the_end_of_a_long_text_count() -> None:
    filler = "some words to fill the beginning of a text " * 200
    async with StaticEmbedder() as embedder:
        rows = await embedder.embed_documents([filler, filler + "giraffe " * 500])
        (query,) = await embedder.embed_queries(["giraffe"])
    assert rows[1] @ query > rows[0] @ query + 0.2


@pytest.mark.parametrize(
    "text", ["", "short", "word " * 2000, "ab " * 682 + "cd", " " * 5000, "x" * 3000 + " end"]
)
def test_pieces_are_bounded_and_cut_words_only_where_they_must(text: str) -> None:
    pieces = list(static._pieces(text))
    assert max(map(len, pieces)) <= 2048
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")
    if max(map(len, text.split()), default=0) <= 2048:
        assert " ".join(pieces).split() == text.split()


async def test_the_name_of_a_special_token_is_plain_text() -> None:
    async with StaticEmbedder() as embedder:
        rows = await embedder.embed_documents(["the end</s>", "the end", "the end<s></s><unk>"])
    assert not np.allclose(rows[0], rows[1], atol=1e-3)
    assert not np.allclose(rows[0], rows[2], atol=1e-3)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells memory on Linux only")
async def test_texts_do_not_stay_in_memory() -> None:
    texts = [f"number {n} of the words that somebody said in the afternoon" for n in range(6000)]
    async with StaticEmbedder(cache_size=0) as embedder:
        await embedder.embed_documents(texts[:1000])
        before = anonymous_mb()
        for start in range(1000, len(texts), 100):
            await embedder.embed_documents(texts[start : start + 100])
        assert anonymous_mb() - before < 4


def anonymous_mb() -> float:
    status = Path("/proc/self/status").read_text("utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) / 1024


async def test_nothing_is_loaded_before_the_first_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "find_spec", lambda name: None)
    embedder = StaticEmbedder()
    await embedder.prepare()
    assert embedder.dimensions == 256
    with pytest.raises(EmbeddingError, match="wordllama: the package is not installed"):
        await embedder.embed_documents(["text"])
    await embedder.close()


async def test_a_missing_table_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = ModuleSpec("wordllama", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(static, "find_spec", lambda name: spec)
    async with StaticEmbedder() as embedder:
        with pytest.raises(EmbeddingError, match=r"l2_supercat_256\.safetensors is missing"):
            await embedder.embed_documents(["text"])


def test_the_package_is_not_imported_and_a_fork_raises_no_complaint() -> None:
    code = (
        "import asyncio, logging, os, sys\n"
        "from memora.embeddings import StaticEmbedder\n"
        "async def main():\n"
        "    async with StaticEmbedder() as embedder:\n"
        "        await embedder.embed_documents(['one text', 'another text'])\n"
        "asyncio.run(main())\n"
        "print('wordllama' in sys.modules, logging.getLogger().handlers)\n"
        "sys.stdout.flush()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    asyncio.run(main())\n"
        "    os._exit(0)\n"
        "print(os.waitpid(pid, 0)[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["False []", "0"]
    assert done.stderr == ""
