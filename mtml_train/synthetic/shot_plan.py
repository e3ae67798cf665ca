"""Which images of a vehicle are made: by which camera, from which side, when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtml_deploy.data.records import ORIENTATIONS
from mtml_train.synthetic.spec import SyntheticSpec


@dataclass(frozen=True)
class PlannedShot:
    """One image that will be written.

    Attributes:
        name: `IIII_cCCC_TTTTTTTT_N.jpg`, vehicle and camera counted from 1.
        camera: 0 .. spec.cameras - 1.
        orientation: class 0..7.
        shot: number of the shot, different for every image of the set.
        query: whether it is a query.
    """

    name: str
    camera: int
    orientation: int
    shot: int
    query: bool


def plan_shots(spec: SyntheticSpec, vehicle: int) -> tuple[PlannedShot, ...]:
    """The images of one vehicle, in the order of their names.

    Cameras and orientations are dealt from shuffled decks: every camera that sees the vehicle
    does so about as often as the others, and eight images show eight orientations.

    Args:
        spec: settings of the set.
        vehicle: 0 .. spec.vehicles - 1, the training split first.
    """
    rng = np.random.default_rng([spec.seed, 41, vehicle])
    count = spec.images_per_vehicle
    cameras = rng.permutation(spec.cameras)[: spec.cameras_per_vehicle].tolist()
    decks = [rng.permutation(len(ORIENTATIONS)) for _ in range(-(-count // len(ORIENTATIONS)))]
    orientations = np.concatenate(decks).tolist()
    passed = {camera: int(rng.integers(0, 90_000)) for camera in cameras}
    queries = spec.queries_per_vehicle if vehicle >= spec.train_vehicles else 0
    shots = []
    for index in range(count):
        turn, place = divmod(index, len(cameras))
        camera = cameras[place]
        # 25 frames lie between two shots of one camera, so that no name comes twice
        frame = passed[camera] + 25 * turn
        shots.append(
            PlannedShot(
                name=f"{vehicle + 1:04d}_c{camera + 1:03d}_{frame:08d}_0.jpg",
                camera=camera,
                orientation=orientations[index],
                shot=vehicle * count + index,
                # the first turn meets every camera once: queries are of different cameras
                query=index < queries,
            )
        )
    return tuple(sorted(shots, key=lambda shot: shot.name))
