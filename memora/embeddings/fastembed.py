"""ONNX models through `fastembed`, downloaded when they are first used."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memora.embeddings.base import Kind, LocalEmbedder, SparseVector
from memora.errors import EmbeddingError, InvalidInputError, MemoraError, MissingExtraError

# The two models of memora 0.3, one dense and one sparse.
DENSE_MODEL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
SPARSE_MODEL = "prithivida/Splade_PP_en_v1"

_DIMENSIONS = {
    DENSE_MODEL: 384,
    "sentence-transformers/all-MiniLM-L6-v2": 384,
    "BAAI/bge-small-en-v1.5": 384,
    "BAAI/bge-base-en-v1.5": 768,
    "intfloat/multilingual-e5-large": 1024,
}

# The models cut texts at their own window; this only spares the tokenizer a megabyte.
_LONGEST_TEXT = 40_000


class FastEmbedEmbedder(LocalEmbedder):
    """Any dense text model of `fastembed`; the default knows about 50 languages.

    Args:
        model: Name of the model as `fastembed` lists it.
        cache_dir: Folder of the downloaded models; by default one in the temporary folder.
        allow_download: With False only models that are in the folder already are used.
        threads: Number of threads of the ONNX runtime.
    """

    def __init__(
        self,
        model: str = DENSE_MODEL,
        cache_dir: str | Path | None = None,
        *,
        allow_download: bool = True,
        threads: int = 1,
        batch_size: int = 100,
        cache_size: int = 4096,
    ) -> None:
        if model == SPARSE_MODEL:
            raise InvalidInputError("model", "a dense model; use FastEmbedSparseEncoder for SPLADE")
        super().__init__(batch_size=batch_size, cache_size=cache_size)
        self._name = model
        self._options = _options(cache_dir, threads, allow_download=allow_download)
        self._dimensions = _DIMENSIONS.get(model)
        self._model: Any = None

    @property
    def model_id(self) -> str:
        return f"fastembed/{self._name}"

    @property
    def dimensions(self) -> int:
        if self._dimensions is None:
            raise EmbeddingError("fastembed", f"call prepare() to learn the size of {self._name!r}")
        return self._dimensions

    async def prepare(self) -> None:
        if self._dimensions is None:
            self._dimensions = await self._in_worker(_listed_dimensions, self._name)

    async def close(self) -> None:
        await super().close()
        self._model = None

    def _compute(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:
        cut = [text[:_LONGEST_TEXT] for text in texts]
        with _translated_errors(self._name):
            if self._model is None:
                self._model = _import().TextEmbedding(self._name, **self._options)
            embed = self._model.query_embed if kind == "query" else self._model.passage_embed
            return np.array(list(embed(cut)), dtype=np.float32)


class FastEmbedSparseEncoder:
    """A learned sparse model of `fastembed`, in the place of the BM25 encoder.

    Args:
        model: Name of the model as `fastembed` lists it.
        cache_dir: Folder of the downloaded models; by default one in the temporary folder.
        allow_download: With False only models that are in the folder already are used.
        threads: Number of threads of the ONNX runtime.
    """

    def __init__(
        self,
        model: str = SPARSE_MODEL,
        cache_dir: str | Path | None = None,
        *,
        allow_download: bool = True,
        threads: int = 1,
    ) -> None:
        self.recipe = f"fastembed/{model}"
        self._name = model
        self._options = _options(cache_dir, threads, allow_download=allow_download)
        self._model: Any = None
        self._turn = threading.Lock()

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        """Weights of the words of a text and of words that the model adds to it."""
        return self._encode(texts, "passage_embed")

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        """Weights like those of documents."""
        return self._encode(texts, "query_embed")

    def _encode(self, texts: Sequence[str], method: str) -> list[SparseVector]:
        cut = [text[:_LONGEST_TEXT] for text in texts]
        # Callers come from many threads: one loads the model, and one at a time computes.
        with self._turn, _translated_errors(self._name):
            if self._model is None:
                self._model = _import().SparseTextEmbedding(self._name, **self._options)
            return [_sparse(item) for item in getattr(self._model, method)(cut)]


def _options(cache_dir: str | Path | None, threads: int, *, allow_download: bool) -> dict[str, Any]:
    return {
        "cache_dir": None if cache_dir is None else str(cache_dir),
        "threads": threads,
        "local_files_only": not allow_download,
    }


def _import() -> Any:
    try:
        import fastembed  # noqa: PLC0415 - an extra, and onnxruntime with it
    except ImportError as error:
        raise MissingExtraError("fastembed", "fastembed") from error
    return fastembed


def _listed_dimensions(name: str) -> int:
    for listed in _import().TextEmbedding.list_supported_models():
        if listed["model"].lower() == name.lower():
            return int(listed["dim"])
    raise InvalidInputError("model", "a dense model that fastembed lists", got=repr(name))


@contextmanager
def _translated_errors(name: str) -> Generator[None]:
    try:
        yield
    except MemoraError:
        raise
    except Exception as error:
        # The download and onnxruntime raise many classes of errors, without a common base.
        reason = f"model {name!r} cannot be loaded or run ({type(error).__name__})"
        raise EmbeddingError("fastembed", reason) from error


def _sparse(item: Any) -> SparseVector:
    pairs = sorted(zip(item.indices.tolist(), item.values.tolist(), strict=True))
    return SparseVector(tuple(index for index, _ in pairs), tuple(value for _, value in pairs))
