"""Cross-encoders through `fastembed`, downloaded when they are first used."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from memora.errors import InvalidInputError, MemoraError, MissingExtraError, RerankError
from memora.rerankers.base import BaseReranker

MODEL = "Xenova/ms-marco-MiniLM-L-6-v2"
# The models cut at their own window; this only spares the tokenizer a megabyte.
_LONGEST_TEXT = 10_000


class FastEmbedReranker(BaseReranker):
    """Any cross-encoder of `fastembed`: reads question and text together, on the CPU.

    The scores are the logistic function of the model's logit, 0 to 1.

    Args:
        model: Name of the model as `fastembed` lists it.
        cache_dir: Folder of the downloaded models; by default one in the temporary folder.
        allow_download: With False only models that are in the folder already are used.
        threads: Number of threads of the ONNX runtime.
        batch_size: Texts that the model reads at a time.
    """

    def __init__(
        self,
        model: str = MODEL,
        cache_dir: str | Path | None = None,
        *,
        allow_download: bool = True,
        threads: int = 1,
        batch_size: int = 32,
    ) -> None:
        for field, value in (("threads", threads), ("batch_size", batch_size)):
            if value < 1:
                raise InvalidInputError(field, "1 or more", got=str(value))
        self._name = model
        self._options: dict[str, Any] = {
            "cache_dir": None if cache_dir is None else str(cache_dir),
            "threads": threads,
            "local_files_only": not allow_download,
        }
        self._batch_size = batch_size
        self._model: Any = None
        self._executor: ThreadPoolExecutor | None = None

    @property
    def model_id(self) -> str:
        return f"fastembed/{self._name}"

    async def close(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.to_thread(executor.shutdown)
        self._model = None

    async def _score(self, query: str, texts: list[str]) -> list[float]:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="memora-rerank")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._compute, query, texts)

    def _compute(self, query: str, texts: list[str]) -> list[float]:
        cut = [text[:_LONGEST_TEXT] for text in texts]
        try:
            if self._model is None:
                self._model = _import().TextCrossEncoder(self._name, **self._options)
            found = self._model.rerank(query[:_LONGEST_TEXT], cut, batch_size=self._batch_size)
            return [_logistic(float(logit)) for logit in found]
        except MemoraError:
            raise
        except Exception as error:
            # The download and onnxruntime raise many classes of errors, without a common base.
            reason = f"the model cannot be loaded or run ({type(error).__name__})"
            raise RerankError(self.model_id, reason) from error


def _logistic(logit: float) -> float:
    # Beyond this the exponential overflows, and the result is 0 or 1 to the last digit.
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, logit))))


def _import() -> Any:
    try:
        from fastembed.rerank import cross_encoder  # noqa: PLC0415 - an extra, and onnxruntime
    except ImportError as error:
        raise MissingExtraError("fastembed", "fastembed") from error
    return cross_encoder
