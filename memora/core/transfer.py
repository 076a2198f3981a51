"""The text of an export: one record per line, and what makes the lines a whole."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, cast

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from memora.core.hashing import content_hash
from memora.core.messages import EMPTY_HASH, message_hash, text_parts
from memora.core.placeholders import neutral
from memora.core.undoing import Found
from memora.errors import InvalidInputError, SchemaVersionError
from memora.schema.transfer import (
    FORMAT,
    VERSION,
    AgentRecord,
    End,
    Header,
    ImportChangeRecord,
    ImportRecord,
    InteractionRecord,
    JobRecord,
    MemoryRecord,
    MessageRecord,
    OrganizationRecord,
    TransferRecord,
    UserRecord,
    iso,
)

Line = Header | TransferRecord | End

_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])

# What pydantic calls some mistakes, in memora's words.
_ALLOWED = {
    "missing": "given",
    "extra_forbidden": "one of the fields of the format",
    "model_type": "one JSON object",
    "model_attributes_type": "one JSON object",
    "dict_type": "a JSON object",
    "union_tag_not_found": "given",
    "union_tag_invalid": "a kind of the format",
}
_PREFIX = "Input should be "


def encode(line: Line) -> bytes:
    """Return a line of the file: equal records give equal bytes, on every store."""
    text = json.dumps(
        dict(line),
        default=_plain,
        ensure_ascii=False,
        allow_nan=False,
        sort_keys=True,
        separators=(",", ":"),
    )
    return text.encode("utf-8") + b"\n"


def decode(text: bytes, number: int) -> Line:
    """Return the line of a file.

    Args:
        text: The line, with or without its line break.
        number: From 1, for errors.

    Raises:
        InvalidInputError: It is none; the error names line and field, and quotes nothing.
    """
    try:
        given = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise InvalidInputError(at(number, "the line"), "one JSON object") from None
    try:
        return _LINE.validate_python(given)
    except ValidationError as error:
        raise _invalid(error, number) from None


def _plain(value: object) -> Any:
    """Return what JSON has no word for: times, and parts of records."""
    return iso(value) if isinstance(value, datetime) else dict(cast("BaseModel", value))


def check_header(line: Line, file: str) -> None:
    """Check that the first line is a header, of a version that this memora reads.

    Raises:
        InvalidInputError: It is no header.
        SchemaVersionError: The file is of a newer memora.
    """
    if not isinstance(line, Header):
        raise InvalidInputError(at(1, "kind"), f'"header": this is no {FORMAT} file')
    if not 1 <= line.version <= VERSION:
        supported = f"versions 1 to {VERSION}"
        raise SchemaVersionError(file, found=f"export version {line.version}", supported=supported)


def at(number: int, field: str) -> str:
    """Return how errors name a field of a line."""
    return f"line {number}: {field}"


def _invalid(error: ValidationError, number: int) -> InvalidInputError:
    details = error.errors(include_url=False, include_input=False)[0]
    # The first part names the kind of record.
    path = details["loc"][1:] if details["loc"] else ()
    kind = details["type"]
    if kind.startswith("union_tag"):
        path = ("kind",)
    place = at(number, ".".join(str(part) for part in path) or "the line")
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInputError):
        return InvalidInputError(place, cause.allowed, got=cause.got)
    return InvalidInputError(place, _ALLOWED.get(kind) or details["msg"].removeprefix(_PREFIX))


@dataclass(frozen=True, slots=True)
class _Version:
    """What its chain needs to know of a memory."""

    line: int
    chain_id: str
    obtained_at: datetime
    superseded_at: datetime | None
    superseded_by: str | None


@dataclass(slots=True)
class _Owned:
    """What one user has, as far as other records name it.

    Attributes:
        agents: Those that serve this user alone.
        lengths: Number of messages by interaction.
    """

    user_id: str
    agents: set[str] = field(default_factory=set[str])
    lengths: dict[str, int] = field(default_factory=dict[str, int])
    external_ids: set[str] = field(default_factory=set[str])
    versions: dict[str, _Version] = field(default_factory=dict[str, _Version])


@dataclass(slots=True)
class _Talk:
    """The interaction whose messages are being read."""

    line: int
    record: InteractionRecord
    messages: int = 0
    content_hash: str = EMPTY_HASH


class Whole:
    """Checks that records follow each other as in an export, and that what they say fits together.

    It keeps ids of one user, and of agents that are still to come; never a text.
    """

    def __init__(self) -> None:
        self._last: tuple[Any, ...] = ()
        self._org_id: str | None = None
        self._user: _Owned | None = None
        self._talk: _Talk | None = None
        self._import_id: str | None = None
        # Agents of all users stand last; by id, with the line that named them first.
        self._awaited: dict[str, int] = {}

    def add(self, record: TransferRecord, line: int) -> None:
        """Take the next record.

        Raises:
            InvalidInputError: It does not belong here, or one before it is not complete.
        """
        if not self._last < record.place:
            raise InvalidInputError(
                at(line, record.id_field), "in order: after the record before it, and there once"
            )
        self._last = record.place
        if not isinstance(record, MessageRecord):
            self._end_talk()
        if isinstance(record, OrganizationRecord):
            self._end_organization()
            self._org_id = record.org_id
        elif record.org_id != self._org_id:
            raise InvalidInputError(at(line, "org_id"), "that of the organization before it")
        elif isinstance(record, UserRecord):
            self._end_user()
            self._user = _Owned(record.user_id)
        elif isinstance(record, AgentRecord) and record.user_id is None:
            self._end_user()
            self._awaited.pop(record.agent_id, None)
        elif self._user is None or record.user_id != self._user.user_id:
            raise InvalidInputError(at(line, "user_id"), "that of the user before it")
        else:
            self._add_owned(self._user, record, line)

    def end(self) -> None:
        """Check that nothing is missing after the last record.

        Raises:
            InvalidInputError: Something is.
        """
        self._end_talk()
        self._end_organization()

    def _add_owned(self, user: _Owned, record: TransferRecord, line: int) -> None:
        if isinstance(record, AgentRecord):
            user.agents.add(record.agent_id)
        elif isinstance(record, InteractionRecord):
            self._add_interaction(user, record, line)
        elif isinstance(record, MessageRecord):
            self._add_message(record, line)
        elif isinstance(record, MemoryRecord):
            self._add_memory(user, record, line)
        elif isinstance(record, JobRecord):
            self._add_job(user, record, line)
        elif isinstance(record, ImportRecord):
            self._name_agent(user, record.agent_id, line)
            self._import_id = record.import_id
        elif isinstance(record, ImportChangeRecord):
            self._add_import_change(user, record, line)

    def _add_interaction(self, user: _Owned, record: InteractionRecord, line: int) -> None:
        _check(
            record.last_activity_at >= record.created_at,
            at(line, "last_activity_at"),
            "not before created_at",
        )
        if record.external_id is not None:
            _check(
                record.external_id not in user.external_ids,
                at(line, "external_id"),
                "that of one interaction of the user only",
            )
            user.external_ids.add(record.external_id)
        self._name_agent(user, record.agent_id, line)
        user.lengths[record.interaction_id] = record.message_count
        self._talk = _Talk(line, record)

    def _add_message(self, record: MessageRecord, line: int) -> None:
        talk = self._talk
        if talk is None or talk.record.interaction_id != record.interaction_id:
            raise InvalidInputError(at(line, "interaction_id"), "that of the interaction before it")
        _check(record.position == talk.messages, at(line, "position"), str(talk.messages))
        _check_message(record, talk.content_hash, line)
        talk.messages += 1
        talk.content_hash = record.prefix_hash

    def _add_memory(self, user: _Owned, record: MemoryRecord, line: int) -> None:
        self._name_agent(user, record.agent_id, line)
        _check(
            record.interaction_id is None or record.interaction_id in user.lengths,
            at(line, "interaction_id"),
            "an interaction of the user",
        )
        places = [(source.interaction_id, source.position) for source in record.sources]
        known = all(position < user.lengths.get(talk, 0) for talk, position in places)
        _check(
            known and places == sorted(set(places)),
            at(line, "sources"),
            "messages of the user, in order and each one once",
        )
        _check(
            record.superseded_at is None or record.superseded_at >= record.obtained_at,
            at(line, "superseded_at"),
            "not before obtained_at",
        )
        _check(
            record.content_hash == content_hash(neutral(record.text)) or _is_unknown(record.text),
            at(line, "content_hash"),
            "the hash of text",
        )
        user.versions[record.memory_id] = _Version(
            line,
            record.chain_id,
            record.obtained_at,
            record.superseded_at,
            record.superseded_by,
        )

    def _add_job(self, user: _Owned, record: JobRecord, line: int) -> None:
        self._name_agent(user, record.agent_id, line)
        _check(
            record.interaction_id in user.lengths,
            at(line, "interaction_id"),
            "an interaction of the user",
        )
        _check(
            record.updated_at >= record.created_at, at(line, "updated_at"), "not before created_at"
        )

    def _add_import_change(self, user: _Owned, record: ImportChangeRecord, line: int) -> None:
        _check(
            record.import_id == self._import_id,
            at(line, "import_id"),
            "that of the import before it",
        )
        _check(
            record.interaction_id in user.lengths,
            at(line, "interaction_id"),
            "an interaction of the user",
        )
        try:
            text = None if record.found is None else json.dumps(record.found)
            Found.from_json(text)
        except (KeyError, TypeError, ValueError):
            raise InvalidInputError(at(line, "found"), "what an import found") from None

    def _name_agent(self, user: _Owned, agent_id: str | None, line: int) -> None:
        if agent_id is not None and agent_id not in user.agents:
            self._awaited.setdefault(agent_id, line)

    def _end_talk(self) -> None:
        talk, self._talk = self._talk, None
        if talk is None:
            return
        _check(
            talk.messages == talk.record.message_count,
            at(talk.line, "message_count"),
            f"the number of messages that follow, {talk.messages}",
        )
        _check(
            talk.content_hash == talk.record.content_hash,
            at(talk.line, "content_hash"),
            "prefix_hash of the last message",
        )

    def _end_user(self) -> None:
        user, self._user = self._user, None
        if user is not None:
            _check_chains(user.versions)

    def _end_organization(self) -> None:
        self._end_user()
        for line in self._awaited.values():
            raise InvalidInputError(at(line, "agent_id"), "an agent of the organization")


def _check(holds: bool, place: str, allowed: str) -> None:  # noqa: FBT001 - reads like assert
    if not holds:
        raise InvalidInputError(place, allowed)


def _check_message(record: MessageRecord, before: str, line: int) -> None:
    data = record.data or {}
    _check(
        "content" not in data or record.content == text_parts(data["content"]),
        at(line, "content"),
        "the text of data.content",
    )
    texts = (record.content or "", record.name or "", json.dumps(data, ensure_ascii=False))
    made = message_hash(before, record.role, record.content, record.name, record.data)
    _check(
        record.prefix_hash == made or any(map(_is_unknown, texts)),
        at(line, "prefix_hash"),
        "the hash of the message and those before it",
    )


def _is_unknown(text: str) -> bool:
    """Tell whether a text has characters that this Python's Unicode does not have yet.

    A newer one, which wrote the file, may have folded and composed them before it hashed.
    """
    return not text.isascii() and any(unicodedata.category(char) == "Cn" for char in text)


def _check_chains(versions: Mapping[str, _Version]) -> None:
    """Check that the versions of every chain are one list, of which only the end can be current.

    Raises:
        InvalidInputError: They are not; the line is that of a version at fault.
    """
    before: dict[str, str] = {}
    ends: dict[str, str] = {}
    sizes = Counter(version.chain_id for version in versions.values())
    for memory_id, version in versions.items():
        if version.superseded_by is None:
            _check(
                ends.setdefault(version.chain_id, memory_id) == memory_id,
                at(version.line, "superseded_by"),
                "given: the chain has another last version",
            )
            continue
        later = versions.get(version.superseded_by)
        is_later = (
            later is not None
            and later.chain_id == version.chain_id
            and version.superseded_at is not None
            and version.obtained_at <= version.superseded_at <= later.obtained_at
            and before.setdefault(version.superseded_by, memory_id) == memory_id
        )
        _check(
            is_later,
            at(version.line, "superseded_by"),
            "the next version of its chain, from superseded_at on at the earliest",
        )
    for chain_id, memory_id in ends.items():
        reached: str | None = memory_id
        while reached is not None:
            sizes[chain_id] -= 1
            reached = before.get(reached)
    for version in versions.values():
        # What the way back from the end does not reach is a circle.
        _check(sizes[version.chain_id] == 0, at(version.line, "superseded_by"), "without a circle")
