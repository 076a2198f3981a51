"""Every public method of the library with every text that it takes, found by its signature."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memora import Memora, SeedData
from memora.graph_db.base import BaseGraphDB
from memora.schema.storage_schema import MemoriesAndInteraction
from memora.vector_db.base import BaseVectorDB

ORG, USER, AGENT, TALK = "acme", "jake", "helper", "talk"
# Owners, and how one comes to an object of theirs from the engine.
OWNERS: dict[type, Callable[[Memora], Any]] = {
    Memora: lambda memora: memora,
    BaseGraphDB: lambda memora: memora.graph,
    BaseVectorDB: lambda memora: memora.vector_db,
}
# Values of arguments that a call cannot do without, or that make it go further than its defaults.
VALUES: dict[str, Any] = {
    "org_id": ORG,
    "user_id": USER,
    "interaction_id": TALK,
    "job_id": "no-job",
    "import_id": "no-import",
    "org_name": "Acme",
    "user_name": "Jake",
    "agent_label": "Helper",
    "new_org_name": "Acme",
    "new_user_name": "Jake",
    "new_agent_label": "Helper",
    "content": "I like tea.",
    "message": "What do I like?",
    "latest_msg": "What do I like?",
    "query": "tea",
    "entity": "Lisbon",
    "into": "Lisbon",
    "names": ["Lisbon"],
    "queries": ["tea"],
    "search_queries": ["tea"],
    "search_queries_used": ["tea"],
    "memories": [],
    "retrieved_memories": [],
    "memory_search_scope": "user",
    "memory_ids": [],
    "obtained_at": "2026-01-01T00:00:00Z",
    "new_key": None,
    "interaction": [{"role": "user", "content": "I like tea."}],
    "documents": [{"document": "User: I like tea.", "user_id": USER, "customer_id": ORG}],
    "data": SeedData(USER, [{"id": TALK, "messages": []}], ORG),
    "org_user_mem_ids": [],
    "batch_org_user_mem_ids": [],
    "memories_and_interaction": MemoriesAndInteraction(interaction=[]),
    "updated_memories_and_interaction": MemoriesAndInteraction(interaction=[]),
}
# Optional arguments that stay away unless they are what is tried.
OPTIONAL_ALWAYS = {"interaction"}
# By method, where the name alone does not say it.
SPECIAL: dict[tuple[str, str], Any] = {
    ("save_or_update_interaction_and_memories", "interaction_id"): None,
    ("preview_save", "interaction_id"): None,
    ("get_agent", "agent_id"): AGENT,
    ("update_agent", "agent_id"): AGENT,
    ("delete_agent", "agent_id"): "nobody",
    ("delete_user", "user_id"): "nobody",
    ("delete_organization", "org_id"): "nowhere",
    ("erase_user", "user_id"): "nobody",
    ("erase_organization", "org_id"): "nowhere",
    ("create_user", "user_id"): None,
    ("create_agent", "user_id"): None,
    ("delete_user_interaction_and_its_memories", "interaction_id"): "nothing",
    ("update_interaction_and_memories", "agent_id"): None,
    ("save_interaction_with_memories", "agent_id"): None,
    ("add_memories", "agent_id"): None,
    ("add_memories", "memories"): [],
}
# Arguments of which one must be given.
ONE_OF: dict[str, dict[str, Any]] = {"memories_by_source": {"process_id": "p"}}
# Arguments whose type says "text" and that are none, and why.
NO_TEXT = {"statuses": "one of four words", "conditions": "built by memora"}


@dataclass(frozen=True)
class Spot:
    """A place where a text goes in.

    Attributes:
        fill: From a text to the argument that holds it.
        call: From an engine, the memory of its store and a text to the call's result.
    """

    owner: type
    method: str
    parameter: str
    shape: str
    fill: Callable[[Any], Any]
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.method}({self.parameter}={self.shape})"

    async def call(self, memora: Memora, memory_id: str, text: Any) -> Any:
        """Call the method with the text in its place."""
        arguments = {
            name: memory_id if value is MEMORY else value for name, value in self.arguments.items()
        }
        try:
            arguments[self.parameter] = self.fill(text)
        except TypeError:  # no such thing in Python: a list as the key of a mapping
            return None
        result = getattr(OWNERS[self.owner](memora), self.method)(**arguments)
        return await result if inspect.isawaitable(result) else result


MEMORY = object()
VALUES["memory_id"] = MEMORY

# From the type of a parameter to the arguments that hold one text.
SHAPES: tuple[tuple[str, dict[str, Callable[[Any], Any]]], ...] = (
    (r"MemoryFilters", {
        "tags": lambda text: {"tags": [text]},
        "types": lambda text: {"types": [text]},
        "metadata value": lambda text: {"metadata": {"key": text}},
        "metadata key": lambda text: {"metadata": {text: 1}},
        "key": lambda text: {text: ["x"]},
    }),
    (r"Sequence\[SeedDocument", {
        "document": lambda text: [_document(document=text)],
        "turn": lambda text: [_document(document=f"User: {text}\nAssistant: ok")],
        "document_id": lambda text: [_document(document_id=text)],
        "document_type": lambda text: [_document(document_type=text)],
        "document_created_at": lambda text: [_document(document_created_at=text)],
        "user_id": lambda text: [_document(user_id=text)],
        "customer_id": lambda text: [_document(customer_id=text)],
        "mode": lambda text: [_document(mode=text)],
        "metadata value": lambda text: [_document(metadata={"key": [text]})],
        "metadata key": lambda text: [_document(metadata={text: 1})],
        "conversation": lambda text: [_document(metadata={"conversation_id": text})],
        "key": lambda text: [_document(**{str(text): 1})],
        "item": lambda text: [text],
        "bare": lambda text: text,
    }),
    (r"SeedData\b", {
        "id": lambda text: _seed(id=text),
        "content": lambda text: _seed(messages=[{"role": "user", "content": text}]),
        "role": lambda text: _seed(messages=[{"role": text, "content": "x"}]),
        "name": lambda text: _seed(messages=[{"role": "user", "content": "x", "name": text}]),
        "created_at": lambda text: _seed(created_at=text),
        "title": lambda text: _seed(title=text),
        "metadata": lambda text: _seed(metadata={text: [text]}),
        "key": lambda text: _seed(**{str(text): 1}),
        "item": lambda text: SeedData(USER, [text], ORG),
        "user_id": lambda text: SeedData(text, [{"id": "x", "messages": []}], ORG),
    }),
    (r"Sequence\[Sequence\[Mapping", {
        "id": lambda text: [[text]],
        "memory_id": lambda text: [[{"memory_id": text}]],
    }),
    (r"Sequence\[Mapping\[str, str\]", {
        "id": lambda text: [text],
        "user_id": lambda text: [{"org_id": ORG, "user_id": text, "memory_id": text}],
    }),
    (r"Sequence\[Mapping", {
        "content": lambda text: [{"role": "user", "content": text}],
        "role": lambda text: [{"role": text, "content": "x"}],
        "name": lambda text: [{"role": "user", "content": "x", "name": text}],
        "timestamp": lambda text: [{"role": "user", "content": "x", "timestamp": text}],
        "value": lambda text: [{"role": "user", "content": "x", "more": {"deep": [text]}}],
        "key": lambda text: [{"role": "user", "content": "x", text: {text: 1}}],
        "part": lambda text: [{"role": "user", "content": [{"type": "text", "text": text}]}],
        "item": lambda text: [text],
    }),
    (r"MemoriesAndInteraction", {
        "message": lambda text: _storage(interaction=[{"role": "user", "content": text}]),
        "memory": lambda text: _storage(memories=[{"memory": text}]),
        "memory_type": lambda text: _storage(memories=[{"memory": "x", "memory_type": text}]),
        "tag": lambda text: _storage(memories=[{"memory": "x", "tags": [text]}]),
        "entity": lambda text: _storage(memories=[{"memory": "x", "entities": [text]}]),
        "metadata": lambda text: _storage(memories=[{"memory": "x", "metadata": {text: [text]}}]),
        "contrary id": lambda text: _storage(
            contrary_memories=[{"memory": "x", "existing_contrary_memory_id": text}]
        ),
    }),
    (r"(Sequence|Collection)\[(str|JobStatus)", {
        "item": lambda text: [text],
        "bare": lambda text: text,
    }),
    (r"Mapping\[str, Any\]", {
        "value": lambda text: {"key": [text]},
        "key": lambda text: {text: 1},
    }),
    (r"\bstr\b", {"text": lambda text: text}),
)  # fmt: skip


def _document(**fields: Any) -> dict[str, Any]:
    given = {
        "document": "User: I like tea.",
        "document_type": "ai-chat-conversation",
        "user_id": USER,
        "customer_id": ORG,
    }
    return {**given, **fields}


def _seed(**fields: Any) -> SeedData:
    given = {"id": "seeded", "messages": [{"role": "user", "content": "I like tea."}]}
    return SeedData(USER, [{**given, **fields}], ORG)


def _storage(**fields: Any) -> Any:
    """What the lower door of memora 0.3 takes, or the text where it takes none."""
    try:
        return MemoriesAndInteraction(**fields)
    except ValueError:
        return fields


def spots(folder: Path) -> Iterator[Spot]:
    """Every text of every public method that validates; a method of the lower half does not."""
    for owner in OWNERS:
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if name.startswith("_") or getattr(function, "__isabstractmethod__", False):
                continue
            yield from _spots(owner, name, function, folder)


def _spots(owner: type, name: str, function: Callable[..., Any], folder: Path) -> Iterator[Spot]:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    arguments: dict[str, Any] = {}
    for parameter in parameters:
        required = parameter.default is parameter.empty
        if (name, parameter.name) in SPECIAL:
            arguments[parameter.name] = SPECIAL[name, parameter.name]
        elif required and not _is_path(parameter):
            if parameter.name not in VALUES:
                if "str" in str(parameter.annotation):
                    reason = f"{owner.__name__}.{name}: say in VALUES what {parameter.name} may be"
                    raise LookupError(reason)
                return  # takes objects that memora has made
            arguments[parameter.name] = VALUES[parameter.name]
        elif parameter.name in OPTIONAL_ALWAYS or (
            parameter.name == "user_id" and (name, "user_id") not in SPECIAL
        ):
            arguments[parameter.name] = VALUES[parameter.name]
    for parameter in parameters:
        if _is_path(parameter):
            # Below a folder of the test, whatever it says.
            arguments.setdefault(parameter.name, folder / "nothing")
    for parameter in parameters:
        if parameter.name in NO_TEXT:
            continue
        if _is_path(parameter):
            kind = str if "str" in str(parameter.annotation) else Path
            fill = lambda text, kind=kind: kind(f"{folder}/x{text}")  # noqa: E731 - one of many
            yield Spot(owner, name, parameter.name, "path", fill, arguments)
            continue
        for pattern, shapes in SHAPES:
            if re.search(pattern, str(parameter.annotation)):
                for shape, fill in shapes.items():
                    yield Spot(owner, name, parameter.name, shape, fill, arguments)
                break


def _is_path(parameter: inspect.Parameter) -> bool:
    return "Path" in str(parameter.annotation)
