"""The chat-completions protocol, which most providers speak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from memora.errors import MissingExtraError
from memora.llm_backends._chat import ChatBackend, Connection, Reply, Request, hush
from memora.llm_backends._parse import as_list, as_object
from memora.llm_backends._schema import plain_schema, schema_name, strict_schema

if TYPE_CHECKING:
    from groq import AsyncGroq
    from openai import AsyncOpenAI

_STOPS = {"length": "truncated", "content_filter": "filtered"}


class CompletionsBackend(ChatBackend):
    """Requests and answers in the format of `/chat/completions`."""

    modes: ClassVar[tuple[str, ...]] = ("json_schema", "json_object")
    # Ask the provider to enforce the schema, where the schema allows it.
    strict: bool = True

    def _body(self, request: Request) -> dict[str, Any]:
        settings = self._settings
        limit = "max_tokens" if "max_tokens" in request.used else "max_completion_tokens"
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": request.prompt,
            limit: settings.max_tokens,
        }
        if "temperature" in request.used:
            body["temperature"] = settings.temperature
        if "top_p" in request.used:
            body["top_p"] = settings.top_p
        if request.mode == "json_object":
            body["response_format"] = {"type": "json_object"}
        elif request.mode == "json_schema" and request.schema is not None:
            strict = strict_schema(request.schema) if self.strict else None
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": schema_name(request.schema),
                    "schema": strict or plain_schema(request.schema),
                    "strict": strict is not None,
                },
            }
        return body

    def _read(self, payload: Mapping[str, Any]) -> Reply | None:
        choice = as_object(next(iter(as_list(payload.get("choices"))), None))
        message = as_object(choice.get("message"))
        if not message or choice.get("finish_reason") == "error":
            return None
        if message.get("refusal"):
            return Reply("", "refusal")
        stop = _STOPS.get(str(choice.get("finish_reason")), "")
        return Reply(_text(message.get("content")), stop)

    def _count(self, payload: Mapping[str, Any]) -> tuple[int, int]:
        return count_tokens(payload, ("prompt_tokens",), ("completion_tokens",))


def count_tokens(
    payload: Mapping[str, Any], prompt: tuple[str, ...], completion: tuple[str, ...]
) -> tuple[int, int]:
    """The sums of the named counters in `usage`, as far as they are counts."""
    counters = as_object(payload.get("usage"))

    def total(names: tuple[str, ...]) -> int:
        values = [counters.get(name) for name in names]
        return sum(v for v in values if isinstance(v, int) and v > 0)

    return total(prompt), total(completion)


def connection(
    client: AsyncOpenAI | AsyncGroq, errors: type[Exception], *, owned: bool = True
) -> Connection:
    """An SDK client, reduced to the raw request and answer."""
    create = client.chat.completions.with_raw_response.create

    async def post(body: dict[str, Any]) -> bytes:
        # As `extra_body`, settings reach the wire whatever parameters this version of the SDK has.
        settings = {key: body[key] for key in body.keys() - {"model", "messages"}}
        raw: Any = await create(model=body["model"], messages=body["messages"], extra_body=settings)
        return cast("bytes", raw.http_response.content)

    return Connection(post, errors, client.close if owned else None)


def openai_connection(
    *,
    api_key: str,
    base_url: str,
    timeout: float,
    organization: str | None = None,
    project: str | None = None,
) -> Connection:
    """The `openai` client for OpenAI itself and for those who speak its protocol."""
    try:
        from openai import AsyncOpenAI, OpenAIError  # noqa: PLC0415 - a slow import, off the loop
    except ModuleNotFoundError as error:
        raise MissingExtraError("openai", "all") from error
    hush("openai")
    client = AsyncOpenAI(api_key=api_key, base_url=base_url, timeout=timeout, max_retries=0)
    # Set after the fact: the SDK would take missing ones from the environment, for any base URL.
    client.organization, client.project = organization, project
    return connection(client, OpenAIError)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = [as_object(part).get("text") for part in as_list(content)]
    return "".join(text for text in texts if isinstance(text, str))
