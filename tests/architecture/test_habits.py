"""No broad handler swallows what it caught."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.measures import broad_handlers, hands_on


def handler(body: str) -> ast.ExceptHandler:
    tree = ast.parse(f"try:\n    work()\nexcept Exception as error:\n    {body}\n")
    return next(node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler))


def test_no_broad_handler_swallows() -> None:
    assert broad_handlers() == []


@pytest.mark.parametrize(
    "body",
    [
        "raise",
        "raise Other from error",
        "answer.set_exception(error)",
        "self.error = error",
        "read.error = read.error or error",
    ],
)
def test_an_error_that_somebody_gets_is_handed_on(body: str) -> None:
    assert hands_on(handler(body))


@pytest.mark.parametrize(
    "body",
    [
        "pass",
        "log(error)",
        "found = error",
        "self.failed = True",
        "self.told = str(error)",
        "self.error = None",
        "self.error = other",
    ],
)
def test_an_error_that_ends_here_is_swallowed(body: str) -> None:
    assert not hands_on(handler(body))
