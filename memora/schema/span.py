"""A stretch of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """From `start` on, up to and without `end`; both aware."""

    start: datetime
    end: datetime
