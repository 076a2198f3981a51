"""Histories of concurrent calls on one interaction, and whether they can have happened one by one.

The checker is Wing and Gong's search with Lowe's memory: it looks for an order of the calls that
agrees with real time (what had returned before another was called comes first) and in which every
answer is the one that the model gives. A save takes two moments, as its contract says: it reads
the transcript that it may cut, and later writes; where it is known when the first was over and the
second not yet begun, the search keeps to that. What a caller did not learn (a lost answer, a
cancellation) may have happened or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

Transcript = tuple[str, ...]


@dataclass(frozen=True)
class Stored:
    """The interaction; where there is none, the state is None."""

    revision: int
    messages: Transcript


State = Stored | None


class Answer(StrEnum):
    """How a call ended, as its caller saw it."""

    DONE = "done"
    CONFLICT = "conflict"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Call:
    """One call of a history.

    Attributes:
        called, returned: Moments on one clock that all clients share.
        kind: `save`, `delete` or `read`.
        messages: What was saved, or read.
        expected: Revision that a save named.
        revision: What a read answered.
        began: Moment at which a save had read; None: not known.
        writing: Moment at which it had not written yet; None: not known.
    """

    called: int
    returned: int
    kind: str
    answer: Answer
    messages: Transcript = ()
    expected: int | None = None
    revision: int | None = None
    began: int | None = None
    writing: int | None = None


def _common(one: Transcript, other: Transcript) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _written(call: Call, begun: State, state: State) -> tuple[Answer, State]:
    """Return what a save answers that began at one state and writes at another."""
    if state is None:
        # Who saw it, be it only when it tried to create it, looks for that one, and it is gone.
        if call.answer is Answer.MISSING or call.expected is not None or begun is not None:
            return Answer.MISSING, state
        return Answer.DONE, Stored(1, call.messages)
    if call.expected is not None and call.expected != state.revision:
        return Answer.CONFLICT, state
    kept = _common(state.messages, call.messages)
    cut = len(state.messages) - kept
    if cut and call.expected is None:
        seen = () if begun is None else begun.messages
        # Only what was there when the call began may be cut: the rest nobody has seen (B24).
        if seen[: len(state.messages)] != state.messages:
            return Answer.CONFLICT, state
    if state.messages == call.messages:
        return Answer.DONE, state
    return Answer.DONE, Stored(state.revision + 1, call.messages)


# What a call did so far: nothing, began at a state, or is over.
_Begun = tuple[str, State]
_Progress = tuple["_Begun | str", ...]


def _steps(
    call: Call, progress: _Begun | str, state: State
) -> Iterator[tuple[_Begun | str, State]]:
    """Yield what the call's next moment can be: its new progress, and the state after it."""
    if call.kind == "read":
        answered = (
            None if call.answer is Answer.MISSING else Stored(call.revision or 0, call.messages)
        )
        if call.answer is Answer.UNKNOWN or answered == state:
            yield "over", state
    elif call.kind == "delete":
        yield "over", None
    elif progress == "":
        yield ("begun", state), state
    else:
        assert isinstance(progress, tuple)
        answer, after = _written(call, progress[1], state)
        if call.answer in {answer, Answer.UNKNOWN}:
            yield "over", after


def _window(call: Call, progress: _Begun | str) -> tuple[int, int]:
    """Return between which moments the call's next step lies."""
    if call.kind != "save":
        return call.called, call.returned
    if progress == "":
        return call.called, call.returned if call.began is None else call.began
    # The interaction that a save had found may have been gone before it tried to write.
    if call.writing is None or call.answer is Answer.MISSING:
        return call.called, call.returned
    return call.writing, call.returned


def linearizable(history: Sequence[Call], initial: State = None) -> bool:
    """Tell whether some order of the calls explains all answers."""
    seen: set[tuple[_Progress, State]] = set()

    def search(progress: _Progress, state: State) -> bool:
        if (progress, state) in seen:
            return False
        seen.add((progress, state))
        left = [i for i, each in enumerate(progress) if each != "over"]
        if all(history[i].answer is Answer.UNKNOWN for i in left):
            return True
        # Nothing may come before what had returned when it was called.
        windows = {i: _window(history[i], progress[i]) for i in left}
        horizon = min(windows[i][1] for i in left if history[i].answer is not Answer.UNKNOWN)
        for i in left:
            if windows[i][0] > horizon:
                continue
            for now, after in _steps(history[i], progress[i], state):
                if search((*progress[:i], now, *progress[i + 1 :]), after):
                    return True
        return False

    return search(("",) * len(history), initial)
