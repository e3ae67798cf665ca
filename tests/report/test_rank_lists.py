"""Rank lists: labels of places, JSON and terminal lines."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers_embeddings import embedded

from mtml_deploy.data.clock import UNKNOWN_TIME
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.evaluation.metrics import RetrievalMetrics
from mtml_deploy.report.rank_lists import (
    RankedModel,
    rank_json,
    rank_list,
    rank_text,
    require_same_images,
)
from mtml_deploy.search.rank import Ranking


def labelled(vehicles, names, cameras=None):
    size = len(vehicles)
    return embedded(np.zeros((size, 1), dtype=np.float32), vehicles, cameras, names=names)


def scored(values):
    return RetrievalMetrics(
        protocol="plain", mean_ap=0.5, mean_ap_trapezoid=0.4, mean_inp=0.3, cmc=np.array([0.5, 1]),
        num_queries=len(values), num_valid=int(np.isfinite(values).sum()), unmatched="skipped",
        ties=0, average_precision=np.array(values),
    )  # fmt: skip


def model(values=None, *, query_names=("q0", "q1"), gallery_names=("a", "b", "c")):
    size = len(query_names)
    return RankedModel(
        label="M",
        query=labelled([4, -1, *[4] * (size - 2)], query_names),
        gallery=labelled([4, 5, -1], gallery_names, [1, 2, -1]),
        ranking=Ranking(
            rows=np.array([[2, 0, 1], [1, -1, -1]] + [[0, 1, 2]] * (size - 2), dtype=np.int32),
            distances=np.array(
                [[0.5, 1, 2], [3, np.inf, np.inf]] + [[0, 1, 2]] * (size - 2), dtype=np.float32
            ),
        ),
        metrics=None if values is None else scored(values),
    )


def test_places_tell_match_other_and_unknown():
    places = rank_list(model(), 0, length=10)
    assert [(p.rank, p.row, p.name, p.distance, p.match) for p in places] == [
        (1, 2, "c", 0.5, None),
        (2, 0, "a", 1.0, True),
        (3, 1, "b", 2.0, False),
    ]
    assert [(p.vehicle_id, p.camera_id) for p in places] == [(-1, -1), (4, 1), (5, 2)]
    # a query of unknown vehicle matches nothing that is known; its list ends where rows end
    assert [(p.row, p.match) for p in rank_list(model(), 1, length=10)] == [(1, None)]
    assert len(rank_list(model(), 0, length=2)) == 2


def test_json_holds_every_query_and_nulls():
    record = json.loads(rank_json(model([0.25, np.nan]), length=2))
    assert record["schema"] == 1
    assert record["model"]["model_sha256"] == "0" * 64
    first, second = record["queries"]
    assert first["average_precision"] == 0.25
    assert second["average_precision"] is None
    assert first["ranks"][1] == {
        "rank": 2, "row": 0, "name": "a", "distance": 1.0, "vehicle_id": 4, "camera_id": 1,
        "match": True, "time": None,
    }  # fmt: skip
    assert first["ranks"][0]["match"] is None
    assert [place["row"] for place in second["ranks"]] == [1]


def test_times_of_places_are_told_where_they_are_known():
    timed = model()
    # 2024-05-01 10:00 UTC, and a quarter of a second before 1970
    times = np.array([1714557600_000000, -250_000, UNKNOWN_TIME])
    timed = replace(timed, gallery=replace(timed.gallery, times_us=times))
    assert [(place.row, place.time) for place in rank_list(timed, 0, length=3)] == [
        (2, None),
        (0, "2024-05-01T10:00:00+00:00"),
        (1, "1969-12-31T23:59:59.750000+00:00"),
    ]


def test_terminal_lines():
    lines = rank_text(model([0.25, np.nan]), length=3, limit=1)
    assert lines[0] == "q0   AP 25.0%"
    assert [line.split() for line in lines[1:4]] == [
        ["1", "0.5", "c"],
        ["2", "+", "1", "a", "camera", "1"],
        ["3", "-", "2", "b", "camera", "2"],
    ]
    assert lines[4].startswith("... and 1 more queries")
    assert not rank_text(model(), length=1, limit=2)[-1].startswith("...")


def test_terminal_lines_hold_no_control_characters():
    names = ("a\x1b[2J", "b\n", "\u202ec")
    lines = rank_text(model(gallery_names=names), length=3, limit=1)
    assert all(line.isprintable() for line in lines)
    assert "a\\x1b[2J" in lines[2]


def test_models_of_other_images_are_not_compared():
    require_same_images([model(), model()])
    with pytest.raises(EmbeddingsError, match="the gallery of one is set"):
        require_same_images([model(), model(gallery_names=("a", "c", "b"))])
    with pytest.raises(EmbeddingsError, match="the query set of one is set"):
        require_same_images([model(), model(query_names=("q0", "q2"))])
    with pytest.raises(ValueError, match="at least one"):
        require_same_images([])


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        model([0.5])
    with pytest.raises(ValueError, match="row 2, the gallery has 1"):
        RankedModel("M", model().query, labelled([1], ["a"]), model().ranking, None)
