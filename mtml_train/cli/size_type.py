"""Image sizes on the command line."""

from __future__ import annotations

import click

from mtml_train.image_size import ImageSize, size_of


class SizeType(click.ParamType["ImageSize"]):
    """One number for a square, or HEIGHT,WIDTH."""

    name = "pixels"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> ImageSize:
        """The size that a word means."""
        try:
            return size_of(value)
        except ValueError as error:
            self.fail(f"found {value}, {error}", param, ctx)
