"""Score of a track2.txt: equal to the evaluation of the same order, and worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers_datasets import write_xml

from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.embed.pooling import pool_tracklets
from mtml_deploy.errors import DataError, EmbeddingsError, ProtocolError
from mtml_deploy.evaluate.aicity.answer import best_rows, require_answerable
from mtml_deploy.evaluate.aicity.score import VehicleIds, read_vehicle_ids, score
from mtml_deploy.evaluate.aicity.track2_file import read_submission, submission_text
from mtml_deploy.evaluate.metrics import evaluate
from mtml_deploy.evaluate.protocols import find_protocol
from mtml_deploy.report.aicity_score import Score, score_json, score_markdown
from mtml_deploy.search.rerank import RerankOptions, rerank

EQUAL = 1e-15
"""The same sums of the same fractions, in the same order."""


def images(size: int, vehicles: int, seed: int, **changes: object) -> Embeddings:
    """Official names; vehicles scattered about centres, some images of unknown vehicle."""
    random = np.random.default_rng(seed)
    ids = random.integers(-1, vehicles, size=size).astype(np.int32)
    centres = np.random.default_rng(9).normal(size=(vehicles + 1, 4))
    fields = {
        "features": (centres[ids] + random.normal(size=(size, 4))).astype(np.float32),
        "vehicle_ids": ids,
        "camera_ids": np.full(size, -1, dtype=np.int32),
        "orientations": np.full(size, -1, dtype=np.int32),
        "tracklet_ids": np.zeros(size, dtype=np.int32),
        "names": tuple(f"image_test/{n:06d}.jpg" for n in range(1, size + 1)),
        "root": "/data",
        "source": "set",
        "model": ModelIdentity("a" * 64, "fp32", "fused", 4),
    }
    return Embeddings(**(fields | changes))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("reranking", [False, True])
def test_equals_the_evaluation_of_the_same_order(
    tmp_path: Path, seed: int, *, reranking: bool
) -> None:
    # vehicles 0..9 are in the gallery, some more often than a list is long; 10..12 have no match
    query, gallery = images(20, 13, seed), images(800, 10 if seed else 3, seed + 50)
    order = rerank(query.features, gallery.features, options=RerankOptions(k1=5, k2=2))
    reranked = order if reranking else None
    expected = evaluate(query, gallery, find_protocol("aicity-top100"), reranked=reranked)

    path = tmp_path / "track2.txt"
    path.write_text(submission_text(best_rows(query, gallery, reranked=reranked)))
    found = score(
        read_submission(path, queries=20, gallery=800),
        VehicleIds(query.vehicle_ids, "q"),
        VehicleIds(gallery.vehicle_ids, "g"),
    )
    assert expected.ties == 0  # else the file's order would be one of several
    assert found.protocol == "aicity-top100"
    assert 0 < found.num_valid == expected.num_valid < found.num_queries == 20
    for name in ("mean_ap", "mean_ap_trapezoid", "mean_inp"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=EQUAL, abs=EQUAL)
    np.testing.assert_array_equal(found.cmc, expected.cmc)
    np.testing.assert_allclose(
        found.average_precision, expected.average_precision, rtol=EQUAL, atol=EQUAL
    )


def by_hand() -> tuple[np.ndarray, VehicleIds, VehicleIds]:
    """Two queries; vehicle 7 is at places 1 and 4 and once beyond the list, vehicle 8 nowhere."""
    gallery = np.full(150, 3, dtype=np.int32)
    gallery[[0, 3, 149]] = 7
    rows = np.tile(np.arange(100, dtype=np.int32), (2, 1))
    return rows, VehicleIds(np.array([7, 8], dtype=np.int32), "q"), VehicleIds(gallery, "g")


def test_by_hand() -> None:
    found = score(*by_hand())
    # precision 1/1 and 2/4 over three positives; the query without a match counts as 0
    assert found.average_precision.tolist() == [pytest.approx((1 + 0.5) / 3, rel=EQUAL), 0]
    assert found.mean_ap == pytest.approx(0.25, rel=EQUAL)
    assert found.mean_inp == 0  # the last match is beyond the list
    assert found.cmc[:2].tolist() == [0.5, 0.5]
    assert (found.num_queries, found.num_valid, found.unmatched) == (2, 1, "zero")


def test_report() -> None:
    rows, query, gallery = by_hand()
    result = Score(Path("track2.txt"), score(rows, query, gallery), query, gallery)
    text = score_markdown(result)
    assert "| track2.txt | 25.0 |" in text
    assert find_protocol("aicity-top100").rule in text
    assert "2 queries (q) against 150 gallery images (g), image-to-image" in text
    assert "1 without a match, counted as 0" in text
    record = json.loads(score_json(result))
    assert record["mean_ap"] == pytest.approx(0.25, rel=EQUAL)
    assert record["queries"] == {
        "all": 2, "valid": 1, "unmatched": 1, "unmatched_count_as": "zero",
    }  # fmt: skip
    assert len(record["average_precision"]) == 2


def test_nothing_to_find() -> None:
    rows, _, gallery = by_hand()
    with pytest.raises(ProtocolError, match="share no vehicle"):
        score(rows, VehicleIds(np.array([8, -1], dtype=np.int32), "q"), gallery)
    with pytest.raises(ValueError, match=r"rows are \[1, 100\]"):
        score(rows, VehicleIds(np.array([7], dtype=np.int32), "q"), gallery)


def test_vehicles_of_a_label_file(tmp_path: Path) -> None:
    items = [
        {"imageName": f"{number:06d}.jpg", "vehicleID": f"{vehicle:04d}", "cameraID": "c001"}
        for number, vehicle in ((3, 30), (1, 10), (10, 100), (2, 20))
    ]
    items += [{"imageName": f"{number:06d}.jpg", "vehicleID": "5"} for number in range(4, 10)]
    path = write_xml(tmp_path / "test_label.xml", items)
    found = read_vehicle_ids(str(path), split="gallery")
    assert found.ids.tolist() == [10, 20, 30, 5, 5, 5, 5, 5, 5, 100]
    write_xml(path, items[1:])
    with pytest.raises(DataError, match=r"image 3 of the label file .* is 000004\.jpg"):
        read_vehicle_ids(str(path), split="gallery")
    write_xml(path, [{"imageName": "000001.jpg", "cameraID": "c001"}])
    with pytest.raises(ProtocolError, match="mtml-deploy aicity split"):
        read_vehicle_ids(str(path), split="gallery")


def test_vehicles_of_embeddings_and_tables(tmp_path: Path) -> None:
    made = images(6, 2, 1, vehicle_ids=np.array([4, 4, 4, 5, -1, 5], dtype=np.int32))
    made.save(tmp_path / "a.npz")
    assert read_vehicle_ids(str(tmp_path / "a.npz"), split="query").ids.tolist() == [
        4,
        4,
        4,
        5,
        -1,
        5,
    ]
    one = images(2, 1, 1, vehicle_ids=np.array([4, 4], dtype=np.int32))
    pool_tracklets(one).save(tmp_path / "t.npz")
    with pytest.raises(EmbeddingsError, match="holds tracklets"):
        read_vehicle_ids(str(tmp_path / "t.npz"), split="query")
    (tmp_path / "a.csv").write_text("path,vehicle_id\nx.jpg,7\ny.jpg,\n")  # no image is opened
    assert read_vehicle_ids(f"csv:{tmp_path / 'a.csv'}", split="query").ids.tolist() == [7, -1]


def test_sets_that_cannot_be_answered() -> None:
    query, gallery = images(2, 2, 0), images(100, 2, 1)
    require_answerable(query, gallery, local=False)
    with pytest.raises(EmbeddingsError, match="2 queries and 99 gallery images"):
        require_answerable(query, images(99, 2, 1), local=False)
    renamed = images(100, 2, 1, names=tuple(f"{n}.jpg" for n in range(100)))
    with pytest.raises(DataError, match=r"image 1 of the gallery .* is 0\.jpg"):
        require_answerable(query, renamed, local=False)
    require_answerable(query, renamed, local=True)
    one = images(100, 2, 1, vehicle_ids=np.zeros(100, dtype=np.int32))
    with pytest.raises(EmbeddingsError, match=r"the query set .* holds tracklets"):
        require_answerable(pool_tracklets(one), gallery, local=True)
    other = images(100, 2, 1, model=ModelIdentity("b" * 64, "fp32", "fused", 4))
    with pytest.raises(EmbeddingsError, match="model_sha256"):
        require_answerable(query, other, local=True)
