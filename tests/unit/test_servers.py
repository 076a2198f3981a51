import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attach import Addresses, QdrantServer
from tests.neo4j_server import keeper, launch
from tests.neo4j_server.launch import Way, java_major, render_config, start_first
from tests.neo4j_server.process import (
    Launch,
    LocalNeo4j,
    Neo4jServer,
    ServerUnavailableError,
    free_port,
)
from tests.servers import Missing, Servers, load_outcomes, needs, save_outcomes, summarize

REPOSITORY = Path(__file__).parents[2]
NEO4J = Neo4jServer(
    uri="bolt://127.0.0.1:20001",
    username="neo4j",
    password="secret",
    database="neo4j",
    version="5.26.30",
    edition="community",
    how="maven",
    seconds=6.12,
)
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals and scripts of POSIX")


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(0o755)
    return path


def python_launch(home: Path, code: str) -> Launch:
    return Launch(
        how="maven", home=home, port=free_port(), command=(sys.executable, "-I", "-c", code)
    )


# Strategy choice


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21-ea" 2023-09-19', 21),
        ('java version "1.8.0_392"', 8),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_java_major_is_read_from_every_style(text: str, major: int | None) -> None:
    assert java_major(text) == major


@pytest.mark.parametrize(
    ("java", "maven", "reason"),
    [
        (None, "/bin/mvn", "no java on PATH"),
        ('version "11.0.2"', "/bin/mvn", "Java 17 or later is needed, PATH has 11"),
        ("no runtime", "/bin/mvn", "Java 17 or later is needed, PATH has an unknown version"),
        ('version "17.0.1"', None, "no mvn on PATH"),
        ('version "17.0.1"', "/bin/mvn", None),
        ('version "25"', "/bin/mvn", None),
    ],
)
def test_maven_obstacle(java: str | None, maven: str | None, reason: str | None) -> None:
    assert launch.maven_obstacle(java, maven) == reason


def test_container_obstacle() -> None:
    assert launch.container_obstacle(None, answers=False) == "no docker on PATH"
    assert launch.container_obstacle("docker", answers=False) == "docker info does not answer"
    assert launch.container_obstacle("docker", answers=True) is None


def test_start_first_names_the_reason_of_every_way_and_launches_none_with_an_obstacle() -> None:
    launched: list[str] = []

    def refuse() -> Launch:
        launched.append("second")
        raise ServerUnavailableError("the registry is away")

    def never() -> Launch:
        launched.append("first")
        raise AssertionError

    ways = [Way("first", lambda: "no tool", never), Way("second", lambda: None, refuse)]
    with pytest.raises(ServerUnavailableError) as caught:
        start_first(ways)
    assert str(caught.value) == "first: no tool; second: the registry is away"
    assert launched == ["second"]


