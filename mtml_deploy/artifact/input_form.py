"""What the input of an exported graph is: bytes as this toolkit feeds them, or another form.

In: nothing. Out: a record for the manifest. Every form holds the same pixels; the graph turns it
into the planes that its first layer reads.
"""

from __future__ import annotations

from typing import Final

from mtml_deploy.defaults import ChannelOrder, InputLayout, InputValues
from mtml_deploy.record_file import Record

IMAGENET_MEAN: Final = (123.675, 116.28, 103.53)
"""Of R, G and B in 8-bit levels: 255 x (0.485, 0.456, 0.406)."""

IMAGENET_STD: Final = (58.395, 57.12, 57.375)
"""Of R, G and B in 8-bit levels: 255 x (0.229, 0.224, 0.225)."""


class InputForm(Record, frozen=True):
    """The input of a graph.

    Attributes:
        layout: type and order of its sizes.
        values: what a number means; bytes are levels.
        channels: order of the channels.
    """

    layout: InputLayout = "nhwc-uint8"
    values: InputValues = "levels"
    channels: ChannelOrder = "RGB"

    def __post_init__(self) -> None:
        """Refuse bytes that are not levels.

        Raises:
            ValueError: they are said to be something else.
        """
        if self.layout == "nhwc-uint8" and self.values != "levels":
            raise ValueError("bytes are levels 0 to 255, found values imagenet with nhwc-uint8")

    def __str__(self) -> str:
        """In words, for errors and notes."""
        values = "0..255" if self.values == "levels" else "normalised as ImageNet"
        return f"{self.layout}, {values}, {self.channels}"


PLAIN: Final = InputForm()
"""The form that every backend of this toolkit feeds."""
