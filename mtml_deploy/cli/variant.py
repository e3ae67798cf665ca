"""Options of `mtml-export` for runtimes and programs of others, as one value.

In: what click collected. Out: one `Variant`, or None where nothing is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import click

from mtml_deploy.cli.groups import group
from mtml_deploy.defaults import IR_VERSIONS, OPSETS, ChannelOrder, InputLayout, InputValues

if TYPE_CHECKING:
    from mtml_deploy.handover.variant import Variant


def _variant(
    *,
    layout: InputLayout,
    values: InputValues,
    channels: ChannelOrder,
    opset: int | None,
    ir_version: int | None,
) -> Variant | None:
    """The variant that the options ask for.

    Raises:
        click.UsageError: bytes that are not levels.
    """
    if layout == "nhwc-uint8" and values != "levels":
        raise click.UsageError("--values imagenet is for --input nchw-float; bytes are levels")
    if (layout, channels, opset, ir_version) == ("nhwc-uint8", "RGB", None, None):
        return None
    from mtml_deploy.artifact.input_form import InputForm
    from mtml_deploy.handover.variant import Variant

    return Variant(InputForm(layout, values, channels), opset, ir_version)


variant_group = group(
    "variant",
    _variant,
    click.option(
        "--input",
        "layout",
        type=click.Choice(get_args(InputLayout)),
        default="nhwc-uint8",
        show_default=True,
        help="What the graph takes: bytes, or float planes for programs of others.",
    ),
    click.option(
        "--values",
        type=click.Choice(get_args(InputValues)),
        default="levels",
        show_default=True,
        help="Of float planes: levels 0 to 255, or normalised as ImageNet is.",
    ),
    click.option(
        "--channels",
        type=click.Choice(get_args(ChannelOrder)),
        default="RGB",
        show_default=True,
        help="Order of the channels that the graph takes.",
    ),
    click.option(
        "--opset",
        type=click.IntRange(*OPSETS),
        help=f"ONNX operator set of the file.  [default: {OPSETS[1]}]",
    ),
    click.option(
        "--ir-version",
        type=click.IntRange(*IR_VERSIONS),
        help="Format of the file, for older runtimes: 9 for ONNX Runtime 1.17.  "
        f"[default: {IR_VERSIONS[1]}]",
    ),
)
"""--input to --ir-version as `variant: Variant | None`."""
