"""A split of labelled images on disk: train.csv, query.csv, gallery.csv and their record."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mtml_deploy.data.csv_table import load_table, table_text
from mtml_deploy.data.holdout import LocalSplit, counts_of
from mtml_deploy.data.ids import in_order, shown_id
from mtml_deploy.files import write_text
from mtml_deploy.lock import one_writer
from mtml_deploy.output_kind import FileKind, json_kind
from mtml_deploy.outputs import require_outputs
from mtml_deploy.record_file import parse_plain
from mtml_deploy.regular_file import RECORD_BYTES, read_regular

SCHEMA: Final = 1
"""Version of the layout of split.json."""

_RECORD: Final = "split.json"
_LISTS: Final = ("train", "query", "gallery")


def require_split_writable(folder: Path, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse a folder in which a split must not be written.

    A list is replaced only where split.json beside it tells of as many images, vehicles and
    cameras: one that somebody else wrote, or changed, is left alone.

    Args:
        folder: where the files will be.
        overwrite: replace an earlier split.
        inputs: what the split is made from.

    Raises:
        OutputExistsError: one of the files exists and `overwrite` is false, it is none of a split,
            or it is an input.
    """
    lists = [(folder / f"{name}.csv", _LIST) for name in _LISTS]
    require_outputs([*lists, (folder / _RECORD, _JSON)], overwrite=overwrite, inputs=inputs)


def write_split(folder: Path, split: LocalSplit, *, overwrite: bool = False) -> None:
    """Write train.csv, query.csv and gallery.csv, which `csv:FILE` reads, and then split.json.

    Args:
        folder: where; made if absent.
        split: the lists.
        overwrite: replace an earlier split.

    Raises:
        OutputExistsError: see `require_split_writable`; none is written.
        OutputBusyError: another process is writing a split there.
    """
    require_split_writable(folder, overwrite=overwrite)
    files = {folder / f"{name}.csv": table_text(part) for name, part in split.parts().items()}
    record = {
        "schema": SCHEMA,
        "source": split.source,
        "seed": split.seed,
        "test_share": split.test_share,
        **{name: counts_of(part) for name, part in split.parts().items()},
        "images_of_unknown_vehicle": split.unknown,
        "test_vehicles": [
            shown_id(vehicle) for vehicle in in_order(r.vehicle_id for r in split.gallery)
        ],
    }
    files[folder / _RECORD] = json.dumps(record, indent=1, allow_nan=False) + "\n"
    with one_writer(folder / _RECORD):  # the files are of one division
        for path, text in files.items():
            write_text(path, text)


def _is_list(path: Path) -> bool:
    """Whether a table is what the record beside it says."""
    record = path.with_name(_RECORD)
    if not _JSON.known(record):
        return False
    found = parse_plain(read_regular(record, most_bytes=RECORD_BYTES))
    counts = counts_of(load_table(path).records)
    return isinstance(found, dict) and found[path.stem] == counts


_JSON: Final = json_kind("the record of a split", "schema", "test_share", "test_vehicles", *_LISTS)
_LIST: Final = FileKind(f"the list that {_RECORD} beside it tells of", _is_list)
