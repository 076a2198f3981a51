"""The offline default: the word table of the installed `wordllama` package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memora.embeddings.base import Kind, LocalEmbedder
from memora.errors import EmbeddingError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TABLE = "l2_supercat_256"
_DIMENSIONS = 256
# Long texts are cut at spaces into pieces of this size. The tokenizer's time grows faster than the
# text and it holds the interpreter lock: about half a millisecond for a piece.
_PIECE = 2048


class StaticEmbedder(LocalEmbedder):
    """Mean of static token vectors: no download, no torch, tens of microseconds a text.

    The first call loads the table (16 MB, kept in half precision) in the worker thread. Every word
    of a long text counts. Best for English; choose another embedder where dense search must know
    other languages well.
    """

    uses_blas = False

    def __init__(self, *, batch_size: int = 100, cache_size: int = 4096) -> None:
        super().__init__(batch_size=batch_size, cache_size=cache_size)
        self._model: _Model | None = None

    @property
    def model_id(self) -> str:
        return f"wordllama/{_TABLE}"

    @property
    def dimensions(self) -> int:
        return _DIMENSIONS

    def forget(self) -> None:
        super().forget()
        # The tokenizer keeps words: it is loaded again when it is next needed.
        self._model = None

    async def close(self) -> None:
        await super().close()
        self._model = None

    def _compute(
        self,
        texts: list[str],
        kind: Kind,  # noqa: ARG002 - questions and texts are embedded alike
    ) -> NDArray[np.float32]:
        # Another thread may forget it meanwhile.
        model = self._model
        if model is None:
            model = self._model = _load()
        rows = np.empty((len(texts), _DIMENSIONS), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:] = model.sum_of_tokens(text)
        return rows


@dataclass(frozen=True, slots=True)
class _Model:
    tokenizer: Tokenizer
    table: NDArray[np.float16]

    def sum_of_tokens(self, text: str) -> NDArray[np.float32]:
        """Sum of a text's token vectors; of unit length it equals their mean."""
        total = np.zeros(_DIMENSIONS, dtype=np.float32)
        for piece in _pieces(text):
            # One by one: `encode_batch` starts threads of its own and then complains at a fork.
            ids = self.tokenizer.encode(piece, add_special_tokens=False).ids
            total += self.table.take(ids, axis=0).sum(axis=0, dtype=np.float32)
        return total


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > _PIECE:
        cut = text.rfind(" ", start + 1, start + _PIECE)
        end = cut if cut > 0 else start + _PIECE
        yield text[start:end]
        start = end + 1 if cut > 0 else end
    yield text[start:]


def _load() -> _Model:
    from safetensors import safe_open  # noqa: PLC0415 - in the worker thread, when first used
    from tokenizers import Tokenizer  # noqa: PLC0415 - as above

    # The package is only located: importing it would configure the host's logging, and its own
    # loader looks in a wrong folder and then tries to download.
    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddingError("wordllama", "the package is not installed")
    folder = Path(spec.submodule_search_locations[0])
    weights = folder / "weights" / f"{_TABLE}.safetensors"
    tokens = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
    for path in (weights, tokens):
        if not path.is_file():
            raise EmbeddingError("wordllama", f"{path.name} is missing from the installed package")
    tokenizer = Tokenizer.from_file(str(tokens))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # A text that spells "</s>" means these characters, not the end of a sequence.
    tokenizer.encode_special_tokens = True
    _without_cache(tokenizer)
    opened: Any = safe_open(weights, framework="numpy")
    with opened as file:
        return _Model(tokenizer, file.get_tensor("embedding.weight"))


def _without_cache(tokenizer: Tokenizer) -> None:
    """Let it keep no texts: this one takes every text for a word, 4 KB each, and none returns."""
    # Not in its type stubs, and slower at most where a release has it no more.
    resize: Callable[[int], None] | None = getattr(tokenizer.model, "_resize_cache", None)
    if resize is not None:
        resize(0)
