"""What a candidate must reach to pass the parity gate: one set of bounds per precision.

In: a precision, and optionally a project's own TOML file. Out: `GateThresholds`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mtml_deploy.artifact.manifest import PRECISIONS
from mtml_deploy.errors import ParityError
from mtml_deploy.parity.agreement import MAX_ROW_DIFFERENCE, MIN_COSINE_FP32, MIN_SPREAD


@dataclass(frozen=True)
class GateThresholds:
    """Bounds of the gate.

    Attributes:
        min_cosine: smallest cosine similarity to the reference of any image, of every branch and
            of the whole embedding.
        max_map_change: largest |mAP - mAP of the reference|, fraction.
        max_row_difference: largest relative distance of an image's embeddings alone and in a batch.
        min_spread: smallest relative distance of two different images, in every branch.
    """

    min_cosine: float
    max_map_change: float
    max_row_difference: float
    min_spread: float

    def __post_init__(self) -> None:
        """Refuse bounds that mean nothing.

        Raises:
            ValueError: a cosine outside -1..1 or a negative bound; the text names it.
        """
        if not -1 <= self.min_cosine <= 1:
            raise ValueError(f"min_cosine must be in -1..1, found {self.min_cosine}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "min_cosine" and not 0 <= value < float("inf"):
                raise ValueError(f"{field.name} must be 0 or more, found {value}")


DEFAULT_THRESHOLDS: Final[Mapping[str, GateThresholds]] = MappingProxyType(
    {
        "fp32": GateThresholds(MIN_COSINE_FP32, 1e-4, MAX_ROW_DIFFERENCE, MIN_SPREAD),
        # rows: half precision kernels of other batch sizes round elsewhere (a unit is 1e-3)
        "fp16": GateThresholds(0.9995, 1e-3, 5e-3, MIN_SPREAD),
        # rows: where a sum falls on the edge of a quantisation step, the step may flip
        "int8": GateThresholds(0.99, 5e-3, 2e-2, MIN_SPREAD),
    }
)
"""Bounds by precision of the candidate, where no file says otherwise."""


def load_thresholds(path: Path | None, precision: str) -> GateThresholds:
    """Bounds for a candidate of one precision.

    Args:
        path: TOML with a table per precision, each with any fields of `GateThresholds`; what it
            does not name keeps its default. None takes the defaults.
        precision: "fp32", "fp16" or "int8".

    Returns:
        The bounds.

    Raises:
        ParityError: the file is missing, is not TOML, or names an unknown precision or bound.
    """
    bounds = DEFAULT_THRESHOLDS[precision]
    if path is None:
        return bounds
    known = [field.name for field in fields(GateThresholds)]
    example = "a line [int8] and below it min_cosine = 0.99"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParityError(
            f"{path} cannot be read as thresholds ({error}); expected TOML such as {example}"
        ) from error
    for name, table in tables.items():
        if name not in PRECISIONS or not isinstance(table, dict):
            raise ParityError(
                f"{path} holds {name!r}, expected tables named {', '.join(PRECISIONS)}, for "
                f"example {example}"
            )
        for key, value in table.items():
            if key not in known or isinstance(value, bool) or not isinstance(value, int | float):
                raise ParityError(
                    f"{path}, table {name}: {key} = {value!r}; expected numbers named "
                    f"{', '.join(known)}"
                )
    try:
        return replace(bounds, **{key: float(v) for key, v in tables.get(precision, {}).items()})
    except ValueError as error:
        raise ParityError(f"{path}, table {precision}: {error}; correct the file") from error
