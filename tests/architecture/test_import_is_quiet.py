"""Importing memora does nothing but define names."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from tests.architecture.source import ROOT, modules

# Each costs tens or hundreds of milliseconds, or is an extra.
SDKS = (
    *(
        "anthropic",
        "cryptography",
        "fastembed",
        "groq",
        "neo4j",
        "onnxruntime",
        "openai",
        "qdrant_client",
    ),
    *("qdrant_edge", "safetensors", "tokenizers", "torch", "wordllama", "httpx", "requests"),
)
# What `import memora` itself may not load either.
HEAVY = ("numpy", "pydantic", "pydantic_settings", "rich", "sqlite3", "tenacity", "typer")
# Command lines and contract suites may load what they stand on.
ENTRYPOINTS = ("memora.cli", "memora.server", "memora.mcp", "memora.testing", "memora.__main__")

# Runs in a fresh interpreter and reports what the import of the modules in argv did.
PROBE = """
import json, logging, os, sys, sysconfig, threading, time
from importlib import import_module

reads, events = [], []

STDLIB = sysconfig.get_path("stdlib")

class Watched(dict):
    def _note(self, name):
        # Whoever asks, through the standard library or not; what it imports asks for itself.
        frame = sys._getframe(2)
        file = frame.f_code.co_filename
        while file.startswith("<frozen ") or is_stdlib(file):
            if "importlib" in file:
                return
            frame = frame.f_back
            file = frame.f_code.co_filename
        if f"{os.sep}memora{os.sep}" in file:
            reads.append(f"{file}:{frame.f_lineno} {name}")

    def __getitem__(self, name):
        self._note(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self._note(name)
        return super().get(name, default)

def is_stdlib(file):
    return file.startswith(STDLIB) and "site-packages" not in file

def watch(event, args):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "sqlite3.c")):
        events.append(f"{event} {args!r}")
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        events.append(f"{event} {args!r}")

os.environ = Watched(os.environ)
sys.addaudithook(watch)
started = time.perf_counter()
for name in sys.argv[1:]:
    import_module(name)
elapsed = time.perf_counter() - started
print(json.dumps({
    "reads": reads,
    "events": events,
    "loaded": sorted(sys.modules),
    "threads": threading.active_count(),
    "handlers": len(logging.getLogger().handlers),
    "milliseconds": round(elapsed * 1000, 1),
}))
"""


def probe(names: Sequence[str]) -> dict[str, Any]:
    """What importing these modules in a fresh interpreter did."""
    done = subprocess.run(
        [sys.executable, "-B", "-X", "utf8", "-c", PROBE, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def test_import_memora_loads_nothing_heavy(record_property: Any) -> None:
    seen = probe(["memora"])
    record_property("import memora, milliseconds", seen["milliseconds"])
    print(f"import memora: {seen['milliseconds']} ms")
    assert not set(seen["loaded"]) & {*SDKS, *HEAVY}
    quiet(seen)


def test_the_facade_loads_no_sdk() -> None:
    seen = probe(["memora", "memora.agent.main"])
    assert not set(seen["loaded"]) & set(SDKS)
    quiet(seen)


@pytest.mark.timeout(60)
def test_no_module_of_the_library_loads_an_sdk() -> None:
    names = [name for name in modules() if not name.startswith(ENTRYPOINTS)]
    seen = probe(names)
    assert not set(seen["loaded"]) & set(SDKS)
    quiet(seen)


def quiet(seen: dict[str, Any]) -> None:
    assert seen["reads"] == []
    assert seen["events"] == []
    assert seen["threads"] == 1
    assert seen["handlers"] == 0
