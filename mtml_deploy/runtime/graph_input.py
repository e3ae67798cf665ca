"""Images as the graph of a model takes them.

In: uint8 [B, H, W, 3], RGB. Out: the same pixels in the form that the manifest names.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.input_form import IMAGENET_MEAN, IMAGENET_STD, PLAIN
from mtml_deploy.artifact.manifest import Manifest


def graph_input(
    images: NDArray[np.uint8], manifest: Manifest
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Images in the form of a model's graph.

    Args:
        images: uint8 [B, H, W, 3], RGB.
        manifest: the model.

    Returns:
        `images` themselves where the form is plain; else uint8 [B, H, W, 3] or float32
        [B, 3, H, W], C-contiguous.
    """
    form = manifest.form
    if form == PLAIN:
        return images
    if form.channels == "BGR":
        images = images[..., ::-1]
    if form.layout == "nhwc-uint8":
        return np.ascontiguousarray(images)
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)  # [B, 3, H, W]
    if form.values == "imagenet":
        turn = -1 if form.channels == "BGR" else 1
        mean, std = (
            np.array(each[::turn], dtype=np.float32).reshape(3, 1, 1)
            for each in (IMAGENET_MEAN, IMAGENET_STD)
        )
        planes -= mean
        planes /= std
    return planes
