"""The manifests of galleries: whatever is damaged in one is refused in words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from helpers_gallery import DIM, identity
from helpers_records import check_json_reader

from mtml_deploy.gallery.folder.manifest import GalleryManifest, load_manifest, save_manifest
from mtml_deploy.gallery.index_manifest import (
    IndexManifest,
    Tuning,
    load_index_manifest,
    save_index_manifest,
)
from mtml_deploy.gallery.milvus.manifest import CollectionManifest, manifest_text, parse_manifest
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


def test_of_a_collection(tmp_path: Path):
    manifest = CollectionManifest(identity(), 7, "somebody")
    path = tmp_path / "row"
    path.write_text(manifest_text(manifest))

    def read() -> CollectionManifest:
        return parse_manifest(path.read_text(errors="surrogateescape"), "cars")

    assert read() == manifest
    check_json_reader(path, read, GalleryError, named="cars")


@pytest.mark.parametrize("tuning", [None, Tuning(4, 0.95, 0.9, 10, 100)])
def test_of_an_index(tmp_path: Path, tuning):
    manifest = IndexManifest("n", "f" * 64, "a" * 64, "b" * 64, 5, 9, 4, tuning)
    (tmp_path / "index").mkdir()
    save_index_manifest(tmp_path, manifest)
    assert load_index_manifest(tmp_path) == manifest
    path = tmp_path / "index" / "card.json"
    check_json_reader(path, lambda: load_index_manifest(tmp_path), GalleryError)
