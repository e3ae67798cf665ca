"""Damage with right marks and checksums: what somebody could write who means harm.

Nothing can tell such an answer from a right one; the gallery must still answer or refuse in words.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
from helpers_gallery_damage import Damage

from mtml_deploy.gallery.folder.facts import NUMBERS, checked_numbers, packed
from mtml_deploy.gallery.folder.rows import marked_segment, marked_state
from mtml_deploy.gallery.folder.schema import STATES, Segment

_NUMBERS: Final = (
    -(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 8, 127, 1000, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1,
)  # fmt: skip
_REALS: Final = (float("nan"), float("inf"), -1.0, 0.0, 1e-45, 3e38)


def forge(folder: Path, draw: random.Random) -> Damage | None:
    """One value of one place, the marks made anew."""
    return draw.choice((_facts, _facts, _facts, _segment, _state))(folder, draw)


def _facts(folder: Path, draw: random.Random) -> Damage | None:
    path = folder / "rows.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        found = database.execute("SELECT row, removed, facts FROM rows ORDER BY row").fetchall()
        numbers = checked_numbers(found, path)
        name = draw.choice([name for name in NUMBERS.names or () if name not in ("row", "removed")])
        place = draw.randrange(len(numbers))
        value = draw.choice(_REALS if NUMBERS[name].kind == "f" else _NUMBERS)
        try:
            numbers[name][place] = value
        except OverflowError:
            return None
        row = int(numbers["row"][place])
        database.execute("UPDATE rows SET facts = ? WHERE row = ?", (packed(numbers)[place], row))
    return Damage(f"{name} of row {row} = {value}", path.name)


def _segment(folder: Path, draw: random.Random) -> Damage | None:
    path = folder / "rows.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        found = database.execute("SELECT segment, rows, centre FROM segments").fetchall()
        number, rows, centre = draw.choice(found)
        values = np.frombuffer(centre, "<f8").copy()
        kind = draw.choice(("rows", "centre", "size"))
        if kind == "rows":
            rows = draw.choice([value for value in _NUMBERS if value >= 0])
        elif kind == "centre":
            values[0] = draw.choice(_REALS)
        else:
            values = np.zeros(draw.choice((0, 1, len(values) + 1, 100_000)))
        new = marked_segment(Segment(number, rows, values))
        database.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)", new)
    return Damage(f"{kind} of segment {number}, {rows} rows", path.name)


def _state(folder: Path, draw: random.Random) -> Damage | None:
    path = folder / "rows.sqlite"
    name, value = draw.choice(sorted(STATES)), draw.choice([n for n in _NUMBERS if n >= 0])
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        new = marked_state(name, value)
        database.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", new)
    return Damage(f"state {name} = {value}", path.name)
