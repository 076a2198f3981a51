"""Commands that add, change, delete and search single memories."""

from __future__ import annotations

import json
from typing import Annotated, Any, cast

import typer

from memora.agent.main import Memora
from memora.cli.boundary import NEGATIVE
from memora.cli.options import (
    DEFAULT_ID,
    AgentOption,
    JsonOption,
    OrgOption,
    Owner,
    PathOption,
    UserOption,
    time_of,
)
from memora.cli.output import console, emit_json, memories_table, memory_json, print_notes
from memora.cli.session import run
from memora.errors import InvalidInputError
from memora.schema.direct import DeleteReceipt, MemoryReceipt
from memora.schema.models import Memory
from memora.schema.recall import MemoryFilters

_WHERE = "--where"
MemoryArgument = Annotated[
    str, typer.Argument(metavar="MEMORY_ID", help="Any version of the memory.")
]


def add(
    content: Annotated[str, typer.Argument(metavar="TEXT", help="What is to be remembered.")],
    path: PathOption = None,
    org: OrgOption = DEFAULT_ID,
    user: UserOption = DEFAULT_ID,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="ID", help="The agent that obtained it.")
    ] = None,
    interaction: Annotated[
        str | None, typer.Option("--interaction", metavar="ID", help="A conversation of the user.")
    ] = None,
    memory_type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Such as fact, rule or short_term.")
    ] = "fact",
    importance: Annotated[
        float, typer.Option("--importance", metavar="SHARE", help="0 to 1.")
    ] = 0.5,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="May be repeated.")
    ] = None,
    metadata: Annotated[
        str | None, typer.Option("--metadata", metavar="JSON", help="A JSON object.")
    ] = None,
    obtained_at: Annotated[
        str | None, typer.Option("--obtained-at", metavar="TIME", help="When it became known.")
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option("--expires-at", metavar="TIME", help="When it is forgotten.")
    ] = None,
    pinned: Annotated[
        bool, typer.Option("--pin", help="It is neither expired by its type nor archived.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option("--idempotency-key", metavar="KEY", help="Makes repeating the call harmless."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Remember a text; store, organization and user are created where they are missing.

    With an extraction model in the settings the text is condensed and compared first.
    """
    options: dict[str, Any] = {
        "metadata": _object(metadata, "--metadata"),
        "obtained_at": time_of(obtained_at, "--obtained-at"),
        "expires_at": time_of(expires_at, "--expires-at"),
    }

    async def work(memora: Memora) -> MemoryReceipt:
        return await memora.add_memory(
            org,
            user,
            content,
            agent_id=agent,
            interaction_id=interaction,
            memory_type=memory_type,
            importance=importance,
            tags=tags or (),
            pinned=pinned,
            idempotency_key=key,
            **options,
        )

    receipt = run(path, work, models=True, create=True)
    if as_json:
        emit_json({"org_id": org, "user_id": user, **receipt.model_dump(mode="json")})
        return
    notes = [f"{receipt.status}: {receipt.id}", receipt.summary]
    print_notes([*notes, *(f"superseded {known}" for known in receipt.superseded_ids)])


def update(
    memory_id: MemoryArgument,
    content: Annotated[str, typer.Argument(metavar="TEXT", help="What it says from now on.")],
    path: PathOption = None,
    org: OrgOption = DEFAULT_ID,
    user: UserOption = DEFAULT_ID,
    author: Annotated[
        str | None, typer.Option("--author", metavar="NAME", help="Kept with the new version.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give a memory a new text; the old one becomes history."""

    async def work(memora: Memora) -> Memory:
        return await memora.update_memory(org, user, memory_id, content, author=author)

    updated = run(path, work, Owner(org, user))
    if as_json:
        emit_json(memory_json(updated))
        return
    console().print(memories_table([updated]))


def delete(
    memory_id: Annotated[
        str, typer.Argument(metavar="MEMORY_ID", help="The version that is to go.")
    ],
    path: PathOption = None,
    org: OrgOption = DEFAULT_ID,
    user: UserOption = DEFAULT_ID,
    as_json: JsonOption = False,
) -> None:
    """Purge one version of a memory, text and vector; exit code 1 when there is none.

    No older version becomes current by it.
    """

    async def work(memora: Memora) -> DeleteReceipt:
        return await memora.delete_memory(org, user, memory_id)

    receipt = run(path, work, Owner(org, user))
    if as_json:
        emit_json({"org_id": org, "user_id": user, "memory_id": memory_id, **receipt.model_dump()})
    else:
        print_notes([receipt.status.replace("_", " ")])
    if not receipt.deleted:
        raise typer.Exit(NEGATIVE)


def search(
    queries: Annotated[
        list[str], typer.Argument(metavar="QUERY...", help="One or several, at most 16.")
    ],
    path: PathOption = None,
    org: OrgOption = DEFAULT_ID,
    user: UserOption = DEFAULT_ID,
    agent: AgentOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", help="At most that many, 1 to 1000.")
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only this type; may be repeated.")
    ] = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", help="Only with this tag; may be repeated.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            _WHERE, metavar="JSON", help='Conditions on metadata, such as {"year": {"gte": 2020}}.'
        ),
    ] = None,
    archived: Annotated[
        bool, typer.Option("--archived", help="Also memories that a sweep archived.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Search a user's memories as the queries stand; no model is asked."""
    filters = MemoryFilters.parse(
        {
            "types": types or (),
            "tags": tags or (),
            "metadata": _object(where, _WHERE) or {},
            "include_archived": archived,
        }
    )

    async def work(memora: Memora) -> list[Memory]:
        return await memora.search_memories_as_one(
            org,
            user,
            queries,
            agent_id=agent,
            search_across_agents=agent is None,
            limit=limit,
            filters=filters,
        )

    found = run(path, work, Owner(org, user))
    if as_json:
        memories = [memory_json(memory) for memory in found]
        emit_json({"org_id": org, "user_id": user, "queries": queries, "memories": memories})
    elif found:
        console().print(memories_table(found))
    else:
        print_notes(["Nothing found."])


def _object(text: str | None, option: str) -> dict[str, Any] | None:
    """Return the JSON object that an option holds.

    Raises:
        InvalidInputError: It is none.
    """
    if text is None:
        return None
    try:
        value: object = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidInputError(option, 'a JSON object such as {"lang": "en"}')
    return cast("dict[str, Any]", value)
