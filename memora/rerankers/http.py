"""Any endpoint that speaks the rerank protocol of Cohere and Jina."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, cast

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from memora.errors import (
    InvalidInputError,
    RerankAuthError,
    RerankConnectionError,
    RerankError,
    RerankRateLimitError,
    RerankResponseError,
    RerankTimeoutError,
    RetryableError,
)
from memora.rerankers.base import BaseReranker

if TYPE_CHECKING:
    from httpx import AsyncClient, Response

_backoff = wait_random_exponential(multiplier=0.25, max=4)


class HTTPReranker(BaseReranker):
    """Rerankers of Cohere and Jina, and of every server with their protocol (vLLM, Infinity).

    Args:
        base_url: Root of the protocol, such as `https://api.cohere.com/v2`; `/rerank` is added.
        model: Name of the model at the endpoint.
        api_key: The key; local servers often need none.
        timeout: Seconds for one call with all its retries.
        max_retries: Number of further tries when the endpoint is busy or not reachable.
        max_text_chars: A longer text is judged by its beginning only.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        timeout: float = 10,
        max_retries: int = 2,
        max_text_chars: int = 8000,
    ) -> None:
        if timeout <= 0 or max_retries < 0:
            raise InvalidInputError("timeout, max_retries", "above 0, and 0 or more")
        if max_text_chars < 1:
            raise InvalidInputError("max_text_chars", "1 or more", got=str(max_text_chars))
        self._url = f"{base_url.rstrip('/').removesuffix('/rerank')}/rerank"
        self._name = model
        self._api_key = api_key
        self._timeout = timeout
        self._max_retries = max_retries
        self._max_text_chars = max_text_chars
        self._client: AsyncClient | None = None
        self._opening = asyncio.Lock()

    @property
    def model_id(self) -> str:
        return f"rerank/{self._name}"

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _score(self, query: str, texts: list[str]) -> list[float]:
        size = self._max_text_chars
        body = {
            "model": self._name,
            "query": query[:size],
            "documents": [text[:size] for text in texts],
            "top_n": len(texts),
        }
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RetryableError),
            stop=stop_after_attempt(self._max_retries + 1) | stop_before_delay(self._timeout),
            wait=_pause,
            reraise=True,
        )
        try:
            async with asyncio.timeout(self._timeout):
                answer: bytes = await retrying(self._post, body)
        except TimeoutError as error:
            reason = f"no answer within {self._timeout:g} seconds"
            raise RerankTimeoutError(self.model_id, reason) from error
        return _parse(self.model_id, answer, len(texts))

    async def _post(self, body: dict[str, Any]) -> bytes:
        client = await self._opened()
        import httpx  # noqa: PLC0415 - imported by now, in a thread

        try:
            answer = await client.post(self._url, json=body)
        except httpx.TimeoutException as error:
            raise RerankTimeoutError(self.model_id, "the request timed out") from error
        except httpx.HTTPError as error:
            reason = f"cannot be reached ({type(error).__name__})"
            raise RerankConnectionError(self.model_id, reason) from error
        if answer.status_code >= 400:
            raise _refusal(self.model_id, answer)
        return answer.content

    async def _opened(self) -> AsyncClient:
        async with self._opening:
            if self._client is None:
                # Import and certificates take a moment: not on the event loop.
                self._client = await asyncio.to_thread(self._open)
            return self._client

    def _open(self) -> AsyncClient:
        from httpx import AsyncClient  # noqa: PLC0415 - when first used

        headers = {} if self._api_key is None else {"Authorization": f"Bearer {self._api_key}"}
        return AsyncClient(headers=headers, timeout=self._timeout)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    named = error.retry_after if isinstance(error, RetryableError) else None
    return named if named is not None else _backoff(state)


def _refusal(provider: str, answer: Response) -> RerankError:
    # Nothing of the body: it may quote the texts.
    status = answer.status_code
    named = answer.headers.get("retry-after", "")
    wait = float(named) if re.fullmatch(r"\d{1,6}(\.\d+)?", named) else None
    if status == 429:
        return RerankRateLimitError(provider, "too many requests", status=status, retry_after=wait)
    if status in {401, 403}:
        return RerankAuthError(provider, "the key was refused", status=status)
    if status in {408, 409} or status >= 500:
        failed = RerankConnectionError(provider, "the endpoint failed", status=status)
        failed.retry_after = wait
        return failed
    return RerankError(provider, "the request was refused", status=status)


def _parse(provider: str, body: bytes, count: int) -> list[float]:
    try:
        answer = json.loads(body)
        # Voyage calls the list `data`; everybody else `results`.
        items = cast("list[dict[str, Any]]", answer.get("results", answer.get("data")))
        scores = {int(item["index"]): float(item["relevance_score"]) for item in items}
    except (
        ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError
    ) as error:  # fmt: skip
        # From None: a JSON error may quote the answer.
        reason = f"the answer is not a list of scores ({type(error).__name__})"
        raise RerankResponseError(provider, reason) from None
    if scores.keys() != set(range(count)) or len(items) != count:
        raise RerankResponseError(provider, f"{len(items)} scores for {count} texts")
    return [scores[i] for i in range(count)]
