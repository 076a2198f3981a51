"""Anthropic, by its own messages protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from memora.errors import MissingExtraError
from memora.llm_backends._chat import ChatBackend, Connection, Reply, Request, hush
from memora.llm_backends._completions import count_tokens
from memora.llm_backends._parse import as_list, as_object
from memora.llm_backends._schema import plain_schema, strict_schema
from memora.llm_backends._settings import Settings, checked_key, checked_url

_TOOL = "answer"
_STOPS = {
    "refusal": "refusal",
    "max_tokens": "truncated",
    "model_context_window_exceeded": "truncated",
}
_PROMPT_TOKENS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class AnthropicBackendLLM(ChatBackend):
    """A model of Anthropic; needs the extra `anthropic`.

    Args:
        api_key: The key, without which nothing is sent.
        top_p: Sent instead of the temperature if it is not 1; models take one of the two.
        max_retries: Transport retries of each answer.
        timeout: Seconds for one attempt.
        context_window: Tokens of prompt and answer, for a model that memora does not know.

    Example:
        ```python
        llm = AnthropicBackendLLM(api_key="ANTHROPIC_API_KEY")
        ```
    """

    # Models that think by themselves refuse a forced tool call and get the schema natively.
    modes: ClassVar[tuple[str, ...]] = ("tool", "json_schema")

    def __init__(
        self,
        api_key: str,
        model: str = "claude-haiku-4-5",
        temperature: float = 0.7,
        top_p: float = 1,
        max_tokens: int = 1024,
        max_retries: int = 3,
        *,
        base_url: str = "https://api.anthropic.com",
        timeout: float = 30,
        context_window: int | None = None,
    ) -> None:
        settings = Settings(
            model, temperature, top_p, max_tokens, max_retries, timeout, context_window
        )
        super().__init__("anthropic", settings)
        self._api_key = checked_key(api_key)
        self._base_url = checked_url(base_url)

    def _connect(self) -> Connection:
        try:
            from anthropic import (  # noqa: PLC0415 - a slow import, off the loop
                AnthropicError,
                AsyncAnthropic,
            )
        except ModuleNotFoundError as error:
            raise MissingExtraError("anthropic", "anthropic") from error
        hush("anthropic")
        client = AsyncAnthropic(
            api_key=self._api_key,
            base_url=self._base_url,
            timeout=self._settings.timeout,
            max_retries=0,
        )
        create: Any = client.messages.with_raw_response.create

        async def post(body: dict[str, Any]) -> bytes:
            # As `extra_body`, settings reach the wire whatever parameters this SDK has.
            own = {"model", "messages", "max_tokens"}
            raw = await create(
                **{key: body[key] for key in own},
                extra_body={key: body[key] for key in body.keys() - own},
            )
            return cast("bytes", raw.http_response.content)

        return Connection(post, AnthropicError, client.close)

    def _body(self, request: Request) -> dict[str, Any]:
        settings = self._settings
        system = [m["content"] for m in request.prompt if m["role"] in ("system", "developer")]
        body: dict[str, Any] = {
            "model": settings.model,
            "max_tokens": settings.max_tokens,
            "messages": [m for m in request.prompt if m["role"] in ("user", "assistant")],
        }
        if system:
            body["system"] = "\n\n".join(system)
        if settings.top_p != 1 and "top_p" in request.used:
            body["top_p"] = settings.top_p
        elif "temperature" in request.used:
            body["temperature"] = settings.temperature
        if request.mode == "tool" and request.schema is not None:
            body["tools"] = [
                {
                    "name": _TOOL,
                    "description": "Give the answer in this form.",
                    "input_schema": plain_schema(request.schema),
                }
            ]
            body["tool_choice"] = {"type": "tool", "name": _TOOL}
        elif request.mode == "json_schema" and request.schema is not None:
            schema = strict_schema(request.schema) or plain_schema(request.schema)
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return body

    def _read(self, payload: Mapping[str, Any]) -> Reply | None:
        if not isinstance(payload.get("content"), list):
            return None
        blocks = [as_object(block) for block in as_list(payload["content"])]
        stop = _STOPS.get(str(payload.get("stop_reason")), "")
        for block in blocks:
            if block.get("type") == "tool_use" and block.get("name") == _TOOL:
                return Reply(json.dumps(block.get("input"), ensure_ascii=False), stop)
        texts = [block.get("text") for block in blocks if block.get("type") == "text"]
        return Reply("".join(text for text in texts if isinstance(text, str)), stop)

    def _count(self, payload: Mapping[str, Any]) -> tuple[int, int]:
        return count_tokens(payload, _PROMPT_TOKENS, ("output_tokens",))
