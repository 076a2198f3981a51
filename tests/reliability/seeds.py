"""Where the randomness of the reliability suites comes from."""

from __future__ import annotations

import secrets

# Of every run that is not asked for another one, so that a gate does not depend on luck.
SEED = 20_261_128


def fresh_seed(*, nightly: bool) -> int:
    """Return the seed of a run; a nightly one looks where nobody has looked before."""
    return secrets.randbelow(2**32) if nightly else SEED
