"""Records on disk, JSON or TOML: read into the struct that declares them, or refused in words.

In: what a file holds and a `Record`. Out: the record, or a ValueError that names the field, what
was found and what was expected; the caller adds the file and what to do.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import inspect

Table = Literal["an object", "a table"]
"""What a struct is called in the file's own language: JSON or TOML."""

Sha256 = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z", description="64 lower-case hexadecimal digits")
]
MOST: Final = 2**63 - 1
"""Of every number that counts: what arrays, libraries and other programs hold."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]

_MOST_SHOWN: Final = 200
"""Characters of a found value that an error shows."""


class SchemaError(ValueError):
    """The record says that it is of another version."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what is declared once and kept in a file; an unknown field is an error."""


R = TypeVar("R", bound=msgspec.Struct)


def parse_json(content: bytes | str, kind: type[R]) -> R:
    """The record in a JSON text.

    Args:
        content: UTF-8.
        kind: what is expected; a `schema` among its fields is compared before all others.

    Returns:
        The record, every field of its declared type and within its bounds.

    Raises:
        SchemaError: it says that it is of another version.
        ValueError: not JSON, or a field is missing, unknown or wrong; the text says which.
    """
    return _checked(parse_plain(content), kind, table="an object")


def parse_plain(content: bytes | str) -> object:
    """Any JSON value, as strictly as JSON is defined: no NaN, no lone surrogate.

    Raises:
        ValueError: not JSON; the text says where.
    """
    text = content if isinstance(content, str) else content.decode("utf-8")
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    except msgspec.DecodeError as error:
        raise ValueError(_place(str(error), text)) from error


def parse_toml(content: bytes, kind: type[R]) -> R:
    """The record in a TOML text; arguments and errors as of `parse_json`."""
    return _checked(parse_table(content.decode("utf-8")), kind, table="a table")


