"""What of a memory is indexed: texts, payload, hash. Changing it means a reindex."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from memora.core.chunking import without_recall
from memora.core.hashing import exact_hash
from memora.core.placeholders import neutral
from memora.schema.index import IndexDocument
from memora.schema.models import Memory

# Version of how texts are built; stamped into vector stores together with the encoder's.
TEXT_RECIPE = "text-v2"

KEYWORD_FIELDS = (
    "org_id", "user_id", "agent_id", "interaction_id", "memory_type", "tags", "entities",
    "source_role", "process_id", "import_id", "meta",
)  # fmt: skip
NUMBER_FIELDS = ("obtained_at", "importance", "archived", "expires_at")
_TERM_CHARS = 200
# Of what was said before, the end: a question stands at the end of what is asked.
CONTEXT_CHARS = 400
# By themselves: strftime would write them in the language of the process.
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
# What payload number stands for "never expires": the end of the calendar.
NEVER = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def index_texts(
    stored_text: str,
    obtained_at: datetime,
    speaker: str | None = None,
    context: str | None = None,
) -> tuple[str, str, str]:
    """Return (dense text, lexical text, hash over both) of a memory.

    Args:
        stored_text: The statement with placeholders.
        obtained_at: Its time; the date is part of both texts, so that dates in questions match.
        speaker: Who said it, where it is somebody's own words; part of the lexical text, so that
            names in questions match. In the dense text a name would outweigh the words around it.
        context: What was said right before. Its end is part of the lexical text: an answer often
            leaves out what the question said.
    """
    text = neutral(stored_text)
    dense = f"{text} ({date_words(obtained_at)})"
    lexical = dense if speaker is None else f"{speaker}: {dense}"
    before = "" if context is None else _end(without_recall(context).strip())
    if before:
        lexical = f"{before}\n{lexical}"
    return dense, lexical, exact_hash(TEXT_RECIPE, dense, lexical)


def date_words(moment: datetime) -> str:
    """Return the date as it is written in indexed texts."""
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


def _end(text: str) -> str:
    """Return the end of a text, from the beginning of a word on."""
    if len(text) <= CONTEXT_CHARS:
        return text
    end = text[-CONTEXT_CHARS:]
    return end.partition(" ")[2] or end


def speaker_of(memory: Memory) -> str | None:
    """Return the name of who said a memory, where it is somebody's own words."""
    speaker = memory.metadata.get("speaker")
    return speaker if isinstance(speaker, str) and speaker else None


def is_scalar(value: object) -> bool:
    """Tell whether a metadata value has a term of its own."""
    return value is None or isinstance(value, (str, int, float, bool))


def nfc(text: str) -> str:
    """Return the form in which texts are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def metadata_terms(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one term for every top-level scalar and list item, for exact filters."""
    terms: dict[str, None] = {}
    for key, value in metadata.items():
        for item in cast("list[Any]", value) if isinstance(value, list) else [value]:
            if is_scalar(item):
                terms[_term(key, item)] = None
    return tuple(terms)


def _term(key: str, value: str | float | None) -> str:
    """Return `key=json`, or a hash of it: a payload holds filter values and no long text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    term = f"{key}={json.dumps(nfc(value) if isinstance(value, str) else value)}"
    return term if len(term) <= _TERM_CHARS else f"#{exact_hash(term)}"


def payload(document: IndexDocument) -> dict[str, Any]:
    """Return the payload that every vector backend stores: ids and filter values, never text.

    Keyword fields hold texts or lists of texts, number fields floats; times are seconds since
    1970 in UTC, booleans 0 or 1 (Qdrant Edge 0.9 cannot filter on booleans).
    """
    fields: dict[str, Any] = {
        "org_id": document.org_id,
        "user_id": document.user_id,
        "agent_id": document.agent_id,
        "interaction_id": document.interaction_id,
        "memory_type": document.memory_type,
        "tags": list(document.tags),
        "entities": list(document.entities),
        "source_role": document.source_role,
        "process_id": document.process_id,
        "import_id": document.import_id,
        "meta": list(metadata_terms(document.metadata)),
        "obtained_at": document.obtained_at.timestamp(),
        "importance": document.importance,
        "archived": float(document.archived),
        "expires_at": document.expires_at.timestamp() if document.expires_at else NEVER,
        "text_hash": document.text_hash,
    }
    return {key: value for key, value in fields.items() if value not in (None, [])}


def fingerprint(payload: Mapping[str, Any]) -> str:
    """Return a hash of a payload, whatever order and kind of number a store gave it back in."""
    plain = {
        key: float(value) if isinstance(value, int) else value for key, value in payload.items()
    }
    return exact_hash(json.dumps(plain, sort_keys=True))


def document(memory: Memory, context: str | None = None) -> IndexDocument:
    """Return what a vector store holds of a memory.

    Args:
        memory: As stored, with name placeholders.
        context: What was said right before the message that it came from.
    """
    dense, lexical, text_hash = index_texts(
        memory.memory, memory.obtained_at, speaker_of(memory), context
    )
    return IndexDocument(
        memory_id=memory.memory_id,
        org_id=memory.org_id,
        user_id=memory.user_id,
        agent_id=memory.agent_id,
        interaction_id=memory.interaction_id,
        dense_text=dense,
        lexical_text=lexical,
        text_hash=text_hash,
        memory_type=memory.memory_type,
        obtained_at=memory.obtained_at,
        importance=memory.importance,
        tags=tuple(memory.tags),
        entities=tuple(memory.entities),
        source_role=memory.source_role,
        archived=memory.archived,
        expires_at=memory.expires_at,
        process_id=memory.process_id,
        import_id=memory.import_id,
        metadata=memory.metadata,
    )
