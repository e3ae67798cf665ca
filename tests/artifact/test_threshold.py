"""The calibrated distance beside a model: whole, its own, or an error."""

from __future__ import annotations

import json

import pytest
from helpers_artifact import write_artifact
from helpers_threshold import a_threshold

from mtml_deploy.artifact.artifact_folder import ARTIFACT
from mtml_deploy.artifact.threshold import (
    calibrated_distance,
    require_calibrated,
    save_threshold,
    threshold_path,
)
from mtml_deploy.errors import ArtifactError


def test_a_record_comes_back_and_belongs_to_the_artifact(tmp_path):
    artifact = write_artifact(tmp_path / "art")
    assert calibrated_distance(artifact) is None
    with pytest.raises(
        ArtifactError,
        match=r"art has no calibrated distance.*mtml-deploy calibrate-threshold .*art --data",
    ):
        require_calibrated(artifact)
    record = a_threshold(artifact)
    assert save_threshold(artifact, record) == tmp_path / "art" / "threshold.json"
    assert calibrated_distance(artifact) == require_calibrated(artifact) == record
    assert record.in_words() == "at FPR 0.001 on 324 queries of veri:D#query, 2026-11-28"
    assert ARTIFACT.foreign(artifact.folder) == []
    assert ARTIFACT.products(artifact.folder) == "1 calibrated distance"


def test_a_changed_or_foreign_record_is_refused(tmp_path):
    artifact = write_artifact(tmp_path / "art")
    save_threshold(artifact, a_threshold(artifact))
    path = threshold_path(artifact)
    whole = path.read_text()
    path.write_text(whole.replace('"distance": 0.75', '"distance": 0.85'))
    with pytest.raises(ArtifactError, match=r"check must be .* was changed; delete it"):
        calibrated_distance(artifact)
    for change in ({"distance": -1}, {"fpr": 0}, {"tpr": 2}, {"extra": 1}, {"queries": 0}):
        path.write_text(json.dumps(json.loads(whole) | change))
        with pytest.raises(ArtifactError, match=f"{next(iter(change))}.*calibrate-threshold"):
            calibrated_distance(artifact)
    other = write_artifact(tmp_path / "other", seed=1)
    path.write_text(whole)
    threshold_path(other).write_text(whole)
    with pytest.raises(ArtifactError, match=r"is of a model file .*, expected"):
        calibrated_distance(other)
