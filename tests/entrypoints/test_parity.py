"""Every verb of the facade is reachable from every surface, or it is said here why not."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import Any

import pytest

from memora import sync
from memora.agent.main import Memora
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.sqlite.interface import SQLiteGraph
from tests.entrypoints.conftest import CommandLine

# Each opens stores several times, and the machine may be busy.
pytestmark = pytest.mark.timeout(60)

# Verb -> the command that calls it, on the shared store.
COMMANDS = {
    "recall_memories_for_message": ("recall", "peanuts"),
    "add_memory": ("add", " "),
    "update_memory": ("update", "no-such", "I like tea."),
    "delete_memory": ("delete", "no-such"),
    "search_memories_as_one": ("search", "peanuts"),
    "memory_health": ("health",),
    "sweep": ("sweep", "--dry-run"),
    "memory_history": ("history", "{memory}"),
    "list_entities": ("entities",),
    "entity_memories": ("entities", "Lisbon"),
    "merge_entities": ("entities", "Lisbon", "--merge-into", "Lisboa"),
    "split_entity": ("entities", "Lisbon", "--split", "Lisboa"),
    "memories_by_source": ("memories", "--by-source", "interaction:chat-1"),
    "rollback_source": ("rollback", "--by-source", "interaction:chat-1", "--dry-run"),
    "seed": ("seed", "{folder}/talks.json", "--dry-run"),
    "batch_create": ("seed", "{folder}/papers.json"),
    "list_imports": ("imports",),
    "undo_import": ("imports", "undo", "{import}", "--dry-run"),
    "list_jobs": ("jobs",),
    "resume_job": ("jobs", "resume", "{job}"),
    "drain_outbox": ("outbox", "drain"),
    "doctor": ("doctor",),
    "erase_user": ("erase", "--user", "nobody", "--yes"),
    "erase_organization": ("erase", "--yes"),
    "reconcile": ("reconcile",),
    "reindex": ("reindex",),
    "export_to": ("export", "{folder}/export.jsonl"),
    "import_from": ("import", "{folder}/talks.json"),
    "backup": ("backup", "{folder}/backup"),
    "restore": ("restore", "{folder}"),
    "rotate_key": ("rotate-key", "--decrypt"),
}
GRAPH_COMMANDS = {
    (BaseGraphDB, "get_all_user_memories"): ("memories",),
    (BaseGraphDB, "get_interaction"): ("interaction", "chat-1"),
    (BaseGraphDB, "get_all_user_interactions"): ("interaction",),
    (SQLiteGraph, "outbox_status"): ("outbox",),
    (SQLiteGraph, "list_outbox"): ("outbox",),
    (SQLiteGraph, "retry_outbox"): ("outbox", "retry"),
}
OPENING = {"embedded", "from_settings", "setup", "close", "for_user", "graph", "vector_db", "usage"}
# Verbs of an application's own loop, or that change what is remembered: no command so far.
LIBRARY_ONLY = {
    "save_or_update_interaction_and_memories",
    "preview_save",
    "search_memories_as_batch",
    "generate_memory_search_queries",
    "filter_retrieved_memories_with_model",
    "format_memories",
    "build_context",
    "add_memories",
    "query_memories",
    "list_memories",
    "revert_memory",
    "retract_memory",
    # What `seed` is made of: the command shows its events as they come.
    "seed_events",
    "seed_sync",
}


def verbs() -> set[str]:
    return {name for name, _value in inspect.getmembers(Memora) if not name.startswith("_")}


def test_every_verb_has_a_command_or_a_reason() -> None:
    assert verbs() == OPENING | COMMANDS.keys() | LIBRARY_ONLY


def test_every_verb_is_reachable_without_a_loop() -> None:
    for name in verbs():
        assert not inspect.iscoroutinefunction(getattr(sync.Memora, name)), name


def test_every_verb_that_names_an_owner_is_on_the_bound_handle() -> None:
    owned = {
        name
        for name in verbs() - OPENING
        if {"org_id", "user_id"} <= inspect.signature(getattr(Memora, name)).parameters.keys()
    }
    missing = {name for name in owned if not hasattr(sync.BoundMemora, name)}
    # Imports and jobs belong to an organization; the user only narrows the list.
    assert missing == {"list_imports", "list_jobs"}


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_the_command_calls_the_verb(
    cli: CommandLine, saved: str, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    assert called(cli, monkeypatch, Memora, verb, COMMANDS[verb])


@pytest.mark.parametrize(("owner", "verb"), GRAPH_COMMANDS, ids=str)
def test_the_command_calls_the_graph(
    cli: CommandLine, saved: str, monkeypatch: pytest.MonkeyPatch, owner: type, verb: str
) -> None:
    assert called(cli, monkeypatch, owner, verb, GRAPH_COMMANDS[owner, verb])


def called(
    cli: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    verb: str,
    command: tuple[str, ...],
) -> bool:
    """Run a command and tell whether it called the verb."""
    [memory, *_] = cli("memories", *cli.owner, "--json").json["memories"]
    folder = tempfile.mkdtemp(dir=cli.path.parent)
    (Path(folder) / "talks.json").write_text('[{"id": "c", "messages": [{"role": "user"}]}]')
    (Path(folder) / "papers.json").write_text('[{"document": "Tea is hot.", "document_id": "d"}]')
    values = {"memory": memory["memory_id"], "job": "no-job", "import": "none", "folder": folder}
    words = [word.format(**values) for word in command]
    calls: list[Any] = []
    original = getattr(owner, verb)

    async def spy(self: object, *arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return await original(self, *arguments, **options)

    monkeypatch.setattr(owner, verb, spy)
    takes = cli(*words, "--help").out
    options = [word for word in ("--path", "--org", "--user") if word in takes]
    if verb.startswith("erase"):
        # The store is shared: the verb is called, for nobody who is there.
        options, words = ["--path"], [*words, "--org", "nobody"]
    given = dict(zip(cli.owner[::2], cli.owner[1::2], strict=True))
    cli(*words, *(part for option in options for part in (option, given[option])))
    return calls != []
