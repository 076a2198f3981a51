"""Console logging on request; by default the library is silent and the host owns logging."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class _ConsoleHandler(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is when a line is logged, so that a redirection holds."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(logging.Formatter(_FORMAT))

    @property
    def stream(self) -> TextIO:  # pyright: ignore[reportIncompatibleVariableOverride]
        return sys.stderr


def enable_console(level: int = logging.INFO) -> None:
    """Print what memora logs on standard error; a second call only changes the level.

    Args:
        level: Least severe level that is printed.
    """
    logger = logging.getLogger("memora")
    logger.setLevel(level)
    if not any(isinstance(handler, _ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(_ConsoleHandler())
