"""What each protocol leaves out, hand-worked, and what it refuses; the official lists of VeRi."""

from pathlib import Path

import numpy as np
import pytest
from helpers_embeddings import embedded

from mtml_deploy.errors import ProtocolError
from mtml_deploy.evaluation.protocols import (
    PROTOCOLS,
    find_protocol,
    require_labels,
    same_vehicle_rows,
)

DATA = Path(__file__).parents[3] / "shared" / "data" / "gims08"


def labelled(vehicles, cameras, source="set"):
    size = len(vehicles)
    return embedded(
        np.zeros((size, 1), dtype=np.float32),
        vehicles,
        cameras,
        names=(f"{row}.jpg" for row in range(size)),
        source=source,
    )


# rows:              0  1  2   3  4  5
GALLERY = labelled([7, 8, 7, -1, 7, -1], [1, 1, 2, 1, 1, 2], "gallery set")
QUERY = labelled([7, 8, -1, 9], [1, 2, 1, 1], "query set")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("veri776", [[0, 4], [], [], []]),
        ("market", [[0, 3, 4, 5], [3, 5], [3, 5], [3, 5]]),
        ("aicity-top100", [[], [], [], []]),
        ("vehicleid", [[3, 5], [3, 5], [3, 5], [3, 5]]),
        ("plain", [[], [], [], []]),
    ],
)
def test_rows_left_out(name, expected):
    excluded = find_protocol(name).excluded(QUERY, GALLERY)
    assert [excluded(row).tolist() for row in range(4)] == expected


def test_rows_of_the_same_vehicle_ignore_cameras_and_unknown_ids():
    same = same_vehicle_rows(QUERY, GALLERY)
    assert [same(row).tolist() for row in range(4)] == [[0, 2, 4], [1], [], []]


def test_an_unknown_camera_is_not_the_same_camera():
    excluded = find_protocol("veri776").excluded(labelled([7], [-1]), labelled([7], [-1]))
    assert excluded(0).tolist() == []


def test_every_protocol_says_its_rule_and_source():
    for name, protocol in PROTOCOLS.items():
        assert find_protocol(name) is protocol
        assert protocol.name == name
        assert len(protocol.rule) > 100
        assert protocol.source
        # the sentence on unmatched queries is about what is computed
        assert ("skipped" in protocol.rule) == (protocol.unmatched == "skipped")
        assert ("query's camera are left out" in protocol.rule) == protocol.needs_cameras


def test_an_unknown_name_lists_the_protocols():
    with pytest.raises(
        ProtocolError, match=r"'veri'.*veri776, market, aicity-top100, vehicleid, plain"
    ):
        find_protocol("veri")


def test_missing_cameras_are_counted_and_the_way_out_is_told():
    gallery = labelled([1, 1, 2, -1], [0, -1, -1, -1], "csv:g.csv")
    query = labelled([1], [0])
    with pytest.raises(ProtocolError, match=r"2 of 3 images .* gallery \(csv:g\.csv\)") as caught:
        require_labels(find_protocol("veri776"), query, gallery)
    assert "aicity-top100, vehicleid, plain" in str(caught.value)
    with pytest.raises(ProtocolError, match=r"1 of 1 images .* query set"):
        require_labels(find_protocol("market"), labelled([1], [-1]), query)
    # junk needs no camera, and these protocols need none at all
    require_labels(find_protocol("veri776"), query, labelled([1, -1], [0, -1]))
    require_labels(find_protocol("plain"), query, gallery)


def test_a_gallery_that_was_not_drawn_is_refused():
    rule = find_protocol("vehicleid")
    with pytest.raises(ProtocolError, match=r"\(gallery set\) holds several .* evaluate --gallery"):
        require_labels(rule, QUERY, GALLERY)
    require_labels(rule, QUERY, labelled([7, 8, -1, -1], [-1, -1, -1, -1]))
    assert [name for name in PROTOCOLS if find_protocol(name).draws_gallery] == ["vehicleid"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_sets_without_ids_are_refused(name):
    unknown = labelled([-1, -1], [0, 0], "photos")
    with pytest.raises(ProtocolError, match=r"none of the 2 images of the gallery \(photos\)"):
        require_labels(find_protocol(name), QUERY, unknown)
    with pytest.raises(ProtocolError, match=r"query set \(photos\)"):
        require_labels(find_protocol(name), unknown, GALLERY)
    with pytest.raises(ProtocolError, match="none of the 0 images"):
        require_labels(find_protocol(name), labelled([], []), GALLERY)


def test_veri776_equals_the_lists_that_come_with_a_data_set():
    if not DATA.is_dir():
        pytest.skip(f"real data not found at {DATA}")

    def read(name):
        return [line.split() for line in (DATA / name).read_text().splitlines()]

    def labels(names):
        # IIII_cCCC_...
        return labelled([int(n[:4]) for n in names], [int(n[6:9]) for n in names])

    query = labels([line[0] for line in read("name_query.txt")])
    gallery = labels([line[0] for line in read("name_test.txt")])
    excluded = find_protocol("veri776").excluded(query, gallery)
    same = same_vehicle_rows(query, gallery)
    # the lists count lines from 1
    junk = [[int(x) - 1 for x in line] for line in read("jk_image.txt")]
    good = [[int(x) - 1 for x in line] for line in read("gt_image.txt")]
    assert len(junk) == len(good) == len(query) == 80
    for row in range(80):
        assert excluded(row).tolist() == junk[row]
        assert sorted(set(same(row)) - set(excluded(row))) == good[row]
