"""Times as a user writes them."""

import pytest

from mtml_deploy.data.clock import format_time
from mtml_deploy.gallery.times import load_times, parse_time
from mtml_deploy.gallery.values import GalleryError

MAY_1_10H = 1_714_557_600  # 2024-05-01 10:00 UTC: 19844 days of 86400 s, and 36000 s


def test_seconds_of_the_day_used_below():
    days = 54 * 365 + 13 + 31 + 29 + 31 + 30  # 1970..2023 with 13 leap days, then January to April
    assert days * 86400 + 10 * 3600 == MAY_1_10H


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("-1.5", -1_500_000),
        ("1714557600", MAY_1_10H * 10**6),
        (" 1714557600.000001 ", MAY_1_10H * 10**6 + 1),
        ("2024-05-01T10:00:00Z", MAY_1_10H * 10**6),
        ("2024-05-01T12:00:00+02:00", MAY_1_10H * 10**6),
        ("2024-05-01 10:00", MAY_1_10H * 10**6),
        ("2024-05-01T10:00:00.25", MAY_1_10H * 10**6 + 250_000),
        ("2024-05-01", (MAY_1_10H - 36000) * 10**6),
        ("1969-12-31T23:59:59", -1_000_000),
    ],
)
def test_both_ways_to_write_a_time(text, micros):
    assert parse_time(text) == micros
    assert parse_time(format_time(micros)) == micros


@pytest.mark.parametrize(
    "text", ["", "noon", "12:00", "nan", "inf", "1e9", "2024-13-01", "9" * 12, "1.1234567", "٣"]
)
def test_texts_that_are_no_time(text):
    with pytest.raises(GalleryError, match="is not a time, expected ISO 8601"):
        parse_time(text)


def test_a_table_of_times(tmp_path):
    table = tmp_path / "times.csv"
    table.write_bytes(b"\xef\xbb\xbfcamera,path,time\n1,a/1.png,10\n1,2.png,\n2,3.png,1970-01-01\n")
    assert load_times(table) == {"a/1.png": 10_000_000, "3.png": 0}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"name,time\nx,1\n", "lacks the column path"),
        (b"", "lacks the column path"),
        (b"path,time\nx,1\nx,2\n", "line 3: 'x' was named before"),
        (b"path,time\nx,soon\n", "line 2: 'soon' is not a time"),
        (b"path,time\nx\n", "line 2: expected a path and a time"),
        (b"path,time\n\xff,1\n", "cannot be read"),
        (b'path,time\n"x,1\n', "is not CSV"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, text):
    table = tmp_path / "times.csv"
    table.write_bytes(content)
    with pytest.raises(GalleryError, match=text):
        load_times(table)
    with pytest.raises(GalleryError, match="cannot be read"):
        load_times(tmp_path / "none.csv")
