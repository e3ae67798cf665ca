"""Road, verge, wall, shadow and occluders around a vehicle."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from mtml_train.synthetic.camera import Camera, Ground
from mtml_train.synthetic.view import Crop, View

_TABLE: Final = 128
_HORIZON: Final = np.float32(-1e-3)
"""Rays that fall less than this never meet the ground."""
_LINE_HALF_M: Final = 0.08
_KERB_HALF_M: Final = 0.12
_KERB: Final = (0.66, 0.66, 0.66)


@lru_cache(maxsize=1)
def _texture() -> NDArray[np.float32]:
    """float32 [128, 128]: noise of mean 0 that ground and walls are textured with."""
    return np.random.default_rng(5).standard_normal((_TABLE, _TABLE)).astype(np.float32)


def paint_ground(
    view: View, crop: Crop, ground: Ground, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Surroundings float32 [H, W, 3], fractions 0..1 before light, in the view's perspective.

    Args:
        view: of the vehicle.
        crop: the picture.
        ground: what is there.
        rng: source of the vehicle's place on the road.
    """
    x = (crop.left + (np.arange(crop.width) + 0.5) / crop.pixels_per_unit).astype(np.float32)
    y = (crop.top + (np.arange(crop.height) + 0.5) / crop.pixels_per_unit).astype(np.float32)
    right, up, forward = view.axes.astype(np.float32)
    eye = view.position.astype(np.float32)

    def rays(axis: int) -> NDArray[np.float32]:
        """float32 [H, W]: one coordinate of the direction of every pixel."""
        direction: NDArray[np.float32] = (forward[axis] + x * right[axis]) - (y * up[axis])[:, None]
        return direction

    down = rays(2)
    above = down > _HORIZON
    reach = -eye[2] / np.minimum(down, _HORIZON)
    place_x, place_y = eye[0] + reach * rays(0), eye[1] + reach * rays(1)
    turn = np.radians(ground.turn_deg + rng.uniform(-4, 4))
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along = cos * place_x + sin * place_y + np.float32(rng.uniform(40, 80))
    across = cos * place_y - sin * place_x
    # the vehicle keeps to a lane: lines run beside it, the road's edge is somewhere further out
    lanes = across / np.float32(ground.lane_m) + np.float32(rng.uniform(0.35, 0.65))
    shift = np.float32(rng.uniform(-0.4, 0.4) * ground.road_half_m)
    edge = np.abs(across - shift) - np.float32(ground.road_half_m)
    on_line = np.abs(lanes - np.round(lanes)) < _LINE_HALF_M / ground.lane_m
    # a wall across the line of sight: all ground farther than its foot is hidden by it
    flat = forward[:2] / np.linalg.norm(forward[:2])
    behind = above | (place_x * flat[0] + place_y * flat[1] > ground.wall_m)
    kind = np.where(edge > 0, 1, 0).astype(np.uint8)
    kind[on_line & (edge < 0) & (np.mod(along, 6.0) < 3.5)] = 2
    kind[np.abs(edge) < _KERB_HALF_M] = 3
    kind[behind] = 4
    palette = np.array(
        [ground.road, ground.verge, ground.line, _KERB, ground.wall], dtype=np.float32
    )
    tone = _lookup(along * 9, across * 9) + _lookup(along * 0.8, across * 0.8) / 2
    if behind.any():
        columns = np.broadcast_to(x * 25, tone.shape)
        tone = np.where(behind, _lookup(columns, np.zeros_like(tone)), tone)
    textured = palette[kind] * (1 + np.float32(ground.texture) * tone)[..., None]
    return textured.astype(np.float32, copy=False)


def _lookup(u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.float32]:
    """Noise float32 [H, W] at the texture coordinates `u`, `v` float32 [H, W]."""
    found: NDArray[np.float32] = _texture()[
        u.astype(np.int32) % _TABLE, v.astype(np.int32) % _TABLE
    ]
    return found


def shadow_mask(
    view: View, crop: Crop, points: NDArray[np.float64], sun: NDArray[np.float64]
) -> NDArray[np.float32]:
    """How much sun the ground keeps, float32 [H, W], 1 outside of the vehicle's shadow.

    Args:
        view: of the vehicle.
        crop: the picture.
        points: float64 [n, 3], metres, of the vehicle.
        sun: float64 [3], unit vector towards the sun.
    """
    mask = Image.new("L", (crop.width, crop.height), 255)
    draw = ImageDraw.Draw(mask)
    fallen = points - points[:, 2:] / sun[2] * sun
    fallen[:, 2] = 0.0
    under = points * (1.0, 1.0, 0.0)
    for cast, depth in ((fallen, 70), (under, 25)):
        outline = crop.to_pixels(view.project(_hull(cast)))
        draw.polygon([tuple(point) for point in outline.tolist()], fill=depth)
    soft = mask.filter(ImageFilter.BoxBlur(max(1.0, crop.width / 90)))
    return np.asarray(soft, dtype=np.float32) / np.float32(255)


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convex hull float64 [m, 3] of ground points [n, 3], by support in 24 directions."""
    angle = np.arange(24) * (2 * np.pi / 24)
    directions = np.stack([np.cos(angle), np.sin(angle)])
    hull: NDArray[np.float64] = points[np.argmax(points[:, :2] @ directions, axis=0)]
    return hull


def paint_occluder(canvas: Image.Image, camera: Camera, rng: np.random.Generator) -> None:
    """Sometimes paint a pole, leaves or a passing roof over an edge of the picture.

    Args:
        canvas: RGB, changed in place.
        camera: how often.
        rng: source of the decision and the shape.
    """
    if rng.random() >= camera.occlusion:
        return
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    kind = rng.integers(3)
    if kind == 0:
        grey = int(rng.integers(50, 150))
        x, thick = rng.uniform(0.08, 0.92) * width, rng.uniform(0.025, 0.06) * width
        draw.rectangle((x, 0, x + thick, height), fill=(grey, grey, grey))
        draw.rectangle((x, 0, x + thick / 3, height), fill=(grey + 40, grey + 40, grey + 40))
    elif kind == 1:
        corner = rng.integers(2) * width
        for _ in range(40):
            x = corner + rng.normal(0, 0.10) * width
            y = abs(rng.normal(0, 0.14)) * height
            size = rng.uniform(0.012, 0.035) * width
            green = int(rng.integers(50, 120))
            draw.ellipse(
                (x - size, y - size, x + size, y + size), fill=(green // 2, green, green // 3)
            )
    else:
        red, green, blue = (int(value) for value in rng.integers(30, 220, size=3))
        top = rng.uniform(0.86, 0.96) * height
        left = rng.uniform(-0.3, 0.7) * width
        draw.rounded_rectangle(
            (left, top, left + 0.6 * width, height * 1.3), 0.05 * width, fill=(red, green, blue)
        )
