"""Rows that stand for images or tracklets, with what is known of each.

In: float32 features, labels and names. Out: one checked value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.clock import FIRST_US, LAST_US, UNKNOWN_TIME
from mtml_deploy.data.ids import named, require_texts
from mtml_deploy.data.records import ORIENTATIONS, UNKNOWN
from mtml_deploy.data.text_files import LARGEST_ID

Ids: TypeAlias = NDArray[np.int32] | NDArray[np.int64]
"""Ids of rows: int32, or int64 where a text stands behind one of them."""

LABELS: Final = ("vehicle_ids", "camera_ids", "orientations", "tracklet_ids")
"""The labels of a row, each an array."""

IDS: Final = ("vehicle_ids", "camera_ids", "tracklet_ids")
"""The labels that may be texts."""

Unit = Literal["image", "tracklet"]
"""What one row stands for."""


class Labels(Protocol):
    """What is known of one image: an `ImageRecord`, or a row of a gallery."""

    @property
    def vehicle_id(self) -> int:
        """-1 unknown."""
        ...

    @property
    def camera_id(self) -> int:
        """-1 unknown."""
        ...

    @property
    def orientation(self) -> int:
        """0..7, -1 unknown."""
        ...

    @property
    def tracklet_id(self) -> int:
        """-1 unknown."""
        ...

    @property
    def time_us(self) -> int | None:
        """Microseconds since 1970 UTC, None unknown."""
        ...


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """Features of N images, or of N tracklets, row-aligned with their labels.

    Attributes:
        features: float32 [N, D], finite, C-contiguous, as the model gave them (not normalised).
        vehicle_ids: int32 [N], -1 unknown; int64 [N] where some ids are texts, see `id_texts`.
        camera_ids: likewise.
        orientations: int32 [N], 0..7, -1 unknown.
        tracklet_ids: as `vehicle_ids`.
        names: [N] paths relative to `root`, with forward slashes; a tracklet has that of its first
            image.
        root: folder the images were read from; used only to show them again.
        source: what the user asked to embed, for example "veri:DIR#gallery".
        pixels: int32 [N], 1 or more, width times height of each image before resizing; None where
            nobody counted them, and for tracklets.
        times_us: int64 [N], when each image was taken, microseconds since 1970 UTC, `UNKNOWN_TIME`
            where that is not known; None where no time is known, and for tracklets.
        unit: what one row stands for, "image" or "tracklet".
        id_texts: number -> text of the ids that are texts; numbers of equal texts are equal in all
            sets, so ids are compared as numbers.
    """

    features: NDArray[np.float32]
    vehicle_ids: Ids
    camera_ids: Ids
    orientations: NDArray[np.int32]
    tracklet_ids: Ids
    names: tuple[str, ...]
    root: str
    source: str
    pixels: NDArray[np.int32] | None = None
    times_us: NDArray[np.int64] | None = None
    unit: Unit = "image"
    id_texts: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together.

        Raises:
            ValueError: wrong dtype, shape, length or unit, a label outside its values, a feature
                that is not finite, or a count of pixels below 1.
        """
        rows = len(self.features)
        for name in (*LABELS, *(("pixels",) if self.pixels is not None else ())):
            labels = getattr(self, name)
            wide = name in IDS and labels.dtype == np.int64 and bool(self.id_texts)
            if labels.shape != (rows,) or (labels.dtype != np.int32 and not wide):
                raise ValueError(f"{name} must be int32 [{rows}], found {labels.dtype} "
                                 f"{list(labels.shape)}")  # fmt: skip
            if wide:
                require_texts(set(labels.tolist()), self.id_texts)
            if (labels < UNKNOWN).any():
                raise ValueError(f"{name} are {UNKNOWN} or more, found {labels.min()}")
        if (self.orientations >= len(ORIENTATIONS)).any():
            raise ValueError(f"orientations are below {len(ORIENTATIONS)}, found "
                             f"{self.orientations.max()}")  # fmt: skip
        times = self.times_us
        if times is not None and (times.shape != (rows,) or times.dtype != np.int64):
            raise ValueError(f"times_us must be int64 [{rows}], found {times.dtype} "
                             f"{list(times.shape)}")  # fmt: skip
        if times is not None:
            known = times[times != UNKNOWN_TIME]
            if ((known < FIRST_US) | (known > LAST_US)).any():
                raise ValueError("a time is outside the years 1 to 9999")
        if len(self.names) != rows:
            raise ValueError(f"{rows} features but {len(self.names)} names")
        if self.unit not in get_args(Unit):
            raise ValueError(f"unit is {' or '.join(get_args(Unit))}, found {self.unit!r}")
        if self.pixels is not None and (self.pixels < 1).any():
            raise ValueError(f"pixels are 1 or more, found {self.pixels.min()}")
        finite = np.isfinite(self.features).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(f"row {row} ({self.names[row]}) holds a value that is not finite")

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.names)

    def named(self, number: int) -> int:
        """An id of these rows with its text, if it has one."""
        return named(int(number), self.id_texts)


def id_array(ids: Iterable[int]) -> Ids:
    """Ids of rows as an array: int32 where all of them are numbers below 2^31, else int64."""
    values = np.array(list(ids), dtype=np.int64)
    if not len(values) or int(values.max()) <= LARGEST_ID:
        return values.astype(np.int32)
    return values


def time_array(times_us: Sequence[int | None]) -> NDArray[np.int64] | None:
    """Times of rows as an array int64 [N]; None where none of them is known."""
    if all(time is None for time in times_us):
        return None
    return np.array([UNKNOWN_TIME if time is None else time for time in times_us], dtype=np.int64)
