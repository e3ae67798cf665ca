"""Embeddings whose ids are texts."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers_gallery import identity

from mtml_deploy.data import ids
from mtml_deploy.data.clock import LAST_US, UNKNOWN_TIME
from mtml_deploy.data.ids import NamedId
from mtml_deploy.data.records import ImageRecord
from mtml_deploy.embed.embeddings import Embeddings, require_comparable
from mtml_deploy.errors import DataError, EmbeddingsError
from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.report.rank_lists import RankedModel, rank_json, rank_text
from mtml_deploy.report.rank_page.page import rank_page
from mtml_deploy.search.rank import rank

PLATES = ("AB-1", "AB-2", "AB-3")
CAMERAS = ("north gate", "south <gate>", "dock")


def timed(*times_us: int | None) -> Embeddings:
    """One row per time."""
    records = [ImageRecord(Path(f"{n}.jpg"), time_us=time) for n, time in enumerate(times_us)]
    features = np.eye(3, dtype=np.float32)[: len(records)]
    names = [str(record.path) for record in records]
    return Embeddings.of(features, records, names=names, model=identity())


def rows(*labels: tuple[object, object], source: str = "s") -> Embeddings:
    """One row per (vehicle, camera), each a text or a number, at 0, 1, 2, ... on a line."""

    def an_id(label: object) -> int:
        return NamedId(label) if isinstance(label, str) else int(str(label))

    records = [ImageRecord(Path(f"{n}.jpg"), an_id(vehicle), an_id(camera))
               for n, (vehicle, camera) in enumerate(labels)]  # fmt: skip
    features = np.zeros((len(labels), 3), np.float32)
    features[:, 0] = np.arange(len(labels))
    names = [str(record.path) for record in records]
    return Embeddings.of(features, records, names=names, model=identity(), source=source)


def test_files_keep_the_texts(tmp_path: Path) -> None:
    made = rows(("AB-1", "dock"), (41, 2), ("AB-1", -1), ("8589934592", "dock"))
    made.save(tmp_path / "e.npz")
    read = Embeddings.load(tmp_path / "e.npz")
    assert [read.named(number) for number in read.vehicle_ids.tolist()] == [
        NamedId("AB-1"), 41, NamedId("AB-1"), NamedId("8589934592")
    ]  # fmt: skip
    assert sorted(read.id_texts.values()) == ["8589934592", "AB-1", "dock"]
    assert read.vehicle_ids.dtype == read.camera_ids.dtype == np.int64
    with np.load(tmp_path / "e.npz") as file:
        assert file["id_texts"].tolist() == ["8589934592", "AB-1", "dock"]
    read.take([1]).save(tmp_path / "one.npz")
    one = Embeddings.load(tmp_path / "one.npz")
    assert one.id_texts == {} and one.vehicle_ids.dtype == np.int32


def test_files_of_numbers_are_as_before(tmp_path: Path) -> None:
    rows((41, 2), (7, -1)).save(tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as file:
        assert sorted(file) == ["camera_ids", "features", "header", "names", "orientations",
                                "tracklet_ids", "vehicle_ids"]  # fmt: skip
        assert file["vehicle_ids"].dtype == np.int32


def test_a_text_that_is_missing_is_damage(tmp_path: Path) -> None:
    rows(("AB-1", 1)).save(tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as file:
        arrays = dict(file)
    arrays["id_texts"] = np.array(["AB-2"])
    np.savez(tmp_path / "e.npz", **arrays)
    with pytest.raises(EmbeddingsError, match=r"corrupted .*must be int32|corrupted .*has no text"):
        Embeddings.load(tmp_path / "e.npz")


def test_two_sets_that_know_nothing_of_each_other_are_compared_by_their_texts() -> None:
    """As many metrics as with numbers: texts of the gallery come in another order."""
    query = [(0, 0), (1, 1), (2, 2)]
    gallery = [(2, 0), (2, 2), (1, 0), (0, 1), (0, 0), (1, 1), (-1, 1)]

    def texts(labels: list[tuple[int, int]]) -> list[tuple[object, object]]:
        return [(PLATES[v] if v >= 0 else -1, CAMERAS[c] if c >= 0 else -1) for v, c in labels]

    for name in ("veri776", "market", "plain", "aicity-top100"):
        rule = find_protocol(name)
        numbered = evaluate(rows(*query), rows(*gallery), rule)
        found = evaluate(rows(*texts(query)), rows(*texts(gallery)), rule)
        assert found.mean_ap == numbered.mean_ap and found.cmc.tolist() == numbered.cmc.tolist()
        assert found.num_valid == numbered.num_valid == 3


def test_one_number_of_two_texts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "number_of", lambda text: 2**31 + len(text))
    with pytest.raises(DataError, match="'a' and 'b' have the same number"):
        require_comparable(rows(("a", 1)), rows(("b", 1)))
    with pytest.raises(DataError, match="have the same number"):
        Embeddings.concat([rows(("a", 1)), rows(("b", 1))])
    with pytest.raises(DataError, match="have the same number"):
        rows(("a", 1), ("b", 1))
    require_comparable(rows(("a", 1)), rows(("bb", 1)))


def test_joined_and_pooled(tmp_path: Path) -> None:
    whole = Embeddings.concat([rows(("AB-1", "dock")), rows(("AB-2", 3)), rows((5, 3))])
    assert [whole.named(number) for number in whole.vehicle_ids.tolist()] == [
        NamedId("AB-1"), NamedId("AB-2"), 5
    ]  # fmt: skip
    images = rows(("AB-1", "dock"), ("AB-2", "dock"), ("AB-1", "dock"), ("AB-1", "north"))
    tracks = images.pool("vehicle-cameras")
    pairs = zip(tracks.vehicle_ids.tolist(), tracks.camera_ids.tolist(), strict=True)
    labels = [(str(tracks.named(vehicle)), str(tracks.named(camera))) for vehicle, camera in pairs]
    assert labels == [("AB-1", "dock"), ("AB-2", "dock"), ("AB-1", "north")]
    assert tracks.features[:, 0].tolist() == [1.0, 1.0, 3.0]  # (0 + 2) / 2, 1, 3
    with pytest.raises(EmbeddingsError, match=r"for example AB-\d and AB-\d, expected images of"):
        images.pool("one")
    tracks.save(tmp_path / "t.npz")
    assert Embeddings.load(tmp_path / "t.npz").id_texts == tracks.id_texts


def test_reports_show_the_texts() -> None:
    query = rows(("AB-1", "north gate"), (7, 2))
    gallery = rows(("AB-2", "south <gate>"), ("AB-1", "dock"), (7, -1))
    model = RankedModel("m", query, gallery, rank(query.features, gallery.features, top_k=3), None)
    first, second = json.loads(rank_json(model, length=3))["queries"]
    assert (first["vehicle_id"], first["camera_id"]) == ("AB-1", "north gate")
    assert (second["vehicle_id"], second["camera_id"]) == (7, 2)
    assert [(p["vehicle_id"], p["camera_id"], p["match"]) for p in first["ranks"]] == [
        ("AB-2", "south <gate>", False), ("AB-1", "dock", True), (7, -1, False)
    ]  # fmt: skip
    assert "camera dock" in rank_text(model, length=3, limit=1)[2]
    html = rank_page([model], find_protocol("plain")).html
    assert "vehicle AB-1 · camera north gate" in html
    assert "cam south &lt;gate&gt;" in html and "<gate>" not in html


def test_times_travel_with_the_rows(tmp_path: Path) -> None:
    made = timed(1_500_000, None, -2)
    made.save(tmp_path / "e.npz")
    read = Embeddings.load(tmp_path / "e.npz")
    assert read.times_us is not None and read.times_us.tolist() == [1_500_000, UNKNOWN_TIME, -2]
    assert read[[2, 0]].times_us.tolist() == [-2, 1_500_000]  # type: ignore[union-attr]
    whole = Embeddings.concat([timed(None), read, timed(7)])
    assert whole.times_us is not None
    assert whole.times_us.tolist() == [UNKNOWN_TIME, 1_500_000, UNKNOWN_TIME, -2, 7]
    assert (
        timed(None, None).times_us is None and Embeddings.concat([timed(None)] * 2).times_us is None
    )
    assert made.pool("one").times_us is None
    with pytest.raises(ValueError, match=r"times_us must be int64 \[3\], found int64 \[2\]"):
        replace(made, times_us=np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="outside the years 1 to 9999"):
        replace(made, times_us=np.array([0, 0, LAST_US + 1]))
