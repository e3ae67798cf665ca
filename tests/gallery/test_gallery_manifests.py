"""The manifests of galleries: whatever is damaged in one is refused in words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from helpers_gallery import DIM, identity
from helpers_records import check_json_reader

from mtml_deploy.gallery.folder.manifest import GalleryManifest, load_manifest, save_manifest
from mtml_deploy.gallery.milvus.manifest import CollectionManifest, manifest_text, parse_manifest
from mtml_deploy.gallery.tuning import Measured, Tuning
from mtml_deploy.gallery.values import GalleryError


def test_of_a_folder(tmp_path: Path):
    manifest = GalleryManifest(model=identity(), dtype="int8")
    save_manifest(tmp_path, manifest)
    assert load_manifest(tmp_path) == manifest
    check_json_reader(tmp_path / "gallery.json", lambda: load_manifest(tmp_path), GalleryError)
    # the fingerprint is in every vector file: it must never change
    model = {"model_sha256": "a" * 64, "precision": "fp32", "embedding": "fused", "dim": DIM}
    text = json.dumps([model, "int8"], sort_keys=True)
    assert manifest.fingerprint == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "tuning", [None, Tuning(64, 0.95, 0.9, 10, 100, (Measured("all rows", 1.0, 0.95),))]
)
def test_of_a_collection(tmp_path: Path, tuning):
    manifest = CollectionManifest(identity(), 7, "somebody", tuning=tuning)
    path = tmp_path / "row"
    path.write_text(manifest_text(manifest))

    def read() -> CollectionManifest:
        return parse_manifest(path.read_text(errors="surrogateescape"), "cars")

    assert read() == manifest
    # cards written before there was an index have no tuning
    optional = frozenset({"tuning"})
    check_json_reader(path, read, GalleryError, optional=optional, named="cars")
