"""From the text of a model to an instance of the schema; the text is untrusted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pydantic import BaseModel, RootModel, ValidationError

T = TypeVar("T", bound=BaseModel)

MAX_ANSWER_CHARS = 1_000_000
_MAX_OBJECTS = 64
_MAX_PROBLEMS = 20
_MAX_DESCRIBED = 1_000
_SURROGATES = re.compile("[\ud800-\udfff]")
_BRACES = re.compile(r"[{}]")
_ONE_OBJECT = "The answer is not one JSON object."


@dataclass(frozen=True)
class Unusable:
    """Why an answer cannot be used.

    Attributes:
        reason: Safe to raise and to log: no text of the answer.
        feedback: For the model's repair turn only.
    """

    reason: str
    feedback: str


def without_surrogates(text: str) -> str:
    """The text with every lone surrogate replaced, so that it can be encoded."""
    return _SURROGATES.sub("\ufffd", text)


def parse_answer(text: str, model: type[T]) -> T | Unusable:
    """Find the one JSON value in the text that fits the schema.

    Two different fitting values are refused: taking either would drop the other in silence.
    """
    if len(text) > MAX_ANSWER_CHARS:
        return Unusable("the answer is too long", "The answer is too long. Answer more briefly.")
    text = _after_thoughts(text.strip().lstrip("\ufeff").strip())
    fitting: list[T] = []
    problem = Unusable("the answer is not one JSON object", _ONE_OBJECT)
    for value in _values(text):
        result = _validate(value, model)
        if isinstance(result, Unusable):
            problem = result
        elif result not in fitting:
            fitting.append(result)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        return Unusable("the answer holds several different objects", _ONE_OBJECT)
    return problem


def as_object(value: Any) -> dict[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """The value if it is a JSON array, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def decode_json(data: str | bytes) -> Any:
    """Decode JSON, refusing what would lose or forge values.

    Raises:
        ValueError: Not JSON, a duplicate key, or a number that is not finite.
        RecursionError: Nested too deeply.
    """
    return _DECODER.decode(data if isinstance(data, str) else data.decode("utf-8-sig"))


def _after_thoughts(text: str) -> str:
    # Some servers drop the opening tag, so the closing one decides.
    if text.startswith(("{", "[")):
        return text
    thoughts, tag, answer = text.partition("</think>")
    return answer.strip() if tag else thoughts


def _values(text: str) -> Iterator[Any]:
    try:
        yield decode_json(text)
    except (ValueError, RecursionError):
        yield from _objects(text)


def _objects(text: str) -> Iterator[Any]:
    """The top-level JSON objects between fences and prose."""
    start = text.find("{")
    for _ in range(_MAX_OBJECTS):
        if start == -1:
            return
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            # An object inside a broken one must not pass for the whole answer.
            end = _closing_brace(text, start)
        else:
            yield value
        start = text.find("{", end)


def _closing_brace(text: str, start: int) -> int:
    depth = 0
    for brace in _BRACES.finditer(text, start):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return brace.end()
    return len(text)


def _validate(value: Any, model: type[T]) -> T | Unusable:
    if not _is_root_model(model):
        if not isinstance(value, dict):
            return Unusable("the answer is not one JSON object", _ONE_OBJECT)
        known = _field_names(model)
        if known and known.isdisjoint(cast("dict[str, Any]", value)):
            # Else an error body would pass for "nothing found" in a model of optional fields (B89).
            return Unusable("the answer has none of the fields", "None of the fields is there.")
    try:
        plain = without_surrogates(json.dumps(value, ensure_ascii=False))
        return model.model_validate_json(plain)
    except ValidationError as error:
        return _described(error)
    except RecursionError:
        return Unusable("the answer is nested too deeply", "The JSON is nested too deeply.")


def _is_root_model(model: type[BaseModel]) -> bool:
    return issubclass(model, RootModel)


def _field_names(model: type[BaseModel]) -> set[str]:
    properties = cast("dict[str, Any]", model.model_json_schema().get("properties", {}))
    return {*properties, *model.model_fields}


def _described(error: ValidationError) -> Unusable:
    count = error.error_count()
    if count > _MAX_DESCRIBED:  # writing out 250,000 problems holds the event loop for a second
        return Unusable(f"{count} fields do not fit the schema", "Nothing fits the schema.")
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    kinds = sorted({problem["type"] for problem in problems})
    lines = [
        f"- {'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}"
        for problem in problems[:_MAX_PROBLEMS]
    ]
    reason = f"{count} fields do not fit the schema ({', '.join(kinds[:5])})"
    return Unusable(reason, "\n".join(lines))


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError("number out of range")
    return number


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_float=_finite,
    parse_constant=_refuse_constant,
    strict=False,  # models leave newlines in strings unescaped; nothing is lost by taking them
)
