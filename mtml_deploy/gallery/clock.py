"""Points in time as a gallery keeps them: whole microseconds since 1970-01-01 UTC.

In: `datetime`s. Out: integers, and ISO 8601 texts of them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def time_us(moment: datetime) -> int:
    """Microseconds since 1970 of a moment, which is in UTC where it names no zone."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def format_time(micros: int) -> str:
    """ISO 8601 text in UTC of microseconds since 1970, for example 2024-05-01T10:00:00+00:00."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat()
