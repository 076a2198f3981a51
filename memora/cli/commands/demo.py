"""`memora demo`: what the engine does, in one minute, without a server and without a key."""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memora.agent.main import Memora
from memora.cli.boundary import NEGATIVE
from memora.cli.options import JsonOption
from memora.cli.output import console, emit_json, memory_json, printable, table, when
from memora.cli.sample import Change, Sample, load
from memora.schema.models import Memory
from memora.schema.scope import Scope

_SHOWN = 3


def demo(
    path: Annotated[
        Path | None,
        typer.Option(
            "--path",
            metavar="DIR",
            file_okay=False,
            help="Directory for the store, created if need be; without it a new temporary one.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Play the sample and tell what happens."""
    directory = path or Path(tempfile.mkdtemp(prefix="memora-demo-"))
    play = Play(load(), directory, None if as_json else console())
    asyncio.run(play.run())
    if as_json:
        emit_json(play.report)
    if not play.report["doctor"]["clean"]:
        raise typer.Exit(NEGATIVE)


@dataclass
class Play:
    """One run of the demo: it narrates for people, and keeps a report for `--json`.

    Attributes:
        sessions: Ids of the sample's sessions by interaction id.
    """

    sample: Sample
    directory: Path
    out: Console | None
    report: dict[str, Any] = field(default_factory=dict[str, Any])
    sessions: dict[str, str] = field(default_factory=dict[str, str])

    async def run(self) -> None:
        """Play all parts in order."""
        async with Memora.embedded(self.directory) as memora:
            await self._create(memora)
            await self._save(memora)
            await self._update(memora)
            await self._ask(memora)
            await self._correct(memora)
            await self._check(memora)
        self._say_what_next()

    async def _create(self, memora: Memora) -> None:
        organization, user, agent = self.sample.organization, self.sample.user, self.sample.agent
        known = await memora.graph.find_user(Scope(organization.id, user.id)) is not None
        await memora.graph.create_organization(organization.name, org_id=organization.id)
        await memora.graph.create_user(organization.id, user.name, user_id=user.id)
        await memora.graph.create_agent(organization.id, agent.name, agent_id=agent.id)
        self.report |= {
            "store": str(self.directory),
            "org_id": organization.id,
            "user_id": user.id,
            "agent_id": agent.id,
            "seen_before": known,
        }
        self._head(f"A store in {self.directory}")
        self._say(
            f"Organization {organization.id!r} with the user {user.name} and the agent "
            f"{agent.name}. No server, no key, no language model."
        )
        if known:
            self._say("The sample is here already; saving it again changes nothing.")

    async def _save(self, memora: Memora) -> None:
        saved: list[dict[str, Any]] = []
        rows: list[tuple[str, str, str]] = []
        for session in self.sample.sessions:
            interaction_id = await self._save_one(
                memora, session.id, session.messages, session.at, "save"
            )
            self.sessions[interaction_id] = session.id
            count = len(session.messages)
            saved.append(
                {
                    "external_id": session.id,
                    "interaction_id": interaction_id,
                    "at": session.at.isoformat(),
                    "messages": count,
                }
            )
            rows.append((when(session.at), str(count), f"{session.title} ({session.id})"))
        self.report["sessions"] = saved
        total = sum(len(session.messages) for session in self.sample.sessions)
        self._head(f"{len(saved)} conversations, {total} messages")
        self._show(table("When (UTC)", "Messages", "Conversation", rows=rows))
        self._say(
            "Without a model a memory is what the user said, word for word, with its date and "
            "source. Nothing is found to contradict anything: what was true in January and what "
            "is true in August both stay, and dates tell them apart."
        )

    async def _save_one(
        self,
        memora: Memora,
        session_id: str,
        messages: Sequence[dict[str, str]],
        at: datetime,
        step: str,
    ) -> str:
        interaction_id, _at = await memora.save_or_update_interaction_and_memories(
            self.sample.organization.id,
            self.sample.user.id,
            self.sample.agent.id,
            messages,
            current_datetime=at,
            external_id=session_id,
            title=self.sample.session(session_id).title,
            idempotency_key=f"demo-{self.sample.version}:{session_id}:{step}",
        )
        return interaction_id

    async def _update(self, memora: Memora) -> None:
        append, edit = self.sample.append, self.sample.edit
        self._head("Two of them change")
        grown = await self._change(memora, append, "append")
        self._say(
            f"{append.session} goes on on {when(append.at)}: {len(append.messages)} messages are "
            f"appended, {grown['messages']} now. Only the new ones are read."
        )
        cut = await self._change(memora, edit, "edit")
        position = edit.position or 0
        dropped = len(self.sample.session(edit.session).messages) - position
        self._say(
            f"In {edit.session} {self.sample.user.name} edits message {position}: {dropped} "
            f"messages are cut, {len(edit.messages)} appended, {cut['messages']} now. What the cut "
            "messages said stays known, without its source."
        )
        self.report |= {"appended": grown, "edited": {**cut, "cut": dropped}}

    async def _change(self, memora: Memora, change: Change, step: str) -> dict[str, Any]:
        interaction_id = await self._save_one(
            memora, change.session, self.sample.changed(change), change.at, step
        )
        found = await memora.graph.get_interaction(
            self.sample.organization.id,
            self.sample.user.id,
            interaction_id,
            with_messages=False,
            with_memories=False,
        )
        return {
            "external_id": change.session,
            "at": change.at.isoformat(),
            "messages": found.message_count,
            "revision": found.revision,
        }

    async def _ask(self, memora: Memora) -> None:
        self._head("What is remembered")
        answers: list[dict[str, Any]] = []
        for question in self.sample.questions:
            found = await self._recall(memora, question)
            answers.append(
                {"question": question, "memories": [memory_json(memory) for memory in found]}
            )
            self._show_answer(question, found)
        self.report["questions"] = answers

    async def _recall(
        self, memora: Memora, question: str, as_of: datetime | None = None
    ) -> list[Memory]:
        found, _ids = await memora.recall_memories_for_message(
            self.sample.organization.id, self.sample.user.id, question, limit=_SHOWN, as_of=as_of
        )
        return found

    async def _correct(self, memora: Memora) -> None:
        correction = self.sample.correction
        memory_id = await self._first_version(memora)
        if memory_id is None:
            self._say("The memory that the demo corrects is no longer here.")
            return
        owner = (self.sample.organization.id, self.sample.user.id)
        made = await memora.memory_history(*owner, memory_id)
        # A run that was interrupted goes on where it stopped.
        if len(made) == 1:
            await self._write(memora, memory_id, correction.right.content, correction.right.author)
        right_id = (await memora.memory_history(*owner, memory_id))[-2].memory_id
        if len(made) <= 2:
            mistake = correction.mistake
            await self._write(memora, memory_id, mistake.content, mistake.author)
        if len(made) <= 3:
            await memora.revert_memory(*owner, right_id, author=correction.right.author)
        history = await memora.memory_history(*owner, memory_id)
        self._head("A correction by hand, a mistake, and back")
        self._say(
            "Versions come from corrections like this one, or from a model that finds a "
            "contradiction. Here somebody else's wrong version was reverted in one call."
        )
        rows = [(when(v.obtained_at), v.author or "said", v.memory) for v in history]
        self._show(table("From (UTC)", "By", "Version, newest first", rows=rows))
        past = await self._recall(memora, correction.question, correction.as_of)
        self._say(f"Time travel, as it was known on {when(correction.as_of)}:")
        self._show_answer(correction.question, past)
        present = await self._recall(memora, correction.question)
        self._say("And now:")
        self._show_answer(correction.question, present)
        self.report |= {
            "history": [memory_json(version) for version in history],
            "as_of": {
                "time": correction.as_of.isoformat(),
                "question": correction.question,
                "memories": [memory_json(memory) for memory in past],
            },
            "after": {
                "question": correction.question,
                "memories": [memory_json(memory) for memory in present],
            },
        }

    async def _first_version(self, memora: Memora) -> str | None:
        """Return the memory of the message that is corrected; None when somebody removed it."""
        correction = self.sample.correction
        memories = await memora.graph.get_all_interaction_memories(
            self.sample.organization.id, self.sample.user.id, correction.session
        )
        firsts = (
            memory.memory_id
            for memory in memories
            if memory.supersedes is None
            and any(m.msg_position == correction.position for m in memory.message_sources)
        )
        return next(firsts, None)

    async def _write(self, memora: Memora, memory_id: str, content: str, author: str) -> None:
        await memora.update_memory(
            self.sample.organization.id, self.sample.user.id, memory_id, content, author=author
        )

    async def _check(self, memora: Memora) -> None:
        diagnosis = await memora.doctor()
        self.report["doctor"] = {"clean": diagnosis.clean, **asdict(diagnosis)}
        self._head("Doctor")
        verdict = "the store is clean" if diagnosis.clean else f"{len(diagnosis.findings)} findings"
        self._say(f"{diagnosis.memories} memories, {diagnosis.vectors} vectors: {verdict}.")

    def _say_what_next(self) -> None:
        where = f"--path {shlex.quote(str(self.directory))}"
        owner = f"--org {self.sample.organization.id} --user {self.sample.user.id}"
        versions = self.report.get("history", [])[:1]
        commands = [
            f'memora recall "What do I eat?" {where} {owner} --explain',
            f"memora memories {where} {owner}",
            *(f"memora history {version['memory_id']} {where} {owner}" for version in versions),
            f"memora interaction {self.sample.edit.session} {where} {owner}",
            f"memora doctor {where}",
        ]
        self.report["next"] = commands
        self._head("The store stays; try")
        for command in commands:
            self._say(f"  {command}")

    def _head(self, text: str) -> None:
        if self.out is not None:
            self.out.print()
            self.out.print(Text(printable(text), style="bold"))

    def _say(self, text: str) -> None:
        if self.out is not None:
            # Commands are printed to be copied: no line breaks of ours in them.
            self.out.print(Text(printable(text)), soft_wrap=text.startswith("  "))

    def _show(self, shown: Table) -> None:
        if self.out is not None:
            self.out.print(shown)

    def _show_answer(self, question: str, found: Sequence[Memory]) -> None:
        grid = Table.grid(padding=(0, 2))
        for column in ("score", "date", "source"):
            grid.add_column(column, no_wrap=True)
        grid.add_column("memory", overflow="fold", ratio=1)
        for memory in found:
            grid.add_row(
                f"{memory.score:.2f}" if memory.score is not None else "",
                f"{memory.obtained_at:%Y-%m-%d}",
                self._source(memory),
                Text(printable(memory.memory)),
            )
        self._say(f"> {question}")
        self._show(grid)

    def _source(self, memory: Memory) -> str:
        if memory.author is not None:
            return f"by {memory.author}"
        session = self.sessions.get(memory.interaction_id or "", "")
        positions = ", ".join(str(message.msg_position) for message in memory.message_sources)
        return f"{session} #{positions or 'cut'}"
