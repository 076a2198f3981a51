"""The wheel has what the package reads at run time, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.architecture.source import PACKAGE, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the work tree."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr
    return next(out.glob("memora_core-*.whl"))


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    files = set(ZipFile(wheel).namelist())
    assert not expected - files
    assert {Path(name).suffix for name in expected} <= {".py", ".typed", ".sql", ".cypher", ".json"}
    assert "memora/py.typed" in files
    assert {name.split("/")[0] for name in files} == {"memora", dist_info(files)}


def test_the_wheel_carries_licence_and_command(wheel: Path) -> None:
    archive = ZipFile(wheel)
    folder = dist_info(set(archive.namelist()))
    assert f"{folder}/licenses/LICENSE" in archive.namelist()
    assert f"{folder}/licenses/NOTICE" in archive.namelist()
    metadata = Parser().parsestr(archive.read(f"{folder}/METADATA").decode("utf-8"))
    assert metadata["Name"] == "memora-core"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "memora = memora.cli.main:main" in archive.read(f"{folder}/entry_points.txt").decode()


def dist_info(files: set[str]) -> str:
    return next(name.split("/")[0] for name in files if ".dist-info/" in name)
