"""`memora new-key` and `memora rotate-key`: no key is an argument, and none shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from memora.cli.boundary import INVALID, UNAVAILABLE
from memora.cli.main import app
from memora.encryption import MasterKey, new_key
from tests.entrypoints.conftest import CommandLine

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key.txt"
    file.write_text(f"{new_key()}\n", "ascii")
    return file


def test_a_new_key_is_printed_alone(cli: CommandLine) -> None:
    first, second = cli("new-key"), cli("new-key")
    assert (first.code, first.err) == (0, "")
    assert MasterKey(first.out).fingerprint != MasterKey(second.out).fingerprint


def test_a_store_is_encrypted_rotated_and_decrypted(
    cli: CommandLine, own: str, key_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = ("--path", str(cli.path))
    before = cli("memories", *cli.owner, "--json").json
    done = cli("rotate-key", "--new-key", str(key_file), *path, "--json")
    assert (done.code, done.json["encrypted"]) == (0, True)
    assert done.json["rows"] > 0

    refused = cli("memories", *cli.owner)
    assert (refused.code, refused.out) == (UNAVAILABLE, "")
    assert "it is encrypted, and no encryption_key was given" in refused.err
    monkeypatch.setenv("MEMORA_ENCRYPTION_KEY", key_file.read_text("ascii"))
    assert cli("memories", *cli.owner, "--json").json == before

    new = new_key()
    command = ["rotate-key", "--new-key", "-", *path, "--json"]
    rotated = CliRunner().invoke(app, command, input=f"{new}\n", prog_name="memora")
    assert (rotated.exit_code, rotated.stdout) == (0, '{\n  "encrypted": true,\n  "rows": 0\n}\n')
    assert cli("doctor", *path).code == UNAVAILABLE
    monkeypatch.setenv("MEMORA_ENCRYPTION_KEY", new)
    assert cli("doctor", *path).code == 0

    decrypted = cli("rotate-key", "--decrypt", *path)
    assert decrypted.code == 0
    assert "The store is plain" in decrypted.out
    monkeypatch.delenv("MEMORA_ENCRYPTION_KEY")
    assert cli("memories", *cli.owner, "--json").json == before


@pytest.mark.parametrize(
    "content", [b"", b"correct horse battery staple", b"\xff\xfe\x00", new_key().encode()[:-5]]
)
def test_what_is_no_key_is_refused_and_not_shown(
    cli: CommandLine, own: str, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "no-key"
    file.write_bytes(content)
    answer = cli("rotate-key", "--new-key", str(file), "--path", str(cli.path))
    assert (answer.code, answer.out) == (INVALID, "")
    assert "32 random bytes in base64" in answer.err
    assert not content or content.decode("ascii", "replace") not in answer.err


@pytest.mark.parametrize("arguments", [(), ("--decrypt", "--new-key", "x")])
def test_either_a_new_key_or_decrypt(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    answer = cli("rotate-key", *arguments)
    assert (answer.code, answer.out) == (INVALID, "")


def test_a_key_file_that_cannot_be_read(cli: CommandLine, own: str, tmp_path: Path) -> None:
    answer = cli("rotate-key", "--new-key", str(tmp_path / "nowhere"), "--path", str(cli.path))
    assert (answer.code, answer.out) == (UNAVAILABLE, "")
    assert "nowhere: No such file or directory" in answer.err
