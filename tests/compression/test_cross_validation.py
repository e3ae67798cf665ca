"""Projections measured on vehicles they were not learnt from, against plain loops."""

from dataclasses import replace

import numpy as np
import pytest

from mtml_deploy.compression import cross_validation as module
from mtml_deploy.compression.cross_validation import AS_EMBEDDED, Score, cross_validate
from mtml_deploy.compression.learn import CompressOptions, learn_projection
from mtml_deploy.compression.table import (
    advice,
    cross_validation_record,
    measured_on,
    score_rows,
)
from mtml_deploy.data.records import ImageRecord
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.parity.bootstrap import Change, paired_change

WIDTH = 8
DIM = 2
ASKED = CompressOptions(method="pca", dim=DIM)


def labelled(*, vehicles=12, images=6, cameras=3, seed=0) -> Embeddings:
    """Vehicles apart in small directions, all of them scattered widely along two others."""
    rng = np.random.default_rng(seed)
    ids = np.arange(vehicles).repeat(images)
    means = rng.normal(size=(vehicles, WIDTH)) * ([0.2, 0.2] + [1.0] * (WIDTH - 2))
    noise = rng.normal(size=(len(ids), WIDTH)) * ([9.0, 6.0] + [0.5] * (WIDTH - 2))
    records = [
        ImageRecord(f"{row}.png", int(vehicle), row % cameras) for row, vehicle in enumerate(ids)
    ]
    return Embeddings.of(
        (means[ids] + noise).astype(np.float32),
        records,
        names=[str(record.path) for record in records],
        model=ModelIdentity("a" * 64, "fp32", "fused", WIDTH),
        source="made",
    )


def precisions_by_loop(features, held, *, across):
    """Step average precision of every row that has a match, by sorting everything."""
    found = []
    for query in range(len(features)):
        order = []
        for other in range(len(features)):
            same = held.vehicle_ids[other] == held.vehicle_ids[query]
            camera = held.camera_ids[other] == held.camera_ids[query]
            if other != query and not (across and same and camera):
                apart = features[other].astype(np.float64) - features[query]
                order.append((float((apart**2).sum()), other, bool(same)))
        hits, values = 0, []
        for rank, (_, _, same) in enumerate(sorted(order), 1):
            if same:
                hits += 1
                values.append(hits / rank)
        if values:
            found.append(sum(values) / len(values))
    return found


def unit(rows):
    return rows / np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("across", [True, False])
def test_the_table_is_that_of_plain_loops(across):
    train = labelled()
    if not across:
        train = replace(train, camera_ids=np.full(len(train), -1, dtype=np.int32))
    found = cross_validate(train, ASKED, folds=3)
    parts = module._parts(train, 3)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(train)))
    expected: dict[tuple[str, str], list[float]] = {}
    for part in parts:
        rest = np.setdiff1d(np.arange(len(train)), part)
        assert not set(train.vehicle_ids[part]) & set(train.vehicle_ids[rest])
        held = train[part]
        views = {AS_EMBEDDED: held.features}
        for method in ("pca", "pca-whiten", "lda"):
            options = CompressOptions(method=method, dim=DIM, normalise=False)
            learnt = learn_projection(train.features[rest], train.vehicle_ids[rest], options)
            views[method] = learnt.apply(held.features)
        for method, rows in views.items():
            for column, judged in (("l2", rows), ("unit", unit(rows))):
                values = precisions_by_loop(judged.astype(np.float32), held, across=across)
                expected.setdefault((method, column), []).extend(values)
    for score in found.scores:
        for column in ("l2", "unit"):
            values = expected[score.method, column]
            assert score.mean_ap[column] == pytest.approx(sum(values) / len(values), abs=1e-9)
        assert score.dim == (WIDTH if score.method == AS_EMBEDDED else DIM)
    assert (found.folds, found.vehicles, found.images) == (3, 12, 72)
    assert (found.queries, found.across_cameras) == (72, across)


