"""Groq."""

from __future__ import annotations

from memora.errors import MissingExtraError
from memora.llm_backends._chat import Connection, Reply, hush
from memora.llm_backends._completions import CompletionsBackend, connection
from memora.llm_backends._failures import HttpProblem
from memora.llm_backends._settings import Settings, checked_key, checked_url

_ENFORCES_SCHEMAS = "openai/gpt-oss"
_NO_SCHEMAS = "llama-3"


class GroqBackendLLM(CompletionsBackend):
    """A model at Groq.

    Args:
        api_key: The key, without which nothing is sent.
        max_retries: Transport retries of each answer.
        timeout: Seconds for one attempt.
        context_window: Tokens of prompt and answer, for a model that memora does not know.

    Example:
        ```python
        llm = GroqBackendLLM(api_key="GROQ_API_KEY", model="llama-3.3-70b-versatile")
        ```
    """

    def __init__(
        self,
        api_key: str,
        model: str = "llama-3.3-70b-versatile",
        temperature: float = 1,
        top_p: float = 1,
        max_tokens: int = 1024,
        max_retries: int = 3,
        *,
        base_url: str = "https://api.groq.com",
        timeout: float = 30,
        context_window: int | None = None,
    ) -> None:
        settings = Settings(
            model, temperature, top_p, max_tokens, max_retries, timeout, context_window
        )
        super().__init__("groq", settings)
        self.strict = model.startswith(_ENFORCES_SCHEMAS)
        if model.startswith(_NO_SCHEMAS):
            self._rejected = frozenset({"json_schema"})
        self._api_key = checked_key(api_key)
        self._base_url = checked_url(base_url)

    def _connect(self) -> Connection:
        try:
            from groq import AsyncGroq, GroqError  # noqa: PLC0415 - a slow import, off the loop
        except ModuleNotFoundError as error:
            raise MissingExtraError("groq", "all") from error
        hush("groq")
        client = AsyncGroq(
            api_key=self._api_key,
            base_url=self._base_url,
            timeout=self._settings.timeout,
            max_retries=0,
        )
        return connection(client, GroqError)

    def _salvage(self, problem: HttpProblem) -> Reply | None:
        # In JSON mode Groq answers invalid output with a 400 that holds what the model wrote.
        if problem.code != "json_validate_failed":
            return None
        if "max completion tokens" in problem.message:
            return Reply("", "truncated")
        written = problem.body.get("failed_generation")
        return Reply(written if isinstance(written, str) else "")
