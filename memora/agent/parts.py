"""Cuts a long conversation into what goes into one request of a model each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from memora.agent.threads import EACH
from memora.core import chunking
from memora.graph_db.base import StoredMessage
from memora.llm_backends.base import BaseBackendLLM
from memora.schema.models import MessageBlock
from memora.schema.seeding import CHARS_PER_REQUEST, MESSAGES_PER_REQUEST

# Messages before the new ones that the model sees, and how much of each.
CONTEXT_MESSAGES = 8
CONTEXT_CHARS = 1000
# Longest text that is not cut within a message.
MESSAGE_CHARS = 100_000
# Longest running summary that goes in front of the next request.
SUMMARY_CHARS = 8000
# Of a model's window: the instructions, and the answer where the model does not say.
_INSTRUCTION_TOKENS = 1500
_ANSWER_TOKENS = 4096
# A token has more bytes than that, in any language.
_SURE_BYTES = 3
# Of what is left: the new messages, and the summary; the rest is for the context.
_NEW, _SUMMARY = 0.7, 0.15
_LEAST_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a conversation goes into one request at the most, whatever the model takes."""

    messages: int = MESSAGES_PER_REQUEST
    chars: int = CHARS_PER_REQUEST

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Bounds:
        """Return the bounds that a job was made with."""
        return cls(**params.get("bounds", {}))


@dataclass(frozen=True, slots=True)
class Room:
    """What one request to a certain model has room for.

    Attributes:
        messages, chars: The bounds.
        size: Bytes of the new messages with what stands around each; None: it is not known.
        summary: Characters of the summary of what came before.
        context: Characters of each message of the context.
    """

    messages: int
    chars: int
    size: int | None = None
    summary: int = SUMMARY_CHARS
    context: int = CONTEXT_CHARS

    @classmethod
    def of(cls, bounds: Bounds, model: BaseBackendLLM | None) -> Room:
        """Return the room within the bounds and the model's window, its answer included."""
        if model is None or model.context_window is None:
            return cls(bounds.messages, bounds.chars)
        answer = min(model.answer_tokens or _ANSWER_TOKENS, model.context_window // 2)
        tokens = model.context_window - answer - _INSTRUCTION_TOKENS
        size = max(tokens * _SURE_BYTES, _LEAST_BYTES)
        summary = min(SUMMARY_CHARS, int(size * _SUMMARY))
        context = min(CONTEXT_CHARS, int(size * (1 - _NEW - _SUMMARY)) // CONTEXT_MESSAGES)
        return cls(bounds.messages, bounds.chars, int(size * _NEW), summary, context)

    def as_json(self) -> dict[str, Any]:
        """Return it as it is kept with a job."""
        return asdict(self)

    def longest(self, text: str) -> int:
        """Return how many characters of this text one request can hold."""
        longest = min(MESSAGE_CHARS, self.chars)
        if self.size is None or not text:
            return longest
        width = -(-len(text.encode()) // len(text))
        return max(1, min(longest, (self.size - EACH) // width))

    def share(self, text: str) -> float:
        """Return how much of the room a text takes, as a share of 1."""
        share = len(text) / self.chars
        return share if self.size is None else max(share, (EACH + len(text.encode())) / self.size)


@dataclass(frozen=True, slots=True)
class Piece:
    """A new message, or what of a long one goes into one request.

    Attributes:
        position: Of the message among the new ones.
        text: What of it the model gets.
    """

    position: int
    text: str = field(repr=False)


Part = tuple[Piece, ...]


def heard(message: MessageBlock) -> str:
    """Return what of a message may become a memory: its text without recalled blocks."""
    return chunking.without_recall(message.content or "").strip()


def whole(new: Sequence[StoredMessage]) -> Part:
    """Return all new messages as one part, each shown as far as one request goes."""
    return tuple(Piece(at, heard(item.message)[:MESSAGE_CHARS]) for at, item in enumerate(new))


def cut(new: Sequence[StoredMessage], room: Room) -> list[Part]:
    """Return the new messages in as few parts as the room allows, cut between messages.

    Only a message that is too long for any request is cut itself, at sentence ends.
    """
    pieces = [
        Piece(at, piece)
        for at, text in enumerate(heard(item.message) for item in new)
        for piece in chunking.pieces(text, room.longest(text)) or [""]
    ]
    shares = [room.share(piece.text) for piece in pieces]
    return [
        tuple(pieces[group.start : group.stop])
        for group in chunking.ranges(shares, room.messages, 1.0)
    ]


def halves(part: Part) -> tuple[Part, ...]:
    """Return a part in two; a single message is cut at a sentence end."""
    if len(part) > 1:
        middle = len(part) // 2
        return part[:middle], part[middle:]
    return tuple(
        (Piece(piece.position, text),)
        for piece in part
        for text in chunking.pieces(piece.text, max(1, -(-len(piece.text) // 2)))
    )