def test_server_that_ends_while_starting_is_reported_with_its_log(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    dying = python_launch(home, "print('out of luck'); raise SystemExit(3)")
    with pytest.raises(ServerUnavailableError) as caught:
        start_first([Way("Maven", lambda: None, lambda: dying)])
    assert "Maven: Neo4j ended with status 3" in str(caught.value)
    assert "out of luck" in str(caught.value)
    assert not home.exists()


def test_silent_server_is_given_up_and_ended(tmp_path: Path) -> None:
    local = LocalNeo4j(python_launch(tmp_path, "import time; time.sleep(600)"))
    with pytest.raises(ServerUnavailableError, match="did not answer in time"):
        local.start(seconds=0)
    with pytest.raises(ServerUnavailableError, match="not running"):
        _ = local.server


# Configuration and commands


def test_config_listens_on_the_loopback_interface_only() -> None:
    settings = dict(line.split("=", 1) for line in render_config(20_001).splitlines())
    listening = {name: value for name, value in settings.items() if "address" in name}
    assert listening == {
        "server.default_listen_address": "127.0.0.1",
        "server.bolt.listen_address": "127.0.0.1:20001",
        "server.bolt.advertised_address": "127.0.0.1:20001",
    }
    assert settings["server.http.enabled"] == settings["server.https.enabled"] == "false"
    assert settings["dbms.usage_report.enabled"] == "false"
    assert "dbms.security.auth_enabled" not in settings


def test_free_port_lies_below_the_ephemeral_ranges() -> None:
    assert 20_000 <= free_port() < 30_000


@posix_only
def test_class_path_is_resolved_once_per_pom_and_again_when_a_jar_is_gone(tmp_path: Path) -> None:
    jars = [tmp_path / "a.jar", tmp_path / "b.jar"]
    text = os.pathsep.join(map(str, jars))
    runs = tmp_path / "runs"
    maven = script(
        tmp_path / "mvn",
        f"""
import sys
from pathlib import Path
for jar in {text!r}.split({os.pathsep!r}):
    Path(jar).touch()
out = next(a for a in sys.argv if a.startswith("-Dmdep.outputFile="))
Path(out.partition("=")[2]).write_text({text!r})
with Path({str(runs)!r}).open("a") as log:
    log.write("run ")
""",
    )
    pom = tmp_path / "pom.xml"
    pom.write_text("<one/>")

    def resolve() -> int:
        assert launch.class_path(str(maven), pom=pom, cache=tmp_path / "cache") == text
        return runs.read_text().count("run")

    assert [resolve(), resolve()] == [1, 1]
    jars[0].unlink()
    assert [resolve(), resolve()] == [2, 2]
    pom.write_text("<two/>")
    assert resolve() == 3


@posix_only
def test_maven_failure_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    maven = script(tmp_path / "mvn", "print('no such artifact'); raise SystemExit(1)")
    pom = tmp_path / "pom.xml"
    pom.write_text("<one/>")
    with pytest.raises(ServerUnavailableError, match=r"(?s)status 1.*no such artifact"):
        launch.class_path(str(maven), pom=pom, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@posix_only
def test_container_is_created_on_the_loopback_interface_and_removed_by_name(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    docker = script(
        tmp_path / "docker",
        f"import json, pathlib, sys; pathlib.Path({str(seen)!r}).write_text(json.dumps(sys.argv))",
    )
    planned = launch.from_container(str(docker))
    planned.home.rmdir()
    create = json.loads(seen.read_text())[1:]
    name = create[2]
    assert create[:2] == ["create", "--name"]
    assert f"127.0.0.1:{planned.port}:7687" in create
    assert create[-1] == launch.IMAGE
    assert planned.command == (str(docker), "start", "--attach", name)
    assert planned.remove == (str(docker), "rm", "--force", "--volumes", name)


# The keeper, with real processes


def keep(home: Path, *, remove: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    wait = "import time; time.sleep(600)"
    options = [sys.executable, "-I", keeper.__file__, str(home), json.dumps(remove)]
    return subprocess.Popen([*options, sys.executable, "-c", wait], stdin=subprocess.PIPE)


@posix_only
@pytest.mark.parametrize(
    ("order", "end"), [(b"stop\n", signal.SIGTERM), (b"kill\n", signal.SIGKILL)]
)
def test_keeper_ends_the_server_on_order_and_keeps_its_data(
    tmp_path: Path, order: bytes, end: signal.Signals
) -> None:
    process = keep(tmp_path)
    process.communicate(order)
    assert process.returncode == -end & 0xFF
    assert (tmp_path / keeper.LOG_NAME).exists()


@posix_only
def test_keeper_of_a_dead_session_kills_the_server_and_deletes_its_data(tmp_path: Path) -> None:
    home, removed = tmp_path / "home", tmp_path / "removed"
    home.mkdir()
    touch = (sys.executable, "-c", f"open({str(removed)!r}, 'w').close()")
    process = keep(home, remove=touch)
    process.communicate()
    assert process.returncode == -signal.SIGKILL & 0xFF
    assert not home.exists()
    assert removed.exists()


# What a session has


def test_addresses_come_from_the_environment_and_an_empty_value_is_none() -> None:
    assert Addresses.from_env({"MEMORA_TEST_NEO4J_URI": "", "HOME": "/"}) == Addresses()
    given = Addresses.from_env(
        {
            "MEMORA_TEST_NEO4J_URI": "bolt://db",
            "MEMORA_TEST_NEO4J_USER": "u",
            "MEMORA_TEST_NEO4J_PASSWORD": "hidden",
            "MEMORA_TEST_NEO4J_DATABASE": "d",
            "MEMORA_TEST_QDRANT_URL": "http://q",
            "MEMORA_TEST_QDRANT_API_KEY": "hidden",
        }
    )
    assert given == Addresses("bolt://db", "u", "hidden", "d", "http://q", "hidden")
    assert "hidden" not in repr(given)


@pytest.mark.parametrize(
    ("fixtures", "markers", "expected"),
    [
        ((), (), set[str]()),
        (("neo4j_server", "tmp_path"), (), {"neo4j"}),
        ((), ("neo4j", "slow"), {"neo4j"}),
        (("request",), ("neo4j", "qdrant"), {"neo4j", "qdrant"}),
        (("qdrant_server",), (), {"qdrant"}),
        (("private_neo4j",), ("neo4j",), set[str]()),
        (("private_neo4j", "neo4j_server"), ("neo4j",), {"neo4j"}),
    ],
)
def test_needs(fixtures: tuple[str, ...], markers: tuple[str, ...], expected: set[str]) -> None:
    assert needs(fixtures, markers) == expected


def test_off_has_no_server_even_where_one_is_named() -> None:
    servers = Servers("off", Addresses(neo4j_uri="bolt://db", qdrant_url="http://q"))
    servers.provide(["neo4j", "qdrant"])
    off = Missing("--servers=off", is_failure=False)
    assert servers.outcomes == {"neo4j": off, "qdrant": off}


def test_require_counts_qdrant_only_when_it_is_named() -> None:
    servers = Servers("require", Addresses())
    servers.provide(["qdrant"])
    reason = "not set (MEMORA_TEST_QDRANT_URL)"
    assert servers.outcomes == {"qdrant": Missing(reason, is_failure=False)}


@pytest.mark.parametrize(("mode", "is_failure"), [("auto", False), ("require", True)])
def test_named_server_that_cannot_be_had_is_never_replaced(mode: str, is_failure: bool) -> None:
    servers = Servers(
        "require" if mode == "require" else "auto",
        Addresses(neo4j_uri="nonsense://db", qdrant_url="nonsense://q"),
    )
    servers.provide(["neo4j", "qdrant"])
    for name, variable in (("neo4j", "NEO4J_URI"), ("qdrant", "QDRANT_URL")):
        outcome = servers.outcomes[name]
        assert isinstance(outcome, Missing)
        assert outcome.is_failure is is_failure
        assert outcome.reason.startswith("nonsense://")
        assert f"MEMORA_TEST_{variable}" in outcome.reason


def test_a_server_nobody_asked_for_in_time_is_a_mistake_of_the_test() -> None:
    with pytest.raises(pytest.fail.Exception, match="mark the test with 'neo4j'"):
        Servers("auto", Addresses()).outcome("neo4j")


def test_workers_read_what_the_controller_wrote(tmp_path: Path) -> None:
    outcomes = {"neo4j": NEO4J, "qdrant": Missing("not set", is_failure=False)}
    save_outcomes(tmp_path, outcomes)
    assert load_outcomes(tmp_path) == outcomes
    assert Servers("auto", Addresses(), tmp_path).outcome("neo4j") == NEO4J


def test_summary_line_says_where_each_server_came_from() -> None:
    missing = Missing("not set (MEMORA_TEST_QDRANT_URL)", is_failure=False)
    assert summarize({"qdrant": missing, "neo4j": NEO4J}) == (
        "neo4j 5.26.30 community (maven, bolt://127.0.0.1:20001, started in 6.1 s)"
        " · qdrant server: not set (MEMORA_TEST_QDRANT_URL)"
    )
    attached = QdrantServer(url="http://q", api_key=None, version="1.15.0")
    assert summarize({"qdrant": attached}) == "qdrant server 1.15.0 (attached, http://q)"


@pytest.mark.timeout(60)  # it starts pytest, on a busy machine too
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
@pytest.mark.parametrize(("mode", "ending"), [("auto", "1 skipped"), ("require", "1 error")])
def test_session_on_a_machine_without_tools(
    tmp_path: Path, mode: str, ending: str, workers: tuple[str, ...]
) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(neo4j_server): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  neo4j\n  qdrant\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MEMORA_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.servers", f"--servers={mode}", *workers],
        cwd=tmp_path,
        env={**clean, "PATH": "", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ending in done.stdout, done.stdout + done.stderr
    assert "neo4j: Maven: no java on PATH; container: no docker on PATH" in done.stdout
