"""`memora`: the root command."""

from __future__ import annotations

from typing import Annotated

import typer

from memora import __version__
from memora.cli.boundary import EXIT_CODES, Boundary
from memora.cli.commands import direct, keys, lifetime, reading, transfer, upkeep, work
from memora.cli.commands.demo import demo
from memora.cli.commands.entities import entities
from memora.cli.commands.erase import erase
from memora.cli.commands.imports import imports
from memora.cli.commands.rollback import rollback
from memora.cli.commands.seed import seed

app = typer.Typer(
    name="memora",
    cls=Boundary,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A memory engine for assistants: look at a store, check it, and finish what is left.\n\n"
    "Commands work on the embedded store in --path, or else on the stores that the environment's "
    "MEMORA_ variables name. With --json they print one JSON document on standard output.",
    epilog=f"{EXIT_CODES}\n\nStart with: memora demo",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"memora {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error; it may hold stored text."),
    ] = False,
) -> None:
    """Hold the options that stand before the command."""


app.command(
    help="Save, update, recall and correct a sample conversation; no server, no key.\n\n"
    "The store stays where it is, so that the other commands can be tried on it. A second run on "
    "the same directory saves nothing twice.",
    epilog="Example: memora demo --path ./memory",
)(demo)
app.command(epilog="Example: memora seed conversations.json --user-id jake --path ./memory")(seed)
app.command(
    epilog='Example: memora recall "What should I not eat?" --path ./memory --org demo --user nora'
)(reading.recall)
app.command(epilog="Example: memora memories --path ./memory --org demo --user nora")(
    reading.memories
)
app.command(epilog="Example: memora history ID --path ./memory --org demo --user nora")(
    reading.history
)
app.command(
    epilog="Example: memora entities --path ./memory --org demo --user nora\n\n"
    "Example: memora entities Lisbon --path ./memory --org demo --user nora"
)(entities)
app.command(
    epilog="Example: memora interaction 2024-01-new-year --path ./memory --org demo --user nora"
)(reading.interaction)
app.command(
    epilog='Example: memora add "Prefers table aliases in SQL" --type rule --tag sql '
    "--path ./memory --org demo --user nora"
)(direct.add)
app.command(
    epilog="Example: memora update ID "
    '"Nora lives in Bergen." --path ./memory --org demo --user nora'
)(direct.update)
app.command(epilog="Example: memora delete ID --path ./memory --org demo --user nora")(
    direct.delete
)
app.command(
    epilog="Example: memora search allergy food --limit 5 --path ./memory --org demo --user nora"
)(direct.search)
app.command(epilog="Example: memora health --path ./memory --org demo --user nora")(lifetime.health)
app.command(epilog="Example: memora sweep --dry-run --path ./memory")(lifetime.sweep)
app.command(
    epilog="Example: memora rollback --by-source interaction:2024-01-new-year --dry-run "
    "--path ./memory --org demo --user nora"
)(rollback)
app.add_typer(imports, name="imports")
app.add_typer(work.jobs, name="jobs")
app.add_typer(work.outbox, name="outbox")
app.command(
    epilog="Example: memora erase --path ./memory --org demo --user nora --receipt erased.json"
)(erase)
app.command(epilog="Example: memora doctor --path ./memory")(upkeep.doctor)
app.command(epilog="Example: memora reconcile --apply --path ./memory")(upkeep.reconcile)
app.command(
    epilog="Example: memora reindex --path ./memory --embedder openai:text-embedding-3-small"
)(upkeep.reindex)
app.command(epilog="Example: memora export acme.jsonl --path ./memory --org acme")(transfer.export)
app.command(name="import", epilog="Example: memora import acme.jsonl --path ./other")(
    transfer.import_file
)
app.command(epilog="Example: memora backup ./monday --path ./memory")(transfer.backup)
app.command(epilog="Example: memora restore ./monday --path ./restored")(transfer.restore)
app.command(epilog="Example: memora new-key")(keys.new_key)
app.command(epilog="Example: memora rotate-key --new-key key.txt --path ./memory")(keys.rotate_key)


def main() -> None:
    """Run the command line."""
    app(prog_name="memora")
