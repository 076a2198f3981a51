"""R12: no secret, and nothing that was said, in a log, an error, a trace or a repr."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import AsyncQdrantClient
from typer.testing import CliRunner

from memora import Memora, SeedConfig, SeedData
from memora.cli.main import app
from memora.config import Settings
from memora.core.filters import Condition
from memora.embeddings import HashingEmbedder, OpenAICompatibleEmbedder
from memora.errors import MemoraError
from memora.graph_db.neo4j.interface import Neo4jGraphInterface
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.llm_backends import AnthropicBackendLLM, OpenAICompatibleBackendLLM
from memora.llm_backends.base import BaseBackendLLM
from memora.rerankers import HTTPReranker
from memora.schema.index import IndexDocument, ListLimits, QueryHits
from memora.schema.models import Memory
from memora.schema.scope import Scope, SearchScope
from memora.schema.write_plan import WritePlan, WriteReceipt
from memora.testing.fakes import Answer, Call, OutageError, ScriptedBackendLLM
from memora.testing.llm_contract import Turn
from memora.vector_db import QdrantDB
from memora.vector_db.embedded import EmbeddedVectorDB
from tests.contract import embedding_server, rerank_server
from tests.contract.embedding_server import EmbeddingServer
from tests.contract.llm_server import LLMServer
from tests.contract.qdrant_bridge import QdrantBridge
from tests.contract.rerank_server import RerankServer
from tests.neo4j_server.process import Neo4jServer
from tests.reliability.canaries import Canaries, reachable, search_text
from tests.reliability.scorecard import Score

pytestmark = [pytest.mark.timeout(180), pytest.mark.suite("R12")]

# What a call may show of its arguments, and no more: ids, because callers look records up by them.
ORG, USER = "acme", "jake"


@dataclass
class Watch:
    """Collects what would end in somebody's log, and finds the canaries in it.

    Attributes:
        errors: How many exceptions were looked at.
        objects: How many objects.
        found: Where which canary was.
    """

    canaries: Canaries
    errors: int = 0
    objects: int = 0
    found: dict[str, None] = field(default_factory=dict[str, None])
    # Most objects look as they did a moment ago: texts without a hit, by how many canaries there
    # were; and the name of each class that is looked at, or None.
    _clean: dict[str, int] = field(default_factory=dict[str, int])
    _kinds: dict[type, str | None] = field(default_factory=dict[type, "str | None"])
    _old: list[object] = field(default_factory=list[object])

    def text(self, where: str, text: str) -> None:
        known = len(self.canaries)
        if self._clean.get(text) == known:
            return
        hits = search_text(self.canaries, text)
        if not hits:
            self._clean[text] = known
        for hit in hits:
            self.found[f"{hit} in {where}"] = None

    def error(self, where: str, error: BaseException) -> None:
        """Look at what a handler would log of it: text, arguments, notes, the whole trace."""
        self.errors += 1
        seen: BaseException | None = error
        while seen is not None:
            shown = f"{seen!r} {seen} {seen.args!r} {getattr(seen, '__notes__', '')}"
            self.text(f"{where}: {type(seen).__name__}", shown)
            # What is suppressed is in no trace.
            hidden = seen.__suppress_context__
            seen = seen.__cause__ or (None if hidden else seen.__context__)
        self.text(f"{where}: trace of {type(error).__name__}", trace(error))

    def values(self, where: str, values: Iterable[object]) -> None:
        """Look at the repr of memora's own objects; a memory's shows its text on purpose."""
        for value in values:
            name = self._name(type(value))
            if name is None:
                continue
            self.objects += 1
            self.text(f"repr of {name} ({where})", f"{value!r} {value}")

    def _name(self, kind: type) -> str | None:
        """Return the name of a class whose objects are looked at."""
        if kind not in self._kinds:
            # Some classes of extensions have no name there.
            name = f"{kind.__module__}.{kind.__qualname__}"
            is_ours = name.startswith("memora.") and not name.startswith("memora.testing.")
            self._kinds[kind] = name if is_ours and not issubclass(kind, Memory) else None
        return self._kinds[kind]

    def alive(self, where: str) -> None:
        """Look at every object of memora that exists at this moment."""
        self.values(where, [*self._old, *self._ours(gc.get_objects())])

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Set aside the hundred thousands of objects that are there already."""
        gc.unfreeze()
        self._old = self._ours(gc.get_objects())
        gc.freeze()
        try:
            yield
        finally:
            self._old.clear()
            gc.unfreeze()
            gc.collect()
            gc.freeze()

    def _ours(self, values: list[object]) -> list[object]:
        kinds = {kind for kind in set(map(type, values)) if self._name(kind)}
        return [value for value in values if type(value) in kinds]

    async def call(self, where: str, call: Awaitable[object]) -> None:
        try:
            result = await call
        except MemoraError as error:
            self.error(where, error)
        else:
            self.values(where, reachable(result))


