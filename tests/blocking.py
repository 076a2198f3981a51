"""The event loop must not be blocked: what a test's engine does there is watched."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from blockbuster import blockbuster_ctx


@contextmanager
def blocking_forbidden() -> Generator[None]:
    """Fail where memora blocks the event loop (B33, B34); a test's own code may."""
    with blockbuster_ctx("memora", excluded_modules=["memora.testing"]) as detector:
        # The first use of an SDK imports it, once a process. A test that takes too long prints its
        # stack. Local mode looks its own version up on disk; a server is asked over the network.
        for function in detector.functions.values():
            function.can_block_in("<frozen importlib._bootstrap>", "_find_and_load")
            function.can_block_in("pytest_timeout.py", "timeout_sigalrm")
            function.can_block_in("coverage/collector.py", "lock_data")
            function.can_block_in("qdrant_client/local/async_qdrant_local.py", "info")
        yield
