"""Ollama, vLLM, LM Studio, OpenRouter and whatever else speaks OpenAI's protocol."""

from __future__ import annotations

from typing import ClassVar

from memora.llm_backends._chat import Connection
from memora.llm_backends._completions import CompletionsBackend, openai_connection
from memora.llm_backends._settings import Settings, checked_key, checked_url

_NO_KEY = "none"  # the client insists on one; servers without keys ignore it


class OpenAICompatibleBackendLLM(CompletionsBackend):
    """A model behind any `/chat/completions` endpoint.

    Args:
        base_url: URL of the API; an ending `/chat/completions` is cut.
        api_key: The key, where the server wants one.
        max_retries: Transport retries of each answer.
        timeout: Seconds for one attempt; local models may need more than the default.
        context_window: Tokens of prompt and answer.
        provider: Name shown in errors.

    Example:
        ```python
        llm = OpenAICompatibleBackendLLM("http://localhost:11434/v1", "llama3.2")
        ```
    """

    # Servers that take a schema without enforcing it are common.
    explains_schema: ClassVar[bool] = True

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        temperature: float = 0.7,
        top_p: float = 1,
        max_tokens: int = 1024,
        max_retries: int = 3,
        *,
        timeout: float = 30,
        context_window: int | None = None,
        provider: str = "openai-compatible",
    ) -> None:
        settings = Settings(
            model, temperature, top_p, max_tokens, max_retries, timeout, context_window
        )
        super().__init__(provider, settings)
        self._api_key = checked_key(api_key) if api_key else _NO_KEY
        self._base_url = checked_url(base_url)

    def _connect(self) -> Connection:
        return openai_connection(
            api_key=self._api_key, base_url=self._base_url, timeout=self._settings.timeout
        )