def parse_table(text: str) -> dict[str, object]:
    """Any TOML text.

    Raises:
        ValueError: not TOML; the text says where.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def require_fields(record: msgspec.Struct) -> None:
    """Refuse a record that a program made, where a file with its values would be refused.

    Args:
        record: fresh from its constructor, which checks nothing.

    Raises:
        ValueError: a field of the wrong type or outside its bounds; the text names it.
    """
    for name, kind, info in _fields(type(record)):
        value = getattr(record, name)
        try:
            msgspec.convert(value, kind)
        except (msgspec.ValidationError, RecursionError) as error:
            raise ValueError(_wrong(name, value, info, "an object", str(error))) from error


def record_json(record: object, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """JSON of a record or of a dictionary of such, without a newline at its end.

    Python's writer, not msgspec's: files that exist have its escapes and its numbers.

    Args:
        record: what to write, fields in the declared order.
        indent: spaces of indentation; None puts everything on one line.
        sort_keys: write fields by name.

    Returns:
        ASCII text.

    Raises:
        ValueError: it holds a NaN or an infinity.
    """
    values = msgspec.to_builtins(record)
    return json.dumps(values, indent=indent, sort_keys=sort_keys, allow_nan=False)


def _checked(values: object, kind: type[R], *, table: Table) -> R:
    """`values`, fresh from a file, as a record; they are changed where this raises."""
    info = inspect.type_info(kind)
    if isinstance(info, inspect.StructType):
        _require_schema(values, info, table)
    try:
        return msgspec.convert(values, kind)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    except msgspec.ValidationError as error:
        raise ValueError(_refusal(error, values, kind, table)) from error


def _require_schema(values: object, info: inspect.StructType, table: Table) -> None:
    """Compare the version first: another one may have other fields."""
    if not isinstance(values, dict):
        raise ValueError(f"expected {table}, found {shown(values)}")
    for field in info.fields:
        if field.name == "schema" and isinstance(field.type, inspect.LiteralType):
            found, expected = values.get("schema"), field.type.values[0]
            if found != expected or type(found) is not type(expected):
                raise SchemaError(f"schema is {shown(found)}, this version reads {expected}")


def _refusal(
    error: msgspec.ValidationError, values: object, kind: type[msgspec.Struct], table: Table
) -> str:
    """What is wrong in words: msgspec names the place and the type, this adds the value."""
    what, _, path = str(error).partition(" - at `$")
    info: inspect.Type = inspect.type_info(kind)
    value, name = values, ""
    for key, index in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", path):
        info = _inner(info)
        if key and isinstance(info, inspect.StructType) and isinstance(value, Mapping):
            info = next(field.type for field in info.fields if field.encode_name == key)
            value, name = value[key], f"{name}.{key}"
        elif index == "..." and isinstance(info, inspect.DictType) and isinstance(value, dict):
            info = info.value_type
            inner = _culprit(value, values, kind)
            value, name = value[inner], f"{name}[{inner!r}]"
        elif isinstance(info, inspect.VarTupleType | inspect.ListType) and isinstance(value, list):
            info, value, name = info.item_type, value[int(index)], f"{name}[{index}]"
        else:  # a kind of value that no record has
            return str(error)
    return _wrong(name.lstrip("."), value, info, table, what)


def _culprit(entries: dict[str, object], values: object, kind: type[msgspec.Struct]) -> str:
    """The first key of `entries`, which lie in `values`, that is refused even alone."""
    whole = dict(entries)
    for key, entry in whole.items():
        entries.clear()
        entries[key] = entry
        try:
            msgspec.convert(values, kind)
        except msgspec.ValidationError:
            return key
        finally:
            entries.update(whole)
    return next(iter(whole))


def _wrong(name: str, value: object, info: inspect.Type, table: Table, what: str) -> str:
    """One sentence on a value that msgspec refused because of `what`."""
    inner = _inner(info)
    if isinstance(inner, inspect.StructType) and isinstance(value, Mapping):
        known = {field.encode_name: field.required for field in inner.fields}
        missing = [key for key, required in known.items() if required and key not in value]
        unknown = [key for key in value if key not in known]
        subject = name or "it"
        parts = [f"{subject} lacks {', '.join(missing)}"] if missing else []
        if unknown:
            where = f"{name} has the " if name and not missing else ""
            parts.append(f"{where}unknown {', '.join(map(_key, unknown))}")
        if parts:
            expected = f", expected {', '.join(known)}" if unknown else ""
            return f"{', '.join(parts)}{expected}"
        return f"{name}: {what}" if name else what  # a record's own check
    return f"{name} must be {_words(info, table)}, found {shown(value)}"


def _inner(info: inspect.Type) -> inspect.Type:
    """A type without its description, and without null where it is optional."""
    while isinstance(info, inspect.Metadata | inspect.UnionType):
        if isinstance(info, inspect.Metadata):
            info = info.type
        else:
            others = [each for each in info.types if not isinstance(each, inspect.NoneType)]
            if len(others) != 1:
                break
            info = others[0]
    return info


def _words(info: inspect.Type, table: Table) -> str:
    """What values a type has."""
    match info:
        case inspect.Metadata(extra_json_schema={"description": str(text)}):
            return text
        case inspect.Metadata(type=inner):
            return _words(inner, table)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"an integer{_bounds(info)}"
        case inspect.FloatType():
            return f"a number{_bounds(info)}"
        case inspect.StrType(min_length=least):
            return "a string that is not empty" if least else "a string"
        case inspect.LiteralType(values=values):
            known = ", ".join(map(str, values))
            return f"one of {known}" if len(values) > 1 else f"{values[0]!r}"
        case (
            inspect.ListType(item_type=item, min_length=least)
            | inspect.VarTupleType(item_type=item, min_length=least)
        ):
            some = f" of {least} or more" if least else ""
            return f"a list{some}, each {_words(item, table)}"
        case inspect.DictType(value_type=inspect.CustomType() | inspect.AnyType()):
            return table
        case inspect.DictType(value_type=item):
            return f"{table}, each value {_words(item, table)}"
        case inspect.StructType():
            return table
        case inspect.NoneType():
            return "null"
        case inspect.UnionType(types=types):
            return " or ".join(_words(each, table) for each in types)
    return "a value of another type"


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    """The bounds of a number, with a space before them."""
    if info.ge is not None and info.le is not None and info.le != MOST:
        return f" in {info.ge:g}..{info.le:g}"
    if info.ge is not None:
        return f" of {info.ge:g} or more"
    return f" above {info.gt:g}" if info.gt is not None else ""


def shown(value: object) -> str:
    """A found value as an error shows it: cut off where it is long."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
    except ValueError:  # an integer of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _key(key: object) -> str:
    """An unknown field's name: as it is, in quotes where it is no plain word."""
    text = str(key)
    return text if text.isidentifier() and len(text) <= _MOST_SHOWN else shown(text)


def _place(what: str, text: str) -> str:
    """Msgspec's words on broken JSON, with line and column in place of a byte's number."""
    found = re.search(r" \(byte (\d+)\)$", what)
    if found is None:
        return f"JSON is malformed: {what[:1].lower()}{what[1:]}"
    before = text.encode("utf-8", "surrogatepass")[: int(found[1])].decode("utf-8", "ignore")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"{what[: found.start()]}: line {line} column {column}"


@lru_cache(maxsize=64)
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, Any, inspect.Type], ...]:
    """Name, type and description of every field of a struct."""
    info = inspect.type_info(kind)
    if not isinstance(info, inspect.StructType):
        raise ValueError(f"{kind.__name__} is not a struct")
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return tuple((field.name, types[field.name], field.type) for field in info.fields)
