"""The root of the test configuration: options must be known before the tests are collected."""

pytest_plugins = [
    "tests.servers",
    "tests.reliability.scorecard",
    "tests.reliability.mutants.switch",
]