def test_who_wins_and_who_loses_is_said():
    found = cross_validate(labelled(), ASKED, folds=4)
    embedded, lda = found.score(AS_EMBEDDED), found.score("lda")
    # the widest directions are those in which vehicles do not differ
    assert found.score("pca").mean_ap["unit"] < embedded.mean_ap["unit"]
    whole = cross_validate(labelled(), CompressOptions(method="lda"), folds=4)
    assert whole.score("lda").dim == WIDTH
    gain = whole.score("lda").change
    assert gain is not None and gain.low > 0
    assert gain.reference == max(embedded.mean_ap.values())
    assert whole.best is not None
    text = advice(found)
    lost = found.score("pca").change
    assert text.startswith("warning: on vehicles it was not learnt from, pca ranks worse")
    assert f"mAP {100 * lost.candidate:.1f}, not {100 * lost.reference:.1f}" in text
    assert "lda ranks better than the embeddings as they are (+" in advice(
        replace(whole, scores=(whole.scores[0], whole.score("lda")))
    )
    row = next(cells for cells in score_rows(found) if cells[0] == "lda")
    values = (f"{100 * lda.mean_ap[name]:.1f}" for name in ("l2", "unit"))
    assert row[:4] == ("lda", str(DIM), *values)
    assert "4 folds of 12 vehicles, 72 images" in measured_on(found)
    record = cross_validation_record(found)
    assert record["mean_ap"]["lda"] == {"dim": DIM, **lda.mean_ap}
    assert record["change"]["pca"]["difference"] == lost.difference


def test_a_doubtful_gain_is_no_recommendation():
    found = cross_validate(labelled(), ASKED, folds=4)
    doubtful = Score("pca", 2, {"l2": 0.5, "unit": 0.52}, Change(0.5, 0.52, -0.01, 0.05, 72))
    told = replace(found, scores=(found.scores[0], doubtful))
    assert told.best is None
    assert advice(told) == (
        "note: pca is not surely better than the embeddings as they are (+2.0 points of mAP)"
    )
    sure = replace(doubtful, method="lda", change=Change(0.5, 0.6, 0.05, 0.15, 72))
    told = replace(found, scores=(found.scores[0], doubtful, sure))
    assert advice(told).endswith("best here: --method lda (+10.0)")


def test_many_images_are_cut_by_whole_vehicles(monkeypatch):
    monkeypatch.setattr(module, "MOST_IMAGES", 31)
    parts = module._parts(labelled(), 5)
    rows = np.concatenate(parts)
    # 5 vehicles of 6 images fit, and each of two folds has two or three
    assert (len(rows), len(parts)) == (30, 2)
    shuffled = labelled()[np.random.default_rng(1).permutation(72)]
    again = module._parts(shuffled, 5)
    assert set(shuffled.vehicle_ids[np.concatenate(again)]) == set(labelled().vehicle_ids[rows])


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(EmbeddingsError, match=r"has 3 known vehicles, .* which needs four"):
        cross_validate(labelled(vehicles=3), ASKED)
    one = labelled(images=2, cameras=1)
    single = replace(one, vehicle_ids=np.arange(len(one), dtype=np.int32))
    with pytest.raises(EmbeddingsError, match="two images of one"):
        cross_validate(single, ASKED)
    with pytest.raises(ValueError, match="2 folds or more"):
        cross_validate(one, ASKED, folds=1)
    # one camera: matches of the same camera count, and only the image itself is left out
    assert not cross_validate(one, ASKED).across_cameras


def test_vehicles_are_drawn_together():
    """Two vehicles, of three queries and of one: every resample is one of three means."""
    before = np.zeros(4)
    after = np.array([0.1, 0.2, 0.3, 0.8])
    found = paired_change(before, after, groups=np.array([4, 4, 4, 9]))
    assert found.difference == pytest.approx(0.35)
    # twice the first (0.2), twice the second (0.8), each at a quarter of the draws
    assert (found.low, found.high) == (pytest.approx(0.2), pytest.approx(0.8))
