"""Cameras of a set, each with its place, light, ground and faults; and single shots by them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from mtml_train.synthetic.mesh import Colour
from mtml_train.synthetic.spec import SyntheticSpec
from mtml_train.synthetic.view import JITTER_DEG, ORIENTATION_AZIMUTH_DEG, View

_ROADS: Final[tuple[Colour, ...]] = (
    (0.40, 0.40, 0.42), (0.54, 0.53, 0.51), (0.31, 0.32, 0.35), (0.50, 0.46, 0.42),
)  # fmt: skip
_VERGES: Final[tuple[Colour, ...]] = (
    (0.33, 0.43, 0.22), (0.62, 0.60, 0.57), (0.56, 0.40, 0.33), (0.58, 0.53, 0.40),
)  # fmt: skip
_WALLS: Final[tuple[Colour, ...]] = (
    (0.60, 0.55, 0.48), (0.45, 0.30, 0.26), (0.24, 0.33, 0.20), (0.68, 0.70, 0.72),
)  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """What surrounds a vehicle before one camera.

    Attributes:
        road: colour of the road.
        verge: colour beside it.
        wall: colour of what stands behind.
        road_half_m: half the width of the road, metres.
        lane_m: distance of the lane lines, metres.
        line: colour of the lines.
        turn_deg: direction of the road from the vehicle's heading, degrees.
        wall_m: how far behind the vehicle the wall stands, metres.
        texture: strength of the ground's texture, fraction of its colour.
    """

    road: Colour
    verge: Colour
    wall: Colour
    road_half_m: float
    lane_m: float
    line: Colour
    turn_deg: float
    wall_m: float
    texture: float


@dataclass(frozen=True)
class Camera:
    """One camera.

    Attributes:
        elevation_deg: mean elevation, degrees.
        distance_lengths: mean distance in vehicle lengths; small is a short focal length.
        roll_deg: tilt, degrees.
        sun_azimuth_deg: direction of the sun from the line of sight, degrees.
        sun_elevation_deg: height of the sun, degrees.
        sun: colour of direct light times its strength.
        sky: colour of diffuse light times its strength.
        balance: gain of each colour channel.
        contrast: steepness of the tone curve around 0.5.
        blur_px: standard deviation of the blur, pixels at `image_size` 160.
        noise: standard deviation of the noise, fraction of white.
        quality: JPEG quality.
        scale: picture size as a fraction of the set's image size.
        looseness: mean margin around the vehicle as a fraction of its size.
        occlusion: probability that something stands before a vehicle.
        ground: surroundings.
    """

    elevation_deg: float
    distance_lengths: float
    roll_deg: float
    sun_azimuth_deg: float
    sun_elevation_deg: float
    sun: Colour
    sky: Colour
    balance: Colour
    contrast: float
    blur_px: float
    noise: float
    quality: int
    scale: float
    looseness: float
    occlusion: float
    ground: Ground


@lru_cache(maxsize=1024)
def draw_camera(spec: SyntheticSpec, camera: int) -> Camera:
    """Camera number `camera` of a set.

    Args:
        spec: settings of the set.
        camera: 0 .. spec.cameras - 1.

    Raises:
        ValueError: `camera` is outside the set.
    """
    if not 0 <= camera < spec.cameras:
        raise ValueError(f"camera is 0..{spec.cameras - 1}, found {camera}")
    rng = np.random.default_rng([spec.seed, 21, camera])
    warm = rng.uniform(-1, 1)  # from blue shade to evening sun
    sun, sky = rng.uniform(0.40, 0.85), rng.uniform(0.66, 0.88)
    gains = rng.uniform(0.90, 1.10, size=3) * rng.uniform(0.85, 1.12)
    ground = Ground(
        road=_ROADS[rng.integers(len(_ROADS))],
        verge=_VERGES[rng.integers(len(_VERGES))],
        wall=_WALLS[rng.integers(len(_WALLS))],
        road_half_m=rng.uniform(3.0, 8.0),
        lane_m=rng.uniform(3.0, 3.8),
        line=(0.86, 0.86, 0.82) if rng.random() < 0.75 else (0.85, 0.70, 0.20),
        turn_deg=float(rng.choice([0.0, 0.0, 0.0, 30.0, 90.0])),
        wall_m=rng.uniform(4.0, 25.0),
        texture=rng.uniform(0.03, 0.11),
    )
    return Camera(
        elevation_deg=rng.uniform(9, 27),
        distance_lengths=rng.uniform(2.4, 6.0),
        roll_deg=rng.uniform(-2.5, 2.5),
        sun_azimuth_deg=rng.uniform(0, 360),
        sun_elevation_deg=rng.uniform(28, 65),
        sun=(sun * (1 + 0.10 * warm), sun, sun * (1 - 0.14 * warm)),
        sky=(sky * (1 - 0.05 * warm), sky, sky * (1 + 0.06 * warm)),
        balance=(float(gains[0]), float(gains[1]), float(gains[2])),
        contrast=rng.uniform(0.85, 1.15),
        blur_px=rng.uniform(0.0, 0.8),
        noise=rng.uniform(0.006, 0.028),
        quality=int(rng.integers(55, 93)),
        scale=rng.uniform(0.75, 1.0),
        looseness=rng.uniform(0.02, 0.10),
        occlusion=rng.uniform(0.0, 0.2),
        ground=ground,
    )


def draw_view(
    camera: Camera, rng: np.random.Generator, *, orientation: int, length: float, height: float
) -> View:
    """A view of a vehicle by `camera`, with the jitter of one shot.

    Args:
        camera: who looks.
        rng: source of the jitter.
        orientation: class 0..7.
        length: of the vehicle, metres.
        height: of the vehicle, metres.
    """
    return View(
        azimuth_deg=ORIENTATION_AZIMUTH_DEG[orientation] + rng.uniform(-JITTER_DEG, JITTER_DEG),
        elevation_deg=camera.elevation_deg + rng.uniform(-2, 2),
        distance_m=camera.distance_lengths * max(length, 4.5) * rng.uniform(0.85, 1.15),
        roll_deg=camera.roll_deg + rng.uniform(-1, 1),
        target_m=height / 2,
    )
