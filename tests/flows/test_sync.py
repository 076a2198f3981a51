"""The blocking engine: the same verbs, with and without a loop in the caller's thread."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import memora.sync as blocking
from memora._background import BackgroundLoop
from memora.agent.bound import BoundMemora
from memora.agent.main import Memora as AsyncMemora
from memora.embeddings import HashingEmbedder
from memora.errors import (
    EngineClosedError,
    InvalidInputError,
    MemoraError,
    StoreLockedError,
    UserNotFoundError,
)
from memora.graph_db.base import BaseGraphDB
from memora.graph_db.sqlite.interface import SQLiteGraph
from memora.schema.jobs import JobStatus
from memora.schema.scope import Scope
from memora.testing.fakes import ScriptedBackendLLM
from memora.vector_db.base import BaseVectorDB
from memora.vector_db.embedded import EmbeddedVectorDB
from scripts import generate_sync

ROOT = Path(__file__).resolve().parents[2]
PEANUTS = [{"role": "user", "content": "I am allergic to peanuts."}]
PAIRS = [
    (AsyncMemora, blocking.Memora),
    (BoundMemora, blocking.BoundMemora),
    (BaseGraphDB, blocking.GraphDB),
    (BaseVectorDB, blocking.VectorDB),
]
# Seams between stores and engine, see the generator.
NOT_MIRRORED = {
    "with_vector_db",
    "without_drains",
    "begin_rebuild",
    "rebuilding",
    "is_unverified",
    "mark_verified",
    "pin_with_vectors",
    "with_one_key",
    "dump_records",
    "load_records",
    "pin",
    "replace_with",
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[blocking.Memora]:
    with blocking.Memora.embedded(tmp_path, embedder="hashing") as memora:
        yield memora


def save_and_recall(memora: blocking.Memora) -> list[str]:
    organization = memora.graph.create_organization("Acme")
    user = memora.graph.create_user(organization.org_id, "Jake")
    memora.save_or_update_interaction_and_memories(
        organization.org_id, user.user_id, interaction=PEANUTS
    )
    memories, ids = memora.recall_memories_for_message(
        organization.org_id, user.user_id, "peanuts?"
    )
    assert ids == [memory.memory_id for memory in memories]
    return [memory.memory for memory in memories]


def background_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "memora-background"]


def test_saves_and_recalls_without_a_loop(engine: blocking.Memora) -> None:
    assert save_and_recall(engine) == ["I am allergic to peanuts."]
    assert engine.doctor().clean


def test_saves_and_recalls_inside_a_running_loop(engine: blocking.Memora) -> None:
    async def with_a_loop() -> list[str]:
        return save_and_recall(engine)

    assert asyncio.run(with_a_loop()) == ["I am allergic to peanuts."]


def test_serves_threads_at_once(engine: blocking.Memora) -> None:
    engine.for_user("u").ensure()

    def remember(number: int) -> str:
        text = f"Fact number {number}."
        saved, _at = engine.for_user("u").save([{"role": "user", "content": text}])
        return saved

    with ThreadPoolExecutor(8) as pool:
        saved = set(pool.map(remember, range(16)))
    assert len(saved) == 16
    assert len(engine.for_user("u").memories()) == 16
    assert len(background_threads()) == 1


def test_a_bound_handle_keeps_its_scope(engine: blocking.Memora) -> None:
    handle = engine.for_user("jake", agent_id="helper")
    interaction_id, _at = handle.save(PEANUTS)
    assert handle.scope == Scope("default", "jake", "helper")
    assert [memory.memory for memory in handle.recall("peanuts")] == ["I am allergic to peanuts."]
    assert handle.interaction(interaction_id).message_count == 1


def test_wraps_the_stores_that_it_is_given(tmp_path: Path) -> None:
    graph = SQLiteGraph(tmp_path / "graph.sqlite3")
    vector = EmbeddedVectorDB(tmp_path / "vectors", embedder=HashingEmbedder())
    with blocking.Memora(vector, graph, recall_limit=1) as memora:
        assert save_and_recall(memora) == ["I am allergic to peanuts."]
        following = memora.graph.get_associated_vector_db()
        assert following is not None
        assert following.stamp() == memora.vector_db.stamp()
        assert memora.vector_db.stamp() is not None


def test_opens_from_settings(tmp_path: Path) -> None:
    with blocking.Memora.from_settings({"path": tmp_path, "embedder": "hashing"}) as memora:
        assert save_and_recall(memora) == ["I am allergic to peanuts."]


def test_yields_what_the_engine_yields(engine: blocking.Memora) -> None:
    handle = engine.for_user("jake")
    handle.save(PEANUTS)
    documents = list(engine.graph.all_index_documents(handle.scope))
    memory_ids = [memory.memory_id for memory in handle.memories()]
    assert [document.memory_id for document in documents] == memory_ids != []


def test_errors_keep_type_and_fields(engine: blocking.Memora) -> None:
    engine.graph.create_organization("Acme", org_id="acme")
    with pytest.raises(UserNotFoundError) as caught:
        engine.recall_memories_for_message("acme", "nobody", "hello")
    assert caught.value.record_id == "nobody"
    with pytest.raises(InvalidInputError) as invalid:
        engine.recall_memories_for_message("acme", "nobody", "hello", limit=0)
    assert invalid.value.field == "limit"


def test_close_is_idempotent_and_ends_the_thread(tmp_path: Path) -> None:
    memora = blocking.Memora.embedded(tmp_path, embedder="hashing")
    memora.setup()
    assert len(background_threads()) == 1
    memora.close()
    memora.close()
    assert background_threads() == []
    with pytest.raises(EngineClosedError, match="closed") as caught:
        memora.doctor()
    assert isinstance(caught.value, MemoraError)
    assert isinstance(caught.value, RuntimeError)


def test_an_engine_that_was_never_opened_closes(tmp_path: Path) -> None:
    blocking.Memora.embedded(tmp_path / "store", embedder="hashing").close()
    assert background_threads() == []
    assert not (tmp_path / "store").exists()


def test_an_engine_that_is_forgotten_ends_its_thread(tmp_path: Path) -> None:
    memora = blocking.Memora.embedded(tmp_path, embedder="hashing")
    memora.setup()
    [thread] = background_threads()
    memora.graph.close()
    memora.vector_db.close()
    del memora
    thread.join(5)
    assert not thread.is_alive()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Hear SIGINT even where it is ignored, as in what a shell started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_cancels_the_call_and_nothing_else(tmp_path: Path) -> None:
    asked = threading.Event()

    ended: list[str] = []

    class Thinking(ScriptedBackendLLM):
        async def __call__(self, *arguments: Any, **options: Any) -> Any:
            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

    model = Thinking()
    with blocking.Memora.embedded(tmp_path, embedder="hashing", extraction_model=model) as memora:
        handle = memora.for_user("jake")
        handle.ensure()

        def interrupt() -> None:
            assert asked.wait(5)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            handle.save(PEANUTS)
        thread.join()
        assert ended == ["cancelled"]
        # The transcript was stored first, and whoever resumes the job need not wait.
        [job] = memora.list_jobs("default")
        assert job.status is JobStatus.PENDING


@pytest.mark.usefixtures("interruptible")
def test_a_call_that_is_interrupted_before_it_begins_never_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    background = BackgroundLoop()
    busy, free, asked, taken_back = (threading.Event() for _ in range(4))
    began: list[str] = []

    async def hold_the_loop() -> None:
        busy.set()
        assert free.wait(5)

    async def begin() -> None:
        began.append("begun")

    def interrupt() -> None:
        assert asked.wait(5)
        os.kill(os.getpid(), signal.SIGINT)
        assert taken_back.wait(5)
        free.set()

    def call_soon(callback: Callable[[], None]) -> Any:
        handle = call_soon_threadsafe(callback)
        (taken_back if asked.is_set() else asked).set()
        return handle

    holding = threading.Thread(target=lambda: background.run(hold_the_loop()))
    holding.start()
    assert busy.wait(5)
    assert background._loop is not None
    call_soon_threadsafe = background._loop.call_soon_threadsafe
    monkeypatch.setattr(background._loop, "call_soon_threadsafe", call_soon)
    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        background.run(begin())
    interrupting.join()
    holding.join()
    assert began == []
    background.close(nothing)


def test_a_store_that_cannot_be_opened_leaves_no_thread(
    tmp_path: Path, engine: blocking.Memora
) -> None:
    running = background_threads()
    with pytest.raises(StoreLockedError), blocking.Memora.embedded(tmp_path, embedder="hashing"):
        pass
    assert background_threads() == running


def test_stores_are_context_managers_too(tmp_path: Path) -> None:
    memora = blocking.Memora.embedded(tmp_path, embedder="hashing")
    with memora.graph as graph, memora.vector_db as vector_db:
        assert graph.get_all_organizations() == []
        assert vector_db.scan() == []
    memora.close()


def test_what_still_runs_at_the_close_is_cancelled() -> None:
    background = BackgroundLoop()
    begun, ended = threading.Event(), threading.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def wait_for_it() -> str:
        try:
            background.run(forever())
        except BaseException as error:
            return type(error).__name__
        return "returned"

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for_it)
        assert begun.wait(5)
        background.close(nothing)
        assert waiting.result(5) == "CancelledError"
    assert ended.is_set()


def test_a_callback_that_waits_for_its_own_engine_is_refused(engine: blocking.Memora) -> None:
    engine.for_user("jake").save(PEANUTS)
    with pytest.raises(RuntimeError, match="callback"):
        engine.reindex(lambda _done: engine.doctor() and None)
    assert engine.reindex() == 1
    assert engine.doctor().clean


def test_an_exit_in_a_callback_reaches_the_caller(engine: blocking.Memora) -> None:
    engine.for_user("jake").save(PEANUTS)
    with pytest.raises(SystemExit):
        engine.reindex(lambda _done: sys.exit(3))
    assert engine.reindex() == 1


def test_a_fork_of_the_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    background = BackgroundLoop()
    background.run(nothing())
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: -1)
        with pytest.raises(RuntimeError, match="fork"):
            background.run(nothing())
    background.close(nothing)


def test_the_interpreter_exits_quietly_with_an_open_engine(tmp_path: Path) -> None:
    script = f"""
