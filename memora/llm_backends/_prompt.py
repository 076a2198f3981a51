"""What is added to the caller's messages: the schema, and the request to repair an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from memora.errors import InvalidInputError
from memora.llm_backends._parse import without_surrogates
from memora.llm_backends._schema import schema_instruction

Message = dict[str, str]

ROLES = ("system", "developer", "user", "assistant")
_MAX_ECHO = 20_000


def checked_messages(messages: Sequence[Mapping[str, str]]) -> list[Message]:
    """The messages, if every provider can take them."""
    if not messages:
        raise InvalidInputError("messages", "a non-empty list")
    prompt = [{"role": m.get("role", ""), "content": m.get("content", "")} for m in messages]
    for message in prompt:
        if message["role"] not in ROLES:
            raise InvalidInputError("messages", f"of roles {', '.join(ROLES)}")
        content = message["content"]
        if not isinstance(content, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInputError("messages", "of text content", got=type(content).__name__)
        if content != without_surrogates(content):
            raise InvalidInputError("messages", "valid Unicode text", got="a lone surrogate")
    return prompt


def with_schema(prompt: list[Message], schema: type[BaseModel]) -> list[Message]:
    """The prompt with the schema as JSON at the end of its system message (B82)."""
    instruction = schema_instruction(schema)
    if prompt[0]["role"] in ("system", "developer"):
        first = {**prompt[0], "content": f"{prompt[0]['content']}\n\n{instruction}"}
        return [first, *prompt[1:]]
    return [{"role": "system", "content": instruction}, *prompt]


def repair_turn(prompt: list[Message], answer: str, feedback: str) -> list[Message]:
    """The prompt, the answer that did not fit, and what was wrong with it."""
    request = (
        f"That answer cannot be used:\n{feedback}\n"
        "Answer again with one corrected JSON object that fits the schema, and nothing else."
    )
    turn = [{"role": "user", "content": without_surrogates(request)}]
    if answer.strip():  # providers refuse an empty message
        echo = without_surrogates(answer[:_MAX_ECHO])
        turn.insert(0, {"role": "assistant", "content": echo})
    return [*prompt, *turn]
