"""What a candidate must reach to pass the parity gate: one set of bounds per precision.

In: a precision, and optionally a project's own TOML file. Out: `ParityThresholds`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal, get_args

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict, replace

from mtml_deploy.artifact.manifest import Precision
from mtml_deploy.defaults import Rounding
from mtml_deploy.errors import ParityError
from mtml_deploy.parity.agreement import MAX_ROW_DIFFERENCE, MIN_COSINE_FP32, MIN_SPREAD
from mtml_deploy.record_file import Record, parse_toml, require_fields
from mtml_deploy.regular_file import RECORD_BYTES, read_regular

Cosine = Annotated[float, Meta(ge=-1, le=1)]
Bound = Annotated[
    float, Meta(ge=0, le=sys.float_info.max, description="a finite number of 0 or more")
]


class ParityThresholds(Record, frozen=True):
    """Bounds of the gate.

    Attributes:
        min_cosine: smallest cosine similarity to the reference of any image, of every branch and
            of the whole embedding.
        max_map_change: largest |mAP - mAP of the reference|, fraction.
        max_row_difference: largest relative distance of an image's embeddings alone and in a batch.
        min_spread: smallest relative distance of two different images, in every branch.
    """

    min_cosine: Cosine
    max_map_change: Bound
    max_row_difference: Bound
    min_spread: Bound

    def __post_init__(self) -> None:
        """Refuse bounds that mean nothing.

        Raises:
            ValueError: a cosine outside -1..1 or a negative bound; the text names it.
        """
        require_fields(self)


class OwnThresholds(Record, frozen=True):
    """What a table of a project's file says: any fields of `ParityThresholds`."""

    min_cosine: Cosine | UnsetType = UNSET
    max_map_change: Bound | UnsetType = UNSET
    max_row_difference: Bound | UnsetType = UNSET
    min_spread: Bound | UnsetType = UNSET


class ThresholdFile(Record, frozen=True):
    """A project's file: a table per precision."""

    fp32: OwnThresholds = OwnThresholds()
    bf16: OwnThresholds = OwnThresholds()
    fp16: OwnThresholds = OwnThresholds()
    int8: OwnThresholds = OwnThresholds()


Bounded = Literal["fp32", "bf16", "fp16", "int8"]
"""What has bounds of its own: a model's precision, or what a backend rounds it to."""

DEFAULT_THRESHOLDS: Final[Mapping[Bounded, ParityThresholds]] = MappingProxyType(
    {
        "fp32": ParityThresholds(MIN_COSINE_FP32, 1e-4, MAX_ROW_DIFFERENCE, MIN_SPREAD),
        # 8 bits of each value against the 11 of fp16
        "bf16": ParityThresholds(0.999, 1e-3, 2e-2, MIN_SPREAD),
        # rows: half precision kernels of other batch sizes round elsewhere (a unit is 1e-3)
        "fp16": ParityThresholds(0.9995, 1e-3, 5e-3, MIN_SPREAD),
        # rows: where a sum falls on the edge of a quantisation step, the step may flip
        "int8": ParityThresholds(0.99, 5e-3, 2e-2, MIN_SPREAD),
    }
)
"""Bounds by precision of the candidate, where no file says otherwise."""


def bounded(precision: Precision, computes_in: Rounding) -> Bounded:
    """Whose bounds a candidate is judged by.

    Args:
        precision: of the model file.
        computes_in: what its backend rounds float32 values to.

    Returns:
        The coarser of the two.
    """
    if precision == "int8" or not computes_in:
        return precision
    return "bf16" if computes_in == "bf16" else "fp16"


def load_thresholds(path: Path | None, precision: Bounded) -> ParityThresholds:
    """Bounds for a candidate of one precision.

    Args:
        path: TOML with a table per precision, each with any fields of `ParityThresholds`; what it
            does not name keeps its default. None takes the defaults.
        precision: what `bounded` says of the candidate.

    Returns:
        The bounds.

    Raises:
        ParityError: the file is missing, is not TOML, or names an unknown precision or bound.
    """
    bounds = DEFAULT_THRESHOLDS[precision]
    if path is None:
        return bounds
    try:
        content = read_regular(path, most_bytes=RECORD_BYTES)
        own = asdict(getattr(parse_toml(content, ThresholdFile), precision))
    except (OSError, ValueError) as error:
        raise ParityError(
            f"{path} cannot be read as thresholds: {error}; expected tables named "
            f"{', '.join(get_args(Bounded))}, for example a line [int8] and below it "
            "min_cosine = 0.99"
        ) from error
    return replace(bounds, **{name: value for name, value in own.items() if value is not UNSET})
