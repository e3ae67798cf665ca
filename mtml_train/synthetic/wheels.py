"""Wheels: treads under the body, and arch, tyre, rim, spokes and hub flush with its side."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_train.synthetic.car_models import Model
from mtml_train.synthetic.mesh import DULL, FLUSH, UNDER, Colour, MeshBuilder, Part

_TYRE: Final[Colour] = (0.10, 0.10, 0.105)
_ARCH: Final[Colour] = (0.04, 0.04, 0.045)
_STEEL: Final[Colour] = (0.20, 0.19, 0.18)
_TREAD_M: Final = 0.20


def add_wheels(
    builder: MeshBuilder,
    model: Model,
    *,
    bare: tuple[int, ...] = (),
    hub: Colour | None = None,
) -> None:
    """Add the wheels of a vehicle.

    Args:
        builder: takes the faces.
        model: axles, size and rims.
        bare: wheels without hubcap: 2 * axle for the left one, 2 * axle + 1 for the right one.
        hub: colour of the hubs, an identity mark; None for the rim's own.
    """
    plan = model.plan
    half = plan.width / 2
    for axle, share in enumerate(plan.axles):
        x = share * plan.length
        for index, side in enumerate((1.0, -1.0)):
            outward = (0.0, side, 0.0)
            centre = (x, side * half, plan.wheel)
            tread = builder.part(Part(UNDER, 0, 0, centre))
            _add_tread(builder, tread, centre, side, plan.wheel)
            flush = builder.part(Part(FLUSH, 0, 0, centre))

            arch = _circle(centre, plan.wheel * 1.17, 18)
            arch[:, 2] = np.maximum(arch[:, 2], max(plan.clearance, plan.wheel * 0.3))
            faces = [(arch, _ARCH), (_circle(centre, plan.wheel, 18), _TYRE)]
            if 2 * axle + index in bare:
                faces.append((_circle(centre, plan.wheel * 0.62, 18), _STEEL))
                faces.append((_circle(centre, plan.wheel * 0.22, 8), _TYRE))
            else:
                cap = plan.wheel * (0.30 if hub else 0.18)
                faces.append((_circle(centre, plan.wheel * 0.68, 18), model.rim))
                faces.append((_star(centre, plan.wheel * 0.60, model.spokes), _STEEL))
                faces.append((_circle(centre, cap, 10), hub or model.rim))
            for corners, colour in faces:
                builder.face(flush, corners, colour, outward=outward, material=DULL)


def _circle(centre: tuple[float, float, float], radius: float, count: int) -> NDArray[np.float64]:
    """float64 [count, 3], metres: an upright circle that faces sideways."""
    angle = np.arange(count) * (2 * np.pi / count)
    x, y, z = centre
    return np.stack(
        [x + radius * np.cos(angle), np.full(count, y), z + radius * np.sin(angle)], axis=1
    )


def _star(centre: tuple[float, float, float], radius: float, spokes: int) -> NDArray[np.float64]:
    """float64 [4 * spokes, 3], metres: the dark gaps between spokes, joined at the hub."""
    gap = 2 * np.pi / spokes
    offsets = np.array([-0.30, -0.22, 0.22, 0.30]) * gap
    reach = np.array([0.30, 1.0, 1.0, 0.30]) * radius
    angle = (np.arange(spokes)[:, None] * gap + offsets).ravel()
    length = np.tile(reach, spokes)
    x, y, z = centre
    return np.stack(
        [x + length * np.cos(angle), np.full(angle.shape, y), z + length * np.sin(angle)], axis=1
    )


def _add_tread(
    builder: MeshBuilder,
    part: int,
    centre: tuple[float, float, float],
    side: float,
    radius: float,
) -> None:
    """The running surface, seen under the bumpers, and the tyre's inner side."""
    x, y, z = centre
    outer = _circle((x, y, z), radius, 12)
    inner = _circle((x, y - side * _TREAD_M, z), radius, 12)
    builder.face(part, inner, _TYRE, outward=(0.0, -side, 0.0), material=DULL)
    for at in range(12):
        after = (at + 1) % 12
        corners = np.array([outer[at], outer[after], inner[after], inner[at]])
        outward = corners.mean(axis=0) - (x, corners[:, 1].mean(), z)
        builder.face(part, corners, _TYRE, outward=outward, material=DULL)
