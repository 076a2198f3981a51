"""The test classes that the how-to guides show are run, as a reader's own tests would be."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, page_blocks
from tests.docs.player import compiled

GUIDES = ROOT / "docs" / "how-to"
# Which clauses of long suites are run; the suites themselves run on every store elsewhere.
CHOSEN = {
    "own-llm-backend.md": "",
    "own-store.md": "survives_reopening or batch_equals or b23 or i1_everything or setup_and_close",
    "embedder.md": "",
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("page", "clauses"), CHOSEN.items())
async def test_classes_of_the_guide_pass(page: str, clauses: str, tmp_path: Path) -> None:
    blocks = [block for block in page_blocks(GUIDES / page) if block.language == "python"]
    kept = [block.code for block in blocks if not _awaits(block)]
    file = tmp_path / "test_guide.py"
    file.write_text("\n\n".join(kept), "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pytest", "-q", "--asyncio-mode=auto", "-p", "no:cacheprovider"),
        *("-c", os.devnull, "--rootdir", str(tmp_path), "-k", clauses, str(file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert " passed" in said.decode()
    assert "skipped" not in said.decode()


def _awaits(block: object) -> bool:
    return bool(compiled(block).co_flags & inspect.CO_COROUTINE)  # type: ignore[arg-type] - a block


def test_every_guide_with_a_test_class_is_run() -> None:
    shown = {page.name for page in GUIDES.glob("*.md") if "Contract):" in page.read_text("utf-8")}
    assert shown == set(CHOSEN)
