"""What a conversion to another precision is asked for; no NumPy here, `--help` shows its defaults.

In: the user's choices. Out: a checked `Conversion`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from mtml_deploy.defaults import PROTOCOL
from mtml_deploy.errors import DataError

Precision = Literal["fp16", "int8"]
Calibrator = Literal["entropy", "percentile", "minmax"]

CALIBRATORS: Final[tuple[str, ...]] = get_args(Calibrator)

LIST_COMMAND: Final = "mtml-deploy calibrate choose --data veri:DIR --out LIST.txt"
"""What makes a list of calibration images."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """How an fp32 artifact is converted.

    Attributes:
        precision: "fp16", or "int8" (convolutions and residual additions int8, the rest fp16).
        images: source of the images the result is compared on; empty for the training data.
        calibration: list of images that activation ranges are measured on; int8 only.
        calibrator: rule from those ranges to quantisation steps; int8 only.
        max_map_drop: largest |mAP - mAP in fp32|, a fraction; the most sensitive layers stay fp16
            until it and the cosine bound are kept. None quantises every layer; int8 only.
        data: labelled set with query and gallery that mAP is measured on; empty judges by cosine
            alone; only with `max_map_drop`.
        protocol: evaluation protocol of that mAP.
        threads: decoding threads, 0 = one per CPU.
        model_threads: threads of the models that are compared, 0 = the library's own number.
    """

    precision: Precision
    images: str = ""
    calibration: Path | None = None
    calibrator: Calibrator = "entropy"
    max_map_drop: float | None = None
    data: str = ""
    protocol: str = PROTOCOL
    threads: int = 0
    model_threads: int = 0

    def __post_init__(self) -> None:
        """Refuse choices that do not fit together.

        Raises:
            DataError: int8 without images to calibrate on, or an option that its precision has no
                use for.
            ValueError: an unknown precision or calibrator, a drop outside 0..1, or negative
                threads.
        """
        if self.precision not in get_args(Precision) or self.calibrator not in CALIBRATORS:
            raise ValueError(f"unknown precision {self.precision!r} or {self.calibrator!r}")
        if self.max_map_drop is not None and not 0 <= self.max_map_drop <= 1:
            raise ValueError(f"max_map_drop is a fraction 0..1, found {self.max_map_drop}")
        if min(self.threads, self.model_threads) < 0:
            raise ValueError(
                f"threads are 0 or more, found {self.threads} and {self.model_threads}"
            )
        if self.precision == "int8" and self.calibration is None:
            raise DataError(
                "int8 needs images to measure the activations on, and no list of them was given; "
                f"make one: {LIST_COMMAND}, and add --calibration LIST.txt"
            )
        if self.precision == "fp16" and (self.calibration or self.max_map_drop is not None):
            raise DataError("--calibration and --max-map-drop are for --int8, found --fp16")
        if self.data and self.max_map_drop is None:
            raise DataError(
                "--data measures mAP to keep within a bound, and none was given; add for example "
                "--max-map-drop 0.005"
            )
