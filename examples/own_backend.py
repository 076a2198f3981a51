"""Parts of your own: a language model backend and an embedder, and an engine put together by hand.

    python examples/own_backend.py

Everything here is small on purpose. The how-to guides say what each port promises, and
`memora.testing` has the suites that check it.
"""

import asyncio
import json
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from memora import Memora
from memora.embeddings import LocalEmbedder
from memora.embeddings.base import Kind
from memora.errors import LLMResponseError
from memora.graph_db import SQLiteGraph
from memora.llm_backends import BaseBackendLLM
from memora.vector_db import EmbeddedVectorDB

T = TypeVar("T", bound=BaseModel)


class RuleLLM(BaseBackendLLM):
    """A backend without a network: it "extracts" each message of the user, shortened.

    A real one sends `messages` to its provider, asks for JSON of `output_schema_model` where there
    is one, and raises the leaves of `LLMError`.
    """

    provider = "rules"
    model = "rules-1"

    async def __call__(
        self,
        messages: Sequence[Mapping[str, str]],
        output_schema_model: type[T] | None = None,
        *,
        max_retries: int | None = None,  # noqa: ARG002 - the port's signature
        deadline: float | None = None,  # noqa: ARG002 - as above
    ) -> Any:
        asked = messages[-1]["content"]
        self.record_usage(prompt_tokens=len(asked) // 4)
        if output_schema_model is None:
            return asked
        try:
            return output_schema_model.model_validate_json(self._answer(json.loads(asked)))
        except ValidationError:
            raise LLMResponseError(self.provider, "not of the schema", kind="schema") from None

    async def close(self) -> None:
        """Nothing was opened."""

    def _answer(self, data: dict[str, Any]) -> str:
        if "new_messages" in data:
            found = [
                {
                    "memory": f"[[user]] said: {message['content'].split('.')[0]}.",
                    "msg_source_ids": [message["id"]],
                    "memory_type": "fact",
                    "importance": 0.5,
                }
                for message in data["new_messages"]
                if message["role"] == "user"
            ]
            return json.dumps({"memories": found})
        if "candidates" in data:
            return json.dumps({"verdicts": []})
        return json.dumps({"queries": [data["latest_message"]]})


class LetterEmbedder(LocalEmbedder):
    """An embedder that knows pairs of letters. `_compute` runs in a worker thread."""

    uses_blas = False

    @property
    def model_id(self) -> str:
        return "example/letters-1"

    @property
    def dimensions(self) -> int:
        return 128

    def _compute(
        self,
        texts: list[str],
        kind: Kind,  # noqa: ARG002 - questions and texts are embedded alike
    ) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for pair in pairwise(text.lower()):
                row[zlib.crc32("".join(pair).encode()) % self.dimensions] += 1
        return rows


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        # The stores by hand instead of `Memora.embedded`: any graph and any vector store fit.
        memora = Memora(
            vector_db=EmbeddedVectorDB(Path(directory) / "vectors", embedder=LetterEmbedder()),
            graph_db=SQLiteGraph(Path(directory) / "graph.sqlite3"),
            memory_search_model=RuleLLM(),
            extraction_model=RuleLLM(),
        )
        async with memora:
            jake = memora.for_user("jake")
            await jake.save(
                [{"role": "user", "content": "I play the cello in an orchestra. Since I was nine."}]
            )
            for memory in await jake.recall("Which instrument does he play?"):
                print(memory.memory)


if __name__ == "__main__":
    asyncio.run(main())