from memora.sync import Memora
memora = Memora.embedded({str(tmp_path)!r}, embedder="hashing")
memora.setup()
memora.for_user("jake").save({PEANUTS!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with blocking.Memora.embedded(tmp_path, embedder="hashing") as memora:
        assert [memory.memory for memory in memora.for_user("jake").recall("peanuts")] == [
            "I am allergic to peanuts."
        ]
        assert memora.doctor().clean


@pytest.mark.parametrize(("original", "twin"), PAIRS, ids=lambda cls: cls.__qualname__)
def test_every_public_method_has_its_twin(original: type, twin: type) -> None:
    names = {name for name, _value in inspect.getmembers(original, is_public_function)}
    names = {name for name in names - NOT_MIRRORED if not name.startswith("_")}
    assert names
    for name in sorted(names):
        theirs, ours = (inspect.getattr_static(cls, name) for cls in (original, twin))
        theirs, ours = (getattr(function, "__func__", function) for function in (theirs, ours))
        assert not inspect.iscoroutinefunction(ours), name
        assert parameters(ours) == parameters(theirs), name
        assert ours.__doc__, name


def is_public_function(value: object) -> bool:
    return inspect.isfunction(value) or inspect.ismethod(value)


def parameters(function: Any) -> list[tuple[str, Any, Any, str]]:
    return [
        (p.name, p.kind, p.default, p.annotation)
        for p in inspect.signature(function).parameters.values()
    ]


class Recorder:
    """Stands behind a blocking object, and keeps what its methods are called with."""

    def __init__(self, original: type) -> None:
        self._original = original
        self.call: inspect.BoundArguments | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._original, name)

        def record(*arguments: Any, **options: Any) -> Any:
            self.call = inspect.signature(method).bind(self, *arguments, **options)
            if inspect.isasyncgenfunction(method):
                return one_item()
            return nothing() if inspect.iscoroutinefunction(method) else None

        return record


async def nothing() -> None:
    return


async def one_item() -> AsyncIterator[str]:
    yield "item"


@pytest.mark.parametrize(("original", "twin"), PAIRS, ids=lambda cls: cls.__qualname__)
def test_every_argument_reaches_its_parameter(original: type, twin: Any) -> None:
    background = BackgroundLoop()
    for name, method in inspect.getmembers(twin, inspect.isfunction):
        if name.startswith("_") or (twin, name) == (blocking.Memora, "close"):
            continue
        recorder = Recorder(original)
        blocked = twin.__new__(twin)
        blocked._background, blocked._wrapped = background, recorder
        wanted: dict[str, str] = {}
        for parameter in list(inspect.signature(method).parameters.values())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                wanted["an_option"] = "an option"
            else:
                wanted[parameter.name] = f"the {parameter.name}"
        answer = method(blocked, **wanted)
        assert inspect.isgenerator(answer) is inspect.isasyncgenfunction(getattr(original, name))
        assert not inspect.isgenerator(answer) or list(answer) == ["item"]
        assert recorder.call is not None, name
        received = dict(recorder.call.arguments)
        del received["self"]
        received |= received.pop("options", {})
        assert received == wanted, name
    background.close(nothing)


def test_properties_have_their_twins() -> None:
    for original, twin in PAIRS:
        for name, value in vars(original).items():
            if isinstance(value, property) and not name.startswith("_"):
                assert isinstance(inspect.getattr_static(twin, name), property), name


def test_the_committed_file_is_current() -> None:
    assert generate_sync.main("--check") == 0


def test_a_file_that_is_not_current_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    current = generate_sync.TARGET.read_text("utf-8")
    target = tmp_path / "sync.py"
    monkeypatch.setattr(generate_sync, "TARGET", target)
    assert generate_sync.main("--check") == 1
    target.write_text(current.replace("limit: int = 1000", "limit: int = 10", 1), "utf-8")
    assert generate_sync.main("--check") == 1
    assert "run scripts/generate_sync.py" in capsys.readouterr().err
    target.write_text(current.replace("\n    from", "\n    #\n    from"), "utf-8")
    assert generate_sync.main("--check") == 0
