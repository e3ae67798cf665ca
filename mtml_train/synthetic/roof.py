"""What stands on a roof: one identity mark that is seen from every side."""

from __future__ import annotations

from typing import Final

import numpy as np

from mtml_train.synthetic.loft import Panel
from mtml_train.synthetic.mesh import (
    DULL,
    GLASS,
    LAMP,
    SOLID,
    Colour,
    MeshBuilder,
    Part,
)

ROOF_KINDS: Final = ("bare", "rack", "box", "beacon", "sunroof", "stripe", "sign", "tube")
_RAIL: Final[Colour] = (0.22, 0.22, 0.24)


def add_roof(builder: MeshBuilder, panel: Panel, kind: str, accent: Colour) -> None:
    """Add the roof mark `kind`.

    Args:
        builder: takes the faces.
        panel: the roof.
        kind: one of `ROOF_KINDS`.
        accent: colour of what is coloured.
    """
    points = panel.corners.reshape(4, 3)
    rear, right, z = (float(value) for value in points.min(axis=0))
    front, left, top = (float(value) for value in points.max(axis=0))
    middle, length, half = (front + rear) / 2, front - rear, (left - right) / 2

    def box(
        along: tuple[float, float],
        across: tuple[float, float],
        height: tuple[float, float],
        colour: Colour,
        material: int = DULL,
    ) -> None:
        """A box; `along` and `across` in fractions of the roof's half sizes, height in metres."""
        low = (middle + along[0] * length / 2, across[0] * half, z + height[0])
        high = (middle + along[1] * length / 2, across[1] * half, top + height[1])
        centre = np.mean([low, high], axis=0)
        part = Part(SOLID, group, 3, (float(centre[0]), float(centre[1]), float(centre[2])))
        builder.box(part, low, high, colour, material=material)

    # a group of its own would be painted before a nearer part of the body; the roof's group
    # is the last one, whichever body it belongs to
    group = builder.last_group
    if kind == "rack":
        for side in (-0.92, 0.84):
            box((-0.9, 0.9), (side, side + 0.08), (0.05, 0.12), _RAIL)
        for at in (-0.6, 0.5):
            box((at, at + 0.10), (-1.0, 1.0), (0.12, 0.18), _RAIL)
    elif kind == "box":
        box((-0.65, 0.45), (-0.55, 0.25), (0.02, 0.30), accent)
    elif kind == "tube":
        box((-0.9, 0.9), (0.35, 0.65), (0.04, 0.20), accent)
    elif kind == "beacon":
        box((0.35, 0.65), (-0.75, 0.75), (0.0, 0.16), accent, LAMP)
    elif kind == "sign":
        box((-0.05, 0.15), (-0.45, 0.45), (0.0, 0.26), (0.93, 0.93, 0.90), LAMP)
        box((-0.06, 0.16), (-0.30, 0.30), (0.08, 0.18), accent, LAMP)
    elif kind == "sunroof":
        panel.paint_box(builder, (0.12, 0.30, 0.88, 0.85), (0.10, 0.11, 0.13), material=GLASS)
    elif kind == "stripe":
        panel.paint_box(builder, (0.30, 0.0, 0.70, 1.0), accent)
