"""Console logging on request."""

from __future__ import annotations

import logging

import pytest

from memora._logging import enable_console


@pytest.fixture
def logger() -> logging.Logger:
    """The library's logger; whatever a test adds to it is taken back."""
    return logging.getLogger("memora")


def test_lines_go_to_standard_error_once(logger, capsys):
    enable_console()
    enable_console()
    logger.getChild("agent.save").info("saved %s", "i1")
    logger.debug("not asked for")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("saved i1") == 1
    assert "INFO" in captured.err
    assert "memora.agent.save" in captured.err
    assert "not asked for" not in captured.err


def test_a_second_call_changes_the_level(logger, capsys):
    enable_console(logging.ERROR)
    logger.warning("quiet")
    enable_console(logging.DEBUG)
    logger.debug("loud")
    captured = capsys.readouterr()
    assert "quiet" not in captured.err
    assert "loud" in captured.err


def test_other_loggers_are_left_alone(logger):
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    enable_console()
    assert (root.level, list(root.handlers)) == before
