"""Where a vehicle is seen from: orientation classes as angles, and the pinhole projection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

ORIENTATION_AZIMUTH_DEG: Final = (0.0, 180.0, 90.0, 45.0, 135.0, 270.0, 315.0, 225.0)
"""Middle of each orientation class: where the camera stands, counted from the vehicle's front
towards its left. "left" means that the vehicle's own left side is seen."""

JITTER_DEG: Final = 18.0
"""Farthest from the middle of its class that an azimuth is drawn; classes are 22.5 wide on each
side, so that no label is ambiguous."""


@dataclass(frozen=True)
class View:
    """A pinhole camera that looks at a vehicle.

    Attributes:
        azimuth_deg: from the vehicle's front towards its left, degrees.
        elevation_deg: above the horizon, degrees, more than 0.
        distance_m: from the target, metres.
        roll_deg: rotation of the image, degrees.
        target_m: height of the point that is looked at, metres.
    """

    azimuth_deg: float
    elevation_deg: float
    distance_m: float
    roll_deg: float
    target_m: float

    @cached_property
    def position(self) -> NDArray[np.float64]:
        """float64 [3]: the camera, metres."""
        azimuth, elevation = np.radians([self.azimuth_deg, self.elevation_deg])
        across = np.cos(elevation)
        offset = [across * np.cos(azimuth), across * np.sin(azimuth), np.sin(elevation)]
        return np.array([0.0, 0.0, self.target_m]) + self.distance_m * np.array(offset)

    @cached_property
    def axes(self) -> NDArray[np.float64]:
        """float64 [3, 3]: rightwards, upwards and forwards of the image, unit row vectors."""
        forward = np.array([0.0, 0.0, self.target_m]) - self.position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        up = np.cross(right, forward)
        roll = np.radians(self.roll_deg)
        turned_right = np.cos(roll) * right + np.sin(roll) * up
        turned_up = np.cos(roll) * up - np.sin(roll) * right
        return np.array([turned_right, turned_up, forward])

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Image coordinates float64 [n, 2], x rightwards and y downwards, at focal length 1.

        Args:
            points: float64 [n, 3], metres, in front of the camera.
        """
        seen = (points - self.position) @ self.axes.T
        return seen[:, :2] * (1.0, -1.0) / seen[:, 2:]


@dataclass(frozen=True)
class Crop:
    """The part of the image plane that becomes the picture.

    Attributes:
        left: image coordinate of the picture's left edge.
        top: image coordinate of its upper edge.
        pixels_per_unit: scale from image coordinates to pixels.
        width: pixels.
        height: pixels.
    """

    left: float
    top: float
    pixels_per_unit: float
    width: int
    height: int

    def to_pixels(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels float64 [n, 2], 0 at the outer edge of the first, of coordinates [n, 2]."""
        pixels: NDArray[np.float64] = (image - (self.left, self.top)) * self.pixels_per_unit
        return pixels
