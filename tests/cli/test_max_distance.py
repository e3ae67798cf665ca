"""From `calibrate-threshold` to `search --max-distance`: which rows are left, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from helpers_artifact import DIM, write_artifact
from helpers_cli import ok, run
from helpers_embeddings import embedded
from helpers_threshold import a_threshold

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.threshold import calibrated_distance, save_threshold
from mtml_deploy.embed.embed import model_identity
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.embed.fingerprint import rows_sha256

UNKNOWN = -1


def points(artifact: Artifact, places, vehicles, source: str) -> Embeddings:
    """Rows on one axis, so that distances are differences."""
    features = np.zeros((len(places), DIM), dtype=np.float32)
    features[:, 0] = places
    return embedded(features, vehicles, source=source, model=model_identity(artifact.manifest))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An artifact, queries at 0 and 100, a gallery of rows at 1 to 20 and 0.5, and their files."""
    artifact = write_artifact(tmp_path / "art")
    points(artifact, [0, 100], [7, 8], "q").save(tmp_path / "q.npz")
    rows = points(artifact, [*range(1, 21), 0.5, 100], [1] * 20 + [7, 8], "g")
    rows.save(tmp_path / "g.npz")
    ok("gallery", "create", tmp_path / "store", tmp_path / "art")
    ok("gallery", "add", tmp_path / "store", "--embeddings", tmp_path / "g.npz")
    return tmp_path


def search(place: Path, *words: object) -> tuple[dict, Result]:
    out = place / "out.json"
    done = ok("search", "--gallery", place / "store", "--query", place / "q.npz", "--json", out,
              "--overwrite", place / "art", *words)  # fmt: skip
    return json.loads(out.read_text()), done


def distances(found: dict) -> list[list[float]]:
    return [[hit["distance"] for hit in query["ranks"]] for query in found["queries"]]


def test_the_measured_distance_is_kept_shown_and_used(place: Path) -> None:
    words = ("calibrate-threshold", place / "art", "--data", place / "q.npz", "--gallery",
             place / "g.npz", "--protocol", "plain", "--fpr", 0.05)  # fmt: skip
    done = ok(*words)
    # 42 pairs do not match, two of them may be accepted: those of the first query at 1 and 2
    limit = float(np.nextafter(np.float32(3), np.float32(0)))
    record = calibrated_distance(Artifact(place / "art", _manifest(place)))
    assert record is not None
    assert (record.distance, record.fpr, record.tpr) == (limit, 0.05, 1.0)
    assert (record.positive_pairs, record.negative_pairs) == (2, 42)
    assert record.accepted_negative_pairs == 2
    assert (record.queries, record.vehicles, record.protocol) == (2, 2, "plain")
    assert (record.backend, record.device, record.normalised) == ("", "", None)
    assert record.query_sha256 == rows_sha256(Embeddings.load(place / "q.npz"))
    assert record.gallery_sha256 == rows_sha256(Embeddings.load(place / "g.npz"))
    says = "at FPR 0.05 on 2 queries of q, "
    assert f"distance {limit:.6g} (" in done.stdout and says in done.stdout
    assert "2 of 42 others" in done.stdout
    assert f"calibrated distance  {limit:.6g}, {says}" in ok("info", place / "art").stdout
    assert "add --overwrite" in run(*words).stderr
    ok(*words, "--overwrite")

    found, done = search(place, "--max-distance", "calibrated")
    assert distances(found) == [[0.5, 1.0, 2.0], [0.0]]
    assert f"note: rows up to the distance {limit:.6g}, {says}" in done.stderr
    assert found["max_distance"]["distance"] == limit
    assert found["max_distance"]["calibrated"]["tpr"] == 1.0
    _, done = search(place, "--max-distance", "calibrated", "--expand", 1)
    assert "measured between single images" in done.stderr


def _manifest(place: Path):
    from mtml_deploy.artifact.artifact import open_artifact

    return open_artifact(place / "art").manifest


def test_a_distance_that_is_given_cuts_at_it_and_empty_lists_are_told(place: Path) -> None:
    everything, _ = search(place)
    assert everything["max_distance"] is None and len(distances(everything)[0]) == 10
    found, done = search(place, "--max-distance", 1)  # at it: kept
    assert distances(found) == [[0.5, 1.0], [0.0]] and "empty" not in done.stderr
    assert found["max_distance"] == {"distance": 1.0, "calibrated": None}
    assert "up to the distance 1, as given" in done.stderr
    found, done = search(place, "--max-distance", 0.25)
    assert distances(found) == [[], [0.0]]
    assert "1 of 2 lists are empty: no row is that near" in done.stderr
    assert "no row is near enough: the nearest is at 0.5" in done.stdout
    # by the distance, whatever decided the order; places are counted anew
    found, _ = search(place, "--max-distance", 2, "--rerank", "--k1", 3, "--k2", 2)
    assert sorted(distances(found)[0]) == [0.5, 1.0, 2.0]
    assert [hit["rank"] for hit in found["queries"][0]["ranks"]] == [1, 2, 3]


def test_what_is_not_there_is_told(place: Path) -> None:
    words = ("search", "--gallery", place / "store", "--query", place / "q.npz")
    done = run(*words, "--max-distance", "calibrated", place / "art")
    assert done.exit_code == 1 and "has no calibrated distance, expected" in done.stderr
    done = run(*words, "--max-distance", "calibrated")
    assert done.exit_code == 2 and "give MODEL" in done.stderr
    for wrong in ("-1", "nan", "inf", "far", "calibrate"):
        done = run(*words, "--max-distance", wrong)
        assert done.exit_code == 2 and "expected a number of 0 or more, or cal" in done.stderr
    few = run("calibrate-threshold", place / "art", "--data", place / "q.npz", "--gallery",
              place / "g.npz", "--protocol", "plain")  # fmt: skip
    assert few.exit_code == 1 and "42 pairs of q and g do not match, expected 1000" in few.stderr
    artifact = Artifact(place / "art", _manifest(place))
    save_threshold(artifact, a_threshold(artifact, model_sha256="9" * 64))
    done = run(*words, "--max-distance", "calibrated", place / "art")
    assert done.exit_code == 1 and "is of a model file 999999999999..." in done.stderr
