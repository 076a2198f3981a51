"""The command for people, places and things."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from memora.agent.main import Memora
from memora.cli.options import (
    DEFAULT_ID,
    JsonOption,
    LimitOption,
    OrgOption,
    Owner,
    PathOption,
    SkipOption,
    UserOption,
)
from memora.cli.output import (
    console,
    emit_json,
    memories_table,
    memory_json,
    print_notes,
    printable,
    table,
)
from memora.cli.session import run
from memora.schema.entities import Entity, EntityMemories


def entities(
    entity: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="One of its names, or its id; none: list what is mentioned."
        ),
    ] = None,
    path: PathOption = None,
    org: OrgOption = DEFAULT_ID,
    user: UserOption = DEFAULT_ID,
    merge_into: Annotated[
        str | None,
        typer.Option("--merge-into", metavar="NAME", help="Its names are names of this one."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            metavar="NAME",
            help="This name of it is somebody or something else; may be repeated.",
        ),
    ] = None,
    skip: SkipOption = 0,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """Show whom and what a user's memories mention, or what is known about one of them."""
    if entity is None:
        if merge_into is not None or split:
            raise typer.BadParameter("--merge-into and --split need a NAME")
        _list(path, Owner(org, user), skip, limit, as_json=as_json)
        return
    if merge_into is not None and split:
        raise typer.BadParameter("--merge-into and --split exclude each other")

    async def change(memora: Memora) -> Entity:
        if merge_into is not None:
            return await memora.merge_entities(org, user, entity, merge_into)
        return await memora.split_entity(org, user, entity, split or [])

    async def look(memora: Memora) -> EntityMemories:
        return await memora.entity_memories(org, user, entity, limit=limit)

    if merge_into is not None or split:
        changed = run(path, change, Owner(org, user))
        if as_json:
            emit_json({"entity": changed.model_dump(mode="json")})
        else:
            console().print(_table([changed]))
        return
    found = run(path, look, Owner(org, user))
    if as_json:
        document = found.model_dump(mode="json", exclude={"memories"})
        document["memories"] = [memory_json(memory) for memory in found.memories]
        emit_json(document)
        return
    console().print(_table([found.entity]))
    console().print(memories_table(found.memories))
    print_notes(f"{each.subject} {each.type} {each.object}" for each in found.relations)


def _list(path: PathOption, owner: Owner, skip: int, limit: int, *, as_json: bool) -> None:
    user_id = owner.user_id or DEFAULT_ID

    async def work(memora: Memora) -> list[Entity]:
        return await memora.list_entities(owner.org_id, user_id, skip=skip, limit=limit)

    found = run(path, work, owner)
    if as_json:
        entities_json = [each.model_dump(mode="json") for each in found]
        emit_json({"org_id": owner.org_id, "user_id": user_id, "entities": entities_json})
        return
    console().print(_table(found))
    more = f"; --skip {skip + limit} shows more" if len(found) == limit else ""
    print_notes([f"{len(found)} entities{more}"])


def _table(found: list[Entity]) -> Table:
    return table("Memories", "Entity", rows=([str(each.memories), _names(each)] for each in found))


def _names(entity: Entity) -> Text:
    text = Text(printable(entity.name))
    others = [f"also {alias}" for alias in entity.aliases[1:]]
    text.append(printable("\n" + " · ".join([*others, f"id {entity.entity_id}"])), style="dim")
    return text
