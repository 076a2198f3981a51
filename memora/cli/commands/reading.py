"""Commands that show what is remembered."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from memora.agent.main import Memora
from memora.cli.options import (
    DEFAULT_ID,
    AgentOption,
    JsonOption,
    LimitOption,
    OrgOption,
    Owner,
    PathOption,
    SkipOption,
    UserOption,
    time_of,
)
from memora.cli.output import (
    console,
    emit_json,
    memories_table,
    memory_json,
    messages_table,
    print_notes,
    printable,
    source,
    table,
    when,
)
from memora.cli.session import run
from memora.schema.models import Interaction, Memory
from memora.schema.recall import MemoryFilters
from memora.schema.sources import SourceSelector


def recall(
    message: Annotated[
        str, typer.Argument(metavar="MESSAGE", help="The message that is about to be answered.")
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
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="TIME", help="What was known then, such as 2024-05-31."),
    ] = None,
    min_similarity: Annotated[
        float | None, typer.Option("--min-similarity", help="Drop weaker hits; 0 to 1.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what scores are made of.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Recall the memories that matter for a message, best first."""
    at = time_of(as_of, "--as-of")

    async def work(memora: Memora) -> list[Memory]:
        memories, _ids = await memora.recall_memories_for_message(
            org,
            user,
            message,
            agent,
            search_memories_across_agents=agent is None,
            limit=limit,
            filters=MemoryFilters(types=tuple(types or ()), tags=tuple(tags or ())),
            as_of=at,
            min_similarity=min_similarity,
            explain=explain,
        )
        return memories

    found = run(path, work, Owner(org, user), models=True)
    if as_json:
        emit_json(
            {
                "org_id": org,
                "user_id": user,
                "message": message,
                "memories": [memory_json(memory) for memory in found],
            }
        )
    elif found:
        console().print(memories_table(found))
    else:
        print_notes(["Nothing remembered that would help with this message."])


def memories(
    path: PathOption = None,
    org: OrgOption = DEFAULT_ID,
    user: UserOption = DEFAULT_ID,
    agent: AgentOption = None,
    by_source: Annotated[
        str | None,
        typer.Option(
            "--by-source",
            metavar="KIND:ID",
            help="All versions that come from there: interaction:ID, agent:ID, import:ID or "
            "process:ID.",
        ),
    ] = None,
    skip: SkipOption = 0,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List a user's current memories, or all that come from one source, newest first."""
    selector = None if by_source is None else SourceSelector.parse(by_source, "--by-source")
    if selector is not None and agent is not None:
        raise typer.BadParameter("--agent and --by-source exclude each other; say agent:ID")

    async def work(memora: Memora) -> list[Memory]:
        if selector is None:
            return await memora.graph.get_all_user_memories(org, user, agent, skip, limit)
        source: dict[str, Any] = {selector.field: selector.source_id}
        return await memora.memories_by_source(org, user, **source, skip=skip, limit=limit)

    found = run(path, work, Owner(org, user))
    if as_json:
        emit_json(
            {
                "org_id": org,
                "user_id": user,
                "memories": [memory_json(memory) for memory in found],
            }
        )
        return
    console().print(memories_table(found))
    more = f"; --skip {skip + limit} shows more" if len(found) == limit else ""
    kind = "current memories" if selector is None else f"versions from {selector}"
    print_notes([f"{len(found)} {kind}{more}"])


def history(
    memory_id: Annotated[
        str, typer.Argument(metavar="MEMORY_ID", help="Any version of the memory.")
    ],
    path: PathOption = None,
    org: OrgOption = DEFAULT_ID,
    user: UserOption = DEFAULT_ID,
    as_json: JsonOption = False,
) -> None:
    """Show all versions of a memory, newest first."""

    async def work(memora: Memora) -> list[Memory]:
        return await memora.memory_history(org, user, memory_id)

    versions = run(path, work, Owner(org, user))
    if as_json:
        emit_json(
            {
                "org_id": org,
                "user_id": user,
                "memory_id": memory_id,
                "versions": [memory_json(version) for version in versions],
            }
        )
        return
    rows = ([when(version.obtained_at), _until(version), _version(version)] for version in versions)
    console().print(table("From (UTC)", "Until (UTC)", "Version", rows=rows))


def _until(version: Memory) -> str:
    return "now" if version.superseded_at is None else when(version.superseded_at)


def _version(version: Memory) -> Text:
    text = Text(printable(version.memory))
    made = [f"from {source(version)}", f"trusted as {version.source_role}"]
    named = {
        "agent": version.agent_id,
        "import": version.import_id,
        "process": version.process_id,
    }
    made += [f"{name} {value}" for name, value in named.items() if value is not None]
    text.append(printable("\n" + " · ".join([*made, f"id {version.memory_id}"])), style="dim")
    return text


def interaction(
    interaction_id: Annotated[
        str | None,
        typer.Argument(
            metavar="INTERACTION_ID",
            help="Its id, or the caller's own id of it; none: list the user's.",
        ),
    ] = None,
    path: PathOption = None,
    org: OrgOption = DEFAULT_ID,
    user: UserOption = DEFAULT_ID,
    skip: SkipOption = 0,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """Show a conversation with its messages and memories, or list a user's conversations."""
    if interaction_id is None:
        _list_interactions(path, Owner(org, user), skip, limit, as_json=as_json)
        return

    async def work(memora: Memora) -> Interaction:
        return await memora.graph.get_interaction(org, user, interaction_id)

    found = run(path, work, Owner(org, user))
    if as_json:
        emit_json(_interaction_json(found))
        return
    out = console()
    out.print(Text(printable(_headline(found)), style="bold"))
    out.print(messages_table(found.messages or []))
    if found.memories:
        out.print()
        out.print(memories_table(found.memories))


def _list_interactions(
    path: PathOption, owner: Owner, skip: int, limit: int, *, as_json: bool
) -> None:
    user_id = owner.user_id or DEFAULT_ID

    async def work(memora: Memora) -> list[Interaction]:
        return await memora.graph.get_all_user_interactions(
            owner.org_id, user_id, skip=skip, limit=limit
        )

    found = run(path, work, owner)
    if as_json:
        emit_json(
            {
                "org_id": owner.org_id,
                "user_id": user_id,
                "interactions": [
                    item.model_dump(mode="json", exclude={"messages", "memories"}) for item in found
                ],
            }
        )
        return
    rows = (
        [when(item.last_activity_at), str(item.message_count), _headline(item)] for item in found
    )
    console().print(table("Last message (UTC)", "Messages", "Conversation", rows=rows))


def _headline(item: Interaction) -> str:
    names = [item.title or "untitled", item.interaction_id]
    if item.external_id is not None:
        names.append(item.external_id)
    return " · ".join([*names, f"revision {item.revision}"])


def _interaction_json(found: Interaction) -> dict[str, Any]:
    document = found.model_dump(mode="json", exclude={"memories"})
    document["memories"] = [memory_json(memory) for memory in found.memories or []]
    return document
