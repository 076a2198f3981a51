"""Whom a question is about: a speaker it names, the one who asks, or the assistant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from memora.core.indexing import speaker_of
from memora.schema.models import Memory, SourceRole

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_POSSESSIVE = re.compile(r"['\u2019]s$")
# What was entered or imported is about the user as well.
_NOT_OF_THE_USER = frozenset((SourceRole.ASSISTANT.value, SourceRole.TOOL.value))
# "the user" is how search models call the one who asks.
_FIRST_PERSON_WORDS = """
    i i'm i've i'd i'll me my mine myself we we're we've we'd our ours us user user's
"""
_FIRST_PERSON = frozenset(_FIRST_PERSON_WORDS.split())
_YOU_SAID = re.compile(
    r"\byou(?:['\u2019]ve| have| had| just| also)*(?: \w+ly)? "
    r"(?:said|mentioned|told|suggested|recommended|gave|provided|listed|explained|described"
    r"|shared|advised|wrote|showed|proposed|were (?:referring|talking|telling|suggesting))\b"
    r"|\bdid you (?:say|mention|tell|suggest|recommend|give|provide|list|explain|advise|write)\b"
    r"|\byour (?:suggestion|recommendation|advice|answer|explanation|list|tip)s?\b",
    re.IGNORECASE,
)
# Names that are words as well say nobody when they stand small, or in a text of small letters.
_ORDINARY_WORDS = """
    will may june april august mark rose grace hope joy faith art jack bill sue pat rob drew
    user assistant the
"""
_ALSO_WORDS = frozenset(_ORDINARY_WORDS.split())


@dataclass(frozen=True, slots=True)
class Voices:
    """Whose words a question asks for.

    Attributes:
        names: Words of the speakers' names that it mentions, folded; of these only.
        user: It is about the user, who asks: what is known of the user from anybody but the
            assistant or a tool.
        assistant: It asks for what the assistant said.
    """

    names: frozenset[str] = field(default=frozenset(), repr=False)
    user: bool = False
    assistant: bool = False

    @property
    def any(self) -> bool:
        """Whether it asks for anybody's words at all."""
        return bool(self.names) or self.user or self.assistant

    def said(self, memory: Memory) -> bool:
        """Tell whether a memory is in the words of those who are asked for."""
        if self.names:
            speaker = speaker_of(memory)
            return speaker is not None and not self.names.isdisjoint(_name_words(speaker))
        if self.assistant:
            return memory.source_role == SourceRole.ASSISTANT.value
        return self.user and memory.source_role not in _NOT_OF_THE_USER


def asked_for(queries: Iterable[str], speakers: Iterable[str]) -> Voices:
    """Return whose words are asked for; a name that is mentioned counts before "I" and "you".

    Args:
        queries: The question, or what is searched for it.
        speakers: Names of those who have spoken.
    """
    texts = list(queries)
    every = frozenset[str]().union(*(_name_words(speaker) for speaker in speakers))
    names = frozenset(
        folded
        for text in texts
        for word, folded in _words(text)
        if folded in every and _is_name(word, folded, text)
    )
    if names:
        return Voices(names)
    assistant = any(_YOU_SAID.search(text) for text in texts)
    first = any(folded in _FIRST_PERSON for text in texts for _, folded in _words(text, whole=True))
    return Voices(user=first and not assistant, assistant=assistant)


def without_names(text: str, voices: Voices) -> str:
    """Return a text without the names of speakers, or as it is where nothing else is in it.

    Beside them the meaning of the other words hardly counts in a mean of word vectors, and
    speakers of one conversation have them all in common.
    """
    if not voices.names:
        return text
    kept = _WORD.sub(
        lambda word: "" if _folded(word.group()) in voices.names else word.group(), text
    )
    return kept if _WORD.search(kept) else text


def _words(text: str, *, whole: bool = False) -> Sequence[tuple[str, str]]:
    return [
        (word, word.casefold().replace("\u2019", "'") if whole else _folded(word))
        for word in _WORD.findall(text)
    ]


def _folded(word: str) -> str:
    return _POSSESSIVE.sub("", word).casefold()


def _name_words(name: str) -> frozenset[str]:
    return frozenset(folded for _, folded in _words(name) if len(folded) > 1)


def _is_name(word: str, folded: str, text: str) -> bool:
    if folded in _ALSO_WORDS:
        return word[0].isupper() and not text.startswith(word)
    return not word[0].islower() or _is_small(text)


def _is_small(text: str) -> bool:
    """Tell whether nothing but beginnings and "I" is written with capitals, as in a hurry."""
    return not any(word[0].isupper() for word in _WORD.findall(text)[1:] if word != "I")
