"""OpenAI."""

from __future__ import annotations

from memora.llm_backends._chat import Connection
from memora.llm_backends._completions import CompletionsBackend, openai_connection
from memora.llm_backends._settings import Settings, checked_key, checked_url


class OpenAIBackendLLM(CompletionsBackend):
    """A model of OpenAI.

    Args:
        api_key: The key, without which nothing is sent.
        organization: Sent as a header, for keys that belong to several.
        project: Sent as a header.
        max_retries: Transport retries of each answer.
        timeout: Seconds for one attempt.
        context_window: Tokens of prompt and answer, for a model that memora does not know.

    Example:
        ```python
        llm = OpenAIBackendLLM(api_key="OPENAI_API_KEY", model="gpt-4o")
        ```
    """

    def __init__(
        self,
        api_key: str,
        organization: str | None = None,
        project: str | None = None,
        model: str = "gpt-4o",
        temperature: float = 0.7,
        top_p: float = 1,
        max_tokens: int = 1024,
        max_retries: int = 3,
        *,
        base_url: str = "https://api.openai.com/v1",
        timeout: float = 30,
        context_window: int | None = None,
    ) -> None:
        settings = Settings(
            model, temperature, top_p, max_tokens, max_retries, timeout, context_window
        )
        super().__init__("openai", settings)
        self._api_key = checked_key(api_key)
        self._organization = organization
        self._project = project
        self._base_url = checked_url(base_url)

    def _connect(self) -> Connection:
        return openai_connection(
            api_key=self._api_key,
            base_url=self._base_url,
            timeout=self._settings.timeout,
            organization=self._organization,
            project=self._project,
        )
