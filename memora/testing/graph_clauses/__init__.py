"""The clauses of the graph contract, by subject; `memora.testing.graph_contract` joins them."""

from __future__ import annotations

import pytest

# Before they are imported, so that a failing clause shows values as in any other test.
pytest.register_assert_rewrite(
    f"{__name__}.chains",
    f"{__name__}.directory",
    f"{__name__}.equals",
    f"{__name__}.erasure",
    f"{__name__}.imports",
    f"{__name__}.isolation",
    f"{__name__}.memories",
    f"{__name__}.outbox",
    f"{__name__}.plans",
    f"{__name__}.tenant",
    f"{__name__}.transcripts",
    f"{__name__}.withdrawal",
)
