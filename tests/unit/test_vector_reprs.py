"""R12: what goes to the vector engine tells nothing of a memory when it is shown."""

from __future__ import annotations

import numpy as np
import pytest

from memora.embeddings.base import SparseVector
from memora.vector_db._encoding import EncodedDocument, EncodedQuery
from memora.vector_db._shard_calls import Answer, Call, StoredPoint

LEXICAL = SparseVector(indices=(424242,), values=(0.8675309,))
PAYLOAD = {"author": "canary", "tags": ["canary"]}
DENSE = [0.8675309]
POINT = StoredPoint("m", b"0.8675309", b"424242", b"0.8675309", PAYLOAD)


@pytest.mark.parametrize(
    "shown",
    [
        POINT,
        Call(1, 1, "apply", ([POINT], 424242)),
        Answer(1, {"m": PAYLOAD}),
        EncodedDocument("m", "o", "u", np.array(DENSE), LEXICAL, PAYLOAD),
        EncodedQuery(DENSE, LEXICAL),
    ],
    ids=lambda shown: type(shown).__name__,
)
def test_b86_vectors_and_payloads_are_not_shown(shown: object) -> None:
    for secret in ("canary", "424242", "0.8675309", "array"):
        assert secret not in repr(shown)
