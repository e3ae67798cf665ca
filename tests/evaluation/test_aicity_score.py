"""Score of a track2.txt: equal to the evaluation of the same order, and worked out by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers_datasets import write_xml

from mtml_deploy.data.records import ImageRecord, ImageSet
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.embed.pooling import pool_tracklets
from mtml_deploy.errors import DataError, EmbeddingsError, ProtocolError
from mtml_deploy.evaluation.aicity.labels import read_vehicles
from mtml_deploy.evaluation.aicity.track2_file import (
    read_submission,
    require_answerable,
    submission_text,
)
from mtml_deploy.evaluation.given_ranking import evaluate_ranking
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.evaluation.stages import stages
from mtml_deploy.report.metrics_json import Evaluation, metrics_json
from mtml_deploy.report.metrics_markdown import metrics_markdown
from mtml_deploy.search.rank import Ranking
from mtml_deploy.search.rerank import RerankOptions

PROTOCOL = find_protocol("aicity-top100")

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
    options = RerankOptions(k1=5, k2=2) if reranking else None
    *_, stage = stages(query, gallery, PROTOCOL, reranking=options)
    expected = stage.metrics()

    path = tmp_path / "track2.txt"
    path.write_text(submission_text(stage.ranking(100)))
    found = evaluate_ranking(
        read_submission(path, queries=20, gallery=800),
        labelled(query.vehicle_ids, "q"),
        labelled(gallery.vehicle_ids, "g"),
        PROTOCOL,
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


def labelled(vehicles: np.ndarray, source: str) -> ImageSet:
    """Images of these vehicles that lie nowhere."""
    records = [ImageRecord(Path(f"/{n}.jpg"), id_) for n, id_ in enumerate(vehicles.tolist())]
    return ImageSet(source, Path("/"), tuple(records))


def ids(images: ImageSet) -> list[int]:
    return [record.vehicle_id for record in images.records]


def by_hand() -> tuple[Ranking, ImageSet, ImageSet]:
    """Two queries; vehicle 7 is at places 1 and 4 and once beyond the list, vehicle 8 nowhere."""
    gallery = np.full(150, 3, dtype=np.int32)
    gallery[[0, 3, 149]] = 7
    rows = np.tile(np.arange(100, dtype=np.int32), (2, 1))
    ranking = Ranking(rows, np.zeros((2, 100), dtype=np.float32))
    return ranking, labelled(np.array([7, 8]), "q"), labelled(gallery, "g")


def test_by_hand() -> None:
    found = evaluate_ranking(*by_hand(), PROTOCOL)
    # precision 1/1 and 2/4 over three positives; the query without a match counts as 0
    assert found.average_precision.tolist() == [pytest.approx((1 + 0.5) / 3, rel=EQUAL), 0]
    assert found.mean_ap == pytest.approx(0.25, rel=EQUAL)
    assert found.mean_inp == 0  # the last match is beyond the list
    assert found.cmc[:2].tolist() == [0.5, 0.5]
    assert (found.num_queries, found.num_valid, found.unmatched) == (2, 1, "zero")


def test_report() -> None:
    ranking, query, gallery = by_hand()
    result = Evaluation(
        label="track2.txt",
        metrics=evaluate_ranking(ranking, query, gallery, PROTOCOL),
        model=None,
        query_source=query.source,
        query_names=query.names(),
        gallery_source=gallery.source,
        gallery_size=len(gallery.records),
    )
    text = metrics_markdown([result])
    assert "| track2.txt | 25.0 |" in text
    assert PROTOCOL.rule in text and "Model" not in text
    assert "image-to-image, 2 queries (q) against 150 gallery images (g)" in text
    assert "1 without a match, counted as 0" in text
    record = json.loads(metrics_json(result))
    assert record["mean_ap"] == pytest.approx(0.25, rel=EQUAL)
    assert record["queries"] == {
        "all": 2, "valid": 1, "unmatched": 1, "unmatched_count_as": "zero", "with_ties": 0,
    }  # fmt: skip
    assert len(record["average_precision"]) == 2


def test_nothing_to_find() -> None:
    ranking, query, gallery = by_hand()
    with pytest.raises(ProtocolError, match="share no vehicle"):
        evaluate_ranking(ranking, labelled(np.array([8, -1]), "q"), gallery, PROTOCOL)
    with pytest.raises(ValueError, match=r"sees rows \[1, 100\]"):
        evaluate_ranking(ranking, labelled(np.array([7]), "q"), gallery, PROTOCOL)
    with pytest.raises(ValueError, match=r"sees rows \[2, None\]"):
        evaluate_ranking(ranking, query, gallery, find_protocol("plain"))


def test_a_place_without_an_image_holds_no_match() -> None:
    ranking, query, gallery = by_hand()
    rows = ranking.rows.copy()
    rows[:, 50:] = -1  # the last gallery image is of vehicle 7
    found = evaluate_ranking(replace(ranking, rows=rows), query, gallery, PROTOCOL)
    assert found.mean_ap == pytest.approx(0.25, rel=EQUAL)


def test_vehicles_of_a_label_file(tmp_path: Path) -> None:
    items = [
        {"imageName": f"{number:06d}.jpg", "vehicleID": f"{vehicle:04d}", "cameraID": "c001"}
        for number, vehicle in ((3, 30), (1, 10), (10, 100), (2, 20))
    ]
    items += [{"imageName": f"{number:06d}.jpg", "vehicleID": "5"} for number in range(4, 10)]
    path = write_xml(tmp_path / "test_label.xml", items)
    found = read_vehicles(str(path), split="gallery")
    assert ids(found) == [10, 20, 30, 5, 5, 5, 5, 5, 5, 100]
    write_xml(path, items[1:])
    with pytest.raises(DataError, match=r"image 3 of the label file .* is 000004\.jpg"):
        read_vehicles(str(path), split="gallery")
    write_xml(path, [{"imageName": "000001.jpg", "cameraID": "c001"}])
    with pytest.raises(ProtocolError, match="mtml-deploy aicity split"):
        read_vehicles(str(path), split="gallery")


def test_vehicles_of_embeddings_and_tables(tmp_path: Path) -> None:
    made = images(6, 2, 1, vehicle_ids=np.array([4, 4, 4, 5, -1, 5], dtype=np.int32))
    made.save(tmp_path / "a.npz")
    found = read_vehicles(str(tmp_path / "a.npz"), split="query")
    assert ids(found) == [4, 4, 4, 5, -1, 5]
    assert found.names() == made.names
    one = images(2, 1, 1, vehicle_ids=np.array([4, 4], dtype=np.int32))
    pool_tracklets(one).save(tmp_path / "t.npz")
    with pytest.raises(EmbeddingsError, match="holds tracklets"):
        read_vehicles(str(tmp_path / "t.npz"), split="query")
    (tmp_path / "a.csv").write_text("path,vehicle_id\nx.jpg,7\ny.jpg,\n")  # no image is opened
    assert ids(read_vehicles(f"csv:{tmp_path / 'a.csv'}", split="query")) == [7, -1]


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
