"""Where a server can come from: Maven artifacts run by Java, or a container image."""

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.neo4j_server.process import (
    PASSWORD,
    USERNAME,
    Launch,
    LocalNeo4j,
    ServerUnavailableError,
    free_port,
)

POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).parents[2] / ".cache" / "neo4j"
MAIN_CLASS = "org.neo4j.server.CommunityEntryPoint"
IMAGE = "neo4j:5.26-community"
OLDEST_JAVA = 17
DOWNLOAD_SECONDS = 600
JAVA_OPTIONS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    # A test server lives for minutes: the second compiler costs more than it gives back.
    "-XX:TieredStopAtLevel=1",
    "-Dlog4j2.disable.jmx=true",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
)


@dataclass(frozen=True)
class Way:
    """One way to start a server: what is missing for it on this machine, and how to do it."""

    name: str
    obstacle: Callable[[], str | None]
    launch: Callable[[], Launch]


def start_first(ways: Iterable[Way]) -> LocalNeo4j:
    """A running server, by the first way that works.

    Raises:
        ServerUnavailableError: None works; the text has the reason of each.
    """
    reasons: list[str] = []
    for way in ways:
        obstacle = way.obstacle()
        if obstacle is not None:
            reasons.append(f"{way.name}: {obstacle}")
            continue
        try:
            return started(way.launch())
        except ServerUnavailableError as error:
            reasons.append(f"{way.name}: {error}")
    raise ServerUnavailableError("; ".join(reasons))


def started(launch: Launch) -> LocalNeo4j:
    local = LocalNeo4j(launch)
    try:
        local.start()
    except BaseException:
        local.discard()
        raise
    return local


def java_major(version_text: str) -> int | None:
    """The major number in what `java -version` prints, or None."""
    found = re.search(r'version "(?:1\.)?(\d+)', version_text)
    return int(found[1]) if found else None


def maven_obstacle(java_version: str | None, maven: str | None) -> str | None:
    if java_version is None:
        return "no java on PATH"
    major = java_major(java_version)
    if major is None or major < OLDEST_JAVA:
        return f"Java {OLDEST_JAVA} or later is needed, PATH has {major or 'an unknown version'}"
    return None if maven else "no mvn on PATH"


def container_obstacle(docker: str | None, *, answers: bool) -> str | None:
    if docker is None:
        return "no docker on PATH"
    return None if answers else "docker info does not answer"


def render_config(port: int) -> str:
    """The text of neo4j.conf: Bolt alone, on the loopback interface."""
    settings = {
        "server.default_listen_address": "127.0.0.1",
        "server.bolt.listen_address": f"127.0.0.1:{port}",
        "server.bolt.advertised_address": f"127.0.0.1:{port}",
        "server.http.enabled": "false",
        "server.https.enabled": "false",
        "server.memory.pagecache.size": "64m",
        "dbms.usage_report.enabled": "false",
        # While it starts, the server may refuse the right password; three refusals lock it.
        "dbms.security.auth_max_failed_attempts": "0",
        # Half a gigabyte of empty log files otherwise.
        "db.tx_log.preallocate": "false",
        # Ten seconds of every stop otherwise.
        "internal.dbms.bolt.netty_server_shutdown_quiet_period": "0",
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def class_path(maven: str, *, pom: Path = POM, cache: Path = CACHE) -> str:
    """The server's class path; Maven runs once per version of the project file."""
    stored = cache / f"classpath-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}.json"
    if stored.exists():
        jars: list[str] = json.loads(stored.read_text(encoding="utf-8"))
        if all(Path(jar).exists() for jar in jars):
            return os.pathsep.join(jars)
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "classpath"
        goal = ["dependency:build-classpath", "-DincludeScope=runtime", f"-Dmdep.outputFile={out}"]
        run_or_raise([maven, "--batch-mode", "--quiet", "--file", str(pom), *goal], "Maven")
        text = out.read_text(encoding="utf-8").strip()
    cache.mkdir(parents=True, exist_ok=True)
    fresh = stored.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(text.split(os.pathsep)), encoding="utf-8")
    fresh.replace(stored)
    return text


def from_maven(java: str, maven: str) -> Launch:
    jars = class_path(maven)
    port = free_port()
    home = Path(tempfile.mkdtemp(prefix="memora-neo4j-"))
    (home / "conf").mkdir()
    (home / "conf" / "neo4j.conf").write_text(render_config(port), encoding="utf-8")
    options = (f"--home-dir={home}", f"--config-dir={home / 'conf'}")
    command = (java, *JAVA_OPTIONS, "-cp", jars, MAIN_CLASS, *options)
    return Launch(how="maven", home=home, port=port, command=command)


def from_container(docker: str) -> Launch:
    port = free_port()
    name = f"memora-neo4j-{secrets.token_hex(6)}"
    publish = ("--publish", f"127.0.0.1:{port}:7687")
    settings = ("--env", f"NEO4J_AUTH={USERNAME}/{PASSWORD}")
    run_or_raise([docker, "create", "--name", name, *publish, *settings, IMAGE], "docker create")
    return Launch(
        how="container",
        home=Path(tempfile.mkdtemp(prefix="memora-neo4j-")),
        port=port,
        command=(docker, "start", "--attach", name),
        kill=(docker, "kill", name),
        remove=(docker, "rm", "--force", "--volumes", name),
        has_password=True,
    )


def run_or_raise(command: list[str], title: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise ServerUnavailableError(f"{title} took over {DOWNLOAD_SECONDS} s") from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise ServerUnavailableError(f"{title} failed with status {done.returncode}\n{tail}")


def ways_of_this_machine() -> tuple[Way, Way]:
    """Maven first, then a container; a tool is asked only when its way's turn comes."""
    java, maven, docker = (shutil.which(tool) for tool in ("java", "mvn", "docker"))
    return (
        Way(
            "Maven",
            lambda: maven_obstacle(java and java_version(java), maven),
            lambda: from_maven(str(java), str(maven)),
        ),
        Way(
            "container",
            lambda: container_obstacle(docker, answers=bool(docker) and succeeds(docker, "info")),
            lambda: from_container(str(docker)),
        ),
    )


def java_version(java: str) -> str:
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    return done.stderr + done.stdout


def succeeds(*command: str, seconds: float = 20) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
