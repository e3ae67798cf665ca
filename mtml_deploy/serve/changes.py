"""What a client may change of the gallery: which rows, and what is told of them.

In: words of an address, or values in JSON. Out: labels and selections, checked.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec
from pydantic import Field

from mtml_deploy.data.clock import UNKNOWN_TIME
from mtml_deploy.data.ids import known_id
from mtml_deploy.gallery.gallery import Gallery
from mtml_deploy.gallery.values import Filter, NewLabels, Selection
from mtml_deploy.serve.api_error import ApiError
from mtml_deploy.serve.questions import Id, Strict, Time, Where, a_time, an_id

Given = TypeVar("Given", int, str)

MOST_ROWS: Final = 10_000
"""Rows named in one request."""

_LAST: Final = (1 << 63) - 1


class AddQuestion(Strict):
    """What is told of all images of a request."""

    vehicle: Id | None = Field(None, description="Vehicle id, a number or a text.")
    camera: Id | None = Field(None, description="Camera id, a number or a text.")
    tracklet: Id | None = Field(None, description="Tracklet id, a number or a text.")
    orientation: int | None = Field(
        None, ge=0, le=7, description="0 front ... 7 right rear; where it is left out, the model's."
    )
    time: Time | None = Field(
        None, description="When they were taken: ISO 8601 or seconds since 1970."
    )

    def labels(self) -> NewLabels:
        """What is told.

        Raises:
            ApiError: a text that is no id or no time.
        """
        return NewLabels(
            vehicle_id=None if self.vehicle is None else an_id("vehicle", self.vehicle),
            camera_id=None if self.camera is None else an_id("camera", self.camera),
            tracklet_id=None if self.tracklet is None else an_id("tracklet", self.tracklet),
            orientation=self.orientation,
            time_us=a_time("time", self.time),
        )


class RemoveQuestion(Where):
    """Which rows are removed: those that are named, or those that pass a filter."""

    row: list[Annotated[int, Field(ge=1, le=_LAST)]] = Field(
        [], description="Number of a row; may be repeated.", max_length=MOST_ROWS
    )
    vehicle: list[Id] = Field(
        [], description="All rows of this vehicle; may be repeated.", max_length=1000
    )

    def chosen(self, gallery: Gallery) -> Selection:
        """The rows that are meant.

        Raises:
            ApiError: nothing is named, or a text is no id or no time.
        """
        where = self.where()
        named = Selection(
            rows=tuple(self.row),
            vehicles=tuple(an_id("vehicle", text) for text in self.vehicle),
        )
        if (named == Selection()) == (where == Filter()):
            raise ApiError(
                422,
                "expected rows (row, vehicle), or a filter (camera, exclude_camera, since, until, "
                "orientation), and not both; say which rows are to be removed",
            )
        if where == Filter():
            return named
        return Selection(
            rows=tuple(stored.row for stored in gallery.rows() if where.passes(stored.record))
        )


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is told anew of rows; what is left out stays, null makes it unknown."""

    vehicle_id: int | str | msgspec.UnsetType | None = msgspec.UNSET
    camera_id: int | str | msgspec.UnsetType | None = msgspec.UNSET
    tracklet_id: int | str | msgspec.UnsetType | None = msgspec.UNSET
    orientation: int | msgspec.UnsetType | None = msgspec.UNSET
    time: str | msgspec.UnsetType | None = msgspec.UNSET


class Relabelling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows, and what is told of them."""

    rows: Annotated[
        list[Annotated[int, msgspec.Meta(ge=1, le=_LAST)]],
        msgspec.Meta(min_length=1, max_length=MOST_ROWS),
    ]
    labels: Labels

    def told(self) -> NewLabels:
        """The labels.

        Raises:
            ApiError: one outside its range, or none at all.
        """
        labels = self.labels
        orientation = labels.orientation
        if isinstance(orientation, int) and not 0 <= orientation <= 7:
            raise ApiError(422, f"orientation is {orientation}, expected 0..7, or null for unknown")
        new = NewLabels(
            vehicle_id=_id("vehicle_id", labels.vehicle_id),
            camera_id=_id("camera_id", labels.camera_id),
            tracklet_id=_id("tracklet_id", labels.tracklet_id),
            orientation=-1 if orientation is None else _set(orientation),
            time_us=UNKNOWN_TIME if labels.time is None else a_time("time", _set(labels.time)),
        )
        if new == NewLabels():
            raise ApiError(422, "labels is empty, expected at least one label to change")
        return new


def _id(name: str, value: int | str | msgspec.UnsetType | None) -> int | None:
    """An id as it is kept: -1 for null, None where it stays."""
    if value is None:
        return -1
    if isinstance(value, msgspec.UnsetType):
        return None
    if isinstance(value, str):
        return an_id(name, value)
    try:
        return known_id(value)
    except ValueError as error:
        raise ApiError(422, f"{name}: {error}; give a number in it, or a text") from error


def _set(value: Given | msgspec.UnsetType) -> Given | None:
    """A value, or None where it stays."""
    return None if isinstance(value, msgspec.UnsetType) else value
