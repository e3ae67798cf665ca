"""Queries that are in the gallery themselves: found, counted, left out on request."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers_embeddings import embedded as rows
from hypothesis import given, settings
from hypothesis import strategies as st

import mtml_deploy as md
from mtml_deploy.errors import ProtocolError
from mtml_deploy.evaluation.own_copies import (
    EQUAL_TOLERANCE,
    NAMED_TOLERANCE,
    find_own_copies,
    without_copies,
)


def found(query, gallery):
    return [each.tolist() for each in find_own_copies(query, gallery, left_out=True).rows]


def test_by_name_and_by_equal_embeddings():
    query = rows([[1, 0], [0, 1], [1, 1]], [7, 7, 8], [1, 1, 1], ["q/a.jpg", "q/b.jpg", "q/c.jpg"])
    near, far = 1 + NAMED_TOLERANCE / 2, 1 + NAMED_TOLERANCE * 2
    gallery = rows(
        [[near, 0], [near, 0], [near, 0], [far, 0], [1, 0], [1, 0], [0, 1], [1, 1]],
        [7, 7, 7, 7, 7, 8, 7, -1],
        [1, 2, 1, 1, 9, 1, 1, 1],
        ["g/a.jpg", "g/a.jpg", "g/z.jpg", "h/a.jpg", "other.jpg", "a.jpg", "x/b.jpg", "c.jpg"],
    )
    # a: its name before the same camera, and an equal row under another name and camera;
    # not: another camera, another name, too far, another vehicle
    assert found(query, gallery) == [[0, 4], [6], []]


def test_labels_that_are_unknown_are_alike():
    one = rows([[1, 2], [3, 4]], [-1, -1], names=["a.jpg", "b.jpg"])
    assert found(one, one) == [[0], [1]]
    assert found(one, rows(np.empty((0, 2)), [])) == [[], []]
    assert found(rows([[0, 0]], [1]), rows([[0, 0], [0, 1e-9]], [1, 1])) == [[0]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 60), st.integers(1, 40))
def test_as_a_plain_loop_finds_them(seed, queries, size, dim):
    random = np.random.default_rng(seed)
    # few different vectors, some moved by less and some by more than the tolerances
    pool = random.normal(size=(5, dim))

    def drawn(count):
        features = pool[random.integers(0, 5, count)]
        moved = features * (1 + random.choice([0, 1e-7, 4e-5, 2e-3, 5e-2], count)[:, None])
        names = [f"{number}.jpg" for number in random.integers(0, 4, count)]
        return rows(moved, random.integers(-1, 2, count), random.integers(-1, 2, count), names)

    query, gallery = drawn(queries), drawn(size)
    expected = []
    for q in range(queries):
        own = []
        for g in range(size):
            left = query.features[q].astype(np.float64)
            apart = np.linalg.norm(gallery.features[g] - left)
            same = query.names[q] == gallery.names[g]
            same &= bool(query.camera_ids[q] == gallery.camera_ids[g])
            most = (NAMED_TOLERANCE if same else EQUAL_TOLERANCE) * np.linalg.norm(left)
            if query.vehicle_ids[q] == gallery.vehicle_ids[g] and apart <= most:
                own.append(g)
        expected.append(own)
    assert found(query, gallery) == expected


def test_without_copies():
    copies = find_own_copies(rows([[1]], [1]), rows([[1], [2], [1]], [1, 1, 1]), left_out=True)
    assert without_copies(lambda _: np.array([1]), copies)(0).tolist() == [0, 1, 2]
    kept = replace(copies, left_out=False)
    assert without_copies(lambda _: np.array([1]), kept)(0).tolist() == [1]
    assert without_copies(lambda _: np.array([1]), None)(0).tolist() == [1]


# one query set that is also the gallery; by distance from 0: itself, 1 (another), 3 (the match)
SAME = rows([[0], [1], [3]], [5, 6, 5], names=["a.jpg", "b.jpg", "c.jpg"], source="set")


def test_plain_counts_the_copies_and_can_leave_them_out():
    counted = md.evaluate(SAME, SAME, "plain")
    assert counted.metrics.cmc_at(1) == 1
    assert "3 queries meet their own copy in the gallery, which counts as a match" in (
        counted.markdown
    )
    record = json.loads(counted.json)["own_copies"]
    assert (record["queries"], record["left_out"]) == (3, False)

    left_out = md.evaluate(SAME, SAME, "plain", leave_out_self=True)
    # 0: finds 1, then 3 -> 1/2; 1: has no other image; 3: finds 1 (another), then 0 -> 1/2
    assert left_out.mean_ap == pytest.approx(0.5)
    assert (left_out.metrics.num_valid, left_out.metrics.num_queries) == (2, 3)
    assert left_out.metrics.cmc.tolist() == [0, 1, 1]
    assert "3 queries meet their own copy in the gallery, which was left out" in left_out.markdown
    record = json.loads(left_out.json)["own_copies"]
    assert (record["queries"], record["left_out"]) == (3, True)


def test_expanded_and_reranked_queries_still_know_their_copies():
    found = md.evaluate(SAME, SAME, "plain", leave_out_self=True, expand=1, rerank=True)
    assert [stage.num_valid for stage in found.stages.values()] == [2, 2, 2]


def test_where_there_is_nothing_to_say():
    other = rows([[0.5], [1.5], [2.5]], [5, 6, 5], source="other")
    found = md.evaluate(SAME, other, "plain")
    assert json.loads(found.json)["own_copies"]["queries"] == 0
    assert "own copy" not in found.markdown
    cameras = replace(SAME, camera_ids=np.array([1, 1, 2], dtype=np.int32))
    # the rule leaves them out itself
    assert json.loads(md.evaluate(cameras, cameras, "veri776").json)["own_copies"] is None


def test_refusals():
    alone = rows([[0], [1]], [5, 6])
    with pytest.raises(ProtocolError, match="all 2 matches are copies of the query itself"):
        md.evaluate(alone, alone, "plain", leave_out_self=True)
    with pytest.raises(ValueError, match="vehicleid has no image twice"):
        md.evaluate(None, SAME, "vehicleid", leave_out_self=True)
    with pytest.raises(ValueError, match="a ground truth says itself"):
        md.evaluate(SAME, SAME, "plain", ground_truth="gt.txt", leave_out_self=True)
