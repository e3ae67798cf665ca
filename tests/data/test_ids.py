"""Ids that are texts."""

import copy
import hashlib
import pickle

import pytest

from mtml_deploy.data import ids
from mtml_deploy.data.ids import (
    NamedId,
    in_order,
    joined,
    known_id,
    named,
    number_of,
    read_id,
    shown_id,
    texts_of,
)
from mtml_deploy.errors import DataError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("41", 41),
        (" 0041 ", 41),
        ("41.0", 41),
        ("41.", 41),
        ("41,0", 41),
        ("-1", -1),
        ("-1.0", -1),
        ("2147483647", 2**31 - 1),
        ("", -1),
        (" ", -1),
        ("nan", -1),
        ("NaN", -1),
        ("None", -1),
        ("<NA>", -1),
    ],
)
def test_numbers_and_unknown(text: str, number: int) -> None:
    found = read_id(text)
    assert found == number and not isinstance(found, NamedId)


@pytest.mark.parametrize(
    "text",
    ["AB-41 CD", "c001", "2147483648", "99999999999999999999", "1e5", "41.5", "-", "1_0", "٤١",
     "0b1f6c1e-9d5c-4f0e-8d5d-1c2b3a4d5e6f", "京A·12345"],
)  # fmt: skip
def test_all_else_is_a_text(text: str) -> None:
    found = read_id(f" {text} ")
    assert isinstance(found, NamedId) and shown_id(found) == str(found) == f"{found}" == text
    # by hand: the first 8 bytes of the hash, folded into 2^31 .. 2^63 - 1
    start = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    assert found == 2**31 + start % (2**63 - 2**31) == number_of(text)
    for twin in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert twin == found and twin.text == text
    assert known_id(shown_id(found)) == found


def test_large_numbers_are_one_text_however_they_are_written() -> None:
    assert read_id("8589934592") == read_id("08589934592") == read_id("8589934592.0")
    assert shown_id(read_id("08589934592")) == "8589934592"


def test_composed_and_decomposed_letters_are_one_id() -> None:
    assert read_id("M\u00fc-1") == read_id("Mu\u0308-1") and read_id("mü-1") != read_id("MÜ-1")


@pytest.mark.parametrize(("text", "words"), [("-2", "-2 is below -1"), ("x" * 201, "no id"),
                                             ("a\0b", "no id")])  # fmt: skip
def test_what_is_no_id(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_id(text)


def test_what_json_cannot_mean() -> None:
    assert shown_id(7) == known_id(7) == 7
    for number in (-2, 2**31):
        with pytest.raises(ValueError, match=r"outside -1\.\.2147483647"):
            known_id(number)


def test_numbers_before_texts() -> None:
    given = [NamedId("b"), 10, NamedId("a"), 9, 10, NamedId("a")]
    assert [shown_id(id_) for id_ in in_order(given)] == [9, 10, "a", "b"]


def test_texts_are_found_again_by_their_number() -> None:
    plate = NamedId("AB-1")
    texts = texts_of([plate, 5, plate])
    assert texts == {int(plate): "AB-1"}
    assert shown_id(named(int(plate), texts)) == "AB-1" and named(5, texts) == 5
    assert joined([{}, texts, {int(NamedId("x")): "x"}]) == texts | {int(NamedId("x")): "x"}


def test_two_texts_with_one_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "number_of", lambda text: 2**31 + len(text))
    assert texts_of([NamedId("a"), NamedId("a"), NamedId("bb")]) == {
        2**31 + 1: "a", 2**31 + 2: "bb"
    }  # fmt: skip
    with pytest.raises(DataError, match="'a' and 'b' have the same number"):
        texts_of([NamedId("a"), NamedId("b")])
    with pytest.raises(DataError, match="have the same number"):
        joined([texts_of([NamedId("a")]), texts_of([NamedId("b")])])
