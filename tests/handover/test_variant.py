"""Graphs with another input: fed by hand, they give what the tiny model's formula says."""

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from helpers_artifact import SIZE, expected_embeddings, tiny_manifest, write_artifact

from mtml_deploy.artifact import artifact as artifacts
from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.artifact.input_form import IMAGENET_MEAN, IMAGENET_STD, InputForm
from mtml_deploy.engine.folder import build_engine
from mtml_deploy.engine.options import BuildOptions
from mtml_deploy.errors import ArtifactError, BackendError
from mtml_deploy.handover.graph_edit import change_versions
from mtml_deploy.handover.variant import Variant, write_variant
from mtml_deploy.model import open_model
from mtml_deploy.precision.convert import convert
from mtml_deploy.precision.options import Conversion
from mtml_deploy.runtime.ort import OrtRuntime
from mtml_deploy.triton.options import ServingOptions
from mtml_deploy.triton.repository import write_repository
from mtml_train import views
from mtml_train.cli.export import export_main

IMAGES = np.random.default_rng(4).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
TOLERANCE = 2e-3
"""Values up to some hundreds in float32; of normalised planes the last digits differ."""

FORMS = [
    InputForm("nhwc-uint8", "levels", "BGR"),
    InputForm("nchw-float", "levels", "RGB"),
    InputForm("nchw-float", "levels", "BGR"),
    InputForm("nchw-float", "imagenet", "RGB"),
    InputForm("nchw-float", "imagenet", "BGR"),
]


def fed_by_hand(form):
    """The images in a form, channel by channel as its words say."""
    pixels = IMAGES.astype(np.float64)
    if form.values == "imagenet":
        for n in range(3):
            pixels[..., n] = (pixels[..., n] - IMAGENET_MEAN[n]) / IMAGENET_STD[n]
    if form.channels == "BGR":
        pixels = np.stack([pixels[..., 2], pixels[..., 1], pixels[..., 0]], axis=-1)
    if form.layout == "nhwc-uint8":
        return pixels.astype(np.uint8)
    return np.stack([pixels[..., n] for n in range(3)], axis=1).astype(np.float32)


def embedded(artifact):
    """What ONNX Runtime gives for the images, fed by hand."""
    session = onnxruntime.InferenceSession(artifact.model_path, providers=["CPUExecutionProvider"])
    return session.run(["embeddings"], {"images": fed_by_hand(artifact.manifest.form)})[0]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_artifact(tmp_path_factory.mktemp("plain") / "art")


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_same_pixels_give_the_same(plain, tmp_path, form):
    written = write_variant(plain, tmp_path / "out", Variant(form))
    assert written.manifest.form == form
    expected = expected_embeddings(IMAGES)
    np.testing.assert_allclose(embedded(written), expected, atol=TOLERANCE)
    with open_model(tmp_path / "out") as model:  # what it is fed with is its manifest's business
        np.testing.assert_allclose(model.run(IMAGES), expected, atol=TOLERANCE)


def test_openvino_feeds_it_too(plain, tmp_path):
    pytest.importorskip("openvino")
    write_variant(plain, tmp_path / "out", Variant(FORMS[-1]))
    with open_model(tmp_path / "out", backend="openvino") as model:
        np.testing.assert_allclose(model.run(IMAGES), expected_embeddings(IMAGES), atol=TOLERANCE)


def test_imagenet_is_that_of_training():
    assert (views.IMAGENET_MEAN, views.IMAGENET_STD) == (IMAGENET_MEAN, IMAGENET_STD)


def test_half_planes(plain, tmp_path):
    """A graph that casts to half before its transpose, as converted ones do."""
    model = onnx.load(plain.model_path)
    nodes = list(model.graph.node)
    transpose = next(node for node in nodes if node.op_type == "Transpose")
    half = onnx.helper.make_node("Cast", ["floats"], ["halves"], to=onnx.TensorProto.FLOAT16)
    back = onnx.helper.make_node("Cast", ["half planes"], ["planes"], to=onnx.TensorProto.FLOAT)
    transpose.input[0], transpose.output[0] = "halves", "half planes"
    model.graph.node.insert(nodes.index(transpose) + 1, back)
    model.graph.node.insert(nodes.index(transpose), half)
    (tmp_path / "half").mkdir()
    artifact = artifacts.write_artifact(tmp_path / "half", model, tiny_manifest())
    for form in (FORMS[1], FORMS[-1]):
        written = write_variant(artifact, tmp_path / "out", Variant(form), overwrite=True)
        # 0.5 of a level is lost at 255 in half precision where levels are not whole
        np.testing.assert_allclose(embedded(written), expected_embeddings(IMAGES), atol=0.5)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_levels_that_are_read_twice(plain, tmp_path, form):
    """A graph that does something to its levels before they are planes, as mirrored ones do."""
    model = onnx.load(plain.model_path)
    nodes = list(model.graph.node)
    transpose = next(node for node in nodes if node.op_type == "Transpose")
    at = nodes.index(transpose)
    twice = onnx.helper.make_node("Add", ["floats", "floats"], ["twice"])
    once = onnx.helper.make_node("Sub", ["twice", "floats"], ["once"])
    transpose.input[0] = "once"
    model.graph.node.insert(at, once)
    model.graph.node.insert(at, twice)
    (tmp_path / "twice").mkdir()
    artifact = artifacts.write_artifact(tmp_path / "twice", model, tiny_manifest())
    written = write_variant(artifact, tmp_path / "out", Variant(form))
    np.testing.assert_allclose(embedded(written), expected_embeddings(IMAGES), atol=TOLERANCE)


