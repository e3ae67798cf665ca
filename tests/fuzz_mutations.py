"""Damage for fuzz tests: bytes, JSON and entries of a folder, all from a seeded generator.

A test draws damage, applies it to a copy, and calls `outcome_of`: what comes back is an answer or
an `MtmlError` in time; anything else is a fault of the program.
"""

from __future__ import annotations

import copy
import faulthandler
import json
import os
import random
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mtml_deploy.errors import MtmlError

HOSTILE: Final[tuple[object, ...]] = (
    None, True, False, 0, -1, 1, 7, 8, 255, 2**31, -(2**31) - 1, 2**63, -(2**63), 2**64, 2**70,
    10**400, 0.5, -0.0, 1e308, 5e-324, "", "x", "0", "../../etc/passwd", "/dev/zero", "a\x00b",
    "\u202e\x1b[31m", "\ud800", "x" * 100_000, [], [0], [[]], {}, {"x": 1}, [None] * 1000,
)  # fmt: skip
"""Values that a field may be given instead of its own."""

RAW_NUMBERS: Final = (b"1e400", b"-1e400", b"NaN", b"Infinity", b"1" * 5000, b"0x10", b"01", b"-0")
"""Texts that stand where JSON has a number, and that no JSON writer writes."""

DEEP: Final = 100_000
"""Brackets in brackets: far beyond what a parser's stack holds."""

Entry = Literal["pipe", "device", "folder", "socket", "loop", "dangling", "empty", "nothing"]
ENTRIES: Final[tuple[Entry, ...]] = (
    "pipe", "device", "folder", "socket", "loop", "dangling", "empty", "nothing",
)  # fmt: skip

_MOST_TEXT: Final = 20_000
"""Characters of an error: a name of megabytes does not belong in it whole."""


class HangError(BaseException):
    """The time limit passed; a BaseException, so that no `except Exception` swallows it."""


@dataclass(frozen=True)
class Outcome:
    """What became of a call.

    Attributes:
        answer: what it returned; None where it was refused.
        refusal: text of the `MtmlError`; empty where it returned.
    """

    answer: object
    refusal: str


