"""Damage done to a file with a record: its reader refuses it in the project's words."""

import copy
import json
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtml_deploy.errors import MtmlError

WRONG = [[0]]
"""A value that no field of any record has."""

_VALUES = st.sampled_from(
    [None, True, -1, 0, 1.5, 2**70, 1e300, "", "x", "\x00é", [], ["x"], WRONG, {}, {"x": 1}]
)


def check_json_reader(
    path: Path,
    read: Callable[[], object],
    error: type[MtmlError],
    *,
    optional: frozenset[str] = frozenset(),
    named: str = "",
) -> None:
    """Every damage of a JSON record is refused with `error`, or does no harm.

    Args:
        path: the whole file; it is written again at the end.
        read: reads it.
        error: what it raises.
        optional: fields that a record may lack.
        named: what the error calls the file; its path if empty.
    """
    whole = path.read_bytes()
    named = named or path.name
    values = json.loads(whole)
    read()
    broken = [b"", b"{", b"[]", b"null", b"3", b'"x"', b"\xff\xfe", b"\xef\xbb\xbf{}"]
    broken += [b'{"schema": NaN}', b"[" * 100_000, b'{"a":' * 100_000]
    broken += [whole.rstrip()[:-1], whole[: len(whole) // 2], whole.rstrip() + b"x"]
    broken += [whole.replace(b'"', b'"\xff', 1), whole.replace(b":", b": NaN,", 1)]
    for content in broken:
        assert _refused(path, content, read, error, named)
    for key in values:
        text = _refused(path, _dumped(values | {key: WRONG}), read, error, named)
        assert key in text and "[0]" in text, text
        if key not in optional:
            less = {name: value for name, value in values.items() if name != key}
            assert key in _refused(path, _dumped(less), read, error, named)
    for place in _objects(values):
        if place != ():
            changed = copy.deepcopy(values)
            _at(changed, place)["surprise"] = 1
            path.write_bytes(_dumped(changed))
            _error_of(read, error, named)  # an object of free values takes it
    text = _refused(path, _dumped(values | {"surprise": 1}), read, error, named)
    assert "surprise" in text, text

    @settings(deadline=None, max_examples=60, derandomize=True, database=None)
    @given(data=st.data())
    def fuzz(data) -> None:
        path.write_bytes(data.draw(st.one_of(_bytes(whole), _changed(values))))
        _error_of(read, error, named)

    try:
        fuzz()
    finally:
        path.write_bytes(whole)


def check_toml_reader(path: Path, read: Callable[[], object], error: type[MtmlError]) -> None:
    """The same for a TOML file."""
    whole = path.read_bytes()
    tomllib.loads(whole.decode())
    read()
    for content in (b"x", b"[", b"\xff\xfe", b"x = " + b"[" * 100_000, b"surprise = 1\n" + whole):
        assert _refused(path, content, read, error, path.name)

    @settings(deadline=None, max_examples=100, derandomize=True, database=None)
    @given(content=_bytes(whole))
    def fuzz(content: bytes) -> None:
        path.write_bytes(content)
        _error_of(read, error, path.name)

    try:
        fuzz()
    finally:
        path.write_bytes(whole)


def _refused(
    path: Path, content: bytes, read: Callable[[], object], error: type[MtmlError], named: str
) -> str:
    """The text of the error that a file's content raises."""
    path.write_bytes(content)
    text = _error_of(read, error, named)
    if not text:
        pytest.fail(f"taken: {content[:300]!r}")
    return text


def _error_of(read: Callable[[], object], error: type[MtmlError], named: str) -> str:
    """What reading says; empty where it reads. Any other error than `error` goes through."""
    try:
        read()
    except error as caught:
        assert named in str(caught)
        return str(caught)
    return ""


def _dumped(values: object) -> bytes:
    return json.dumps(values).encode()


def _objects(value: object, place: tuple = ()) -> Iterator[tuple]:
    """The place of every object inside a JSON value."""
    if isinstance(value, dict):
        yield place
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _objects(item, (*place, key))


def _at(value, place: tuple):
    for key in place:
        value = value[key]
    return value


@st.composite
def _bytes(draw, whole: bytes) -> bytes:
    """The file with a few bytes changed and perhaps its end cut off."""
    damaged = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        damaged[draw(st.integers(0, len(damaged) - 1))] = draw(st.integers(0, 255))
    return bytes(damaged[: draw(st.integers(0, len(damaged)))] if draw(st.booleans()) else damaged)


@st.composite
def _changed(draw, values: dict) -> bytes:
    """The record with one value, somewhere, replaced, dropped or added."""
    changed = copy.deepcopy(values)
    inside = draw(st.sampled_from(list(_objects(changed))))
    target = _at(changed, inside)
    key = draw(st.sampled_from([*target, "surprise"]))
    if draw(st.booleans()):
        target[key] = draw(_VALUES)
    else:
        with suppress(KeyError):
            del target[key]
    return _dumped(changed)
