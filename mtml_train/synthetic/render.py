"""From a vehicle, a camera and a shot number to pixels and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mtml_deploy.data.records import ORIENTATIONS
from mtml_train.synthetic.camera import Camera, draw_camera, draw_view
from mtml_train.synthetic.mesh import Mesh
from mtml_train.synthetic.painter import paint
from mtml_train.synthetic.spec import MIN_IMAGE_SIZE, SyntheticSpec
from mtml_train.synthetic.vehicle import Keypoints, build_vehicle
from mtml_train.synthetic.view import Crop, View

_SHARPEST_BLUR_PX: Final = 0.25
"""A blur below this changes nothing that can be seen and is left out."""


@dataclass(frozen=True)
class Shot:
    """One picture with its labels.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, before JPEG compression.
        keypoints: int64 [20, 2], pixels x, y of VeRi-776's keypoints; -1 where not seen.
        quality: JPEG quality of the camera.
    """

    pixels: NDArray[np.uint8]
    keypoints: NDArray[np.int64]
    quality: int


def render_image(
    spec: SyntheticSpec, vehicle: int, orientation: int, camera: int, shot: int
) -> NDArray[np.uint8]:
    """One picture, uint8 [H, W, 3], RGB, before JPEG compression.

    Args:
        spec: settings of the set.
        vehicle: 0 .. spec.vehicles - 1, the training split first.
        orientation: class 0..7.
        camera: 0 .. spec.cameras - 1.
        shot: 0 or more; each gives another jitter of place, size and noise.

    Raises:
        ValueError: an argument is outside its range.
    """
    return render_shot(spec, vehicle, orientation, camera, shot).pixels


def render_shot(
    spec: SyntheticSpec, vehicle: int, orientation: int, camera: int, shot: int
) -> Shot:
    """One picture with its labels; arguments and errors as for `render_image`."""
    if not 0 <= orientation < len(ORIENTATIONS):
        raise ValueError(f"orientation is 0..{len(ORIENTATIONS) - 1}, found {orientation}")
    if shot < 0:
        raise ValueError(f"shot is 0 or more, found {shot}")
    built = build_vehicle(spec, vehicle)
    optics = draw_camera(spec, camera)
    plan = built.model.plan
    # jitter and noise do not depend on the vehicle's group: twins in the same shot are seen alike
    rng = np.random.default_rng([spec.seed, 31, camera, orientation, shot])
    view = draw_view(optics, rng, orientation=orientation, length=plan.length, height=plan.height)
    size = spec.image_size * optics.scale * rng.uniform(0.88, 1.08)
    crop = draw_crop(view, built.mesh, optics, rng, size=max(MIN_IMAGE_SIZE, round(size)))
    canvas = paint(built, optics, view, crop, rng)
    pixels = degrade(canvas, optics, rng, image_size=spec.image_size)
    return Shot(pixels, seen_keypoints(built.keypoints, view, crop), optics.quality)


def draw_crop(
    view: View, mesh: Mesh, camera: Camera, rng: np.random.Generator, *, size: int
) -> Crop:
    """The picture around the vehicle, `size` pixels on its longest side.

    Args:
        view: of the vehicle.
        mesh: the vehicle.
        camera: how loose its boxes are.
        rng: source of the jitter of each edge.
        size: pixels.
    """
    image = view.project(mesh.points)
    low, high = image.min(axis=0), image.max(axis=0)
    span = high - low
    margins = (camera.looseness + rng.uniform(-0.03, 0.05, size=(2, 2))) * span
    low, high = low - margins[0], high + margins[1]
    span = high - low
    scale = size / float(span.max())
    width, height = (max(1, round(float(value) * scale)) for value in span)
    return Crop(float(low[0]), float(low[1]), scale, width, height)


def degrade(
    canvas: Image.Image, camera: Camera, rng: np.random.Generator, *, image_size: int
) -> NDArray[np.uint8]:
    """Pixels uint8 [H, W, 3] after blur, colour balance, exposure, contrast and noise.

    Args:
        canvas: RGB.
        camera: its faults.
        rng: source of exposure and noise.
        image_size: the set's image size; the blur is proportional to it.
    """
    blur = camera.blur_px * image_size / 160 * rng.uniform(0.6, 1.4)
    if blur > _SHARPEST_BLUR_PX:
        canvas = canvas.filter(ImageFilter.GaussianBlur(blur))
    # balance and exposure, then contrast around the middle, as one scale and offset in 0..255
    gain = np.array(camera.balance) * (camera.contrast * rng.uniform(0.9, 1.1))
    noise = rng.standard_normal((canvas.height, canvas.width, 3), dtype=np.float32)
    noise *= np.float32(255 * camera.noise)
    values = np.asarray(canvas) * gain.astype(np.float32)
    values += noise
    values += np.float32(127.5 * (1 - camera.contrast) + 0.5)
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


def seen_keypoints(keypoints: Keypoints, view: View, crop: Crop) -> NDArray[np.int64]:
    """Pixels int64 [20, 2] of the keypoints, -1 where turned away or outside of the picture."""
    towards = view.position - keypoints.points
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    facing = np.einsum("kc,kc->k", keypoints.normals, towards) > keypoints.least
    pixels = np.floor(crop.to_pixels(view.project(keypoints.points))).astype(np.int64)
    inside = (pixels >= 0).all(axis=1) & (pixels < (crop.width, crop.height)).all(axis=1)
    pixels[~(facing & inside)] = -1
    return pixels
