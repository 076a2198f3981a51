"""What several suites share."""

from __future__ import annotations

from memora import Memora


async def assert_clean(memora: Memora) -> None:
    """Fail with the findings unless every invariant holds and no vector lags."""
    diagnosis = await memora.doctor()
    assert diagnosis.clean, diagnosis.findings
    assert diagnosis.pending == 0, f"{diagnosis.pending} outbox entries wait"
