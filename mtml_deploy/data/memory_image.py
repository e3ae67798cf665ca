"""An image that is in memory, named like a file.

In: what a caller holds: encoded bytes, a Pillow image or an array. Out: one value that is decoded
where files are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what names images must not need NumPy
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


@dataclass(frozen=True, eq=False)
class MemoryImage:
    """One image.

    Attributes:
        name: what errors and results call it, for example "box 3".
        content: an encoded file, a Pillow image, or uint8 [H, W, 3] or [H, W] gray, which may be a
            view.
        bgr: whether the channels of an array are blue, green, red.
        problem: why it cannot be used; empty where it can.
    """

    name: str
    content: bytes | Image.Image | NDArray[np.uint8]
    bgr: bool = False
    problem: str = ""
