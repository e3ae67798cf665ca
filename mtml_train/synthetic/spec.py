"""What a synthetic set holds: its settings and, once written, its counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_VEHICLES: Final = 9999
"""File names hold four digits for the vehicle."""
MAX_CAMERAS: Final = 999
"""File names hold three digits for the camera."""
MIN_IMAGE_SIZE: Final = 32
"""Below 32 pixels no identity mark would be left to see."""


@dataclass(frozen=True)
class SyntheticSpec:
    """Settings of a synthetic set; equal settings give byte-identical files.

    Attributes:
        train_vehicles: identities of the training split.
        test_vehicles: identities of the test split, none of them in the training split.
        images_per_vehicle: images of each identity, dealt evenly over cameras and orientations.
        cameras: cameras of the set; each vehicle is seen by as many of them as it has images for.
        image_size: pixels of the longest side before the camera's scale and the crop's jitter.
        twins: identities that share body, proportions and colour, and differ by small marks only.
        queries_per_vehicle: images of each test identity that are queries, each of another camera.
        seed: the only source of randomness.
    """

    train_vehicles: int = 64
    test_vehicles: int = 32
    images_per_vehicle: int = 16
    cameras: int = 6
    image_size: int = 160
    twins: int = 2
    queries_per_vehicle: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings no valid set can be made of.

        Raises:
            ValueError: a count outside its range, or more queries than cameras that see a vehicle.
        """
        least = {
            "train_vehicles": 1,
            "test_vehicles": 1,
            "images_per_vehicle": 2,
            "cameras": 2,
            "image_size": MIN_IMAGE_SIZE,
            "twins": 1,
            "queries_per_vehicle": 1,
            "seed": 0,
        }
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ValueError(f"{name} is {minimum} or more, found {getattr(self, name)}")
        if self.vehicles > MAX_VEHICLES:
            raise ValueError(
                f"train_vehicles + test_vehicles is at most {MAX_VEHICLES} (four digits in a "
                f"file name), found {self.vehicles}"
            )
        if self.cameras > MAX_CAMERAS:
            raise ValueError(f"cameras is at most {MAX_CAMERAS}, found {self.cameras}")
        if self.queries_per_vehicle > self.cameras_per_vehicle:
            raise ValueError(
                f"queries_per_vehicle is at most {self.cameras_per_vehicle}, the cameras that see "
                f"one vehicle, found {self.queries_per_vehicle}"
            )

    @property
    def vehicles(self) -> int:
        """Identities of both splits together."""
        return self.train_vehicles + self.test_vehicles

    @property
    def cameras_per_vehicle(self) -> int:
        """Cameras that see each vehicle: 2 or more."""
        return min(self.cameras, self.images_per_vehicle)


@dataclass(frozen=True)
class SyntheticSummary:
    """Counts of a written set.

    Attributes:
        train_images: images in `image_train`.
        query_images: images in `image_query`; each is in `image_test` too, as in VeRi-776.
        gallery_images: images in `image_test`.
        train_vehicles: identities of the training split.
        test_vehicles: identities of the test split.
        cameras: cameras of the set.
        seconds: time the writing took, in seconds.
    """

    train_images: int
    query_images: int
    gallery_images: int
    train_vehicles: int
    test_vehicles: int
    cameras: int
    seconds: float
