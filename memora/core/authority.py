"""Who may supersede what.

A statement may be superseded only by a source of the same or higher trust:
the application itself, then the user, then the assistant, then tools and the web.
"""

from __future__ import annotations

from collections.abc import Iterable

_RANK = {"api": 3, "user": 2, "assistant": 1, "import": 1, "tool": 0, "function": 0}


def rank(source_role: str) -> int:
    """Return the trust of a source role, 0 (least) to 3; an unknown role has the least."""
    return _RANK.get(source_role, 0)


def least_trusted(roles: Iterable[str]) -> str:
    """Return the source role of a statement that several messages were read for."""
    found = [("tool" if role == "function" else role) for role in roles]
    return min(found, key=rank, default="assistant")


def may_supersede(
    source_role: str,
    agent_id: str | None,
    existing_role: str,
    existing_agent_id: str | None,
    *,
    across_agents: bool = True,
) -> bool:
    """Tell whether a statement from that source may supersede the existing one.

    Args:
        source_role: Who says the new statement.
        agent_id: The agent in whose conversation it is said.
        existing_role: Who said the existing one.
        existing_agent_id: In whose conversation.
        across_agents: Whether one agent's conversation may change what another's established.
    """
    if not across_agents and agent_id != existing_agent_id:
        return False
    return rank(source_role) >= rank(existing_role)
