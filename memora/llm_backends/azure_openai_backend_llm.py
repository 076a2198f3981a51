"""Azure OpenAI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memora.errors import InvalidInputError, MissingExtraError
from memora.llm_backends._chat import Connection, hush
from memora.llm_backends._completions import CompletionsBackend, connection
from memora.llm_backends._settings import Settings, checked_key, checked_url

if TYPE_CHECKING:
    from openai import AsyncAzureOpenAI


AZURE_API_VERSION = "2024-10-21"


class AzureOpenAIBackendLLM(CompletionsBackend):
    """A deployment at Azure OpenAI, through a client of yours or an endpoint and key.

    Args:
        azure_openai_client: Your client, which stays yours to close; its retries are not used.
        model: Name of the deployment.
        azure_endpoint: URL of the resource, where no client is given.
        api_key: Key of the resource, where no client is given.
        api_version: Version of the API, where no client is given.
        max_retries: Transport retries of each answer.
        timeout: Seconds for one attempt.
        context_window: Tokens of prompt and answer, for a deployment not named after its model.

    Example:
        ```python
        llm = AzureOpenAIBackendLLM(
            model="gpt-4o",
            azure_endpoint="https://your-resource.openai.azure.com",
            api_key="AZURE_OPENAI_API_KEY",
        )
        ```
    """

    def __init__(
        self,
        azure_openai_client: AsyncAzureOpenAI | None = None,
        model: str = "gpt-4o",
        temperature: float = 0.7,
        top_p: float = 1,
        max_tokens: int = 1024,
        *,
        azure_endpoint: str | None = None,
        api_key: str | None = None,
        api_version: str = AZURE_API_VERSION,
        max_retries: int = 3,
        timeout: float = 30,
        context_window: int | None = None,
    ) -> None:
        settings = Settings(
            model, temperature, top_p, max_tokens, max_retries, timeout, context_window
        )
        super().__init__("azure", settings)
        self._client = azure_openai_client
        self._api_version = api_version
        if azure_openai_client is None:
            if azure_endpoint is None or api_key is None:
                raise InvalidInputError(
                    "azure_openai_client", "a client, or azure_endpoint and api_key instead of it"
                )
            self._endpoint = checked_url(azure_endpoint, field="azure_endpoint")
            self._api_key = checked_key(api_key)

    def _connect(self) -> Connection:
        try:
            from openai import (  # noqa: PLC0415 - a slow import, off the loop
                AsyncAzureOpenAI,
                OpenAIError,
            )
        except ModuleNotFoundError as error:
            raise MissingExtraError("openai", "all") from error
        hush("openai")
        timeout = self._settings.timeout
        if self._client is not None:
            client = self._client.with_options(max_retries=0, timeout=timeout)
            return connection(client, OpenAIError, owned=False)
        client = AsyncAzureOpenAI(
            azure_endpoint=self._endpoint,
            api_key=self._api_key,
            api_version=self._api_version,
            timeout=timeout,
            max_retries=0,
        )
        return connection(client, OpenAIError)
