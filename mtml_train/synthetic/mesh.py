"""Coloured 3-D polygons of one vehicle, grouped into convex parts that can be painted in order.

Axes: x forward, y to the vehicle's left, z up, in metres; the origin is on the ground under the
middle of the vehicle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Colour = tuple[float, float, float]
"""Red, green, blue as fractions 0..1."""

PAINT: Final = 0
DULL: Final = 1
GLASS: Final = 2
LAMP: Final = 3
"""Materials: how a face takes light."""

UNDER: Final = 0
SOLID: Final = 1
FLUSH: Final = 2
"""Bands, painted in this order: what the body hides, the body, what lies flush on its sides."""


_LEAST_AREA_M2: Final = 1e-9


@dataclass(frozen=True)
class Part:
    """A convex piece: its visible faces never hide one another, decals follow their face.

    Attributes:
        band: `UNDER`, `SOLID` or `FLUSH`; lower bands are painted first.
        group: index of a group of parts that is painted as one; the farther group first.
        stage: order within the group, the lower first (a cabin stands on its body).
        centre: metres; within one stage the part with the farther centre is painted first.
    """

    band: int
    group: int
    stage: int
    centre: tuple[float, float, float]


@dataclass(frozen=True)
class Mesh:
    """Faces of one vehicle.

    Attributes:
        points: float64 [V, 3], metres; the corners of one face are consecutive rows.
        starts: int64 [F], row of the first corner of each face.
        counts: int64 [F], corners of each face.
        centres: float64 [F, 3], metres, mean of the corners.
        normals: float64 [F, 3], outward unit vectors.
        colours: float64 [F, 3], fractions 0..1 before light.
        materials: int64 [F], `PAINT`, `DULL`, `GLASS` or `LAMP`.
        part_of: int64 [F], index into `parts`.
        parts: the convex pieces.
        groups: float64 [groups, 3], metres, centre of each group of parts.
    """

    points: NDArray[np.float64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    centres: NDArray[np.float64]
    normals: NDArray[np.float64]
    colours: NDArray[np.float64]
    materials: NDArray[np.int64]
    part_of: NDArray[np.int64]
    parts: tuple[Part, ...]
    groups: NDArray[np.float64]


class MeshBuilder:
    """Collects faces part by part; `build` freezes them."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._faces: list[NDArray[np.float64]] = []
        self._outward: list[ArrayLike] = []
        self._colours: list[Colour] = []
        self._materials: list[int] = []
        self._part_of: list[int] = []
        self._groups: list[tuple[float, float, float]] = []

    def group(self, centre: tuple[float, float, float]) -> int:
        """Index of a new group of parts around `centre` (metres)."""
        self._groups.append(centre)
        return len(self._groups) - 1

    @property
    def last_group(self) -> int:
        """Index of the group added last."""
        return len(self._groups) - 1

    def part(self, part: Part) -> int:
        """Index of a new part; faces are added to it by that index, in painting order."""
        self._parts.append(part)
        return len(self._parts) - 1

    def face(
        self,
        part: int,
        corners: ArrayLike,
        colour: Colour,
        *,
        outward: ArrayLike,
        material: int = PAINT,
    ) -> None:
        """Add one nearly flat polygon.

        Args:
            part: index that `part` returned.
            corners: float [n, 3], metres, n >= 3, in either sense of rotation.
            colour: before light.
            outward: float [3], any vector to the outer side; it tells the two sides apart.
            material: how the face takes light.
        """
        self._faces.append(np.asarray(corners, dtype=np.float64))
        self._outward.append(outward)
        self._colours.append(colour)
        self._materials.append(material)
        self._part_of.append(part)

    def box(
        self,
        part: Part,
        low: tuple[float, float, float],
        high: tuple[float, float, float],
        colour: Colour,
        *,
        material: int = PAINT,
    ) -> int:
        """Index of a new part that is an axis-aligned box.

        Args:
            part: its place in the painting order.
            low: corner with the smallest coordinates, metres.
            high: corner with the largest coordinates, metres.
            colour: of all six faces.
            material: of all six faces.
        """
        index = self.part(part)
        ends = np.array([low, high])
        for axis in range(3):
            first, second = (other for other in range(3) if other != axis)
            for side in (0, 1):
                corners = np.empty((4, 3))
                corners[:, axis] = ends[side, axis]
                corners[:, first] = ends[[0, 1, 1, 0], first]
                corners[:, second] = ends[[0, 0, 1, 1], second]
                outward = np.zeros(3)
                outward[axis] = 2 * side - 1
                self.face(index, corners, colour, outward=outward, material=material)
        return index

    def build(self) -> Mesh:
        """The collected faces as arrays; those without area, which cannot be seen, are left out."""
        counts = np.array([len(face) for face in self._faces], dtype=np.int64)
        points = np.concatenate(self._faces)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
        following = np.arange(1, len(points) + 1)
        following[starts + counts - 1] = starts  # the last corner is followed by the first
        # Newell's normal: also right for polygons that are not quite flat
        normals = np.add.reduceat(np.cross(points, points[following]), starts)
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        outward = np.asarray(self._outward, dtype=np.float64)
        turned = np.where((normals * outward).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
        kept = lengths[:, 0] > _LEAST_AREA_M2
        return Mesh(
            points=points,
            starts=starts[kept],
            counts=counts[kept],
            centres=(np.add.reduceat(points, starts) / counts[:, None])[kept],
            normals=(turned * normals / np.maximum(lengths, _LEAST_AREA_M2))[kept],
            colours=np.array(self._colours)[kept],
            materials=np.array(self._materials, dtype=np.int64)[kept],
            part_of=np.array(self._part_of, dtype=np.int64)[kept],
            parts=tuple(self._parts),
            groups=np.array(self._groups),
        )
