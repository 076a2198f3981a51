"""Contract suites and fakes for tests of memora and of backends for it."""
