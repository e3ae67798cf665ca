"""One vehicle of a set: its model, its marks, and the mesh and keypoints they make."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_train.synthetic.body import Panels, add_body
from mtml_train.synthetic.car_models import Model, draw_model
from mtml_train.synthetic.details import add_details
from mtml_train.synthetic.marks import Identity, add_marks, draw_identity
from mtml_train.synthetic.mesh import Mesh, MeshBuilder
from mtml_train.synthetic.roof import add_roof
from mtml_train.synthetic.spec import SyntheticSpec
from mtml_train.synthetic.wheels import add_wheels

KEYPOINT_PAIRS: Final = ((0, 2), (1, 3), (4, 5), (6, 7), (10, 11), (12, 13), (14, 15), (16, 17))
"""Keypoints, counted from 0, that change places when left and right do."""


@dataclass(frozen=True)
class Keypoints:
    """The 20 keypoints of VeRi-776's orientation labels, in their order.

    Left and right front and rear wheels (1-4), right and left fog lamp, right and left head lamp,
    front logo and plate, left and right mirror, roof corners (right front, left front, left rear,
    right rear), left and right rear lamp, rear logo and plate.

    Attributes:
        points: float64 [20, 3], metres.
        normals: float64 [20, 3], unit vectors; a point is seen from where its normal looks.
        least: float64 [20], cosine between normal and line of sight from which it is seen.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    least: NDArray[np.float64]


@dataclass(frozen=True)
class Vehicle:
    """What the painter needs of one vehicle.

    Attributes:
        model: shared by twins.
        identity: its own marks.
        mesh: faces.
        keypoints: for the label files.
    """

    model: Model
    identity: Identity
    mesh: Mesh
    keypoints: Keypoints


@lru_cache(maxsize=64)
def build_vehicle(spec: SyntheticSpec, vehicle: int) -> Vehicle:
    """The vehicle number `vehicle` of a set.

    Args:
        spec: settings of the set.
        vehicle: 0 .. spec.vehicles - 1, the training split first.

    Raises:
        ValueError: `vehicle` is outside the set.
    """
    model = draw_model(spec, vehicle)
    return assemble(model, draw_identity(spec, vehicle, model))


def assemble(model: Model, identity: Identity) -> Vehicle:
    """The vehicle that `model` and `identity` make."""
    builder = MeshBuilder()
    panels = add_body(builder, model)
    add_details(builder, model, panels)
    add_marks(builder, model, panels, identity)
    add_roof(builder, panels.roof, identity.roof, identity.accent)
    add_wheels(builder, model, bare=identity.bare_wheels, hub=identity.hub)
    return Vehicle(model, identity, builder.build(), _keypoints(model, panels))


def _keypoints(model: Model, panels: Panels) -> Keypoints:
    """Keypoints of the unmarked vehicle."""
    plan = model.plan
    half, front, rear = plan.width / 2, plan.axles[0], plan.axles[-1]
    rows: list[tuple[NDArray[np.float64], tuple[float, float, float], float]] = []

    def add(point: object, normal: tuple[float, float, float], least: float) -> None:
        rows.append((np.asarray(point, dtype=np.float64), normal, least))

    for side in (1.0, -1.0):
        for axle in (front, rear):
            add((axle * plan.length, side * half, plan.wheel), (0, side, 0), 0.08)
    nose, tail, roof = panels.nose, panels.tail, panels.roof
    # u of the nose grows to the vehicle's left: the right lamp is at u = 0
    for u, v, side in ((0.12, 0.1, -1), (0.88, 0.1, 1), (0.12, 0.8, -1), (0.88, 0.8, 1)):
        add(nose.place([(u, v)])[0], (0.94, side * 0.34, 0), 0.1)
    for v in (0.8, 0.31):
        add(nose.place([(0.5, v)])[0], (1, 0, 0), 0.1)
    mirror = panels.screen.corners[0, 1]
    high = max(plan.belt + 0.04, 0.58 * plan.height) + 0.08
    for side in (1.0, -1.0):
        # mirrors stand out: they are seen from the front, and from behind on their own side
        x = float(mirror[0]) - 0.35 * plan.screen_run
        add((x, side * (half + 0.06), high), (0.29, side * 0.96, 0), -0.35)
    for u, v in ((1, 1), (0, 1), (0, 0), (1, 0)):
        add(roof.place([(u, v)])[0], (0, 0, 1), 0.0)
    # u of the tail grows to the vehicle's right: the left lamp is at u = 0
    for u, side in ((0.1, 1), (0.9, -1)):
        add(tail.place([(u, 0.74)])[0], (-0.94, side * 0.34, 0), 0.1)
    for v in (0.75, 0.40):
        add(tail.place([(0.5, v)])[0], (-1, 0, 0), 0.1)
    points, normals, least = zip(*rows, strict=True)
    return Keypoints(np.array(points), np.array(normals, dtype=np.float64), np.array(least))
