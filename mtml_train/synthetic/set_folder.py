"""What belongs to the folder of a synthetic set, so that a set is replaced and nothing else.

A synthetic set has the layout of VeRi-776, as real data have. The record of its settings tells them
apart, and gives the names of all its images.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal

from mtml_deploy.output_kind import FolderKind
from mtml_deploy.record_file import Record, parse_json, record_json
from mtml_deploy.regular_file import RECORD_BYTES, read_regular
from mtml_train.synthetic.shot_plan import plan_shots
from mtml_train.synthetic.spec import SyntheticSpec

RECORD: Final = "synthetic.json"
"""File of the settings."""

IMAGES: Final = ("image_train", "image_query", "image_test")
"""Folders of the images."""

LISTS: Final = (
    "name_train.txt", "name_query.txt", "name_test.txt", "train_label.xml", "test_label.xml",
    "keypoint_train.txt", "keypoint_test.txt", "gt_image.txt", "jk_image.txt",
)  # fmt: skip
"""Files of the lists and labels."""


class _Settings(Record, frozen=True, kw_only=True):
    """The record: the fields of `SyntheticSpec`."""

    schema: Literal[1] = 1
    train_vehicles: int
    test_vehicles: int
    images_per_vehicle: int
    cameras: int
    image_size: int
    twins: int
    queries_per_vehicle: int
    seed: int


def record_text(spec: SyntheticSpec) -> str:
    """The record of a set, JSON."""
    return record_json(_Settings(**asdict(spec)), indent=1) + "\n"


def _read(folder: Path) -> SyntheticSpec:
    """The settings in a folder's record; OSError or ValueError where there is none."""
    try:
        found = parse_json(read_regular(folder / RECORD, most_bytes=RECORD_BYTES), _Settings)
    except FileNotFoundError:
        raise ValueError(f"it lacks {RECORD}") from None
    except ValueError as error:
        raise ValueError(f"its {RECORD} is not valid: {error}") from error
    values = {name: getattr(found, name) for name in SyntheticSpec.__dataclass_fields__}
    return SyntheticSpec(**values)


def _foreign(folder: Path) -> list[str]:
    """What is in a set's folder and not of the set."""
    spec = _read(folder)
    own = {RECORD, *LISTS, *IMAGES}
    for vehicle in range(spec.vehicles):
        trained = vehicle < spec.train_vehicles
        for shot in plan_shots(spec, vehicle):
            own.add(f"{'image_train' if trained else 'image_test'}/{shot.name}")
            if shot.query:
                own.add(f"image_query/{shot.name}")
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return sorted(
        name
        for name, path in found.items()
        if name not in own or path.is_symlink() or path.is_dir() != (name in IMAGES)
    )


SYNTHETIC: Final = FolderKind("a synthetic set", _read, _foreign)
