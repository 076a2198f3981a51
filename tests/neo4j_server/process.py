"""A Neo4j server that this process owns: started, asked who it is, stopped, thrown away."""

import json
import random
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.neo4j_server import keeper

USERNAME = "neo4j"
PASSWORD = "memora-tests"
FACTORY_PASSWORD = "neo4j"
START_SECONDS = 90


class ServerUnavailableError(Exception):
    """A server could not be had; the text says why."""


@dataclass(frozen=True)
class Neo4jServer:
    """A live server: what a test needs to connect, and what the summary prints."""

    uri: str
    username: str
    password: str | None = field(repr=False)
    database: str
    version: str
    edition: str
    how: str
    seconds: float

    @property
    def auth(self) -> tuple[str, str] | None:
        return None if self.password is None else (self.username, self.password)


@dataclass(frozen=True)
class Launch:
    """How to run one server: the commands, where its files are, and whether it knows PASSWORD."""

    how: str
    home: Path
    port: int
    command: tuple[str, ...]
    kill: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    has_password: bool = False


def identify(
    uri: str, auth: tuple[str, str] | None, database: str | None = None
) -> tuple[str, str]:
    """Version and edition, by a real query: the proof that the server answers."""
    import neo4j

    with (
        neo4j.GraphDatabase.driver(uri, auth=auth, connection_timeout=5) as driver,
        driver.session(database=database) as session,
    ):
        record = session.run(
            "CALL dbms.components() YIELD name, versions, edition WHERE name = 'Neo4j Kernel' "
            "RETURN versions[0] AS version, edition"
        ).single(strict=True)
        return record["version"], record["edition"]


def change_password(uri: str, old: str, new: str) -> None:
    import neo4j

    with (
        neo4j.GraphDatabase.driver(uri, auth=(USERNAME, old), connection_timeout=5) as driver,
        driver.session(database="system") as session,
    ):
        session.run("ALTER CURRENT USER SET PASSWORD FROM $old TO $new", old=old, new=new).consume()


def free_port() -> int:
    """A free loopback port below the ephemeral ranges.

    A stopped server gets its port back only if no outgoing connection was given that port
    meanwhile, as can happen to an ephemeral one. The system's random source keeps workers with
    the same seed apart.
    """
    choose = random.SystemRandom()
    for _ in range(50):
        port = choose.randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerUnavailableError("no free port between 20000 and 30000")


class LocalNeo4j:
    """A server of our own: `stop` and `kill` keep its port and data for `start`."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._has_password = launch.has_password
        self._keeper: subprocess.Popen[bytes] | None = None
        self._server: Neo4jServer | None = None

    @property
    def server(self) -> Neo4jServer:
        if self._server is None:
            raise ServerUnavailableError("this Neo4j is not running")
        return self._server

    def start(self, seconds: float = START_SECONDS) -> Neo4jServer:
        """Start the server and wait until it answers a query.

        Raises:
            ServerUnavailableError: It ended or stayed silent; the text has the log's tail.
        """
        if self._keeper is not None:
            return self.server
        launch = self._launch
        began = time.monotonic()
        script = [sys.executable, "-I", keeper.__file__, str(launch.home)]
        self._keeper = subprocess.Popen(
            [*script, json.dumps(launch.remove), *launch.command],
            stdin=subprocess.PIPE,
            # Ctrl-C in the terminal is for the test session, which then ends the server.
            start_new_session=True,
        )
        uri = f"bolt://127.0.0.1:{launch.port}"
        version, edition = self._wait_until_ready(self._keeper, uri, began + seconds)
        self._server = Neo4jServer(
            uri=uri,
            username=USERNAME,
            password=PASSWORD,
            database="neo4j",
            version=version,
            edition=edition,
            how=launch.how,
            seconds=time.monotonic() - began,
        )
        return self._server

    def stop(self) -> None:
        self._end(b"stop\n")

    def kill(self) -> None:
        """End the server without a chance to write anything more."""
        if self._launch.kill and self._keeper is not None:
            subprocess.run(self._launch.kill, capture_output=True, check=False)
        self._end(b"kill\n")

    def discard(self) -> None:
        """End the server and delete its data; a second call is harmless."""
        self.kill()
        if self._launch.remove:
            subprocess.run(self._launch.remove, capture_output=True, check=False)
        shutil.rmtree(self._launch.home, ignore_errors=True)

    def _end(self, order: bytes) -> None:
        self._server = None
        if self._keeper is not None:
            self._keeper.communicate(order, timeout=2 * keeper.STOP_SECONDS)
            self._keeper = None

    def _wait_until_ready(
        self, process: subprocess.Popen[bytes], uri: str, end: float
    ) -> tuple[str, str]:
        from neo4j.exceptions import DriverError, Neo4jError

        while True:
            try:
                if not self._has_password:
                    change_password(uri, FACTORY_PASSWORD, PASSWORD)
                    self._has_password = True
                return identify(uri, (USERNAME, PASSWORD), "neo4j")
            except (DriverError, Neo4jError) as error:
                status = process.poll()
                if status is None and time.monotonic() < end:
                    time.sleep(0.1)
                    continue
                why = "did not answer in time" if status is None else f"ended with status {status}"
                self.kill()
                tail = self._log_tail()
                raise ServerUnavailableError(f"Neo4j {why} ({error})\n{tail}") from error

    def _log_tail(self, lines: int = 15) -> str:
        texts: list[str] = []
        for log in (keeper.LOG_NAME, "logs/neo4j.log"):
            path = self._launch.home / log
            if path.exists():
                texts += path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        return "\n".join(texts)
