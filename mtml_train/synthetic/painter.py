"""The painter: lit faces of a vehicle over its ground, the far ones first."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mtml_train.synthetic.camera import Camera
from mtml_train.synthetic.mesh import DULL, LAMP, Mesh
from mtml_train.synthetic.scenery import paint_ground, paint_occluder, shadow_mask
from mtml_train.synthetic.vehicle import Vehicle
from mtml_train.synthetic.view import Crop, View

_SUPERSAMPLING: Final = 2
"""Polygons are painted twice as large and averaged: ImageDraw has no antialiasing."""


def sun_vector(camera: Camera, view: View) -> NDArray[np.float64]:
    """float64 [3], unit vector towards the sun in the vehicle's axes."""
    # the sun belongs to the camera's place: it turns with the view around the vehicle
    azimuth = np.radians(view.azimuth_deg + camera.sun_azimuth_deg)
    elevation = np.radians(camera.sun_elevation_deg)
    across = np.cos(elevation)
    return np.array([across * np.cos(azimuth), across * np.sin(azimuth), np.sin(elevation)])


def paint(
    vehicle: Vehicle, camera: Camera, view: View, crop: Crop, rng: np.random.Generator
) -> Image.Image:
    """The lit scene as an RGB image of the crop's size, without the camera's faults.

    Args:
        vehicle: what is seen.
        camera: light and surroundings.
        view: from where.
        crop: the picture.
        rng: source of the surroundings' jitter and of occluders.
    """
    mesh, sun = vehicle.mesh, sun_vector(camera, view)
    ground = paint_ground(view, crop, camera.ground, rng)
    lit = shadow_mask(view, crop, mesh.points, sun)[..., None]
    # the shadow keeps all of the sun and most of the sky from the ground
    sky = np.array(camera.sky, dtype=np.float32)
    open_light = sky * 0.65 + np.array(camera.sun, dtype=np.float32) * np.float32(sun[2])
    ground *= (sky * 0.35 + open_light * lit) * 255
    backdrop = np.clip(ground, 0, 255, out=ground).astype(np.uint8)
    enlarged = (crop.width * _SUPERSAMPLING, crop.height * _SUPERSAMPLING)
    canvas = Image.fromarray(backdrop).resize(enlarged, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(canvas)
    order = painting_order(mesh, view)
    colours = shade(mesh, order, camera, view, sun)
    pixels = crop.to_pixels(view.project(mesh.points)) * _SUPERSAMPLING
    corners = pixels.round(1).tolist()
    fills = (np.clip(colours, 0, 1) * 255).astype(np.uint8).tolist()
    starts, ends = mesh.starts.tolist(), (mesh.starts + mesh.counts).tolist()
    for face, fill in zip(order.tolist(), fills, strict=True):
        outline = [tuple(point) for point in corners[starts[face] : ends[face]]]
        draw.polygon(outline, fill=tuple(fill))
    paint_occluder(canvas, camera, rng)
    return canvas.reduce(_SUPERSAMPLING)


def painting_order(mesh: Mesh, view: View) -> NDArray[np.int64]:
    """Indices int64 [n] of the faces that look at the camera, the hidden before the hiding."""
    towards = view.position - mesh.centres
    facing = np.einsum("fc,fc->f", mesh.normals, towards) > 0
    group_distance = np.linalg.norm(mesh.groups - view.position, axis=1)

    def key(index: int) -> tuple[float, float, float, float]:
        part = mesh.parts[index]
        distance = float(np.linalg.norm(np.array(part.centre) - view.position))
        return part.band, -group_distance[part.group], part.stage, -distance

    rank = np.empty(len(mesh.parts), dtype=np.int64)
    rank[sorted(range(len(mesh.parts)), key=key)] = np.arange(len(mesh.parts))
    visible = np.flatnonzero(facing)
    # stable: within a part the order of construction counts, decals come after their face
    return visible[np.argsort(rank[mesh.part_of[visible]], kind="stable")]


def shade(
    mesh: Mesh,
    faces: NDArray[np.int64],
    camera: Camera,
    view: View,
    sun: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Lit colours float64 [n, 3] of some faces, 1 is white, more is overexposed.

    Args:
        mesh: the vehicle.
        faces: int64 [n].
        camera: its light.
        view: for reflections.
        sun: float64 [3], unit vector towards the sun.
    """
    normals, centres = mesh.normals[faces], mesh.centres[faces]
    materials = mesh.materials[faces]
    look = view.position - centres
    look /= np.linalg.norm(look, axis=1, keepdims=True)
    direct = np.clip(normals @ sun, 0, None)[:, None]
    # the sky lights what looks up; what is near the ground sees less of it
    open_sky = (0.62 + 0.38 * normals[:, 2:]) * (0.72 + 0.28 * np.clip(centres[:, 2:] / 0.7, 0, 1))
    light = np.array(camera.sky) * open_sky + np.array(camera.sun) * direct
    colours = mesh.colours[faces] * light
    halfway = look + sun
    halfway /= np.linalg.norm(halfway, axis=1, keepdims=True)
    gloss = np.clip(np.einsum("fc,fc->f", normals, halfway), 0, 1) ** 24
    mirrored = 2 * np.einsum("fc,fc->f", normals, look)[:, None] * normals - look
    grazing = (1 - np.clip(np.einsum("fc,fc->f", normals, look), 0, 1)) ** 3
    sky_seen = np.clip(mirrored[:, 2] + 0.15, 0, 1)
    share = np.choose(materials, [0.13, 0.02, 0.30, 0.05]) + 0.25 * grazing * (materials != DULL)
    glint = np.choose(materials, [0.35, 0.03, 0.55, 0.2])
    colours = colours + (share * sky_seen)[:, None] * np.array(camera.sky)
    colours = colours + (glint * gloss)[:, None] * np.array(camera.sun)
    # lamps and plates scatter light back in all directions
    lamps = (materials == LAMP)[:, None]
    lit: NDArray[np.float64] = np.where(lamps, 0.35 * mesh.colours[faces] + 0.75 * colours, colours)
    return lit
