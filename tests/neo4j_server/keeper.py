"""Runs a server as its child and ends it when the process that asked for it is gone.

Usage: `python keeper.py DIRECTORY REMOVE COMMAND...`, with a pipe as standard input. The line
`stop` ends the command politely, `kill` at once. The end of the pipe means that the test session
died: the command is killed, DIRECTORY deleted, and REMOVE (a JSON list, the command that removes
a container, or `[]`) is run. A pipe notices every kind of death, `kill -9` included, on every
platform.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

LOG_NAME = "console.log"
STOP_SECONDS = 30


def obey(server: subprocess.Popen[bytes], abandoned: threading.Event) -> None:
    order = sys.stdin.readline().strip()
    if order == "stop":
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
            return
    elif not order:
        abandoned.set()
    server.kill()


def main() -> int:
    directory, remove, *command = sys.argv[1:]
    abandoned = threading.Event()
    with (Path(directory) / LOG_NAME).open("ab") as log:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    threading.Thread(target=obey, args=(server, abandoned), daemon=True).start()
    status = server.wait()
    if abandoned.is_set():
        if remove_command := json.loads(remove):
            subprocess.run(remove_command, capture_output=True, check=False)
        shutil.rmtree(directory, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
