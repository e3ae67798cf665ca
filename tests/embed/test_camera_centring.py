"""The mean of each camera taken off: by hand, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_embeddings import embedded

import mtml_deploy as md
from mtml_deploy.cli.main import main
from mtml_deploy.embed.camera_centring import camera_means, centre
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.errors import EmbeddingsError


def images(values, cameras, *, vehicles=None, source="s"):
    return embedded(values, vehicles, cameras, source=source, root="/r")


# means: camera 4 (2, 4), camera 9 (10, 0)
REFERENCE = images([[1, 2], [3, 6], [10, 0]], [4, 4, 9], source="ref")


def test_rows_lose_the_mean_of_their_own_camera():
    rows = images([[5, 8], [13, 4], [2, 4]], [4, 9, 4], source="q")
    means = camera_means(REFERENCE, normalise=False)
    found = centre(rows, means)
    assert found.features.tolist() == [[3, 4], [3, 4], [0, 0]]
    unit = centre(rows, camera_means(REFERENCE, normalise=True))
    assert unit.features == pytest.approx(np.array([[0.6, 0.8], [0.6, 0.8], [0, 0]]))
    assert (found.names, found.camera_ids.tolist()) == (rows.names, [4, 9, 4])
    # the two ways, and rows that lost nothing, are three things that are never compared
    marks = {found.model.camera_means, unit.model.camera_means, rows.model.camera_means}
    assert len(marks) == 3
    assert "camera means taken off are" in found.model.difference(unit.model)
    assert "none" in found.model.difference(rows.model)
    assert found.model.difference(centre(rows[:1], means).model) == ""
    assert found.model.label.endswith(", cameras centred")


def test_the_mark_is_that_of_the_means():
    marks = {
        camera_means(each, normalise=True).mark
        for each in (
            REFERENCE,
            replace(REFERENCE, features=REFERENCE.features + np.float32(1)),
            replace(REFERENCE, camera_ids=np.array([4, 4, 8], dtype=np.int32)),
        )
    }
    assert len(marks) == 3
    # another order of rows has the same means
    assert camera_means(REFERENCE[[2, 1, 0]], normalise=True).mark in marks


def test_a_camera_is_never_guessed():
    means = camera_means(REFERENCE, normalise=True)
    with pytest.raises(EmbeddingsError, match=r"1 of 2 rows of s have no known camera, .* s1\.jpg"):
        centre(images([[1, 2], [3, 4]], [4, -1]), means)
    with pytest.raises(EmbeddingsError, match=r"2 rows of s .* for example camera 5 of s1\.jpg"):
        centre(images([[1, 2], [3, 4], [5, 6]], [4, 5, 11]), means)
    for strange in (images([[1, 2]], [-1]), images(np.empty((0, 2)), [])):
        with pytest.raises(EmbeddingsError, match="have no known camera"):
            camera_means(strange, normalise=True)
    twice = centre(REFERENCE, means)
    for again in (lambda: centre(twice, means), lambda: camera_means(twice, normalise=True)):
        with pytest.raises(EmbeddingsError, match="was taken off ref already"):
            again()
    other = replace(REFERENCE, model=ModelIdentity("b" * 64, "fp32", "fused", 2))
    with pytest.raises(EmbeddingsError, match="model_sha256"):
        centre(other, means)


def test_files_searches_and_galleries_keep_the_mark(tmp_path):
    # vehicle 7 before two cameras that add (0, 8) and (8, 0): only centring finds it
    query = images([[1, 8], [-1, 8]], [1, 1], vehicles=[7, 8], source="q")
    gallery = images([[9, 0], [7, 0]], [2, 2], vehicles=[7, 8], source="g")
    query.save(tmp_path / "q.npz")
    gallery.save(tmp_path / "g.npz")
    both = Embeddings.concat([query, gallery])
    both.save(tmp_path / "all.npz")
    run = CliRunner()
    for name in "qg":
        words = [tmp_path / f"{name}.npz", "--means-of", tmp_path / "all.npz"]
        done = run.invoke(
            main, ["centre", *map(str, words), "--out", str(tmp_path / f"{name}c.npz")]
        )
        assert done.exit_code == 0, done.output
    assert "2 rows without the means of 2 cameras" in done.stderr
    left, right = Embeddings.load(tmp_path / "qc.npz"), Embeddings.load(tmp_path / "gc.npz")
    assert left.features.tolist() == [[1, 0], [-1, 0]] == right.features.tolist()
    assert md.evaluate(left, right, "veri776").mean_ap == 1.0
    before = md.rank(query, gallery, top_k=1)
    assert before.rows[:, 0].tolist() == [1, 1]  # before: the same image for both
    with pytest.raises(EmbeddingsError, match="camera means taken off are"):
        md.rank(left, gallery, top_k=1)
    md.create_gallery(tmp_path / "store", right.model)
    with md.open_gallery(tmp_path / "store", write=True) as store:
        store.add(right)
        with pytest.raises(EmbeddingsError, match="camera means taken off are"):
            store.add(gallery)
    with md.open_gallery(tmp_path / "store") as again:
        assert again.model == right.model
