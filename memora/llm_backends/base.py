"""The port to language models: one class to subclass for a provider of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar, overload

from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class TokenUsage:
    """What a backend has spent: answers received (unusable ones too) and their tokens."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def __sub__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            self.calls - other.calls,
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
        )


class BaseBackendLLM(ABC):
    """A chat model; subclass it with `__call__` and `close`.

    Attributes:
        provider: Name of the provider, shown in errors.
        model: Name of the model at that provider.
        context_window: Tokens that prompt and answer may have together, where known.
        answer_tokens: Tokens that an answer may have, where known.

    Example:
        ```python
        class EchoLLM(BaseBackendLLM):
            async def __call__(
                self, messages, output_schema_model=None, *, max_retries=None, deadline=None
            ):
                text = messages[-1]["content"]
                self.record_usage(prompt_tokens=len(text.split()))
                if output_schema_model is None:
                    return text
                return output_schema_model.model_validate_json(text)

            async def close(self): ...
        ```
    """

    provider: str = "custom"
    model: str = ""
    context_window: int | None = None
    answer_tokens: int | None = None
    _usage: TokenUsage = TokenUsage()

    @overload
    async def __call__(
        self,
        messages: Sequence[Mapping[str, str]],
        output_schema_model: None = None,
        *,
        max_retries: int | None = None,
        deadline: float | None = None,
    ) -> str: ...

    @overload
    async def __call__(
        self,
        messages: Sequence[Mapping[str, str]],
        output_schema_model: type[T],
        *,
        max_retries: int | None = None,
        deadline: float | None = None,
    ) -> T: ...

    @abstractmethod
    async def __call__(
        self,
        messages: Sequence[Mapping[str, str]],
        output_schema_model: type[T] | None = None,
        *,
        max_retries: int | None = None,
        deadline: float | None = None,
    ) -> str | T:
        """Answer a chat, as text or as an instance of the schema.

        Args:
            messages: `{"role", "content"}` each; roles system, developer, user, assistant.
            output_schema_model: The answer is validated against it, with one repair turn.
            max_retries: Transport retries of each model answer; `None` takes the backend's own.
            deadline: Seconds that the whole call may take, retries and repair included.

        Raises:
            LLMError: One of its leaves; retryable ones are also a `RetryableError`.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close what the backend opened itself; a second call is harmless."""

    @property
    def usage(self) -> TokenUsage:
        """What this backend has spent so far; subtract two snapshots to measure one step."""
        return self._usage

    def record_usage(self, *, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Count one answer of the provider, whether it was usable or not."""
        self._usage += TokenUsage(1, prompt_tokens, completion_tokens)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(provider={self.provider!r}, model={self.model!r})"
