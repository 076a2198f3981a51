"""Live servers for the tests: a pytest plugin with the option `--servers=auto|require|off`.

Neo4j Community: attached to `MEMORA_TEST_NEO4J_URI` (`_USER`, `_PASSWORD`, `_DATABASE`) if that
is set, else started from Maven artifacts (Java 17 or later and mvn), else as a container (only if
`docker info` answers). A Qdrant server is only attached to: `MEMORA_TEST_QDRANT_URL` (`_API_KEY`).

A test asks with the fixture `neo4j_server` or `qdrant_server`, or with the marker `neo4j` or
`qdrant` where it gets the fixture by `request.getfixturevalue`. One server serves the whole
session, xdist workers included; it starts after collection, outside of every test's timeout, and
only if a collected test needs it. A test that stops and starts a server takes `private_neo4j`.

The root `conftest.py` names this module in `pytest_plugins`: an option must be registered before
collection, so a deeper conftest would be too late.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from tests.attach import Addresses, QdrantServer, attach_neo4j, attach_qdrant
from tests.neo4j_server.launch import start_first, ways_of_this_machine
from tests.neo4j_server.process import LocalNeo4j, Neo4jServer, ServerUnavailableError

Mode = Literal["auto", "require", "off"]
PRIVATE_FIXTURE = "private_neo4j"
PRIVATE_TIMEOUT = 120


# Read before a fixture cleans the environment.
ADDRESSES = Addresses.from_env(os.environ)


@dataclass(frozen=True)
class Missing:
    """A server that the tests must do without."""

    reason: str
    is_failure: bool


Outcome = Neo4jServer | QdrantServer | Missing


class Servers:
    """What one test session has: its mode, its servers' outcomes, and the process it started."""

    def __init__(self, mode: Mode, addresses: Addresses, exchange: Path | None = None) -> None:
        self.mode: Mode = mode
        self.addresses = addresses
        self.outcomes: dict[str, Outcome] = {}
        self._started: LocalNeo4j | None = None
        self.is_worker = exchange is not None
        self._exchange = exchange

    def provide(self, names: Iterable[str]) -> None:
        """Have the named servers, or the reason why not; a name that is settled stays so."""
        for name in sorted(set(names) - self.outcomes.keys()):
            self.outcomes[name] = self._provide(name)

    def _provide(self, name: str) -> Outcome:
        if self.mode == "off":
            return Missing("--servers=off", is_failure=False)
        if name == "qdrant" and not self.addresses.qdrant_url:
            return Missing("not set (MEMORA_TEST_QDRANT_URL)", is_failure=False)
        try:
            if name == "qdrant":
                return attach_qdrant(self.addresses)
            if self.addresses.neo4j_uri:
                return attach_neo4j(self.addresses)
            self._started = start_first(ways_of_this_machine())
        except ServerUnavailableError as error:
            return Missing(str(error), is_failure=self.mode == "require")
        return self._started.server

    def outcome(self, name: str) -> Outcome:
        """The outcome of a server that was asked for before the tests ran."""
        if self.is_worker and not self.outcomes:
            self.outcomes = load_outcomes(self.exchange)
        if name not in self.outcomes:
            pytest.fail(f"nothing started the server: mark the test with {name!r}", pytrace=False)
        return self.outcomes[name]

    @property
    def exchange(self) -> Path:
        """A directory in which the xdist controller and its workers leave each other notes."""
        if self._exchange is None:
            self._exchange = Path(tempfile.mkdtemp(prefix="memora-servers-"))
        return self._exchange

    def close(self) -> None:
        if self._started is not None:
            self._started.discard()
            self._started = None
        if self._exchange is not None and not self.is_worker:
            shutil.rmtree(self._exchange, ignore_errors=True)
            self._exchange = None


KEY = pytest.StashKey[Servers]()


def save_outcomes(directory: Path, outcomes: Mapping[str, Outcome]) -> None:
    kinds = {name: [type(outcome).__name__, asdict(outcome)] for name, outcome in outcomes.items()}
    fresh = directory / "outcomes.fresh"
    fresh.write_text(json.dumps(kinds), encoding="utf-8")
    # Replaced in one step: a worker may read while a late one makes the controller write again.
    fresh.replace(directory / "outcomes.json")


def load_outcomes(directory: Path) -> dict[str, Outcome]:
    kinds = {kind.__name__: kind for kind in (Neo4jServer, QdrantServer, Missing)}
    stored = json.loads((directory / "outcomes.json").read_text(encoding="utf-8"))
    return {name: kinds[kind](**values) for name, (kind, values) in stored.items()}


def needs(fixtures: Iterable[str], markers: Iterable[str]) -> set[str]:
    """The shared servers of a test; a private Neo4j makes the marker stand for that one."""
    used, marked = set(fixtures), set(markers)
    if PRIVATE_FIXTURE in used:
        marked.discard("neo4j")
    return {name for name in ("neo4j", "qdrant") if f"{name}_server" in used or name in marked}


