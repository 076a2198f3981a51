"""Language model backends, each imported when its name is used; none imports its SDK."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memora.llm_backends.anthropic_backend_llm import AnthropicBackendLLM
    from memora.llm_backends.azure_openai_backend_llm import AzureOpenAIBackendLLM
    from memora.llm_backends.base import BaseBackendLLM, TokenUsage
    from memora.llm_backends.groq_backend_llm import GroqBackendLLM
    from memora.llm_backends.openai_backend_llm import OpenAIBackendLLM
    from memora.llm_backends.openai_compatible_backend_llm import OpenAICompatibleBackendLLM
    from memora.llm_backends.together_backend_llm import TogetherBackendLLM

__all__ = [
    "AnthropicBackendLLM",
    "AzureOpenAIBackendLLM",
    "BaseBackendLLM",
    "GroqBackendLLM",
    "OpenAIBackendLLM",
    "OpenAICompatibleBackendLLM",
    "TogetherBackendLLM",
    "TokenUsage",
]

_MODULES = {
    "AnthropicBackendLLM": "anthropic_backend_llm",
    "AzureOpenAIBackendLLM": "azure_openai_backend_llm",
    "BaseBackendLLM": "base",
    "GroqBackendLLM": "groq_backend_llm",
    "OpenAIBackendLLM": "openai_backend_llm",
    "OpenAICompatibleBackendLLM": "openai_compatible_backend_llm",
    "TogetherBackendLLM": "together_backend_llm",
    "TokenUsage": "base",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
