"""Points in time as a user writes them.

In: ISO 8601 texts or seconds since 1970. Out: microseconds since 1970 UTC.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from mtml_deploy.data.clock import read_time
from mtml_deploy.gallery.values import GalleryError
from mtml_deploy.regular_file import read_regular


def parse_time(text: str) -> int:
    """As `read_time`, whose ValueError becomes a `GalleryError`."""
    try:
        return read_time(text)
    except ValueError as error:
        raise GalleryError(str(error)) from error


def load_times(path: Path) -> Mapping[str, int]:
    """Times of images from a CSV file.

    Args:
        path: UTF-8 CSV whose header names the columns `path` and `time`; others are passed over.

    Returns:
        Path as it is written -> microseconds since 1970 UTC; rows with an empty time are left out.

    Raises:
        GalleryError: no such file, not such a table, a path named twice, or a text that is no
            time; the line is named.
    """
    try:
        text = read_regular(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise GalleryError(
            f"{path} cannot be read ({error}), expected a CSV file with the header path,time"
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    times: dict[str, int] = {}
    try:
        missing = {"path", "time"} - set(reader.fieldnames or ())
        if missing:
            raise GalleryError(
                f"{path} lacks the column {min(missing)}, expected the header path,time; "
                "correct its first line"
            )
        for row in reader:
            name, time = row["path"], row["time"]
            where = f"{path} line {reader.line_num}"
            if not name or time is None:
                raise GalleryError(f"{where}: expected a path and a time; correct it")
            if name in times:
                raise GalleryError(f"{where}: {name!r} was named before; keep one of the lines")
            if time.strip():
                try:
                    times[name] = parse_time(time)
                except GalleryError as error:
                    raise GalleryError(f"{where}: {error}") from error
    except csv.Error as error:
        raise GalleryError(
            f"{path} line {reader.line_num} is not CSV ({error}); save the table as CSV"
        ) from error
    return times
