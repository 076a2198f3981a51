"""The one place where errors of the SDKs and error bodies of providers become memora's."""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from memora.errors import (
    LLMAuthError,
    LLMConnectionError,
    LLMError,
    LLMRateLimitError,
    LLMResponseError,
    LLMTimeoutError,
)
from memora.llm_backends._parse import as_object, decode_json

MAX_BODY_BYTES = 8_000_000

_TOO_LONG = re.compile(r"context.?(length|window)|maximum context|prompt is too long", re.I)
_FILTERED = re.compile(r"content.filter|content_policy_violation|content management policy", re.I)
_UNSUPPORTED = re.compile(
    r"unsupported|not support|deprecated|cannot both|not (allowed|permitted)|only the default", re.I
)
SAMPLING = ("temperature", "top_p", "max_tokens")
_STRUCTURED = re.compile(
    r"response.?format|json_schema|json_object|structured.output|tool_choice|output_config", re.I
)
_CREDENTIALS = frozenset({"CredentialsError", "WorkloadIdentityError", "SubjectTokenProviderError"})
_KINDS = {
    "LengthFinishReasonError": "truncated",
    "ContentFilterFinishReasonError": "filtered",
    "APIResponseValidationError": "schema",
}


@dataclass(frozen=True)
class HttpProblem:
    """An HTTP error as the provider worded it; `message` and `body` are never raised or logged."""

    status: int
    code: str = ""
    param: str = ""
    message: str = field(default="", repr=False)
    retry_after: float | None = None
    body: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)


def read_body(content: bytes) -> Any:
    """The JSON of a response, or `None` where there is none."""
    if len(content) > MAX_BODY_BYTES:
        return None
    try:
        return decode_json(content)
    except (ValueError, RecursionError):
        return None


def read_problem(status: int, payload: Any, headers: Mapping[str, str]) -> HttpProblem:
    """What the error body says, in the shapes that OpenAI, Groq, Anthropic and proxies use."""
    error = as_object(payload).get("error", payload)
    named = as_object(error) or {"message": error}

    def text(key: str) -> str:
        value = named.get(key)
        return value if isinstance(value, str) else ""

    return HttpProblem(
        status,
        code=text("code") or text("type"),
        param=text("param"),
        message=text("message"),
        retry_after=retry_after(headers),
        body=named,
    )


def problem_of(error: Exception) -> HttpProblem | None:
    """The HTTP error behind an SDK's exception, if there is one."""
    status = getattr(error, "status_code", None)
    response = getattr(error, "response", None)
    if not isinstance(status, int) or response is None or status < 300:
        return None
    return read_problem(status, read_body(response.content), response.headers)


def error_in_body(payload: Mapping[str, Any]) -> HttpProblem | None:
    """The error that a provider sent with status 200, where its code is an HTTP status."""
    problem = read_problem(0, payload, {})
    status = problem.body.get("code")
    if isinstance(status, int) and 400 <= status < 600:
        return replace(problem, status=status)
    return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the peer asks to wait, from `retry-after-ms` or `Retry-After`."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    until = _moment(value)
    if until is None:
        return None
    # The peer's own clock, where it tells: ours may be wrong.
    sent = _moment(headers.get("date"))
    return max(0.0, until - (time.time() if sent is None else sent))


def translate(provider: str, error: Exception) -> LLMError:
    """An SDK's exception as one of memora's, without its text, which may quote the prompt.

    The SDKs come from one generator and share class names, so none has to be imported here.
    """
    problem = problem_of(error)
    if problem is not None:
        return refused(provider, problem)
    names = [cls.__name__ for cls in type(error).__mro__]
    if "APITimeoutError" in names:
        return LLMTimeoutError(provider, "the request timed out")
    if "APIConnectionError" in names or "RetryableError" in names:
        return LLMConnectionError(provider, "the provider could not be reached")
    if not _CREDENTIALS.isdisjoint(names):
        return LLMAuthError(provider, "the credentials could not be loaded")
    for name in names:
        if name in _KINDS:
            return LLMResponseError(provider, "the answer is unusable", kind=_KINDS[name])
    return LLMError(provider, f"the SDK raised {names[0]}")


def refused(provider: str, problem: HttpProblem) -> LLMError:
    """The error for an HTTP status and what the body says about it."""
    status, code = problem.status, problem.code
    # Codes are words of the provider; anything else in their place is not repeated.
    reason = code if re.fullmatch(r"[a-z_]{1,40}", code) else "the request was refused"
    error: LLMError
    if status in (401, 402, 403) or code in ("insufficient_quota", "billing_error"):
        return LLMAuthError(provider, reason, status=status)
    if status == 429:
        return LLMRateLimitError(provider, reason, status=status, retry_after=problem.retry_after)
    if status == 408:
        error = LLMTimeoutError(provider, reason, status=status)
        error.retry_after = problem.retry_after
        return error
    if status == 409 or status >= 500:
        error = LLMConnectionError(provider, reason, status=status)
        error.retry_after = problem.retry_after
        return error
    return LLMResponseError(provider, reason, kind=_kind(problem), status=status)


def unsupported(problem: HttpProblem, mode: str) -> frozenset[str]:
    """What a 400 or 422 says the model does not take: sampling settings, the schema's mode."""
    if problem.status not in (400, 422):
        return frozenset()
    said = f"{problem.code} {problem.param} {problem.message}"
    found = {mode} if _STRUCTURED.search(said) else set[str]()
    if _UNSUPPORTED.search(said):
        found |= {name for name in SAMPLING if re.search(rf"\b{name}\b", said)}
    return frozenset(found)


def _kind(problem: HttpProblem) -> str:
    said = f"{problem.code} {problem.message}"
    if problem.status == 413 or _TOO_LONG.search(said):
        return "too_long"
    if _FILTERED.search(said):
        return "filtered"
    return "request"


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _moment(value: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(value or "").timestamp()
    except ValueError:
        return None
