"""Processes that save until they are killed, and need no time to start: they are forked.

`python -m tests.e2e.lives MODULE` imports the module once, and for each line of its input forks a
child that runs it with these arguments. The child says that it is born, then what was
acknowledged; its parent says how it died.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]


class Lives:
    """Lets one process after the other live, and kills it.

    Args:
        module: Its `run` saves for ever, and prints the number of each step that was acknowledged.
    """

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.lives", module],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._process as process:
            if kind is not None:
                process.kill()

    def save_and_die(self, arguments: Sequence[Any], rng: random.Random, most: int) -> int | None:
        """Let a process save, and kill it; return the last acknowledged step.

        Args:
            arguments: Of `run`.
            rng: Chooses the moment.
            most: Acknowledgements that are waited for, at most.
        """
        wanted = rng.choice([count for count in (0, 1, 2, 5, 10, 20) if count <= most])
        pause = rng.uniform(0, 0.03) if wanted else rng.uniform(0, 0.3)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        born, pid = self._line().split()
        assert born == "born"
        last: int | None = None
        for _acknowledgement in range(wanted):
            last = int(self._line())
        time.sleep(pause)
        os.kill(int(pid), signal.SIGKILL)
        while not (line := self._line()).startswith("died"):
            last = int(line)
        assert line == f"died {-signal.SIGKILL}"
        return last

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _say(text: str) -> None:
    os.write(sys.stdout.fileno(), f"{text}\n".encode())


def main(module: str) -> None:
    """Let children live, until there are no more lines."""
    run = importlib.import_module(module).run
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                _say(f"born {os.getpid()}")
                run(*json.loads(line))
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(1)
        _say(f"died {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


if __name__ == "__main__":
    main(sys.argv[1])
