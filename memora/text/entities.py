"""Names in a text, found without a model.

Found are @handles, quoted titles, and runs of capitalised words. The rules are conservative: a
name that is missed costs one link between two memories, a word that is taken for a name links what
has nothing in common. Languages that capitalise every noun and scripts without capitals are told
from the text itself, and there a single word is no name unless it is known to be one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache

from memora.text.tokens import normalized

# Longer texts are documents: their beginning says what they are about.
MAX_CHARS = 20_000
MAX_NAMES = 20
MAX_NAME_CHARS = 80
_MAX_WORDS = 5
_MAX_TITLE_WORDS = 8
# From this share of capitalised words inside sentences on, capitals say nothing.
_TITLE_CASE = 0.6
# A noun language has one of its frequent words among so many, and at least two of them.
_EVERY = 7
_SHOUTED_SHARE = 0.5
_FEW = 3
_MAX_JOINTS = 2

_HANDLE = re.compile(r"(?<![\w@.])@[A-Za-z_][\w.]{0,38}\w|(?<![\w@.])@[A-Za-z]\b")
_TITLE = re.compile(
    "\u201c([^\u201c\u201d\n]{2,80})\u201d|\u00ab([^\u00ab\u00bb\n]{2,80})\u00bb"
    "|\u300a([^\u300a\u300b\n]{1,80})\u300b|\u300e([^\u300e\u300f\n]{1,80})\u300f"
    '|(?<![\\w"])"([^"\n]{2,80})"(?![\\w"])'
)
# Addresses are no names, nor is what stands in them.
_ADDRESS = re.compile(
    r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+|\b(?:https?://|www\.)\S+", re.IGNORECASE
)
# A word with its apostrophes, hyphens and signs of products (C++, AT&T, iPhone 15).
_WORD = re.compile(r"[^\W_]+(?:['\u2019\-&.][^\W_]+)*(?:\+\+|#)?")
_POSSESSIVE = re.compile(r"['\u2019]s$|['\u2019]$", re.IGNORECASE)
_SENTENCE_END = frozenset('.!?:;\n\u2026\u3002\u203c\u2022|>*("\u201c\u00ab\u2014')
# Words inside a name that are not capitalised, and titles before one, which are no part of it.
_INNER_TEXT = """
    de del della di da van von der den la le of the
"""
_INNER = frozenset(_INNER_TEXT.split())
_HONOURS_TEXT = """
    mr mrs ms dr prof sir madam aunt uncle st
"""
_HONOURS = frozenset(_HONOURS_TEXT.split())

_STARTERS_TEXT = """
    a about absolutely according actually after again ago all almost already also although
    always am amazing an and another any anybody anyone anything anyway are as ask at aw awesome
    aww back be because been before being besides best better big both but by bye call came can
    cannot check cheers chill come congrats congratulations cool could dear definitely did do
    does doing done don down during each either else enjoy even ever every everybody everyone
    everything exactly excellent excited fair fantastic feel feeling few finally find fine first
    for forget from fun funny gee get give glad go going gonna good gosh got great guess had
    haha happy hardly has have having he hello help hence her here hers hey hi him his hmm
    hooray hope hopefully how however i if imagine in indeed instead interesting into is it its
    joke just keep know last lately later least less let life like little long look looks lots
    love lovely luckily made mainly make many may maybe me mean meanwhile met might mine miss
    more most mostly much must my myself near nearly never new next nice no nobody none nope nor
    not nothing now of off often oh ok okay on once one only oops or other others otherwise our
    ours out over own perfect perhaps please plus phew pretty probably read really recently
    remember right sadly said same saw say see seems seriously she should since so some somebody
    someone something sometimes somewhere soon sorry sounds speaking spent start still stop such
    super sure take talk tell thank thanks that the their theirs them then there therefore these
    they thing things think this those thothought throthus till to today together told tomorrow
    tonight too totally tried true trust try turns two under unfortunately ugh until up us used
    usually very visited wait wanna want was watch we welcome well went were what whatever when
    whenever where whether which while who whoever whoa whose why will wish with within without
    wonderful woohoo work would wow yay yeah yep yes yesterday yet you your yours yikes yup