def trace(error: BaseException) -> str:
    """The full trace, without the lines of this test, which name the canaries' places only."""
    return "".join(traceback.format_exception(error))


class Vectors(EmbeddedVectorDB):
    """Looks around whenever something is on its way to the index."""

    watch: Watch

    async def upsert(self, documents: Sequence[IndexDocument]) -> None:
        self.watch.alive("upsert")
        await super().upsert(documents)

    async def run_queries(
        self,
        queries: Sequence[str],
        scope: SearchScope,
        conditions: tuple[Condition, ...],
        limits: ListLimits,
        dense_queries: Sequence[str] | None = None,
    ) -> list[QueryHits]:
        found = await super().run_queries(queries, scope, conditions, limits, dense_queries)
        self.watch.alive("search")
        return found


class Graph(SQLiteGraph):
    """As above, for plans."""

    watch: Watch

    async def apply(self, plan: WritePlan) -> WriteReceipt:
        self.watch.alive("apply")
        return await super().apply(plan)


@pytest.fixture
def watch(seed: int) -> Watch:
    return Watch(Canaries(seed))


@pytest.fixture(autouse=True)
def logs(watch: Watch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Everything that anybody logs at any level."""
    caplog.set_level(logging.DEBUG)
    with watch.apart():
        yield
    for record in caplog.get_records("call"):
        shown = f"{record.getMessage()} {record.args!r} {record.exc_text or ''}"
        if record.exc_info and record.exc_info[1]:
            shown += trace(record.exc_info[1])
        watch.text(f"log of {record.name} ({record.levelname})", shown)
    assert not watch.found, "\n".join(watch.found)


@pytest.fixture
async def open_memora(tmp_path: Path, watch: Watch) -> AsyncIterator[Callable[..., Any]]:
    """Opens engines on one folder each, which are watched."""
    async with AsyncExitStack() as stack:

        async def opened(
            model: BaseBackendLLM | None = None,
            name: str = "store",
            embedder: Any = None,
            reranker: Any = None,
        ) -> Memora:
            graph = Graph(tmp_path / name / "graph.sqlite3")
            vectors = Vectors(tmp_path / name / "vectors", embedder=embedder or HashingEmbedder())
            graph.watch = vectors.watch = watch
            engine = Memora(vectors, graph, model, model, reranker=reranker)
            memora = await stack.enter_async_context(engine)
            await memora.graph.create_organization("Acme", org_id=ORG)
            await memora.graph.create_user(ORG, watch.canaries["user_name"], user_id=USER)
            return memora

        yield opened


@dataclass
class Tour:
    """A walk over the public API with canaries in every text."""

    watch: Watch
    memora: Memora

    def text(self, name: str) -> str:
        return f"{name} {self.watch.canaries[name]}"

    def talk(self, *words: str) -> list[dict[str, Any]]:
        calls = [{"function": {"arguments": self.text("arguments")}}]
        said = [
            {"role": "user", "content": f"{self.text('content')} {word}", "name": self.text("name")}
            for word in words
        ]
        return [*said, {"role": "assistant", "content": None, "tool_calls": calls}]

    async def save(self, *words: str, **options: Any) -> None:
        await self.watch.call(
            f"save {words}",
            self.memora.save_or_update_interaction_and_memories(
                ORG,
                USER,
                interaction=self.talk(*words),
                title=self.text("title"),
                metadata={"k": self.text("metadata")},
                max_retries=0,
                **options,
            ),
        )

    async def walk(self) -> None:
        call, memora, graph = self.watch.call, self.memora, self.memora.graph
        await call("agent", graph.create_agent(ORG, self.text("label"), USER, agent_id="own"))
        await self.save("one", "two", idempotency_key="key", external_id="thread")
        await self.save("other", idempotency_key="key")
        await self.save("one", "three", interaction_id="thread")
        await self.save("one", interaction_id="thread", expected_revision=1)
        await self.save("one", interaction_id="missing")
        await call("preview", memora.preview_save(ORG, USER, None, self.talk("new"), "thread"))
        for question in (self.text("question"), self.text("content")):
            await call(
                "recall",
                memora.recall_memories_for_message(
                    ORG,
                    USER,
                    question,
                    preceding_msg_for_context=self.talk("before"),
                    enable_final_model_based_memory_filter=True,
                    filters={"tags": [self.text("tag")], "metadata": {"k": self.text("wanted")}},
                ),
            )
            await call("search", memora.search_memories_as_batch(ORG, [question], user_id=USER))
            await call("context", memora.build_context(ORG, USER, question))
            await call("queries", memora.generate_memory_search_queries(question, self.talk("x")))
        found = await graph.get_all_user_memories(ORG, USER)
        for memory in found[:1]:
            memory_id = memory.memory_id
            text, author = self.text("correction"), self.text("author")
            await call("update", memora.update_memory(ORG, USER, memory_id, text, author=author))
            await call("revert", memora.revert_memory(ORG, USER, memory_id))
            await call("retract", memora.retract_memory(ORG, USER, memory_id))
            await call("update", memora.update_memory(ORG, USER, memory_id, text))
            await call("delete", memora.delete_memory(ORG, USER, memory_id))
        await self.added()
        await self.imported()
        await self.mentioned()
        await call("jobs", memora.list_jobs(ORG))
        for job in await memora.list_jobs(ORG):
            await call("resume", memora.resume_job(ORG, job.job_id))
        await call("interactions", graph.get_all_user_interactions(ORG, USER, True, True))
        await call("user", graph.get_user(ORG, USER))
        await call("agents", graph.get_all_org_agents(ORG))
        await call("doctor", memora.doctor())
        await call("outbox", graph.list_outbox())
        self.watch.values("engine", reachable(memora))

    async def added(self) -> None:
        """Direct memories, good and malformed, and control over forgetting."""
        call, memora = self.watch.call, self.memora
        labels = {
            "tags": [self.text("tag")],
            "entities": [self.text("entity")],
            "metadata": {"k": self.text("metadata")},
        }
        for number in range(2):
            text = self.text("added") if number else self.text("content")
            for _again in range(2):
                await call(
                    "add",
                    memora.add_memory(
                        ORG, USER, text, idempotency_key=f"add {number}", pinned=True, **labels
                    ),
                )
        await call("add", memora.add_memory(ORG, USER, "other", idempotency_key="add 1"))
        await call("add", memora.add_memory(ORG, USER, self.talk("added")))
        await call("add", memora.add_memory(ORG, USER, self.text("added"), interaction_id="none"))
        items: list[Any] = [
            {"content": self.text("added"), self.watch.canaries["field"]: 1},
            {"content": self.text("added"), "memory_type": self.text("type") + "\n"},
            {"content": self.text("added"), "obtained_at": self.text("time")},
            {"content": self.text("added") + "\ud800"},
            {"content": f"{self.text('added')}, in bulk", **labels},
        ]
        for item in items:
            await call("add all", memora.add_memories(ORG, [{"user_id": USER, **item}]))
        await call("query", memora.query_memories(ORG, USER, self.text("question")))
        await call("list", memora.list_memories(ORG, USER, filters=labels))
        await call("health", memora.memory_health(ORG, USER))
        await call("sweep", memora.sweep(ORG, USER, dry_run=True))

    async def imported(self) -> None:
        """Imports of conversations and documents, and taking one back."""
        call, memora = self.watch.call, self.memora
        talk = {
            "id": "elsewhere",
            "messages": self.talk("elsewhere"),
            "title": self.text("title"),
            "metadata": {"k": self.text("metadata")},
        }
        wrong: list[dict[str, Any]] = [
            {"messages": [{"role": self.text("role"), "content": self.text("content")}]},
            {"messages": self.text("content")},
            {"created_at": self.text("time")},
            {"title": self.text("title") + "\n"},
            {"metadata": {"k": Loud(self.text("metadata"))}},
            {self.watch.canaries["field"]: 1},
            {"messages": self.talk("three")},
        ]
        talks = [talk, *({**talk, "id": f"wrong {n}", **each} for n, each in enumerate(wrong))]
        data = SeedData(USER, talks, ORG)
        quick = SeedConfig(max_retries=0)
        await call("dry run", memora.seed(data, dry_run=True))
        # The second import finds what the first one stored.
        for name in ("import", "again"):
            await call("seed", memora.seed(data, seed_config=quick, import_id=name))
        async for event in memora.seed_events(data, seed_config=quick, import_id="again"):
            self.watch.values("event", reachable(event))
            self.watch.text("event", str(event.result and event.result.error))
        paper = {"document": self.text("document"), "user_id": USER, "customer_id": ORG}
        papers: list[dict[str, Any]] = [
            {"metadata": {"k": self.text("metadata")}},
            {"document_id": "one", "document": self.text("document") + "\ud800"},
            {"document_type": self.text("type") + "\n"},
            {"document_created_at": self.text("time")},
            {"mode": self.text("mode")},
            {"metadata": self.text("metadata")},
            {"metadata": {"conversation_id": [self.text("thread")]},
             "document_type": "ai-chat-conversation"},
            {self.watch.canaries["field"]: 1},
        ]  # fmt: skip
        call_of_documents = memora.batch_create([{**paper, **each} for each in papers])
        for result in await call_of_documents:
            self.watch.values("document", reachable(result))
            self.watch.text("error of a document", f"{result.error_type} {result.error}")
        await call("imports", memora.list_imports(ORG, USER))
        for is_dry in (True, False):
            await call("undo", memora.undo_import(ORG, "import", dry_run=is_dry))
        await call("undo", memora.undo_import(ORG, "missing"))
        await call("undone", memora.seed(data, import_id="import"))

    async def mentioned(self) -> None:
        """Entities by names that are there and names that are not."""
        call, memora = self.watch.call, self.memora
        known, unknown = self.text("entity"), self.text("nobody")
        await call("entities", memora.list_entities(ORG, USER))
        for name in (known, unknown):
            await call("entity", memora.entity_memories(ORG, USER, name))
            await call("merge", memora.merge_entities(ORG, USER, known, name))
            await call("split", memora.split_entity(ORG, USER, name, [known]))

    async def end(self) -> None:
        await self.watch.call("erase", self.memora.erase_user(ORG, USER))


def extracts(watch: Watch) -> Callable[[Call], Answer]:
    """A model that looks around, and repeats what it was told."""

    def answer(call: Call) -> Answer:
        watch.alive(f"model, asked for {call.schema}")
        if call.schema == "MemoryExtractionResponse":
            items = [
                {
                    "memory": f"{watch.canaries['memory']} {message['content']}",
                    "msg_source_ids": [message["id"]],
                    "memory_type": "fact",
                    "importance": 0.5,
                    "entities": [f"Entity {watch.canaries['entity']}", "Lisbon"],
                    "relations": [{"subject": 0, "type": "likes", "object": 1}],
                }
                for message in call.data["new_messages"]
                if message["content"]
            ]
            # What is not of the schema is dropped, and counted.
            return {"memories": [*items, {"memory": watch.canaries["malformed"]}]}
        if call.schema == "MemoryComparisonResponse":
            return OutageError() if "three" in str(call.data) else {"verdicts": []}
        if call.schema == "SearchQueries":
            return {"queries": [watch.canaries["query"]]}
        if call.schema == "SelectedMemories":
            return {"relevant": []}
        if call.schema == "CondensedFacts":
            return {"facts": [f"{watch.canaries['fact']} {call.data}"[:900]]}
        if call.schema == "PlacementResponse":
            verdict = {"verdict": "merged", "existing": [0], "memory": watch.canaries["merged"]}
            return {"placements": [verdict]}
        return watch.canaries["summary"]

    return answer


async def test_b86_a_tour_of_the_engine_shows_nothing(
    watch: Watch, open_memora: Callable[..., Any], score: Score, seed: int
) -> None:
    plain = Tour(watch, await open_memora(name="verbatim"))
    await plain.walk()
    await plain.end()
    modelled = Tour(watch, await open_memora(ScriptedBackendLLM(extracts(watch))))
    await modelled.walk()
    await modelled.end()
    assert watch.errors >= 5
    assert watch.objects >= 1000
    score("R12", errors=watch.errors, objects=watch.objects, violations=0, seed=seed)


# What a provider may answer; each quotes what it was sent, or what it should not have said.
def turns(watch: Watch) -> list[Turn]:
    said, key = watch.canaries["answer"], watch.canaries["llm_key"]
    item = {"msg_source_ids": [0], "memory_type": "fact", "importance": 0.5}
    return [
        Turn("status", status=400, error={"message": f"bad request: {said}", "type": said}),
        Turn("status", status=401, error={"message": f"Incorrect API key: {key}"}),
        Turn("status", status=429, error={"message": said}),
        Turn("status", status=500, error={"message": said}),
        Turn("error_body", error={"message": said}),
        Turn("refusal", text=said),
        Turn("truncated", text=f'{{"memories": [{{"memory": "{said}'),
        Turn("filtered", text=said),
        Turn("html"),
        Turn("dropped", text=said),
        Turn("answer", text=f"I will not: {said}"),
        Turn("answer", text=json.dumps({"memories": [{**item, "memory": said, said: said}]})),
        Turn("answer", text=json.dumps({"memories": said, said: [said]})),
        Turn("answer", text=json.dumps({"memories": [{**item, "memory": said}]})),
    ]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_b86_failing_providers_show_nothing(
    watch: Watch, open_memora: Callable[..., Any], provider: str, score: Score
) -> None:
    key = watch.canaries["llm_key"]
    async with LLMServer() as server:
        model: BaseBackendLLM = (
            AnthropicBackendLLM(key, base_url=server.url, max_retries=0)
            if provider == "anthropic"
            else OpenAICompatibleBackendLLM(server.url, "m", key, max_retries=0)
        )
        memora = await open_memora(model)
        tour = Tour(watch, memora)
        for number, turn in enumerate(turns(watch)):
            # Twice: what is malformed is asked for once more.
            server.plan(turn, turn)
            await tour.save(f"message {number}")
            server._turns.clear()
        assert all(key in str(request.headers) for request in server.requests)
        for job in await memora.list_jobs(ORG):
            watch.text("error of a job", str(job.error))
        watch.values("engine", reachable(memora))
        await memora.close()
    assert watch.errors >= 10
    score("R12", errors=watch.errors, objects=watch.objects, violations=0)


async def test_b86_a_failing_embedder_shows_nothing(
    watch: Watch, open_memora: Callable[..., Any], score: Score
) -> None:
    async with EmbeddingServer() as server:
        embedder = OpenAICompatibleEmbedder(
            server.url, "m", watch.canaries["embedder_key"], max_retries=0, timeout=5
        )
        memora = await open_memora(embedder=embedder)
        tour = Tour(watch, memora)
        await tour.save("works")
        question = tour.text("question")
        for number, reply in enumerate(
            [
                embedding_server.error(400),
                embedding_server.error(401),
                embedding_server.error(429),
                embedding_server.error(500),
                embedding_server.raw(watch.canaries["answer"]),
                embedding_server.raw(json.dumps({"data": watch.canaries["answer"]})),
                embedding_server.hang_up,
            ]
        ):
            server.script.append(reply)
            await watch.call(
                "recall", memora.recall_memories_for_message(ORG, USER, f"{question} {number}")
            )
            server.script.append(reply)
            await tour.save(f"talk {number}")
            server.script.clear()
        for entry in await memora.graph.list_outbox():
            watch.text("error of an outbox entry", str(entry.error))
        assert all(watch.canaries["embedder_key"] in str(key) for key in server.keys)
        watch.values("engine", reachable(memora))
        await memora.close()
    await embedder.close()
    assert watch.errors >= 5
    score("R12", errors=watch.errors, objects=watch.objects, violations=0)


async def test_b86_a_failing_reranker_shows_nothing(
    watch: Watch, open_memora: Callable[..., Any], score: Score
) -> None:
    answer, key = watch.canaries["answer"], watch.canaries["reranker_key"]
    replies = [
        *(rerank_server.status(status) for status in (400, 401, 429, 500)),
        rerank_server.raw(answer),
        rerank_server.raw(json.dumps({"results": [{"index": answer, answer: answer}]})),
        rerank_server.raw(json.dumps({"results": [{"index": 10**400, "relevance_score": 1}]})),
        rerank_server.raw('{"results": [{"index": Infinity, "relevance_score": 1}]}'),
        rerank_server.raw("[" * 100_000),
    ]
    async with RerankServer() as server:
        reranker = HTTPReranker(server.url, "m", key, max_retries=0, timeout=5)
        memora = await open_memora(reranker=reranker)
        tour = Tour(watch, memora)
        await tour.save("works", "works as well")
        for number, reply in enumerate(replies):
            question = f"{tour.text('content')} {number}"
            server.script.append(reply)
            # A reranker that fails leaves the answer of the search.
            assert await memora.recall_memories_for_message(ORG, USER, question)
            server.script.append(reply)
            await watch.call("rerank", reranker.rerank(question, [tour.text("content")]))
            server.script.clear()
        assert all(key in str(each) for each in server.keys)
        watch.values("engine", reachable(memora))
        await memora.close()
    assert watch.errors == len(replies)
    score("R12", errors=watch.errors, objects=watch.objects, violations=0)


async def test_b86_a_failing_qdrant_shows_nothing(
    watch: Watch, tmp_path: Path, score: Score
) -> None:
    key, answer = watch.canaries["qdrant_key"], watch.canaries["answer"]
    bridge = QdrantBridge()
    client = AsyncQdrantClient(
        url="https://qdrant.test",
        api_key=key,
        check_compatibility=False,
        transport=httpx.MockTransport(bridge.answer),
    )
    vectors = QdrantDB(client, "secrets", embedder=HashingEmbedder(), owns_client=True)
    async with Memora(vectors, SQLiteGraph(tmp_path / "graph.sqlite3")) as memora:
        await memora.graph.create_organization("Acme", org_id=ORG)
        await memora.graph.create_user(ORG, watch.canaries["user_name"], user_id=USER)
        tour = Tour(watch, memora)
        await tour.save("works")
        for status in (400, 401, 404, 429, 500, 503):
            body = {"status": {"error": f"{answer} for {key}"}, "time": 0}
            bridge.fail = lambda sent, status=status, body=body: httpx.Response(
                status, json={**body, "sent": sent.body}
            )
            await tour.save(f"message {status}")
            question = tour.text("question")
            await watch.call("recall", memora.recall_memories_for_message(ORG, USER, question))
            await watch.call("doctor", memora.doctor())
            await watch.call("reindex", memora.reindex())
            await watch.call("count", vectors.count(Scope(ORG, USER)))
        receipt = await memora.erase_user(ORG, USER)
        assert not receipt.complete
        watch.text("receipt", json.dumps(receipt.as_json()))
        for entry in await memora.graph.list_outbox():
            watch.text("error of an outbox entry", str(entry.error))
        watch.values("engine", reachable(memora))
        bridge.fail = lambda _sent: None
    assert watch.errors >= 15
    score("R12", errors=watch.errors, objects=watch.objects, violations=0)


async def test_b86_a_graph_that_cannot_be_reached_shows_no_password(
    watch: Watch, tmp_path: Path, score: Score
) -> None:
    password = watch.canaries["password"]
    vectors = EmbeddedVectorDB(tmp_path / "vectors", embedder=HashingEmbedder())
    for uri in (
        "bolt://127.0.0.1:1",
        f"bolt://neo4j:{password}@127.0.0.1:1",
        f"neo4j://neo4j:{password}@localhost:1/{password}",
        f"nonsense://neo4j:{password}@host",
        f"{password}",
    ):
        graph = Neo4jGraphInterface(uri, "neo4j", password, "neo4j")
        memora = Memora(vectors, graph)
        await watch.call(f"setup of {uri.partition(':')[0]}", memora.setup())
        watch.values("engine", reachable(memora))
        await memora.close()
    assert watch.errors >= 5
    score("R12", errors=watch.errors, violations=0)


async def test_b86_settings_and_engines_show_no_secret(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: Score
) -> None:
    secret = watch.canaries["secret"]
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    monkeypatch.setenv("ANTHROPIC_API_KEY", secret)
    settings = Settings(
        path=tmp_path,
        graph_url="bolt://127.0.0.1:1",
        graph_password=secret,
        vector_url="https://127.0.0.1:1",
        vector_api_key=secret,
        extraction_model="openai:gpt-4o",
        memory_search_model="anthropic:claude",
        embedder="openai-compatible:m",
        embedder_base_url="http://127.0.0.1:1",
        embedder_api_key=secret,
        llm_api_key=secret,
    )
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    watch.text("settings", shown)
    # It reads certificates, which is what an application does before its loop runs.
    memora = await asyncio.to_thread(Memora.from_settings, settings)
    watch.values("engine", reachable(memora))
    await watch.call("setup", memora.setup())
    await memora.close()
    for wrong in (
        {"graph_url": f"bolt://neo4j:{secret}@host"},
        {"vector_url": f"https://{secret}@host"},
        {"vector_url": secret},
        {"llm_base_url": f"https://user:{secret}@host"},
        {"extraction_model": secret},
        {"embedder": secret},
        {"graph_password": [secret]},
        {"recall_limit": secret},
        {"path": [secret]},
    ):
        try:
            Settings(**wrong)
        except MemoraError as error:
            watch.error(f"settings {list(wrong)}", error)
    file = tmp_path / "memora.toml"
    file.write_text(f'graph_password = "{secret}\n', "utf-8")
    try:
        await asyncio.to_thread(Settings.from_file, file)
    except MemoraError as error:
        watch.error("settings file", error)
    assert watch.errors >= 10
    score("R12", errors=watch.errors, objects=watch.objects, violations=0)


class Loud:
    """An object whose repr is what was said."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def hostile(canary: str) -> list[Any]:
    """Values that no call takes, each with something in it that must not be shown."""
    return [
        f"{canary}\n",
        f"{canary}\ud800",
        canary * 40_000,
        [canary],
        {canary: canary},
        {"role": canary, "content": canary},
        [{"role": canary, "content": canary}],
        [{"role": "user", "content": {canary: Loud(canary)}}],
        [{"role": "user", "content": canary, "timestamp": canary}],
        Loud(canary),
        [Loud(canary)],
    ]


def usual(tour: Tour) -> dict[str, Any]:
    """Arguments that are right, by name."""
    return {
        "org_id": ORG,
        "user_id": USER,
        "agent_id": None,
        "interaction": tour.talk("usual"),
        "interaction_id": "thread",
        "memory_id": "00000000-0000-4000-8000-000000000000",
        "job_id": "job",
        "message": tour.text("question"),
        "latest_msg": tour.text("question"),
        "query": tour.text("question"),
        "queries": [tour.text("question")],
        "search_queries": [tour.text("question")],
        "search_queries_used": [tour.text("question")],
        "memory_search_scope": "user",
        "retrieved_memories": [],
        "memories": [],
        "content": tour.text("content"),
        "org_name": "n",
        "new_org_name": "n",
        "user_name": "n",
        "new_user_name": "n",
        "agent_label": "n",
        "new_agent_label": "n",
        "org_user_mem_ids": [],
        "batch_org_user_mem_ids": [[]],
        "memory_ids": [],
        "items": [],
        "documents": [],
        "data": SeedData(USER, [], ORG),
        "import_id": "import",
        "entity": tour.text("entity"),
        "into": tour.text("entity"),
        "names": [tour.text("entity")],
    }


# They open engines, or delete what the other calls need.
LEFT_OUT = {"embedded", "from_settings", "erase_organization", "delete_organization", "close"}


def methods(target: object) -> Iterator[tuple[str, Any, list[str]]]:
    """Yield the public methods that callers use, and their parameters."""
    for name, method in inspect.getmembers(target, callable):
        primitive = getattr(getattr(type(target), name, None), "__isabstractmethod__", False)
        if name.startswith("_") or primitive or name in LEFT_OUT or name == "with_vector_db":
            continue
        if not inspect.isroutine(method):
            continue
        parameters = list(inspect.signature(method).parameters)
        if parameters:
            yield name, method, parameters


# What only memora itself makes, as arguments of the stores.
OWN = {"scope", "plan", "documents", "entries", "listing", "job"}
# Names of files, which errors tell.
FILES = {"path", "directory", "file"}


async def test_b86_refused_arguments_are_not_quoted(
    watch: Watch, open_memora: Callable[..., Any], score: Score
) -> None:
    """Every argument of every public call, once for each way to be wrong."""
    memora: Memora = await open_memora()
    tour = Tour(watch, memora)
    right = usual(tour)
    await tour.save("thread", external_id="thread")
    # Primitives take what was checked: whether they refuse it is no question here.
    for target in (memora, memora.graph, memora.vector_db):
        for name, method, parameters in methods(target):
            if target is not memora and set(parameters) & OWN:
                continue
            for parameter in [each for each in parameters if each not in FILES]:
                for number, wrong in enumerate(hostile(watch.canaries["refused"])):
                    required = {
                        key: right[key]
                        for key, spec in inspect.signature(method).parameters.items()
                        if spec.default is inspect.Parameter.empty and key in right
                    }
                    where = f"{type(target).__name__}.{name}({parameter}) with value {number}"
                    await attempt(watch, where, method, {**required, parameter: wrong})
    assert watch.errors >= 500
    score("R12", errors=watch.errors, objects=watch.objects, violations=0)


async def attempt(watch: Watch, where: str, method: Any, arguments: dict[str, Any]) -> None:
    try:
        result = method(**arguments)
        found = await result if inspect.isawaitable(result) else result
    except Exception as error:
        watch.error(where, error)
    else:
        watch.values(where, reachable(found))


COMMANDS = (
    ("recall", "CANARY", "--as-of", "CANARY"),
    ("recall", "CANARY", "--limit", "0"),
    ("recall", "CANARY\n", "--org", "nobody"),
    ("memories", "--user", "CANARY\n"),
    ("history", "not-an-id"),
    ("jobs", "--status", "CANARY"),
    ("jobs", "resume", "missing"),
    ("erase", "--org", "CANARY\n", "--yes"),
    ("doctor",),
    ("outbox", "retry"),
)


def test_b86_the_command_line_quotes_nothing_on_standard_error(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: Score
) -> None:
    canary, path = watch.canaries["typed"], tmp_path / "store"
    monkeypatch.setenv("MEMORA_EMBEDDER", "hashing")
    asyncio.run(fill(watch, path))
    runs = 0
    for debug in ((), ("--debug",)):
        for words in COMMANDS:
            typed = [word.replace("CANARY", canary) for word in words]
            takes_path = ("--path", str(path)) if words[:2] != ("jobs", "resume") else ()
            result = CliRunner().invoke(app, [*debug, *typed, *takes_path], prog_name="memora")
            watch.text(f"standard error of {debug} {words}", result.stderr)
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                watch.error(f"{words}", result.exception)
            runs += 1
    score("R12", commands=runs, violations=0)


async def fill(watch: Watch, path: Path) -> None:
    async with Memora.embedded(path, embedder="hashing") as memora:
        user = memora.for_user("default")
        await user.save([{"role": "user", "content": f"stored {watch.canaries['stored']}"}])


@pytest.mark.neo4j
async def test_b86_a_tour_on_neo4j_shows_nothing(
    watch: Watch, neo4j_server: Neo4jServer, score: Score
) -> None:
    server = neo4j_server
    graph = Neo4jGraphInterface(server.uri, server.username, str(server.password), server.database)
    client = AsyncQdrantClient(":memory:")
    vectors = QdrantDB(client, "tour", embedder=HashingEmbedder())
    async with Memora(vectors, graph, None, ScriptedBackendLLM(extracts(watch))) as memora:
        await memora.erase_organization(ORG)
        await memora.graph.create_organization("Acme", org_id=ORG)
        await memora.graph.create_user(ORG, watch.canaries["user_name"], user_id=USER)
        await Tour(watch, memora).walk()
        await memora.erase_organization(ORG)
    await client.close()
    score("R12", errors=watch.errors, objects=watch.objects, violations=0)
