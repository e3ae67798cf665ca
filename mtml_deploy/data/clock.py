"""Points in time as tables and galleries keep them: whole microseconds since 1970-01-01 UTC.

In: `datetime`s, and texts as people write them. Out: integers, and ISO 8601 texts of them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECONDS: Final = re.compile(r"[+-]?\d{1,12}(\.\d{1,6})?", re.ASCII)
"""Seconds since 1970 with at most microseconds; a text of 4 digits is such a number, not a year."""


def time_us(moment: datetime) -> int:
    """Microseconds since 1970 of a moment, which is in UTC where it names no zone."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def format_time(micros: int) -> str:
    """ISO 8601 text in UTC of microseconds since 1970, for example 2024-05-01T10:00:00+00:00."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat()


FIRST_US: Final = time_us(datetime.min)
LAST_US: Final = time_us(datetime.max)
"""The calendar, years 1 to 9999: a time beyond it could not be shown."""

UNKNOWN_TIME: Final = -(1 << 63)
"""Unknown time among known ones, where every row has a number."""


def read_time(text: str) -> int:
    """Microseconds since 1970-01-01 UTC of a text.

    Args:
        text: ISO 8601 ("2024-05-01", "2024-05-01T12:00:00.5+02:00"; without an offset UTC), or
            seconds since 1970 ("1714557600.25").

    Returns:
        The time; negative before 1970.

    Raises:
        ValueError: neither of the two.
    """
    text = text.strip()
    try:
        if _SECONDS.fullmatch(text):
            # Decimal: a float has no room for microseconds of the next century
            micros = int(Decimal(text) * 1_000_000)
            format_time(micros)  # beyond the calendar nothing could show it again
            return micros
        return time_us(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text!r} is not a time, expected ISO 8601 such as 2024-05-01T12:00:00+02:00 (UTC "
            "where no offset is given) or seconds since 1970 such as 1714557600.25"
        ) from error