@pytest.mark.parametrize(
    ("opset", "ir"), [(17, 8), (18, 8), (19, 9), (20, 9), (None, 9), (18, None)]
)
def test_versions(tiny_artifact, tmp_path, opset, ir):
    artifact = open_artifact(tiny_artifact)
    written = write_variant(artifact, tmp_path / "out", Variant(opset=opset, ir_version=ir))
    model = onnx.load(written.model_path)
    assert model.opset_import[0].version == written.manifest.opset == (opset or 20)
    assert model.ir_version == (ir or 10) and written.manifest.ir_version == ir
    with open_model(tiny_artifact) as old, open_model(tmp_path / "out") as new:
        shape = (2, old.height, old.width, 3)
        images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
        np.testing.assert_allclose(new.run(images), old.run(images), rtol=1e-4, atol=1e-4)


def test_versions_that_do_not_go_together(plain):
    model = onnx.load(plain.model_path)
    with pytest.raises(ArtifactError, match="operator set 20 needs IR version 9, and 8 was asked"):
        change_versions(model, opset=None, ir_version=8)


def test_what_cannot_feed_it_says_so(plain, tmp_path):
    form = InputForm("nchw-float")
    written = write_variant(plain, tmp_path / "out", Variant(form))
    words = r"takes nchw-float, 0\.\.255, RGB, which is for programs of others"
    with pytest.raises(BackendError, match=words):
        OrtRuntime(written, device="cuda:0")
    with pytest.raises(BackendError, match=words):
        build_engine(written, BuildOptions(), Library(), gpu=None)
    with pytest.raises(BackendError, match=words):
        write_repository(written, tmp_path / "repository", ServingOptions())
    with pytest.raises(ArtifactError, match="convert while exporting"):
        convert(written, tmp_path / "half", Conversion(precision="fp16"))
    with pytest.raises(ArtifactError, match="already, expected nhwc-uint8"):
        write_variant(written, tmp_path / "again", Variant(form))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


class Library:
    """As much of one as the name of an engine needs."""

    target, version, is_rtx, major = "tensorrt", "11.0", False, 11


def test_a_graph_that_begins_otherwise(plain, tmp_path):
    model = onnx.load(plain.model_path)
    model.graph.node[0].op_type = "Identity"
    (tmp_path / "odd").mkdir()
    artifact = artifacts.write_artifact(tmp_path / "odd", model, tiny_manifest())
    with pytest.raises(ArtifactError, match="does not begin with a cast of its images"):
        write_variant(artifact, tmp_path / "out", Variant(InputForm("nchw-float")))


def test_bytes_are_levels():
    with pytest.raises(ValueError, match="bytes are levels"):
        InputForm("nhwc-uint8", "imagenet")


def test_the_command(untrained_run, tmp_path):
    def export(*words):
        out = ["--out", str(tmp_path / "out"), "--overwrite"]
        return CliRunner().invoke(export_main, [str(untrained_run), *out, *words])

    result = export("--values", "imagenet")
    assert result.exit_code == 2 and "bytes are levels" in result.stderr
    result = export("--input", "nchw-float", "--target", "tensorrt-rtx")
    assert result.exit_code == 2 and "--target builds engines of graphs that take" in result.stderr
    result = export("--input", "nchw-float", "--channels", "BGR", "--ir-version", "9")
    assert result.exit_code == 0, result.stderr
    manifest = open_artifact(tmp_path / "out").manifest
    assert manifest.form == InputForm("nchw-float", "levels", "BGR") and manifest.ir_version == 9
    assert onnx.load(tmp_path / "out" / "model.onnx").ir_version == 9
