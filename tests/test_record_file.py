"""Errors of records on disk name the field, what was found and what was expected."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
import pytest

from mtml_deploy.record_file import (
    Fraction,
    Positive,
    Record,
    SchemaError,
    Sha256,
    parse_json,
    parse_toml,
    record_json,
    require_fields,
)


class Part(Record, frozen=True):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low must not be above high, found {self.low} and {self.high}")


class Whole(Record, frozen=True, kw_only=True):
    schema: Literal[1] = 1
    dim: Positive = 3
    share: Fraction = 0.5
    hash: Sha256 = "0" * 64
    kind: Literal["a", "b"] = "a"
    names: Annotated[tuple[Literal["x", "y"], ...], msgspec.Meta(min_length=1)] = ("x",)
    parts: Mapping[str, Part] = {}
    listed: tuple[Part, ...] = ()
    free: Mapping[str, object] | None = None
    text: Annotated[str, msgspec.Meta(min_length=1)] = "é"


class Table(Record, frozen=True):
    of: Mapping[str, Fraction] = {}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ('"dim": "6"', "dim must be an integer of 1 or more, found '6'"),
        ('"dim": 0', "dim must be an integer of 1 or more, found 0"),
        ('"dim": 6.0', "dim must be an integer of 1 or more, found 6.0"),
        ('"dim": true', "dim must be an integer of 1 or more, found True"),
        ('"share": 1.5', "share must be a number in 0..1, found 1.5"),
        ('"hash": "0"', "hash must be 64 lower-case hexadecimal digits, found '0'"),
        ('"kind": "c"', "kind must be one of a, b, found 'c'"),
        ('"names": []', "names must be a list of 1 or more, each one of x, y, found []"),
        ('"names": ["x", "z"]', "names[1] must be one of x, y, found 'z'"),
        ('"parts": {"p": {"low": 1}}', "parts['p'] lacks high"),
        (
            '"parts": {"o": {"low": 1, "high": 2}, "p.q": {"low": 1, "high": ""}}',
            "parts['p.q'].high must be an integer, found ''",
        ),
        ('"parts": {"p": 3}', "parts['p'] must be an object, found 3"),
        ('"parts": 3', "parts must be an object, each value an object, found 3"),
        (
            '"listed": [{"low": 1, "high": 2, "mid": 3}]',
            "listed[0] has the unknown mid, expected low, high",
        ),
        (
            '"listed": [{"low": 3, "high": 2}]',
            "listed[0]: low must not be above high, found 3 and 2",
        ),
        ('"free": 3', "free must be an object or null, found 3"),
        ('"text": ""', "text must be a string that is not empty, found ''"),
        ('"dim": NaN', "JSON is malformed: invalid character: line 1 column 22"),
        ('\n "dim": x', "JSON is malformed: invalid character: line 2 column 9"),
        ('"text": "\\ud800"', "JSON is malformed"),
        ('"text": "' + "x" * 1000, "JSON is malformed: input data was truncated"),
    ],
)
def test_the_text_names_field_found_and_expected(values, says):
    with pytest.raises(ValueError) as caught:
        parse_json(f'{{"schema": 1, {values}}}', Whole)
    assert says in str(caught.value)
    assert not isinstance(caught.value, SchemaError)


def test_all_missing_and_unknown_fields_are_named():
    with pytest.raises(ValueError, match=r"^it lacks low, high, unknown 'a b', expected low, high"):
        parse_json(b'{"a b": 1}', Part)


def test_another_version_is_said_before_its_fields():
    for found, shown in (("2", "2"), ("true", "True"), ('"1"', "'1'"), ("1.0", "1.0")):
        with pytest.raises(SchemaError, match=f"^schema is {shown}, this version reads 1$"):
            parse_json(f'{{"schema": {found}, "new": 1}}', Whole)
    with pytest.raises(SchemaError, match="schema is None"):
        parse_json("{}", Whole)
    with pytest.raises(ValueError, match=r"expected an object, found \[\]"):
        parse_json("[]", Whole)


def test_bytes_are_utf8_and_shallow():
    with pytest.raises(ValueError, match="position 20"):
        parse_json(b'{"schema":1,"text":"\xff"}', Whole)
    with pytest.raises(ValueError, match="too deeply"):
        parse_json(b"[" * 100_000, Whole)
    with pytest.raises(ValueError, match="too deeply"):
        parse_toml(b"x = " + b"[" * 100_000, Table)


def test_toml_has_tables():
    assert parse_toml(b"of.a = 0.5\nof.b = 1", Table) == Table({"a": 0.5, "b": 1.0})
    for text, says in (
        (b"of.a = 0.5\nof.b = 2", r"of\['b'\] must be a number in 0..1, found 2"),
        (b"of.a = nan", "found nan"),
        (b"of = 3", "of must be a table, each value a number in 0..1, found 3"),
        (b"on = 3", "unknown on, expected of"),
        (b"of.a = 2020-01-01", "found datetime.date"),
        (b"of = ", "end of document"),
    ):
        with pytest.raises(ValueError, match=says):
            parse_toml(text, Table)


def test_what_a_program_makes_is_checked_when_asked():
    require_fields(Whole())
    with pytest.raises(ValueError, match="dim must be an integer of 1 or more, found 0"):
        require_fields(Whole(dim=0))
    with pytest.raises(ValueError, match="free must be an object or null, found 3"):
        require_fields(msgspec.structs.replace(Whole(), free=3))


def test_json_is_that_of_the_standard_library():
    written = record_json(Part(1, 2), indent=1)
    assert written == '{\n "low": 1,\n "high": 2\n}'
    assert record_json(Table({"é": 1e-05})) == '{"of": {"\\u00e9": 1e-05}}'
    with pytest.raises(ValueError):
        record_json(Table({"a": float("nan")}))
    assert parse_json(record_json(Whole(free={"a": [1, None, {"b": 2.5}]})), Whole).free == {
        "a": [1, None, {"b": 2.5}]
    }
