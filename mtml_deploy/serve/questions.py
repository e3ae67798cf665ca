"""What a client may say behind the ? of an address; unknown words are refused.

In: texts. Out: boxes, filters and the ways of a search, checked.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mtml_deploy.data.clock import read_time
from mtml_deploy.data.ids import UNKNOWN, read_id
from mtml_deploy.defaults import RERANK_K1, RERANK_K2, RERANK_LAMBDA, SHORTLIST, TOP_K
from mtml_deploy.gallery.values import Filter
from mtml_deploy.search.rerank import RerankOptions
from mtml_deploy.serve.answers import VectorFormat
from mtml_deploy.serve.api_error import ApiError
from mtml_deploy.serve.decoding import Box

MOST_PLACES = 1000
"""Places of a list, and rows that are re-ranked: each place is a record to read."""

_NUMBER = r"-?\d{1,7}(\.\d{1,6})?"
Id = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Time = Annotated[str, Field(min_length=1, max_length=64)]
_BoxText = Annotated[str, Field(pattern=rf"^{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}$")]


class Strict(BaseModel):
    """Words of an address; others are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Crops(Strict):
    """Which parts of the image are meant."""

    box: list[_BoxText] = Field(
        [],
        description="A region of the one image in its place: x1,y1,x2,y2 in pixels; may be "
        "repeated.",
        examples=[["10,20,210,180"]],
        max_length=1000,
    )

    def boxes(self) -> list[Box]:
        """The regions as numbers."""
        found: list[Box] = []
        for text in self.box:
            x1, y1, x2, y2 = map(float, text.split(","))
            found.append((x1, y1, x2, y2))
        return found


class EmbedQuestion(Crops):
    """How embeddings are given."""

    format: VectorFormat = Field(
        "base64", description="How JSON holds vectors: base64 of little-endian float32, or numbers."
    )
    as_one: bool = Field(False, description="All images show one vehicle: give their mean.")


class Where(Strict):
    """Which rows are meant; all that is given must hold."""

    camera: list[Id] = Field([], description="Only this camera; may be repeated.", max_length=1000)
    exclude_camera: list[Id] = Field(
        [], description="Not this camera; may be repeated.", max_length=1000
    )
    since: Time | None = Field(
        None,
        description="Not before this time: ISO 8601 (UTC without an offset) or seconds since 1970.",
        examples=["2024-05-01T08:00"],
    )
    until: Time | None = Field(None, description="Before this time.")
    orientation: list[Annotated[int, Field(ge=0, le=7)]] = Field(
        [],
        description="Only this: 0 front, 1 rear, 2 left, 3 left front, 4 left rear, 5 right, "
        "6 right front, 7 right rear; may be repeated.",
        max_length=8,
    )

    def where(self) -> Filter:
        """Which rows are looked at.

        Raises:
            ApiError: a text that is no id or no time.
        """
        return Filter(
            cameras=tuple(an_id("camera", text) for text in self.camera),
            not_cameras=tuple(an_id("exclude_camera", text) for text in self.exclude_camera),
            since_us=a_time("since", self.since),
            until_us=a_time("until", self.until),
            orientations=tuple(self.orientation),
        )


class SearchQuestion(Where, Crops):
    """What is looked for, where, and how."""

    as_one: bool = Field(False, description="All images show one vehicle: look for their mean.")
    top_k: int = Field(TOP_K, ge=1, le=MOST_PLACES, description="Places of each list.")
    max_distance: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Leave out rows that are farther away; the default is the model's record, "
        "where it has one.",
    )
    rerank: bool = Field(False, description="Re-rank the nearest rows by k-reciprocal encoding.")
    shortlist: int = Field(
        SHORTLIST, ge=1, le=MOST_PLACES, description="Nearest rows that are re-ranked."
    )
    k1: int = Field(RERANK_K1, ge=1, le=1000, description="Neighbours that must be mutual.")
    k2: int = Field(RERANK_K2, ge=1, le=1000, description="Neighbours that are averaged.")
    weight: float = Field(
        RERANK_LAMBDA, ge=0, le=1, description="Share of the L2 distance after re-ranking."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Refuse numbers that do not fit together."""
        if self.rerank and self.k2 > self.k1 + 1:
            raise ValueError(f"k2 is {self.k2}, expected at most k1 + 1 = {self.k1 + 1}")
        if self.rerank and self.shortlist < self.top_k:
            raise ValueError(
                f"shortlist is {self.shortlist}, and lists of {self.top_k} were asked for"
            )
        return self

    def reranking(self) -> RerankOptions | None:
        """How the order is re-ranked; None where it is not."""
        if not self.rerank:
            return None
        return RerankOptions(k1=self.k1, k2=self.k2, weight=self.weight)


def an_id(name: str, text: str) -> int:
    """The id that a word tells.

    Raises:
        ApiError: it is none, or means that it is unknown.
    """
    try:
        found = read_id(text)
    except ValueError as error:
        raise ApiError(422, f"{name}: {error}; give a number or the text of the label") from error
    if found == UNKNOWN:
        raise ApiError(422, f"{name}: {text!r} means unknown; give a number or a text")
    return found


def a_time(name: str, text: str | None) -> int | None:
    """The time that a word tells, microseconds since 1970 UTC; None where there is none.

    Raises:
        ApiError: it is none.
    """
    try:
        return None if text is None else read_time(text)
    except ValueError as error:
        raise ApiError(422, f"{name}: {error}") from error
