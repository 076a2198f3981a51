"""Together, through the `openai` client."""

from __future__ import annotations

from typing import ClassVar

from memora.llm_backends._chat import Connection
from memora.llm_backends._completions import CompletionsBackend, openai_connection
from memora.llm_backends._settings import Settings, checked_key, checked_url


class TogetherBackendLLM(CompletionsBackend):
    """A model at Together.

    Args:
        api_key: The key, without which nothing is sent.
        max_retries: Transport retries of each answer.
        timeout: Seconds for one attempt.
        context_window: Tokens of prompt and answer, for a model that memora does not know.

    Example:
        ```python
        llm = TogetherBackendLLM(api_key="TOGETHER_API_KEY")
        ```
    """

    # Together's guide asks for the schema in the prompt beside `response_format`.
    explains_schema: ClassVar[bool] = True

    def __init__(
        self,
        api_key: str,
        model: str = "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        temperature: float = 0.7,
        top_p: float = 1,
        max_tokens: int = 1024,
        max_retries: int = 3,
        *,
        base_url: str = "https://api.together.xyz/v1",
        timeout: float = 30,
        context_window: int | None = None,
    ) -> None:
        settings = Settings(
            model, temperature, top_p, max_tokens, max_retries, timeout, context_window
        )
        super().__init__("together", settings)
        self._api_key = checked_key(api_key)
        self._base_url = checked_url(base_url)

    def _connect(self) -> Connection:
        return openai_connection(
            api_key=self._api_key, base_url=self._base_url, timeout=self._settings.timeout
        )
