"""Sets of which no query can be found: the cause is named, from labels alone."""

import numpy as np
import pytest
from helpers_embeddings import embedded

from mtml_deploy.errors import ProtocolError
from mtml_deploy.evaluation.ground_truth import GroundTruth
from mtml_deploy.evaluation.no_match import require_match
from mtml_deploy.evaluation.protocols import find_protocol

VERI, PLAIN = find_protocol("veri776"), find_protocol("plain")


def labelled(vehicles, cameras, source="set"):
    return embedded(
        np.zeros((len(vehicles), 1), dtype=np.float32),
        vehicles,
        cameras,
        names=map(str, range(len(vehicles))),
        source=source,
    )


def rows(*lists):
    return tuple(np.array(each, dtype=np.int64) for each in lists)


def test_one_match_is_enough():
    # the first query has its own camera only, the second is seen by another one
    require_match(labelled([1, 2], [0, 0]), labelled([1, 2, 2], [0, 0, 5]), VERI)


def test_matches_of_the_querys_own_camera_only():
    one = labelled([1, 1, 2, -1], [3, 3, 3, 8], "csv:one.csv")
    # vehicle 1: two queries times two images, vehicle 2: one; the unknown one's camera is not told
    with pytest.raises(
        ProtocolError,
        match=r"all 5 matches are from the query's own camera \(every image is of camera 3\).*"
        r"other cameras, or choose a protocol .* aicity-top100, vehicleid, plain$",
    ):
        require_match(one, one, VERI)
    require_match(one, one, PLAIN)
    with pytest.raises(ProtocolError, match=r"all 2 matches are from the query's own camera, and"):
        require_match(labelled([1, 2], [3, 4]), labelled([1, 2], [3, 4]), VERI)


def test_no_vehicle_in_common():
    with pytest.raises(
        ProtocolError,
        match=r"^no query of q has a match in g under protocol plain: the two share no vehicle "
        r"\(2 vehicles are looked for, 1 others are in the gallery\)",
    ):
        require_match(
            labelled([1, 2, 2, -1], [0] * 4, "q"), labelled([3, 3, -1], [0] * 3, "g"), PLAIN
        )


def test_a_ground_truth_without_a_match():
    images = labelled([1, 1], [0, 0])
    for matches, junk in ((rows([], []), rows([0], [])), (rows([1], []), rows([1], []))):
        with pytest.raises(ProtocolError, match="the ground truth names none"):
            require_match(images, images, VERI, truth=GroundTruth(matches, junk, (), 0))
    # its matches count whatever the cameras are
    require_match(images, images, VERI, truth=GroundTruth(rows([1], []), rows([], []), (), 0))
