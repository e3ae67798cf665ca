"""`mtml-deploy compress`, and that its artifact works wherever an artifact works."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers_artifact import SIZE, tiny_manifest, write_artifact, write_images
from helpers_cli import ok, run

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.compression import compress as module
from mtml_deploy.compression.compress import compress, learn
from mtml_deploy.compression.cross_validation import cross_validate
from mtml_deploy.compression.learn import CompressOptions, learn_projection
from mtml_deploy.compression.measure import require_unseen
from mtml_deploy.embed.embed import model_identity
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import EmbeddingsError, ParityError
from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.parity.images import parity_images

CLOSE = 1e-5
"""Float32 rounding of the graph; embeddings have length 1."""


def refused(*words: object, text: str) -> None:
    result = run(*words)
    assert result.exit_code == 1, result.output
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert text in result.stderr


def labelled(folder: Path, name: str, count: int, *, first_vehicle: int, seed: int) -> str:
    """A source of `count` images of 3 vehicles before 2 cameras."""
    paths = write_images(folder / name, count, seed=seed)
    rows = [f"{path.name},{first_vehicle + i % 3},{i % 2}" for i, path in enumerate(paths)]
    table = folder / name / "labels.csv"
    table.write_text("\n".join(["path,vehicle_id,camera_id", *rows]) + "\n")
    return f"csv:{table}"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """`art` with `t.npz` (vehicles 0-2), `q.npz`, `g.npz` (7-9), and `small` made of it."""
    folder = tmp_path_factory.mktemp("compress")
    write_artifact(folder / "art", with_orientation=True, manifest=tiny_manifest(
        with_orientation=True))  # fmt: skip
    for name, count, vehicle, seed in (("t", 20, 0, 1), ("q", 6, 7, 2), ("g", 12, 7, 3)):
        source = labelled(folder, name, count, first_vehicle=vehicle, seed=seed)
        ok("embed", folder / "art", "--images", source, "--out", folder / f"{name}.npz")
    return folder


def words(folder: Path, out: str = "small", dim: int = 3) -> tuple[object, ...]:
    train = ("--train", folder / "t.npz", "--method", "pca-whiten")
    return ("compress", folder / "art", "--dim", dim, *train, "--out", folder / out)


@pytest.fixture(scope="module")
def small(made: Path) -> Path:
    sets = ("--query", made / "q.npz", "--gallery", made / "g.npz", "--protocol", "plain")
    result = ok(*words(made), *sets, "--json", made / "measured.json")
    (made / "out.txt").write_text(result.stdout)
    return made


def test_the_artifact_gives_the_projected_embeddings(small):
    ok("embed", small / "small", "--images", small / "g", "--out", small / "new.npz", "--overwrite")
    old, new = Embeddings.load(small / "g.npz"), Embeddings.load(small / "new.npz")
    train = Embeddings.load(small / "t.npz")
    options = CompressOptions(method="pca-whiten", dim=3)
    projection = learn_projection(train.features, train.vehicle_ids, options)
    assert new.features == pytest.approx(projection.apply(old.features), abs=CLOSE)
    assert new.names == old.names
    assert new.model == model_identity(open_artifact(small / "small").manifest)
    assert (new.model.dim, new.model.model_sha256 == old.model.model_sha256) == (3, False)


def test_the_manifest_says_what_was_done(small):
    parent = open_artifact(small / "art").manifest
    manifest = open_artifact(small / "small").manifest
    record = manifest.compression
    assert msgspec.structs.replace(
        manifest, dim=parent.dim, model_sha256=parent.model_sha256, compression=None
    ) == parent  # fmt: skip
    assert record["parent"] == {"model_sha256": parent.model_sha256, "dim": 6}
    assert (record["method"], record["normalised"]) == ("pca-whiten", True)
    assert record["training"] == {"source": f"csv:{small / 't' / 'labels.csv'}", "images": 20}
    variances = np.linalg.eigvalsh(np.cov(Embeddings.load(small / "t.npz").features.T))[::-1]
    share = variances[:3].sum() / variances.sum()
    assert record["explained_variance"] == pytest.approx(share, abs=1e-6)  # of float32 features
    assert record["check"]["images"] == 16
    assert record["check"]["max_relative"] < CLOSE
    assert json.loads(ok("info", small / "small", "--json", "-").stdout)["compression"] == record
    shown = [line.split(maxsplit=1) for line in ok("info", small / "small").stdout.splitlines()]
    assert ["compressed", "pca-whiten from 6 values"] in shown
    assert "compressed" not in ok("info", small / "art").stdout


def test_the_metrics_are_those_before_and_after(small):
    for name in ("q", "g"):
        images, out = small / name / "labels.csv", small / f"{name}3.npz"
        ok("embed", small / "small", "--images", f"csv:{images}", "--out", out)
    metrics = open_artifact(small / "small").manifest.compression["metrics"]
    assert metrics["protocol"] == "plain"
    shown = (small / "out.txt").read_text()
    for stage, label, ending in (("before", "before", ""), ("after", "compressed", "3")):
        query, gallery = (Embeddings.load(small / f"{name}{ending}.npz") for name in ("q", "g"))
        expected = evaluate(query, gallery, find_protocol("plain"))
        assert metrics[stage]["mean_ap"] == expected.mean_ap
        assert metrics[stage]["cmc_1"] == expected.cmc_at(1)
        assert [label, f"{100 * expected.mean_ap:.1f}"] in [
            line.split()[:2] for line in shown.splitlines()
        ]
    assert metrics["before"]["mean_ap"] != metrics["after"]["mean_ap"]
    record = json.loads((small / "measured.json").read_text())
    assert (record["method"], record["dim"]) == ("pca-whiten", 3)
    assert record["metrics"] == metrics


def test_rank_and_gallery_take_it(small):
    art, query = small / "small", small / "q"
    ok("rank", art, "--query", query, "--gallery", small / "g", "--top-k", 2)
    ok("gallery", "create", small / "cars", art)
    ok("gallery", "add", small / "cars", art, "--images", small / "g")
    found = ok("search", "--gallery", small / "cars", art, "--query", query)
    assert found.stdout
    refused("rank", "--query", small / "q.npz", "--gallery", small / "new.npz", text="model_sha256")


def test_lda_keeps_all_dimensions_or_as_many_as_vehicles_tell(made):
    train = ("--train", made / "t.npz", "--images", made / "g")
    base = ("compress", made / "art", *train, "--method", "lda", "--shrinkage", 0.3)
    ok(*base, "--out", made / "lda")
    manifest = open_artifact(made / "lda").manifest
    assert (manifest.dim, manifest.compression["method"]) == (6, "lda")
    assert (manifest.compression["shrinkage"], manifest.compression["vehicles"]) == (0.3, 3)
    rows, options = Embeddings.load(made / "t.npz"), CompressOptions("lda", shrinkage=0.3)
    ok("embed", made / "lda", "--images", made / "g", "--out", made / "glda.npz")
    projection = learn_projection(rows.features, rows.vehicle_ids, options)
    expected = projection.apply(Embeddings.load(made / "g.npz").features)
    assert Embeddings.load(made / "glda.npz").features == pytest.approx(expected, abs=CLOSE)
    ok(*base, "--dim", 2, "--out", made / "lda2")
    assert open_artifact(made / "lda2").manifest.dim == 2
    text = "3 training vehicles differ in 2 directions only, and 3 were asked for"
    refused(*base, "--dim", 3, "--out", made / "lda3", text=text)
    # embeddings without vehicles are enough for PCA, and say nothing of what helps
    ok("embed", made / "art", "--images", made / "t", "--out", made / "plain-t.npz")
    unlabelled = ("--train", made / "plain-t.npz", "--images", made / "g")
    base = ("compress", made / "art", *unlabelled, "--out", made / "no")
    refused(*base, "--method", "lda", text="hold 0 known vehicles")
    result = ok(*base, "--dim", 2)
    assert "note: not cross-validated" in result.stderr
    assert "embed a labelled training set" in result.stderr


def test_methods_are_measured_before_one_is_used(made):
    source = labelled(made, "many", 32, first_vehicle=0, seed=4)
    table = made / "many" / "labels.csv"
    rows = table.read_text().splitlines()[1:]
    several = [f"{row.split(',')[0]},{i % 8},{i // 8 % 2}" for i, row in enumerate(rows)]
    table.write_text("\n".join(["path,vehicle_id,camera_id", *several]) + "\n")
    ok("embed", made / "art", "--images", source, "--out", made / "many.npz")
    base = ("compress", made / "art", "--train", made / "many.npz", "--dim", 2, "--folds", 3)
    result = ok(*base)  # no --out: only measured
    lines = result.stdout.splitlines()
    assert "3 folds of 8 vehicles, 32 images" in lines[0] and "its own camera left out" in lines[0]
    assert [line.split("  ")[0] for line in lines[2:7]] == [
        "projection", "as embedded", "pca", "pca-whiten", "lda",
    ]  # fmt: skip
    assert result.stderr.splitlines()[-1].startswith(("note: pca ", "warning: "))
    ok(*base, "--out", made / "measured", "--method", "lda")
    record = open_artifact(made / "measured").manifest.compression["cross_validation"]
    found = cross_validate(
        Embeddings.load(made / "many.npz"), CompressOptions("lda", dim=2), folds=3
    )
    assert record["mean_ap"]["lda"] == {"dim": 2, **found.score("lda").mean_ap}
    assert lines[4].split()[2] == f"{100 * found.score('pca').mean_ap['l2']:.1f}"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--method", "pca"), "--method pca needs --dim"),
        (("--dim", 2, "--shrinkage", 0.2), "--shrinkage belongs to lda"),
        (("--dim", 2, "--folds", 1), "--folds is 0, or 2 and more"),
        (("--dim", 2, "--folds", 0), "there is nothing to do"),
        (("--method", "lda", "--shrinkage", 0), "0<x<=1"),
    ],
)
def test_options_that_do_not_fit(made, words, text):
    result = run("compress", made / "art", "--train", made / "t.npz", *words)
    assert result.exit_code == 2
    assert text in result.stderr


def test_plain_projection_without_metrics(made):
    base = ("compress", made / "art", "--dim", 6, "--train", made / "t.npz", "--folds", 0)
    ok(*base, "--out", made / "plain", "--no-normalise", "--images", made / "g")
    record = open_artifact(made / "plain").manifest.compression
    assert (record["method"], record["normalised"]) == ("pca", False)
    assert "cross_validation" not in record
    assert record["check"]["images"] == 12
    assert "metrics" not in record
    assert "whitening_floor" not in record
    assert record["explained_variance"] == pytest.approx(1)


def test_refusals_leave_nothing(made):
    art, out = made / "art", made / "never"
    sets = ("--query", made / "q.npz", "--gallery", made / "g.npz", "--protocol", "plain")
    refused(*words(made, "never", dim=7), text="choose --dim 6 or less")
    base = ("compress", art, "--dim", 2, "--out", out)
    test_set = ("--query", made / "t.npz", "--gallery", made / "t.npz", "--protocol", "plain")
    refused(*base, "--train", made / "t.npz", *test_set, text="share images, 20 in all")
    write_artifact(made / "other", seed=3)
    ok("embed", made / "other", "--images", made / "t", "--out", made / "other.npz")
    refused(*base, "--train", made / "other.npz", text="not by")
    crossed = ("--query", made / "other.npz", "--gallery", made / "g.npz")
    refused(*base, "--train", made / "t.npz", *crossed, text="not by")
    ok("embed", art, "--images", made / "t" / "0000.png", "--out", made / "one.npz")
    few = ("--train", made / "one.npz", "--images", made / "t")
    refused(*base, *few, text="1 training embeddings cannot tell 2")
    gone = replace(Embeddings.load(made / "t.npz"), source=str(made / "gone"))
    gone.save(made / "gone.npz")
    refused(*base, "--train", made / "gone.npz", text="name others with --images SOURCE")
    assert run(*base, "--train", made / "t.npz", *sets[:2]).exit_code == 2
    assert not out.exists()


def test_a_compressed_artifact_is_not_compressed_again(small):
    again = ("compress", small / "small", "--dim", 2, "--out", small / "again")
    source = f"csv:{small / 't' / 'labels.csv'}"
    ok("embed", small / "small", "--images", source, "--out", small / "t3.npz")
    refused(*again, "--train", small / "t3.npz", text="was compressed already, to 3 dimensions")
    refused(*words(small), text="--overwrite")
    ok(*words(small), "--overwrite")


def test_vehicles_of_one_data_set_must_differ(made):
    train, test = Embeddings.load(made / "t.npz"), Embeddings.load(made / "q.npz")
    require_unseen(train, test)
    seen = replace(test, vehicle_ids=np.full(len(test), 2, dtype=np.int32))
    require_unseen(train, seen)  # another data set counts its vehicles anew
    both = (replace(train, source="veri:A#train"), replace(seen, source="veri:A#query"))
    for left, right in (both, (train, replace(seen, root=train.root, names=("x",) * len(seen)))):
        with pytest.raises(EmbeddingsError, match="share vehicles, 1 in all, for example 2"):
            require_unseen(left, right)
    unknown = np.full(len(test), -1, dtype=np.int32)
    require_unseen(
        replace(both[0], vehicle_ids=np.full(len(train), -1, dtype=np.int32)),
        replace(both[1], vehicle_ids=unknown),
    )


@pytest.mark.parametrize("fault", ["mean", "matrix", "normalise"])
def test_a_graph_that_computes_something_else_is_not_written(made, monkeypatch, fault):
    artifact, train = open_artifact(made / "art"), Embeddings.load(made / "t.npz")
    projection = learn(artifact, train, CompressOptions(method="lda", dim=2))
    changed = {
        "mean": projection.mean * 1.01,
        "matrix": projection.matrix[:, ::-1],
        "normalise": False,
    }
    wrong = replace(projection, **{fault: changed[fault]})
    append = module.append_projection

    def planted(model, _):
        return append(model, wrong)

    monkeypatch.setattr(module, "append_projection", planted)
    with pytest.raises(ParityError, match="the model was not written"):
        compress(
            artifact,
            projection,
            made / "fault",
            train=train,
            check=parity_images(train.source, height=SIZE, width=SIZE),
        )
    assert not (made / "fault").exists()