def outcome_of(call: Callable[[], object], *, limit_s: float = 10.0) -> Outcome:
    """The answer of a call or the text of its `MtmlError`; other errors go through.

    Args:
        call: what is tried; in the main thread.
        limit_s: `HangError` after that time; twice that ends the process with a traceback of all
            threads, should the call not come back to Python at all.
    """
    with time_limit(limit_s):
        try:
            return Outcome(call(), "")
        except MtmlError as error:
            text = str(error)
    assert text.strip(), "an error without words"
    assert len(text) <= _MOST_TEXT, f"an error of {len(text)} characters: {text[:200]}"
    return Outcome(None, text)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `HangError` in what runs inside for too long."""

    def ring(number: int, frame: object) -> None:
        raise HangError(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    faulthandler.dump_traceback_later(2 * seconds + 5, exit=True)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def damaged_bytes(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Bytes changed, cut, moved, doubled or replaced.

    Returns:
        What was done, for the message of a failing test, and the new content.
    """
    size = len(content)
    kinds = ["empty", "garbage"]
    if size:
        kinds += ["flip"] * 4 + ["byte"] * 3
        kinds += ["cut", "cut", "grow", "zeros", "swap", "repeat", "drop", "fill"]
    kind = draw.choice(kinds)
    changed = bytearray(content)
    at = draw.randrange(size) if size else 0
    length = min(draw.choice((1, 2, 4, 8, 64, 512, 4096)), size - at) if size else 0
    if kind == "empty":
        changed = bytearray()
    elif kind == "garbage":
        changed = bytearray(draw.randbytes(draw.choice((1, 16, 100, 5000))))
    elif kind == "flip":
        for _ in range(draw.choice((1, 1, 1, 3, 20))):
            changed[draw.randrange(size)] ^= 1 << draw.randrange(8)
    elif kind == "byte":
        changed[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x22, 0x5B))
    elif kind == "cut":
        del changed[at:]
    elif kind == "grow":
        changed += draw.randbytes(length) if draw.random() < 0.5 else bytes(length)
    elif kind == "zeros":
        changed[at : at + length] = bytes(length)
    elif kind == "fill":
        changed[at : at + length] = b"\xff" * length
    elif kind == "swap":  # two pages, or two pieces of a small file
        page = 4096 if size >= 8192 else max(1, size // 4)
        pages = size // page
        one, other = draw.randrange(pages), draw.randrange(pages)
        left, right = slice(one * page, (one + 1) * page), slice(other * page, (other + 1) * page)
        changed[left], changed[right] = changed[right], changed[left]
    elif kind == "repeat":
        changed[at:at] = changed[at : at + length]
    else:
        del changed[at : at + length]
    return f"bytes {kind} at {at} of {size}", bytes(changed)


def damaged_json(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """A JSON text with one wrong value, key or piece of syntax.

    Args:
        content: JSON, its outermost value an object.
        draw: the generator.

    Returns:
        What was done, and the new text.
    """
    kind = draw.choice(
        ("value", "value", "value", "value", "drop", "add", "rename", "number", "twice", "deep",
         "deep", "mark", "encoding", "scalar", "bytes")
    )  # fmt: skip
    if kind == "bytes":
        return damaged_bytes(content, draw)
    values = json.loads(content)
    places = list(_places(values))
    place = draw.choice(places)
    name = ".".join(map(str, place))
    holder = values
    for key in place[:-1]:
        holder = holder[key]
    if kind == "value":
        holder[place[-1]] = copy.deepcopy(draw.choice(HOSTILE))
        name += f" = {holder[place[-1]]!r}"[:80]
    elif kind == "drop":
        del holder[place[-1]]
    elif kind == "add":
        target = holder if isinstance(holder, dict) else values
        target[draw.choice(("surprise", "", "__class__", "x" * 5000))] = draw.choice(HOSTILE)
    elif kind == "rename":
        if isinstance(holder, dict):
            holder[f"{place[-1]} "] = holder.pop(place[-1])
    elif kind in ("number", "deep", "twice"):
        mark = "@here@"
        value = holder[place[-1]]
        holder[place[-1]] = mark
        text = json.dumps(values).encode()
        if kind == "number":
            raw = draw.choice(RAW_NUMBERS)
        elif kind == "deep":
            opening = draw.choice((b"[", b'{"a":', b'[{"a":'))
            closing = bytes({91: 93, 123: 125}[b] for b in reversed(opening) if b in b"[{")
            raw = opening * DEEP + (b"1" + closing * DEEP if draw.random() < 0.5 else b"")
        else:
            key = json.dumps(str(place[-1])).encode()
            raw = json.dumps(value).encode() + b", " + key + b": " + json.dumps(value).encode()
        return f"json {kind} {name}", text.replace(json.dumps(mark).encode(), raw)
    elif kind == "scalar":
        values = draw.choice(HOSTILE)
    text = json.dumps(values).encode()
    if kind == "mark":
        text = b"\xef\xbb\xbf" + text
    elif kind == "encoding":
        text = text.decode().encode(draw.choice(("utf-16", "utf-32-le"))) + draw.choice(
            (b"", b"\xff")
        )
    return f"json {kind} {name}", text


def replace_entry(path: Path, kind: Entry) -> None:
    """Put something that is no such file in place of a file or folder; its folder must exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
        (path / "inside").write_bytes(b"x")
    elif kind == "socket":
        here = os.open(".", os.O_RDONLY)
        try:
            os.chdir(path.parent)  # the name of a socket has 107 bytes at most
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path.name)
        finally:
            os.fchdir(here)
            os.close(here)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "empty":
        path.touch()


def _places(value: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every value inside a JSON value."""
    if place:
        yield place
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, (*place, index))
