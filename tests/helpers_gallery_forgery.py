"""Damage with right marks and checksums: what somebody could write who means harm.

Nothing can tell such an answer from a right one; the gallery must still answer or refuse in words.
"""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from fuzz_mutations import damaged_bytes
from helpers_gallery_damage import Damage

from mtml_deploy.artifact.artifact import file_sha256
from mtml_deploy.gallery.folder.facts import NUMBERS, checked_numbers, packed
from mtml_deploy.gallery.folder.rows import marked_segment, marked_state
from mtml_deploy.gallery.folder.schema import STATES, Segment
from mtml_deploy.gallery.index_manifest import IndexManifest
from mtml_deploy.seal import parse_sealed, sealed_json

_NUMBERS: Final = (
    -(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 8, 127, 1000, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1,
)  # fmt: skip
_REALS: Final = (float("nan"), float("inf"), -1.0, 0.0, 1e-45, 3e38)


def forge(folder: Path, draw: random.Random) -> Damage | None:
    """One value of one place, the marks made anew."""
    places = [_facts, _facts, _facts, _segment, _state]
    if (folder / "index").exists():
        places += [_card, _table]
    return draw.choice(places)(folder, draw)


def forge_faiss(folder: Path, draw: random.Random) -> Damage | None:
    """The index itself: its library was not made for files of others, and may end the process."""
    return _reseal(folder, draw, ".faiss", "index_sha256")


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


def _card(folder: Path, draw: random.Random) -> Damage | None:
    path = folder / "index" / "card.json"
    card = parse_sealed(path.read_bytes(), IndexManifest)
    name = draw.choice(("rows", "last_row", "lists", "probes", "top_k", "queries"))
    value = draw.choice(_NUMBERS)
    values = msgspec.to_builtins(card)
    (values["tuning"] if name in values["tuning"] else values)[name] = value
    try:
        path.write_text(sealed_json(msgspec.convert(values, IndexManifest)))
    except (msgspec.ValidationError, ValueError):
        return None  # refused by its type, as other tests show
    return Damage(f"{name} of the index = {value}", "index/card.json")


def _table(folder: Path, draw: random.Random) -> Damage | None:
    return _reseal(folder, draw, ".npy", "rows_sha256")


def _reseal(folder: Path, draw: random.Random, suffix: str, field: str) -> Damage | None:
    """Bytes of a file of the index, its new hash in the manifest."""
    path = folder / "index" / "card.json"
    (file,) = path.parent.glob(f"*{suffix}")
    old = file.read_bytes()
    what, new = damaged_bytes(old, draw)
    if new == old:
        return None
    file.write_bytes(new)
    card = json.loads(path.read_bytes())
    card[field], card["check"] = file_sha256(file), ""
    path.write_text(sealed_json(msgspec.convert(card, IndexManifest)))
    return Damage(what, f"index/*{suffix}")
