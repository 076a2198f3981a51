"""Whose memories a call may touch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from memora.errors import InvalidInputError
from memora.schema.validation import checked_id, checked_optional_id, kind_of


class MemorySearchScope(StrEnum):
    """How far a search reaches."""

    ORGANIZATION = "organization"
    USER = "user"

    @classmethod
    def parse(cls, value: object) -> MemorySearchScope:
        """Return the scope of that name.

        Raises:
            InvalidInputError: There is no such scope; None is none either.
        """
        if isinstance(value, str) and value in {"organization", "user"}:
            return cls(value)
        got = "another text" if isinstance(value, str) else kind_of(value)
        raise InvalidInputError("memory_search_scope", '"user" or "organization"', got=got)


@dataclass(frozen=True, slots=True)
class Scope:
    """One tenant: a user of an organization, optionally narrowed to one agent.

    Every storage method takes one; there is no way to leave the tenant out.
    """

    org_id: str
    user_id: str
    agent_id: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "org_id", checked_id(self.org_id, "org_id"))
        object.__setattr__(self, "user_id", checked_id(self.user_id, "user_id"))
        object.__setattr__(self, "agent_id", checked_optional_id(self.agent_id, "agent_id"))

    def admits(self, org_id: str, user_id: str, agent_id: str | None) -> bool:
        """Tell whether a row of that owner lies in this scope."""
        return (
            org_id == self.org_id
            and user_id == self.user_id
            and (self.agent_id is None or agent_id == self.agent_id)
        )


@dataclass(frozen=True, slots=True)
class OrganizationScope:
    """All users of one organization, optionally narrowed to one agent: administration."""

    org_id: str
    agent_id: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "org_id", checked_id(self.org_id, "org_id"))
        object.__setattr__(self, "agent_id", checked_optional_id(self.agent_id, "agent_id"))

    def admits(self, org_id: str, user_id: str, agent_id: str | None) -> bool:  # noqa: ARG002 - as `Scope`
        """Tell whether a row of that owner lies in this scope (any user's does)."""
        return org_id == self.org_id and (self.agent_id is None or agent_id == self.agent_id)


SearchScope = Scope | OrganizationScope


def search_scope(
    kind: object,
    org_id: str,
    user_id: str | None,
    agent_id: str | None,
    *,
    across_agents: bool = True,
) -> SearchScope:
    """Build the scope of a search from the arguments of the public calls.

    Args:
        kind: A `MemorySearchScope` or its name.
        org_id: The organization.
        user_id: The user; required for the user scope.
        agent_id: The agent; required when `across_agents` is False.
        across_agents: Whether memories of other agents are searched too.

    Raises:
        InvalidInputError: The scope is unknown, or an id that it needs is missing.
    """
    scope = MemorySearchScope.parse(kind)
    if not across_agents and agent_id is None:
        raise InvalidInputError(
            "agent_id", "given when the search stays within one agent", got="None"
        )
    narrowed = None if across_agents else agent_id
    checked_optional_id(agent_id, "agent_id")
    if scope is MemorySearchScope.ORGANIZATION:
        checked_optional_id(user_id, "user_id")
        return OrganizationScope(org_id, narrowed)
    if user_id is None:
        raise InvalidInputError("user_id", "given for the user scope", got="None")
    return Scope(org_id, user_id, narrowed)
