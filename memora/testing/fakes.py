"""Scripted stand-ins for what costs money; never for our own stores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from pydantic import BaseModel, ValidationError

from memora.errors import LLMError, LLMResponseError
from memora.llm_backends.base import BaseBackendLLM

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Call:
    """One question that a scripted model was asked.

    Attributes:
        messages: The chat.
        schema: Name of the wanted schema; None for plain text.
    """

    messages: tuple[dict[str, str], ...]
    schema: str | None

    @property
    def data(self) -> Any:
        """The JSON in the user's turn."""
        return json.loads(self.messages[-1]["content"])


Answer = Mapping[str, Any] | str | Exception
Script = Callable[[Call], Answer]


class ScriptedBackendLLM(BaseBackendLLM):
    """A model that answers by script; it counts a token per 4 characters.

    Args:
        script: Called with each question; returns the answer as a mapping or as text, or an
            error to raise. None: an empty answer of the wanted schema.
        gate: When given, each answer waits for it, so that a test can act while the model thinks.
    """

    provider = "scripted"
    model = "scripted"

    def __init__(self, script: Script | None = None, *, gate: asyncio.Event | None = None) -> None:
        self.calls: list[Call] = []
        self.closed = 0
        self._script = script or _nothing
        self._gate = gate

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

    async def __call__(
        self,
        messages: Sequence[Mapping[str, str]],
        output_schema_model: type[T] | None = None,
        *,
        max_retries: int | None = None,  # noqa: ARG002 - the port's signature
        deadline: float | None = None,  # noqa: ARG002 - the port's signature
    ) -> str | T:
        schema = None if output_schema_model is None else output_schema_model.__name__
        call = Call(tuple(dict(message) for message in messages), schema)
        self.calls.append(call)
        if self._gate is not None:
            await self._gate.wait()
        answer = self._script(call)
        if isinstance(answer, Exception):
            raise answer
        text = answer if isinstance(answer, str) else json.dumps(answer)
        self.record_usage(
            prompt_tokens=sum(len(message["content"]) for message in call.messages) // 4,
            completion_tokens=len(text) // 4,
        )
        if output_schema_model is None:
            return text
        try:
            return output_schema_model.model_validate_json(text)
        except ValidationError:
            raise LLMResponseError("scripted", "not of the schema", kind="schema") from None

    async def close(self) -> None:
        self.closed += 1

    def asked_for(self, schema: str) -> list[Call]:
        """Return the questions that wanted this schema."""
        return [call for call in self.calls if call.schema == schema]


def _nothing(call: Call) -> Answer:
    empty: dict[str | None, Answer] = {
        None: "",
        "MemoryExtractionResponse": {"memories": []},
        "MemoryComparisonResponse": {"verdicts": []},
        "CondensedFacts": {"facts": []},
        "PlacementResponse": {"placements": []},
        "SearchQueries": {"queries": []},
        "SelectedMemories": {"relevant": []},
    }
    return empty[call.schema]


def extracting(*statements: tuple[str, Sequence[int]] | str) -> Script:
    """Return a script that finds these statements in any conversation, and no contradiction.

    Args:
        statements: Texts, or texts with the numbers of the messages they come from (else 0).
    """

    def script(call: Call) -> Answer:
        if call.schema == "MemoryExtractionResponse":
            return {"memories": [_item(statement) for statement in statements]}
        return _nothing(call)

    return script


def _item(statement: tuple[str, Sequence[int]] | str) -> dict[str, Any]:
    text, sources = (statement, [0]) if isinstance(statement, str) else statement
    return {
        "memory": text,
        "msg_source_ids": list(sources),
        "memory_type": "fact",
        "importance": 0.5,
    }


class OutageError(LLMError):
    """A provider that is down, for scripts."""

    def __init__(self) -> None:
        super().__init__("scripted", "the provider is down")
