"""Settings that all built-in backends share, checked when the backend is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from urllib.parse import urlsplit

from memora.errors import InvalidInputError

# Of the default models and the ones in memora's examples; others are set by `context_window=`.
CONTEXT_WINDOWS = {
    "claude-haiku-4-5": 200_000,
    "gpt-4o": 128_000,
    "llama-3.1-8b-instant": 131_072,
    "llama-3.3-70b-specdec": 8_192,
    "llama-3.3-70b-versatile": 131_072,
    "meta-llama/Llama-3.3-70B-Instruct-Turbo": 131_072,
}
_ENDPOINT = "/chat/completions"


@dataclass(frozen=True)
class Settings:
    """What is sent with every request, and how long and how often one is tried."""

    model: str
    temperature: float
    top_p: float
    max_tokens: int
    max_retries: int
    timeout: float
    context_window: int | None

    def __post_init__(self) -> None:
        if not self.model:
            raise InvalidInputError("model", "a non-empty string")
        if self.max_tokens < 1:
            raise InvalidInputError("max_tokens", "at least 1", got=str(self.max_tokens))
        if self.max_retries < 0:
            raise InvalidInputError("max_retries", "0 or more", got=str(self.max_retries))
        if not 0 < self.timeout < math.inf:
            raise InvalidInputError("timeout", "a positive number", got=str(self.timeout))
        if self.context_window is not None and self.context_window < 1:
            raise InvalidInputError("context_window", "at least 1", got=str(self.context_window))

    @property
    def window(self) -> int | None:
        """The context window that was set, or the known one of the model."""
        return self.context_window or CONTEXT_WINDOWS.get(self.model)


def checked_key(api_key: str) -> str:
    """The key without surrounding space, fit for a header.

    An SDK would fall back to the environment without a key, and quote a malformed one in its error.
    """
    key = api_key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidInputError("api_key", "a non-empty string of printable ASCII characters")
    return key


def checked_url(base_url: str, *, field: str = "base_url") -> str:
    """The URL of the API, with a trailing slash or `/chat/completions` cut."""
    url = base_url.strip().rstrip("/").removesuffix(_ENDPOINT)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise InvalidInputError(field, "an http or https URL")
    return url
