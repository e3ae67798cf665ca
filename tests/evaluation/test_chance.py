"""What guessing gives, worked out by hand."""

import math

import numpy as np
import pytest

from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.evaluation.chance import first_by_chance
from mtml_deploy.evaluation.protocols import find_protocol


def labelled(vehicles: list[int], cameras: list[int]) -> Embeddings:
    size = len(vehicles)
    unknown = np.full(size, -1, dtype=np.int32)
    return Embeddings(
        features=np.zeros((size, 1), dtype=np.float32),
        vehicle_ids=np.array(vehicles, dtype=np.int32),
        camera_ids=np.array(cameras, dtype=np.int32),
        orientations=unknown,
        tracklet_ids=unknown,
        names=tuple(f"{row}.jpg" for row in range(size)),
        root="",
        source="a set",
        model=ModelIdentity("0" * 64, "fp32", "fused", 1),
    )


GALLERY = labelled([7, 8, 7, -1, 7, -1], [1, 1, 2, 1, 1, 2])


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        # vehicle 7: its rows 0 and 4 are of the query's camera, so 1 of 4; vehicle 8: 1 of 6
        ("veri776", (1 / 4 + 1 / 6) / 2),
        # and the rows of unknown vehicle: 1 of 2, 1 of 4
        ("market", (1 / 2 + 1 / 4) / 2),
        ("plain", (3 / 6 + 1 / 6) / 2),
    ],
)
def test_the_share_of_matches_in_a_list(protocol: str, expected: float) -> None:
    # the last two have no match, and do not count
    query = labelled([7, 8, -1, 9], [1, 2, 1, 1])
    assert first_by_chance(query, GALLERY, find_protocol(protocol)) == pytest.approx(expected)


def test_nothing_to_guess() -> None:
    assert math.isnan(first_by_chance(labelled([9], [1]), GALLERY, find_protocol("plain")))
