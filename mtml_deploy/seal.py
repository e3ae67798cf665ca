"""Manifests that hold a checksum of themselves, so that one changed digit is told.

In: a record whose last field is `check`. Out: its JSON, and the record read back, `check` empty.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

from msgspec.structs import replace

from mtml_deploy.record_file import Record, parse_json, record_json

R = TypeVar("R", bound=Record)


def sealed_json(record: R) -> str:
    """The record as it is written, a line end at its end."""
    return record_json(replace(record, check=_sum(record)), indent=2) + "\n"


def parse_sealed(content: bytes, kind: type[R]) -> R:
    """A record that is as it was written.

    Raises:
        SchemaError: of another version.
        ValueError: see `parse_json`, or a value was changed.
    """
    found = parse_json(content, kind)
    whole = replace(found, check="")
    expected = _sum(whole)
    if found != replace(whole, check=expected):
        raise ValueError(
            f"check must be {expected}, the checksum of the other values, so one was changed"
        )
    return whole


def _sum(record: Record) -> str:
    """SHA-256 of all other values."""
    return hashlib.sha256(record_json(replace(record, check="")).encode()).hexdigest()
