"""Names in stored text: structured spans `[[u:<id>]]` and `[[a:<id>]]`.

Ids are percent-encoded inside a span. A literal `[[u:`, `[[a:` or `[[=` of somebody's text is
stored with one `=` after the brackets, so every text comes back as it was given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

_LITERAL = re.compile(r"\[\[(?=[=]|[ua]:)")
_SPAN = re.compile(r"\[\[=|\[\[([ua]):([^\[\]\s]{1,3060})\]\]")


def user_span(user_id: str) -> str:
    """Return the span that stands for the user's name."""
    return f"[[u:{quote(user_id, safe='')}]]"


def agent_span(agent_id: str) -> str:
    """Return the span that stands for the agent's label."""
    return f"[[a:{quote(agent_id, safe='')}]]"


def escape(text: str) -> str:
    """Return `text` as it is stored when it holds no spans of ours."""
    return _LITERAL.sub("[[=", text)


def escape_all_but(text: str, spans: frozenset[str]) -> str:
    """Return `text` as it is stored when only these spans in it are ours (model output)."""

    def replace(match: re.Match[str]) -> str:
        return match.group() if match.group() in spans else "[[=" + match.group()[2:]

    return re.sub(r"\[\[[ua]:[^\[\]\s]{1,3060}\]\]|\[\[(?=[=]|[ua]:)", replace, text)


def render(text: str, users: Mapping[str, str], agents: Mapping[str, str]) -> str:
    """Return stored `text` with names filled in, in one pass, literally.

    Args:
        text: Stored text.
        users: Current names by user id.
        agents: Current labels by agent id. A span whose id is not in the mapping becomes "the
            user" or "the agent": another tenant's name never shows.
    """
    if "[[" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return "[["
        record_id = unquote(match.group(2))
        if match.group(1) == "u":
            return users.get(record_id, "the user")
        return agents.get(record_id, "the agent")

    return _SPAN.sub(replace, text)


def neutral(text: str) -> str:
    """Return stored `text` without ids, for embedding and comparing: it survives renaming."""
    return render(text, {}, {})
