"""Any endpoint that speaks OpenAI's embeddings protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from memora.embeddings.base import BaseEmbedder, Kind
from memora.errors import (
    EmbeddingAuthError,
    EmbeddingConnectionError,
    EmbeddingError,
    EmbeddingRateLimitError,
    EmbeddingResponseError,
    EmbeddingTimeoutError,
    InvalidInputError,
    RetryableError,
)

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

_OPENAI_URL = "https://api.openai.com/v1"
_DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
_REQUEST_BYTES = 600_000  # at two bytes a token or more, within OpenAI's 300,000 tokens a request
_backoff = wait_random_exponential(multiplier=0.5, max=8)


class OpenAICompatibleEmbedder(BaseEmbedder):
    """Embeddings of OpenAI, or of any server with the same protocol (Ollama, vLLM, LM Studio).

    Args:
        base_url: Root of the protocol, such as `http://localhost:11434/v1`; by default OpenAI's.
        model: Name of the model at the endpoint.
        api_key: The key; local servers often need none.
        dimensions: Asks the endpoint for shorter vectors than the model's own.
        timeout: Seconds for one request with all its retries.
        max_retries: Number of further tries when the endpoint is busy or not reachable.
        batch_size: Largest number of texts in one request.
        max_text_bytes: A longer text is embedded by its beginning only. The default fits the 8,192
            tokens of OpenAI's models; lower it for models with a shorter window.
        cache_size: Number of vectors kept for texts that come again; 0 keeps none.
    """

    def __init__(
        self,
        base_url: str | None = None,
        model: str = "text-embedding-3-small",
        api_key: str | None = None,
        dimensions: int | None = None,
        *,
        timeout: float = 30,
        max_retries: int = 3,
        batch_size: int = 100,
        max_text_bytes: int = 16_000,
        cache_size: int = 4096,
    ) -> None:
        for field, value in (("dimensions", dimensions), ("max_text_bytes", max_text_bytes)):
            if value is not None and value < 1:
                raise InvalidInputError(field, "1 or more", got=str(value))
        if timeout <= 0 or max_retries < 0:
            raise InvalidInputError("timeout, max_retries", "above 0, and 0 or more")
        super().__init__(batch_size=batch_size, cache_size=cache_size)
        self._base_url = (base_url or _OPENAI_URL).rstrip("/").removesuffix("/embeddings")
        self._name = model
        self._api_key = api_key
        # Many servers refuse the parameter, so it is sent only where it changes something.
        self._shortened = dimensions if dimensions != _DIMENSIONS.get(model) else None
        self._dimensions = dimensions or _DIMENSIONS.get(model)
        self._timeout = timeout
        self._max_retries = max_retries
        self._max_text_bytes = max_text_bytes
        self._client: AsyncOpenAI | None = None
        self._opening = asyncio.Lock()

    @property
    def model_id(self) -> str:
        suffix = f"@{self._shortened}" if self._shortened else ""
        return f"openai-compatible/{self._name}{suffix}"

    @property
    def dimensions(self) -> int:
        if self._dimensions is None:
            raise EmbeddingError(self.model_id, "call prepare() to learn the size of the vectors")
        return self._dimensions

    async def prepare(self) -> None:
        if self._dimensions is None:
            self._dimensions = (await self._request(["size"])).shape[1]

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _embed_batch(
        self,
        texts: list[str],
        kind: Kind,  # noqa: ARG002 - the protocol knows one kind of text
    ) -> NDArray[np.float32]:
        return np.concatenate([await self._request(part) for part in self._requests(texts)])

    def _requests(self, texts: list[str]) -> Iterator[list[str]]:
        part: list[str] = []
        size = 0
        for text in texts:
            raw = text.encode()[: self._max_text_bytes]
            if part and size + len(raw) > _REQUEST_BYTES:
                yield part
                part, size = [], 0
            part.append(raw.decode(errors="ignore"))
            size += len(raw)
        yield part

    async def _request(self, texts: list[str]) -> NDArray[np.float32]:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RetryableError),
            stop=stop_after_attempt(self._max_retries + 1) | stop_before_delay(self._timeout),
            wait=_pause,
            reraise=True,
        )
        try:
            async with asyncio.timeout(self._timeout):
                body: bytes = await retrying(self._post, texts)
        except TimeoutError as error:
            reason = f"no answer within {self._timeout:g} seconds"
            raise EmbeddingTimeoutError(self.model_id, reason) from error
        # Megabytes of JSON: not on the event loop.
        rows = await asyncio.to_thread(_parse, self.model_id, body, len(texts))
        if self._dimensions not in {None, rows.shape[1]}:
            reason = f"vectors of {rows.shape[1]} dimensions instead of {self._dimensions}"
            raise EmbeddingResponseError(self.model_id, reason)
        return rows

    async def _post(self, texts: list[str]) -> bytes:
        client = await self._opened()
        import openai  # noqa: PLC0415 - imported by now, in a thread

        extra: dict[str, Any] = {"dimensions": self._shortened} if self._shortened else {}
        try:
            # The raw answer, as the SDK would build a list of Python numbers on the event loop.
            answer = await client.embeddings.with_raw_response.create(
                input=texts, model=self._name, encoding_format="base64", **extra
            )
        except openai.APIStatusError as error:
            # From None: the body of the answer may quote the texts.
            raise _refusal(self.model_id, error) from None
        except openai.APITimeoutError as error:
            raise EmbeddingTimeoutError(self.model_id, "the request timed out") from error
        except openai.APIConnectionError as error:
            raise EmbeddingConnectionError(self.model_id, "cannot be reached") from error
        return answer.content

    async def _opened(self) -> AsyncOpenAI:
        async with self._opening:
            if self._client is None:
                # Import and certificates take a second: not on the event loop.
                self._client = await asyncio.to_thread(self._open)
            return self._client

    def _open(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI  # noqa: PLC0415 - when first used

        return AsyncOpenAI(
            # Never None: the SDK would send the key of the environment, which is OpenAI's.
            api_key=self._api_key or "none",
            base_url=self._base_url,
            timeout=self._timeout,
            max_retries=0,
        )


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    named = error.retry_after if isinstance(error, RetryableError) else None
    return named if named is not None else _backoff(state)


def _refusal(provider: str, error: APIStatusError) -> EmbeddingError:
    status = error.status_code
    code = error.code if error.code and re.fullmatch(r"[\w.-]{1,60}", error.code) else "no code"
    if status == 429:
        return EmbeddingRateLimitError(
            provider, f"too many requests, {code}", status=status, retry_after=_retry_after(error)
        )
    if status in {401, 403}:
        return EmbeddingAuthError(provider, f"the key was refused, {code}", status=status)
    if status in {408, 409} or status >= 500:
        failed = EmbeddingConnectionError(provider, f"the endpoint failed, {code}", status=status)
        failed.retry_after = _retry_after(error)
        return failed
    return EmbeddingError(provider, f"the request was refused, {code}", status=status)


def _retry_after(error: APIStatusError) -> float | None:
    headers = error.response.headers
    named: str = headers.get("retry-after", "")
    try:
        if re.fullmatch(r"\d+(\.\d+)?", named):
            return float(named)
        # A date is relative to the server's own clock.
        wait = parsedate_to_datetime(named) - parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, wait.total_seconds())
    except (ValueError, TypeError):
        return None


def _parse(provider: str, body: bytes, count: int) -> NDArray[np.float32]:
    try:
        items: list[dict[str, Any]] = json.loads(body)["data"]
        ordered = sorted(items, key=lambda item: item["index"])
        if [item["index"] for item in ordered] != list(range(count)):
            raise EmbeddingResponseError(provider, f"{len(items)} vectors for {count} texts")
        rows = np.array([_numbers(item["embedding"]) for item in ordered], dtype=np.float32)
    except (ValueError, TypeError, KeyError) as error:
        # Also json, base64 and Unicode errors, and rows of different lengths. From None: they
        # may quote the answer.
        reason = f"the answer is not a list of embeddings ({type(error).__name__})"
        raise EmbeddingResponseError(provider, reason) from None
    if rows.ndim != 2 or not rows.size:
        raise EmbeddingResponseError(provider, "a vector is empty or not flat")
    return rows


def _numbers(embedding: str | list[float]) -> NDArray[np.float32]:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    with np.errstate(over="ignore"):  # becomes an infinite value, which the port refuses
        return np.array(embedding, dtype=np.float32)