"""
_STARTERS = frozenset(_STARTERS_TEXT.split())
_DATES_TEXT = """
    monday tuesday wednesday thursday friday saturday sunday january february march april may
    june july august september october november december mon tue tues wed thu thurs fri sat sun
    jan feb mar apr jun jul aug sep sept oct nov dec spring summer autumn fall winter am pm bc
    ad utc gmt montag dienstag mittwoch donnerstag freitag samstag sonntag januar februar märz
    mai juni juli oktober dezember today yesterday tomorrow
"""
_DATES = frozenset(_DATES_TEXT.split())
# Capitalised inside sentences in English, and no name.
_NO_NAMES_TEXT = """
    i i'm i've i'll i'd ok okay lol omg btw fyi asap tbh imo imho diy tv faq q a mom dad mum
    mommy daddy god internet english wow yay ps re id vs eg ie etc
"""
_NO_NAMES = frozenset(_NO_NAMES_TEXT.split())
# Frequent words of languages that capitalise all nouns.
_NOUN_LANGUAGE_TEXT = """
    der die das und ist nicht ich du wir ihr sie ein eine einen einem mit auf für von zu den dem
    im am auch habe hat war sind mein meine
"""
_NOUN_LANGUAGE = frozenset(_NOUN_LANGUAGE_TEXT.split())


def recognise(text: str, known: Collection[str] = ()) -> list[str]:
    """Return the names in a text, each once, in the order in which they stand there.

    Args:
        text: Of any length; beyond the first 20,000 characters nothing is looked for.
        known: Names that are certain, such as those of speakers; a single word of them is found
            at the beginning of a sentence too, and in languages that capitalise all nouns.
    """
    text = text[:MAX_CHARS]
    if "@" in text or "://" in text or "www." in text:
        text = _ADDRESS.sub(lambda found: "\0" * len(found.group()), text)
    found: dict[str, tuple[int, str]] = {}
    titles = list(_titles(text))
    for start, name in titles:
        # What a title is made of is no name by itself.
        text = text[:start] + "\0" * len(name) + text[start + len(name) :]
    for start, name in sorted([*_handles(text), *titles, *_runs(text, known)]):
        found.setdefault(normalized(name), (start, name))
    return [name for _start, name in list(found.values())[:MAX_NAMES]]


def seen_inside(texts: Iterable[str]) -> set[str]:
    """Return the names that stand inside sentences of these texts, for `known` of others."""
    return {name for text in texts for _start, name in _runs(text[:MAX_CHARS], ())}


def _handles(text: str) -> Iterator[tuple[int, str]]:
    if "@" in text:
        for match in _HANDLE.finditer(text):
            yield match.start(), match.group()


def _titles(text: str) -> Iterator[tuple[int, str]]:
    """Yield what is quoted and looks like a title: mostly capitalised, or in title brackets."""
    for match in _TITLE.finditer(text):
        number = next(i for i, group in enumerate(match.groups(), 1) if group is not None)
        title = match.group(number).rstrip(" .,!?")
        words = _WORD.findall(title)
        if not words or len(words) > _MAX_TITLE_WORDS:
            continue
        is_bracketed = match.group()[0] in "\u300a\u300e"
        if is_bracketed or _is_title(words):
            yield match.start(number), title


def _is_title(words: list[str]) -> bool:
    """Tell whether all words but small ones are capitalised, and one of them is no small one."""
    capitals = [word for word in words if word[0].isupper()]
    small = sum(word in _INNER or word in _STARTERS for word in words[1:])
    return (
        words[0][0].isupper()
        and len(capitals) + small == len(words)
        and len(capitals) * 2 >= len(words)
        and any(word.lower() not in _STARTERS | _NO_NAMES for word in capitals)
    )


class _Word:
    """A word of the text: where it stands, and whether a sentence begins with it."""

    __slots__ = ("begins", "end", "lower", "start", "text")

    def __init__(self, text: str, start: int, end: int, *, begins: bool) -> None:
        self.text = text
        self.start = start
        self.end = end
        self.begins = begins
        self.lower = text.lower().replace("\u2019", "'")


def _runs(text: str, known: Collection[str]) -> list[tuple[int, str]]:
    """Return the runs of capitalised words that are names."""
    words = _words(text)
    certain = _known_words(known)
    plain = [word for word in words if not word.begins and word.lower not in _NO_NAMES]
    capitals = sum(word.text[0].isupper() for word in plain)
    if not capitals and not any(word.text[0].isupper() for word in words):
        return []
    shouted = sum(word.text.isupper() and len(word.text) > 1 for word in words)
    if shouted > _FEW and shouted > _SHOUTED_SHARE * len(words):
        return []
    nouns = _capitalises_nouns(words, plain, capitals)
    inside = certain | {word.lower for word in plain if word.text[0].isupper() and not nouns}
    found: list[tuple[int, str]] = []
    for run in _capitalised(text, words):
        named = _name(run, inside, nouns=nouns)
        if named:
            name = _POSSESSIVE.sub("", text[named[0].start : named[-1].end])
            if len(name) <= MAX_NAME_CHARS:
                found.append((named[0].start, " ".join(name.split())))
    return found


def _words(text: str) -> list[_Word]:
    words: list[_Word] = []
    before = 0
    for match in _WORD.finditer(text):
        between = text[before : match.start()]
        begins = not words or not _SENTENCE_END.isdisjoint(between)
        if begins and words and between.startswith(". ") and words[-1].lower in _HONOURS:
            begins = False
        words.append(_Word(match.group(), match.start(), match.end(), begins=begins))
        before = match.end()
    return words


def _capitalises_nouns(words: list[_Word], plain: list[_Word], capitals: int) -> bool:
    """Tell whether capitals inside the sentences say nothing: German, headlines, title case."""
    if capitals > _FEW and capitals > _TITLE_CASE * len(plain):
        return True
    frequent = {word.lower for word in words} & _NOUN_LANGUAGE
    return len(frequent) > 1 and len(frequent) * _EVERY > len(words)


def _capitalised(text: str, words: list[_Word]) -> Iterator[list[_Word]]:
    """Yield runs of capitalised words that only blanks stand between; small words join two."""
    run: list[_Word] = []
    waiting: list[_Word] = []
    for word in words:
        joined = bool(run) and not word.begins and _joins(text, (waiting or run)[-1], word)
        if joined and (word.text[0].isupper() or (word.text[0].isdigit() and not waiting)):
            run += [*waiting, word]
            waiting = []
        elif joined and word.text in _INNER and len(waiting) < _MAX_JOINTS:
            waiting = [*waiting, word]
        else:
            if run:
                yield run
            run, waiting = ([word] if word.text[0].isupper() else []), []
    if run:
        yield run


def _joins(text: str, one: _Word, other: _Word) -> bool:
    between = text[one.end : other.start]
    if _POSSESSIVE.search(one.text):
        return False
    return between == " " or (between == ". " and (one.lower in _HONOURS or len(one.text) == 1))


def _name(run: list[_Word], inside: Collection[str], *, nouns: bool) -> list[_Word]:
    """Return the words of a run that are a name; none if it is not one."""
    words = list(run)
    while words and _is_no_part(words[0], inside):
        words = words[1:]
    while words and (words[-1].lower in _DATES or words[-1].lower in _NO_NAMES):
        words = words[:-1]
    if not words or len(words) > _MAX_WORDS or all(word.text.isdigit() for word in words):
        return []
    if any(word.lower in _DATES for word in words if not word.text.isupper()) and len(words) < 3:
        return []
    first = words[0]
    if len(words) > 1:
        is_shouted = all(word.text.isupper() for word in words)
        return [] if is_shouted and any(word.lower in _STARTERS for word in words) else words
    bare = _POSSESSIVE.sub("", first.lower)
    if bare in _NO_NAMES or bare in _STARTERS or len(bare) < 2:
        return []
    if nouns or first.begins:
        return words if first.lower in inside or bare in inside else []
    return words


def _is_no_part(word: _Word, inside: Collection[str]) -> bool:
    """Tell whether a run's first word only stands before the name."""
    lower = word.lower
    if lower in _HONOURS or lower in _DATES or lower in _NO_NAMES or word.text.isdigit():
        return True
    is_common = lower in _STARTERS or (
        word.begins and (lower in _NOUN_LANGUAGE or lower.endswith("ing"))
    )
    return is_common and (word.begins or lower not in inside)


@cache
def _split(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(name))


def _known_words(known: Collection[str]) -> set[str]:
    """Return the single words of known names that name somebody by themselves."""
    return {
        word
        for name in known
        for word in _split(name)
        if len(word) > 1 and word not in _STARTERS and word not in _INNER
    }
