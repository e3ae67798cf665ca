"""Made-up embeddings that lie as those of a trained network do: in clusters, overlapping a little.

The recipe. Every image is a point in a latent space of 64 dimensions, the sum of

- its vehicle's model (one of `vehicles` / 4: different vehicles of one model look alike), scale 1;
- what sets the vehicle apart from others of its model, scale 0.7;
- its orientation, one of 8, shared by all vehicles, scale 0.8;
- its camera, one of 20, shared by all vehicles, scale 0.5;
- its passage (vehicle and camera: images of one passage are nearly alike, of one orientation),
  scale 0.5;
- the image itself, scale 0.5;

each a Gaussian vector. A random linear map brings it to `dim` dimensions, Gaussian noise of scale
0.2 is added, 0.3 subtracted, and what is negative becomes 0, as after a ReLU. A vehicle passes 2 to
18 cameras. Scales were chosen so that mAP under the rule "other cameras only" is near one half at
the size of VeRi-776. Rows depend on the seed, the sizes and their own number alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

_LATENT: Final = 64
_VEHICLES_PER_MODEL: Final = 4
_ORIENTATIONS: Final = 8
_CAMERAS: Final = 20
_FEWEST_CAMERAS, _MOST_CAMERAS = 2, 18

_VEHICLE_SCALE: Final = 0.7
_ORIENTATION_SCALE: Final = 0.8
_CAMERA_SCALE: Final = 0.5
_PASSAGE_SCALE: Final = 0.5
_IMAGE_SCALE: Final = 0.5
_NOISE_SCALE: Final = 0.2
_THRESHOLD: Final = 0.3

_BLOCK_ROWS: Final = 8192
"""Images made at once; part of the recipe, because each block has its own random numbers."""


@dataclass(frozen=True)
class ClusterRecipe:
    """What to make.

    Attributes:
        queries: Q, at least 1.
        gallery: G, at least 1.
        vehicles: different vehicles, at least 1.
        dim: D, at least 1.
        seed: another seed, another set.
    """

    queries: int
    gallery: int
    vehicles: int
    dim: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a set of nothing.

        Raises:
            ValueError: a size below 1.
        """
        least = min(self.queries, self.gallery, self.vehicles, self.dim)
        if least < 1:
            raise ValueError(f"sizes are at least 1, found {least}")


@dataclass(frozen=True)
class Labels:
    """Labels of N images.

    Attributes:
        vehicle_ids: int32 [N].
        camera_ids: int32 [N].
    """

    vehicle_ids: NDArray[np.int32]
    camera_ids: NDArray[np.int32]


class Clusters:
    """The centres of a recipe, from which images are drawn block by block."""

    def __init__(self, recipe: ClusterRecipe) -> None:
        """Draw the centres.

        Args:
            recipe: what to make.
        """
        self._recipe = recipe
        generator = np.random.default_rng([recipe.seed, 0])
        vehicles = recipe.vehicles

        def centres(count: int, scale: float) -> NDArray[np.float32]:
            return np.float32(scale) * generator.standard_normal((count, _LATENT), dtype=np.float32)

        models = centres(-(-vehicles // _VEHICLES_PER_MODEL), 1.0)
        self._vehicles = models[np.arange(vehicles) // _VEHICLES_PER_MODEL]
        self._vehicles += centres(vehicles, _VEHICLE_SCALE)
        self._orientations = centres(_ORIENTATIONS, _ORIENTATION_SCALE)
        self._cameras = centres(_CAMERAS, _CAMERA_SCALE)
        self._passages = centres(vehicles * _CAMERAS, _PASSAGE_SCALE)
        self._passage_orientation = generator.integers(0, _ORIENTATIONS, vehicles * _CAMERAS)
        self._route = np.argsort(generator.random((vehicles, _CAMERAS)), axis=1)
        self._route_length = generator.integers(_FEWEST_CAMERAS, _MOST_CAMERAS + 1, vehicles)
        # features are then of about unit variance before the ReLU
        self._map = centres(recipe.dim, _LATENT**-0.5).T.copy()  # [64, D]

    def block(self, part: int, number: int, rows: int) -> tuple[NDArray[np.float32], Labels]:
        """Images of one block.

        Args:
            part: 1 for queries, 2 for the gallery.
            number: of the block in its part.
            rows: n, how many.

        Returns:
            float32 [n, D] features and their labels.
        """
        generator = np.random.default_rng([self._recipe.seed, part, number])
        vehicle = generator.integers(0, len(self._vehicles), rows)
        stop = (generator.random(rows) * self._route_length[vehicle]).astype(np.int64)
        camera = self._route[vehicle, stop]
        passage = vehicle * _CAMERAS + camera
        points = self._vehicles[vehicle] + self._cameras[camera] + self._passages[passage]
        points += self._orientations[self._passage_orientation[passage]]
        points += _IMAGE_SCALE * generator.standard_normal(points.shape, dtype=np.float32)
        features = points @ self._map  # [n, D]
        features += _NOISE_SCALE * generator.standard_normal(features.shape, dtype=np.float32)
        features -= _THRESHOLD
        np.maximum(features, 0, out=features)
        return features, Labels(vehicle.astype(np.int32), camera.astype(np.int32))


def write_clustered(recipe: ClusterRecipe, folder: Path) -> None:
    """Write `NAME.npy` (float32 [N, D]) and `NAME-labels.npz` for NAME in query and gallery.

    Args:
        recipe: what to make.
        folder: existing; a scratch folder, its files are written in place.
    """
    clusters = Clusters(recipe)
    for part, (name, size) in enumerate(
        (("query", recipe.queries), ("gallery", recipe.gallery)), start=1
    ):
        features = np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=(size, recipe.dim)
        )
        labels = []
        for number, start in enumerate(range(0, size, _BLOCK_ROWS)):
            rows = min(_BLOCK_ROWS, size - start)
            features[start : start + rows], made = clusters.block(part, number, rows)
            labels.append(made)
        features.flush()
        np.savez(
            folder / f"{name}-labels.npz",
            vehicle_ids=np.concatenate([made.vehicle_ids for made in labels]),
            camera_ids=np.concatenate([made.camera_ids for made in labels]),
        )
