"""Errors of the SDKs and of providers: each has one place among memora's."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType, SimpleNamespace

import anthropic
import groq
import openai
import pytest

from memora.errors import (
    LLMAuthError,
    LLMConnectionError,
    LLMError,
    LLMRateLimitError,
    LLMResponseError,
    LLMTimeoutError,
)
from memora.llm_backends._failures import (
    MAX_BODY_BYTES,
    HttpProblem,
    read_body,
    read_problem,
    refused,
    retry_after,
    translate,
    unsupported,
)

Leaf = tuple[type[LLMError], str | None]

# Errors that no HTTP status decides.
BY_NAME: dict[str, Leaf] = {
    "OpenAIError": (LLMError, None),
    "GroqError": (LLMError, None),
    "AnthropicError": (LLMError, None),
    "APIError": (LLMError, None),
    "APIResponseValidationError": (LLMResponseError, "schema"),
    "APIConnectionError": (LLMConnectionError, None),
    "APITimeoutError": (LLMTimeoutError, None),
    "RetryableError": (LLMConnectionError, None),
    "CredentialsError": (LLMAuthError, None),
    "IdentityTokenFileError": (LLMAuthError, None),
    "SubjectTokenProviderError": (LLMAuthError, None),
    "LengthFinishReasonError": (LLMResponseError, "truncated"),
    "ContentFilterFinishReasonError": (LLMResponseError, "filtered"),
    # Of features that memora does not use: still an LLMError, never a crash.
    "APIWebhookValidationError": (LLMError, None),
    "WebSocketConnectionClosedError": (LLMError, None),
    "WebSocketQueueFullError": (LLMError, None),
}
# Statuses that the SDKs have classes for; anything else of the 4xx is a plain refusal.
BY_STATUS: dict[int, Leaf] = {
    400: (LLMResponseError, "request"),
    401: (LLMAuthError, None),
    402: (LLMAuthError, None),
    403: (LLMAuthError, None),
    404: (LLMResponseError, "request"),
    408: (LLMTimeoutError, None),
    409: (LLMConnectionError, None),
    412: (LLMResponseError, "request"),
    413: (LLMResponseError, "too_long"),
    422: (LLMResponseError, "request"),
    429: (LLMRateLimitError, None),
    431: (LLMResponseError, "request"),
    499: (LLMResponseError, "request"),
    500: (LLMConnectionError, None),
    501: (LLMConnectionError, None),
    503: (LLMConnectionError, None),
    504: (LLMConnectionError, None),
    529: (LLMConnectionError, None),
}


def error_classes(sdk: ModuleType, base: type[Exception]) -> Iterator[type[Exception]]:
    """The error classes that the SDK exports, and those beside them that it does not."""
    named = [getattr(sdk, name) for name in sdk.__all__]
    beside = vars(import_module(f"{sdk.__name__}._exceptions")).values()
    for found in (*named, *beside):
        if isinstance(found, type) and issubclass(found, base):
            yield found


SDKS = [
    (openai, openai.OpenAIError),
    (groq, groq.GroqError),
    (anthropic, anthropic.AnthropicError),
]
CLASSES = sorted(
    {found for sdk, base in SDKS for found in error_classes(sdk, base)},
    key=lambda found: (found.__module__, found.__name__),
)


def made(found: type[Exception], status: int) -> Exception:
    """An instance as a response of this status would have made it, without its constructor."""
    error = found.__new__(found)
    if issubclass(found, openai.APIStatusError | groq.APIStatusError | anthropic.APIStatusError):
        vars(error)["status_code"] = status
        vars(error)["response"] = SimpleNamespace(content=b"", headers={})
    return error


def own_status(found: type[Exception]) -> int | None:
    """The status that the class stands for."""
    status = inspect.getattr_static(found, "status_code", None)
    if isinstance(status, int):
        return status
    names = [base.__name__ for base in found.__mro__]
    if "InternalServerError" in names:
        return 500
    return 400 if "APIStatusError" in names else None


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: f"{found.__module__}.{found.__name__}")
def test_every_error_of_the_sdks_maps(found: type[Exception]) -> None:
    status = own_status(found)
    leaf, kind = BY_NAME[found.__name__] if status is None else BY_STATUS[status]
    translated = translate("acme", made(found, status or 0))
    assert type(translated) is leaf
    assert getattr(translated, "kind", None) == kind
    assert str(translated).startswith("acme: ")


def test_every_sdk_is_looked_at() -> None:
    assert {found.__module__.partition(".")[0] for found in CLASSES} == {
        "openai",
        "groq",
        "anthropic",
    }
    assert len(CLASSES) > 40


@dataclass
class Shape:
    """An error body of some provider, and what memora makes of it."""

    status: int
    body: bytes
    leaf: type[LLMError]
    kind: str | None
    reason: str


SHAPES = [
    Shape(
        400,
        b'{"error": {"message": "The maximum context length is 8192 tokens", "type": "x"}}',
        LLMResponseError,
        "too_long",
        "x",
    ),
    Shape(
        400,
        b'{"type": "error", "error": {"type": "invalid_request_error", '
        b'"message": "prompt is too long: 208310 tokens > 200000 maximum"}}',
        LLMResponseError,
        "too_long",
        "invalid_request_error",
    ),
    Shape(
        400,
        b'{"error": {"code": "content_filter", "message": "The response was filtered"}}',
        LLMResponseError,
        "filtered",
        "content_filter",
    ),
    Shape(
        429,
        b'{"error": {"code": "insufficient_quota"}}',
        LLMAuthError,
        None,
        "insufficient_quota",
    ),
    Shape(404, b'{"error": "model \'x\' not found"}', LLMResponseError, "request", "refused"),
    Shape(404, b'{"code": "model_not_found"}', LLMResponseError, "request", "model_not_found"),
    Shape(400, b'{"error": {"code": "Hello, dear!"}}', LLMResponseError, "request", "refused"),
    Shape(400, b'{"error": {"code": 17, "type": null}}', LLMResponseError, "request", "refused"),
    Shape(502, b"<html>bad gateway</html>", LLMConnectionError, None, "refused"),
    Shape(500, b"\xff\xfe", LLMConnectionError, None, "refused"),
    Shape(500, b'[{"error": 1}]', LLMConnectionError, None, "refused"),
    Shape(500, b"", LLMConnectionError, None, "refused"),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.body[:40])
def test_error_bodies_of_providers(shape: Shape) -> None:
    error = refused("acme", read_problem(shape.status, read_body(shape.body), {}))
    assert type(error) is shape.leaf
    assert getattr(error, "kind", None) == shape.kind
    assert error.status == shape.status
    assert shape.reason in error.reason


def test_b86_repr_of_a_problem_shows_no_content() -> None:
    problem = read_problem(400, {"error": {"message": "canary", "code": "bad"}}, {})
    assert problem.message == "canary"
    assert "canary" not in repr(problem)


def test_l28_huge_body_is_not_decoded() -> None:
    assert read_body(b" " * (MAX_BODY_BYTES + 1)) is None
    assert read_body(b'{"a": 1}') == {"a": 1}
    assert read_body(b"[" * 100_000) is None


DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT", "date": DATE}, 30),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:00 GMT", "date": DATE}, 0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 0),
        ({"retry-after": "Tue, 99 Nov 2023 22:13:50 GMT", "date": DATE}, None),
    ],
)
def test_retry_after(headers: Mapping[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_date_is_read_by_our_clock_without_the_peers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    assert retry_after({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}) == 30


@pytest.mark.parametrize(
    ("status", "message", "found"),
    [
        (400, "'temperature' does not support 0.7 with this model", {"temperature"}),
        (400, "`temperature` and `top_p` cannot both be specified", {"temperature", "top_p"}),
        (422, "temperature: Extra inputs are not permitted", {"temperature"}),
        (400, "Unsupported parameter: 'max_tokens'; use max_completion_tokens", {"max_tokens"}),
        (400, "This model does not support response format `json_schema`", {"json_schema"}),
        (400, "'response_format.type' must be 'json_schema' or 'text'", {"json_schema"}),
        (400, "temperature: must be at most 2", set[str]()),
        (400, "max_tokens is too large", set[str]()),
        (401, "'temperature' does not support 0.7", set[str]()),
        (400, "", set[str]()),
    ],
)
def test_what_a_model_does_not_take(status: int, message: str, found: set[str]) -> None:
    assert unsupported(HttpProblem(status, message=message), "json_schema") == found
