"""Servers that the environment names: where they are, and the proof that they answer."""

import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.neo4j_server.process import Neo4jServer, ServerUnavailableError, identify

ATTACH_SECONDS = 10


@dataclass(frozen=True)
class Addresses:
    """The servers that the environment names."""

    neo4j_uri: str | None = None
    neo4j_user: str = "neo4j"
    neo4j_password: str | None = field(default=None, repr=False)
    neo4j_database: str = "neo4j"
    qdrant_url: str | None = None
    qdrant_api_key: str | None = field(default=None, repr=False)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Addresses":
        """Read the variables; an empty one counts as not set."""
        prefix = "MEMORA_TEST_"
        names = ("neo4j_user", "neo4j_password", "neo4j_database", "qdrant_api_key")
        given = {name: env.get(prefix + name.upper()) for name in names}
        return cls(
            neo4j_uri=env.get(f"{prefix}NEO4J_URI") or None,
            qdrant_url=env.get(f"{prefix}QDRANT_URL") or None,
            **{name: value for name, value in given.items() if value},
        )


@dataclass(frozen=True)
class QdrantServer:
    """A live Qdrant server."""

    url: str
    api_key: str | None = field(repr=False)
    version: str


def attach_neo4j(addresses: Addresses) -> Neo4jServer:
    """The server that the environment names.

    Raises:
        ServerUnavailableError: It does not answer, or refuses the credentials.
    """
    from neo4j.exceptions import DriverError, Neo4jError

    began = time.monotonic()
    uri, password = str(addresses.neo4j_uri), addresses.neo4j_password
    auth = None if password is None else (addresses.neo4j_user, password)
    try:
        version, edition = identify(uri, auth, addresses.neo4j_database)
    except (DriverError, Neo4jError, ValueError) as error:
        raise ServerUnavailableError(f"{uri} (MEMORA_TEST_NEO4J_URI): {error}") from error
    return Neo4jServer(
        uri=uri,
        username=addresses.neo4j_user,
        password=password,
        database=addresses.neo4j_database,
        version=version,
        edition=edition,
        how="attached",
        seconds=time.monotonic() - began,
    )


def attach_qdrant(addresses: Addresses) -> QdrantServer:
    """The server that the environment names.

    Raises:
        ServerUnavailableError: It does not answer, or refuses the key.
    """
    url = str(addresses.qdrant_url).rstrip("/")
    headers = {"api-key": addresses.qdrant_api_key} if addresses.qdrant_api_key else {}

    def get(path: str) -> dict[str, Any]:
        request = urllib.request.Request(url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=ATTACH_SECONDS) as response:
            return json.load(response)

    try:
        version = get("/")["version"]
        get("/collections")  # the first answer needs no key
    except (OSError, ValueError, KeyError) as error:
        raise ServerUnavailableError(f"{url} (MEMORA_TEST_QDRANT_URL): {error}") from error
    return QdrantServer(url=url, api_key=addresses.qdrant_api_key, version=version)