def needs_of(item: pytest.Item) -> set[str]:
    return needs(getattr(item, "fixturenames", ()), (mark.name for mark in item.iter_markers()))


def describe(name: str, outcome: Outcome) -> str:
    """One server's part of the summary line."""
    match outcome:
        case Neo4jServer(how="attached"):
            return f"neo4j {outcome.version} {outcome.edition} (attached, {outcome.uri})"
        case Neo4jServer():
            how = f"{outcome.how}, {outcome.uri}, started in {outcome.seconds:.1f} s"
            return f"neo4j {outcome.version} {outcome.edition} ({how})"
        case QdrantServer():
            return f"qdrant server {outcome.version} (attached, {outcome.url})"
        case Missing():
            title = "qdrant server" if name == "qdrant" else name
            return f"{title}: {outcome.reason}"


def summarize(outcomes: Mapping[str, Outcome]) -> str:
    return " · ".join(describe(name, outcome) for name, outcome in sorted(outcomes.items()))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        choices=("auto", "require", "off"),
        default="auto",
        help="live servers: start or attach, else skip (auto); else fail (require); skip (off)",
    )


def pytest_configure(config: pytest.Config) -> None:
    worker = getattr(config, "workerinput", None)
    exchange = None if worker is None else Path(worker["memora_servers"])
    config.stash[KEY] = Servers(cast("Mode", config.getoption("--servers")), ADDRESSES, exchange)


def pytest_unconfigure(config: pytest.Config) -> None:
    if KEY in config.stash:
        config.stash[KEY].close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a server, so that `-m "not neo4j"` finds it; private starts take longer."""
    for item in items:
        fixtures: Iterable[str] = getattr(item, "fixturenames", ())
        for name in ("neo4j", "qdrant"):
            if f"{name}_server" in fixtures or (name == "neo4j" and PRIVATE_FIXTURE in fixtures):
                item.add_marker(name)
        if PRIVATE_FIXTURE in fixtures and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PRIVATE_TIMEOUT))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave the controller a note before xdist tells it that this worker's collection is done."""
    servers = session.config.stash[KEY]
    if servers.is_worker:
        wanted = sorted(set[str]().union(*map(needs_of, session.items)))
        note = servers.exchange / f"needs-{os.getpid()}.json"
        note.write_text(json.dumps(wanted), encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["memora_servers"] = str(node.config.stash[KEY].exchange)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """Start what the worker's tests need; xdist hands out tests only after this returned."""
    servers: Servers = node.config.stash[KEY]
    for note in servers.exchange.glob("needs-*.json"):
        servers.provide(json.loads(note.read_text(encoding="utf-8")))
    save_outcomes(servers.exchange, servers.outcomes)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Start before the first test's timer, stop after the last test, however the loop ends."""
    servers = session.config.stash[KEY]
    try:
        if not servers.is_worker and not session.config.option.collectonly:
            servers.provide(set[str]().union(*map(needs_of, session.items)))
        return (yield)
    finally:
        servers.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in sorted(needs_of(item)):
        outcome = item.config.stash[KEY].outcome(name)
        if isinstance(outcome, Missing):
            give_up(f"{name}: {outcome.reason}", is_failure=outcome.is_failure)


def give_up(reason: str, *, is_failure: bool) -> None:
    if is_failure:
        pytest.fail(f"--servers=require, but {reason}", pytrace=False)
    pytest.skip(reason)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if outcomes := config.stash[KEY].outcomes:
        terminalreporter.section("servers", sep="-")
        terminalreporter.write_line(f"servers: {summarize(outcomes)}")


@pytest.fixture(scope="session")
def neo4j_server(pytestconfig: pytest.Config) -> Neo4jServer:
    """The session's live Neo4j; tests keep apart by making an organization of their own."""
    outcome = pytestconfig.stash[KEY].outcome("neo4j")
    assert isinstance(outcome, Neo4jServer)
    return outcome


@pytest.fixture(scope="session")
def qdrant_server(pytestconfig: pytest.Config) -> QdrantServer:
    """The live Qdrant server that the environment names."""
    outcome = pytestconfig.stash[KEY].outcome("qdrant")
    assert isinstance(outcome, QdrantServer)
    return outcome


@pytest.fixture
def private_neo4j(pytestconfig: pytest.Config) -> Generator[LocalNeo4j]:
    """A Neo4j of the test's own, running: `server`, `stop()`, `kill()`, `start()`."""
    mode = pytestconfig.stash[KEY].mode
    if mode == "off":
        pytest.skip("neo4j: --servers=off")
    try:
        local = start_first(ways_of_this_machine())
    except ServerUnavailableError as error:
        give_up(f"neo4j: {error}", is_failure=mode == "require")
        raise
    try:
        yield local
    finally:
        local.discard()
