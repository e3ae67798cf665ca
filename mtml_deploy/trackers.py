"""What trackers ask for the appearance of boxes: unit vectors of the crops of a video frame.

In: one frame as OpenCV reads it and boxes of a detector. Out: one row per box, always. No tracker
is imported: anything with a `reid_model` that has `get_features` takes it as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtml_deploy.closing import Closing
from mtml_deploy.data.given import image_set
from mtml_deploy.defaults import BACKEND, BATCH_SIZE, DEVICE, Backend
from mtml_deploy.embed.embed import embed
from mtml_deploy.errors import ArtifactError
from mtml_deploy.model import open_model

BadBoxes = Literal["refuse", "nan"]
"""What becomes of a box without area in its frame: an error, or a row of NaN."""

_LEAST_NORM: Final = 1e-12
"""Below it a vector has no direction that float32 could keep."""


class ReidModel(Closing):
    """An exported model as trackers call it; a context manager, owned by one thread.

    Attributes:
        warning: see `Model.warning`.
        dim: length D of a row.
    """

    def __init__(
        self,
        artifact: str | Path,
        *,
        backend: Backend = BACKEND,
        device: str = DEVICE,
        bad_boxes: BadBoxes = "refuse",
        batch_size: int = BATCH_SIZE,
        threads: int = 0,
        model_threads: int = 0,
    ) -> None:
        """Load the model; arguments and errors as of `open_model`.

        Args:
            artifact: the folder of the exported model.
            backend: what runs it.
            device: "cpu", "cuda:N" or "gpu:N".
            bad_boxes: "refuse" stops at a box that has no area in its frame or holds NaN, and
                names its row; "nan" gives it a row of NaN, which the caller takes out before a
                tracker sees it.
            batch_size: boxes per run of the model, 1 or more.
            threads: threads that resize crops, 0 = one per CPU.
            model_threads: threads of the model on the CPU, 0 = the library's own number.

        Raises:
            ValueError: `bad_boxes` is none of the two.
            MtmlError: see `open_model`.
        """
        if bad_boxes not in get_args(BadBoxes):
            raise ValueError(f"bad_boxes is one of {get_args(BadBoxes)}, found {bad_boxes!r}")
        self._model = open_model(
            artifact, backend=backend, device=device, model_threads=model_threads
        )
        self._bad_boxes = bad_boxes
        self._batch_size = batch_size
        self._threads = threads
        self.warning = self._model.warning
        self.dim = self._model.manifest.dim

    def get_features(self, xyxy: ArrayLike, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit vectors of the boxes of a frame.

        Every pixel that a box touches is taken, and what lies outside the frame is cut off. Crops
        are resized as `embed` does.

        Args:
            xyxy: [N, 4], x1, y1, x2, y2 in pixels, of any kind of number; N may be 0. Further
                columns, as some trackers hand them on, are refused.
            image: uint8 [H, W, 3], BGR, as OpenCV reads.

        Returns:
            float32 [N, D], row i for box i, each of length 1; with `bad_boxes="nan"` NaN where a
            box cannot be used.

        Raises:
            ImageError: a box without area in the frame, or with NaN; the row is named.
            ArtifactError: the model gave a vector of zeros, which has no direction.
            ValueError: an image that is not uint8 [H, W, 3], boxes that are not [N, 4], or the
                model is closed.
        """
        crops = image_set(image, boxes=xyxy, channels="BGR")
        total = len(crops.records)
        if not total:
            return np.empty((0, self.dim), dtype=np.float32)
        rows, skipped = embed(
            self._model,
            crops,
            batch_size=self._batch_size,
            threads=self._threads,
            skip_bad=self._bad_boxes == "nan",
        )
        bad = {box.index for box in skipped}
        good = [row for row in range(total) if row not in bad]
        features = np.full((total, self.dim), np.nan, dtype=np.float32)
        features[good] = _unit(rows.features, good)
        return features

    def __call__(self, image: NDArray[np.uint8], boxes: ArrayLike) -> NDArray[np.float32]:
        """As `get_features`, the image first."""
        return self.get_features(boxes, image)

    def close(self) -> None:
        """Free the model; closing twice is allowed, asking for features after it is not."""
        self._model.close()


def _unit(features: NDArray[np.float32], boxes: list[int]) -> NDArray[np.float32]:
    """Rows float32 [N, D] divided by their lengths; `boxes` [N] names them in errors."""
    norms = np.linalg.norm(features.astype(np.float64), axis=1)  # [N]
    if (norms < _LEAST_NORM).any():
        box = boxes[int(np.argmin(norms))]
        raise ArtifactError(
            f"the model gave a vector of zeros for box {box}, which has no direction to compare; "
            "train the model, or take a detector's boxes of vehicles"
        )
    unit: NDArray[np.float32] = (features / norms[:, None]).astype(np.float32)
    return unit
