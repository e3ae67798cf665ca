"""Which images a new model is compared on with the one it was made from.

In: an image source. Out: a few images, spread over its vehicles.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.batches import decode_images
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import MtmlError, ParityError

PARITY_IMAGES: Final = 16
"""Images that are compared one by one."""


def parity_images(
    source: str, *, height: int, width: int, excluded: Collection[Path] = (), threads: int = 1
) -> NDArray[np.uint8]:
    """Images to compare on, spread over the vehicles of `source`.

    Args:
        source: image source; of a data set with splits the training images are taken.
        height: rows of each image.
        width: columns of each image.
        excluded: image files that must not be among them, resolved.
        threads: decoding threads, 0 = one per CPU.

    Returns:
        uint8 [N, height, width, 3], 2 <= N <= `PARITY_IMAGES`.

    Raises:
        ParityError: the images cannot be read, or are fewer than 2.
    """
    try:
        records = load_source(source, split="train").records
        if excluded:
            records = tuple(each for each in records if each.path.resolve() not in excluded)
        # by vehicle, then every so many: neighbours in the list are often frames of one track
        ordered = sorted(range(len(records)), key=lambda i: (records[i].vehicle_id, i))
        step = max(1, len(ordered) // PARITY_IMAGES)
        chosen = [records[i].path for i in ordered[::step][:PARITY_IMAGES]]
        images = decode_images(chosen, height=height, width=width, threads=threads)
    except MtmlError as error:
        raise ParityError(
            "a model is always compared on real images with the one it is made from, and those of "
            f"{source} could not be read ({error}); name others with --images SOURCE"
        ) from error
    if len(images) < 2:
        spare = " that is not used for calibration" if excluded else ""
        raise ParityError(
            f"{source} holds {len(images)} image{spare}, the comparison of two models needs at "
            "least 2; name more with --images SOURCE"
        )
    return images
