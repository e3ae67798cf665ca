"""A convex body stretched over horizontal outlines with rounded corners, and flat panels on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtml_train.synthetic.mesh import DULL, PAINT, Colour, MeshBuilder

_CORNER: Final = np.linspace(0.0, np.pi / 2, 4)
"""Angles at which a rounded corner is cut into flat faces, radians."""
FRONT: Final = 0
SIDE_FRONT: Final = 3
SIDE_REAR: Final = -4
REAR: Final = -1
"""Rows of `Loft.half_ring` where the front end, the flat side and the rear end begin or stop."""


@dataclass(frozen=True)
class Level:
    """One horizontal outline of a loft, in metres.

    Attributes:
        front: largest x.
        rear: smallest x.
        half_width: largest y.
        height: z before the drops.
        front_drop: how much lower the outline is at its front end.
        rear_drop: how much lower the outline is at its rear end.
    """

    front: float
    rear: float
    half_width: float
    height: float
    front_drop: float = 0.0
    rear_drop: float = 0.0


@dataclass(frozen=True)
class Loft:
    """Outlines from the lowest to the highest.

    Attributes:
        levels: two or more.
        corner: x extent of a rounded corner, metres; its y extent is `corner_share` of the width.
        corner_share: fraction of the half width that the corner takes.
        cowl: x where the front drop begins, metres.
        deck: x where the rear drop begins, metres.
    """

    levels: tuple[Level, ...]
    corner: float
    corner_share: float
    cowl: float
    deck: float

    def height(self, level: Level, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Heights float64 [n] of `level` at `x` float64 [n], metres."""
        ahead = np.clip((x - self.cowl) / max(level.front - self.cowl, 1e-6), 0, 1)
        behind = np.clip((self.deck - x) / max(self.deck - level.rear, 1e-6), 0, 1)
        # the square bends a bonnet down towards its end instead of along its whole length
        return level.height - level.front_drop * ahead**2 - level.rear_drop * behind**2

    def half_ring(self, level: Level) -> NDArray[np.float64]:
        """float64 [n, 3], metres: the left half of an outline from the front to the rear."""
        across = self.corner_share * level.half_width
        corner = min(self.corner, 0.45 * (level.front - level.rear))
        front_x = level.front - corner * (1 - np.cos(_CORNER))
        front_y = level.half_width - across * (1 - np.sin(_CORNER))
        rear_x = level.rear + corner * (1 - np.cos(_CORNER[::-1]))
        middle = np.clip(
            [self.cowl, (self.cowl + self.deck) / 2, self.deck], rear_x[0], front_x[-1]
        )
        x = np.concatenate([front_x, middle, rear_x])
        y = np.concatenate([front_y, np.full(3, level.half_width), front_y[::-1]])
        return np.stack([x, y, self.height(level, x)], axis=1)

    def add_to(
        self, builder: MeshBuilder, part: int, colours: tuple[Colour, ...], *, dull: int = 0
    ) -> None:
        """Add walls and roof to a part.

        Args:
            builder: takes the faces.
            part: index of the part.
            colours: one per wall between two levels, and the last for the roof.
            dull: how many of the lowest walls are unpainted plastic.
        """
        left = np.stack([self.half_ring(level) for level in self.levels])  # [levels, n, 3]
        right = left * (1.0, -1.0, 1.0)
        ring = np.concatenate([left, right[:, ::-1]], axis=1)  # [levels, 2n, 3]
        middle = ring.mean(axis=(0, 1))
        for row, colour in enumerate(colours[:-1]):
            low, high = ring[row], ring[row + 1]
            for at in range(ring.shape[1]):
                after = (at + 1) % ring.shape[1]
                corners = np.array([low[at], low[after], high[after], high[at]])
                outward = (corners.mean(axis=0) - middle) * (1.0, 1.0, 0.0)
                material = DULL if row < dull else PAINT
                builder.face(part, corners, colour, outward=outward, material=material)
        for at in range(left.shape[1] - 1):
            corners = np.array([left[-1, at], left[-1, at + 1], right[-1, at + 1], right[-1, at]])
            builder.face(part, corners, colours[-1], outward=(0, 0, 1))


@dataclass(frozen=True)
class Panel:
    """A flat four-sided area of a vehicle on which windows, lamps and marks are laid.

    Attributes:
        corners: float64 [2, 2, 3], metres: [v][u], v upwards, u from left to right for someone
            who looks at the panel from outside.
        part: the mesh part it belongs to.
    """

    corners: NDArray[np.float64]
    part: int

    @property
    def outward(self) -> NDArray[np.float64]:
        """float64 [3], not of unit length: away from the vehicle."""
        along = self.corners[0, 1] - self.corners[0, 0]
        up = self.corners[1].mean(axis=0) - self.corners[0].mean(axis=0)
        return np.cross(along, up)

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height, metres."""
        width = np.linalg.norm(self.corners[:, 1] - self.corners[:, 0], axis=1).mean()
        height = np.linalg.norm(self.corners[1] - self.corners[0], axis=1).mean()
        return float(width), float(height)

    def place(self, uv: ArrayLike) -> NDArray[np.float64]:
        """float64 [n, 3], metres, of the panel coordinates `uv` float [n, 2] (0..1 inside)."""
        u, v = np.asarray(uv, dtype=np.float64).T[:, :, None]
        low = self.corners[0, 0] * (1 - u) + self.corners[0, 1] * u
        high = self.corners[1, 0] * (1 - u) + self.corners[1, 1] * u
        placed: NDArray[np.float64] = low * (1 - v) + high * v
        return placed

    def paint(
        self, builder: MeshBuilder, uv: ArrayLike, colour: Colour, *, material: int = DULL
    ) -> None:
        """Lay the polygon `uv` float [n, 2] on the panel."""
        builder.face(self.part, self.place(uv), colour, outward=self.outward, material=material)

    def paint_box(
        self,
        builder: MeshBuilder,
        box: tuple[float, float, float, float],
        colour: Colour,
        *,
        material: int = DULL,
    ) -> None:
        """Lay the rectangle `box` (u0, v0, u1, v1) on the panel."""
        u0, v0, u1, v1 = box
        self.paint(builder, [(u0, v0), (u1, v0), (u1, v1), (u0, v1)], colour, material=material)

    def inset(self, box: tuple[float, float, float, float]) -> Panel:
        """The panel over the rectangle `box` (u0, v0, u1, v1) of this one."""
        u0, v0, u1, v1 = box
        placed = self.place([(u0, v0), (u1, v0), (u0, v1), (u1, v1)])
        return Panel(placed.reshape(2, 2, 3), self.part)
