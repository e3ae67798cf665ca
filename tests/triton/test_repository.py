"""`mtml-deploy triton`: what a server is given, and what is never written over."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers_artifact import SIZE, tiny_manifest, write_artifact
from helpers_engine import a_gpu, library
from helpers_outputs import refused, tree

from mtml_deploy.artifact.artifact import Artifact, file_sha256
from mtml_deploy.cli.main import main
from mtml_deploy.engine.manifest import engine_manifest_json, make_engine_manifest
from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.triton.config import config_text
from mtml_deploy.triton.options import ServingOptions

PROFILE = BatchProfile(1, 8, 16)


@pytest.fixture
def artifact(tmp_path) -> Artifact:
    return write_artifact(
        tmp_path / "art", tiny_manifest(with_orientation=True), with_orientation=True
    )


def run(artifact: Artifact, *words: str) -> Result:
    repository = artifact.folder.parent / "repo"
    line = ["triton", str(artifact.folder), "--out", str(repository), *words]
    return CliRunner().invoke(main, line)


def write_engine(
    artifact: Artifact,
    name: str = "a",
    *,
    profile: BatchProfile = PROFILE,
    target: str = "tensorrt",
    model_sha256: str = "",
) -> str:
    """An engine file in the artifact that no library made, with a true sidecar; its hash."""
    folder = artifact.folder / "engines"
    folder.mkdir(exist_ok=True)
    plan = b"ftrt" + name.encode()
    (folder / f"{name}.engine").write_bytes(plan)
    sha256 = hashlib.sha256(plan).hexdigest()
    side = make_engine_manifest(
        plan_sha256=sha256,
        plan_bytes=len(plan),
        model_sha256=model_sha256 or artifact.manifest.model_sha256,
        library=library(target),
        gpu=a_gpu(),
        options=BuildOptions(profile=profile),
        build_seconds=1.0,
    )
    (folder / f"{name}.json").write_text(engine_manifest_json(side))
    return sha256


def parsed(text: str):
    """The configuration as Triton's own message reads it, which refuses unknown names."""
    grpc = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    from google.protobuf import text_format

    return text_format.Parse(text, grpc.model_config_pb2.ModelConfig())


def test_every_option_is_where_triton_reads_it(artifact):
    options = ServingOptions(
        name="cars", version=4, max_batch=24, preferred_batches=(16, 8, 16), queue_delay_us=300,
        queue_size=7, queue_timeout_ms=50, instances=2, kind="gpu", gpus=(1, 3),
        version_policy="specific:2,4",
    )  # fmt: skip
    found = parsed(config_text(artifact.manifest, options))
    assert (found.name, found.backend, found.platform) == ("cars", "onnxruntime", "")
    assert found.max_batch_size == 24
    (given,) = found.input
    assert (given.name, given.data_type, list(given.dims)) == ("images", 2, [SIZE, SIZE, 3])
    assert [(one.name, one.data_type, list(one.dims)) for one in found.output] == [
        ("embeddings", 11, [6]),
        ("orientation", 11, [8]),
    ]
    batching = found.dynamic_batching
    assert list(batching.preferred_batch_size) == [8, 16]
    assert batching.max_queue_delay_microseconds == 300
    policy = batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (7, 50_000)
    assert policy.timeout_action == 0 and policy.allow_timeout_override  # 0: REJECT
    (group,) = found.instance_group
    assert (group.count, group.kind, list(group.gpus)) == (2, 1, [1, 3])  # 1: KIND_GPU
    assert list(found.version_policy.specific.versions) == [2, 4]
    assert [one.batch_size for one in found.model_warmup] == [1, 24]
    assert all(one.inputs["images"].zero_data for one in found.model_warmup)
    assert {key: value.string_value for key, value in found.parameters.items()} == {
        "mtml_model_sha256": artifact.manifest.model_sha256,
        "mtml_version": "4",
    }


def test_defaults_and_a_plan(artifact):
    found = parsed(config_text(artifact.manifest, ServingOptions(warm_up=False)))
    assert found.version_policy.latest.num_versions == 1 and not found.model_warmup
    assert found.instance_group[0].kind == 0 and found.max_batch_size == 32  # 0: KIND_AUTO
    every = ServingOptions(version_policy="all", max_batch=1)
    found = parsed(config_text(artifact.manifest, every, engine_sha256="e" * 64))
    assert found.version_policy.HasField("all") and len(found.model_warmup) == 1
    assert (found.backend, found.platform) == ("tensorrt", "tensorrt_plan")
    assert found.parameters["mtml_engine_sha256"].string_value == "e" * 64


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--preferred-batch", "40"], "a preferred batch is 40, expected 1 to 32"),
        (["--max-batch", "2000"], "the largest batch is 2000, expected 1 to 1024"),
        (["--gpu", "1"], "GPUs are named and the kind is auto, expected gpu"),
        (["--name", "a/b"], "the name is 'a/b', expected letters"),
        (["--name", ".."], "the name is '..', expected letters"),
        (["--version-policy", "newest"], "expected latest:N, all or specific:N,N"),
        (["--version-policy", "specific:2"], "leaves out version 1; name it there"),
        (["--plan-file", "a.engine"], "add --plan"),
    ],
)
def test_options_that_do_not_go_together_write_nothing(artifact, words, says):
    found = run(artifact, *words)
    assert found.exit_code == 2 and says in found.stderr
    assert not (artifact.folder.parent / "repo").exists()


def test_a_folder_beside_other_models(artifact):
    repository = artifact.folder.parent / "repo"
    (repository / "theirs" / "1").mkdir(parents=True)
    found = run(artifact, "--name", "cars", "--model-version", "2")
    assert found.exit_code == 0 and found.stdout.strip() == str(repository / "cars"), found.output
    assert f"start tritonserver on the model repository {repository}" in found.stderr
    assert [name for name in tree(repository) if not name.endswith(".lock")] == [
        "cars", "cars/2", "cars/2/model.onnx", "cars/config.pbtxt", "theirs", "theirs/1",
    ]  # fmt: skip
    assert file_sha256(repository / "cars" / "2" / "model.onnx") == artifact.manifest.model_sha256


def test_only_an_own_folder_is_replaced(artifact):
    place = artifact.folder.parent
    model = place / "repo" / "mtml"
    assert run(artifact).exit_code == 0
    assert "add --overwrite" in refused(place, lambda: run(artifact), hint=True)
    assert run(artifact, "--overwrite", "--max-batch", "4").exit_code == 0
    assert "max_batch_size: 4" in (model / "config.pbtxt").read_text()
    # a version that somebody has added beside ours
    (model / "2").mkdir()
    (model / "2" / "model.onnx").write_bytes(b"theirs")
    assert "2/model.onnx" in refused(place, lambda: run(artifact, "--overwrite"))
    (model / "2" / "model.onnx").unlink()
    (model / "2").rmdir()
    # somebody's configuration
    (model / "config.pbtxt").write_text('name: "mtml"\n')
    assert "is not of mtml-deploy triton" in refused(place, lambda: run(artifact, "--overwrite"))
    (model / "config.pbtxt").unlink()
    assert "it lacks config.pbtxt" in refused(place, lambda: run(artifact, "--overwrite"))


def test_a_repository_inside_the_artifact_is_refused(artifact):
    for inside in (artifact.folder, artifact.folder / "engines"):
        words = ["triton", str(artifact.folder), "--out", str(inside)]
        error = refused(artifact.folder.parent, lambda words=words: CliRunner().invoke(main, words))
        assert "lie in one another" in error


def test_a_plan_is_served_where_one_was_built(artifact):
    sha256 = write_engine(artifact)
    write_engine(artifact, "rtx", target="tensorrt-rtx")
    write_engine(artifact, "old", model_sha256="9" * 64)
    found = run(artifact, "--plan", "--max-batch", "12", "--kind", "gpu")
    assert found.exit_code == 0, found.output
    model = artifact.folder.parent / "repo" / "mtml"
    assert (model / "1" / "model.plan").read_bytes() == b"ftrta"
    assert not (model / "1" / "model.onnx").exists()
    config = parsed((model / "config.pbtxt").read_text())
    assert config.parameters["mtml_engine_sha256"].string_value == sha256
    assert list(config.dynamic_batching.preferred_batch_size) == [8]
    assert "runs only where the server has TensorRT 10.16.1.11" in found.stderr
    assert run(artifact, "--overwrite").exit_code == 0
    assert [path.name for path in (model / "1").iterdir()] == ["model.onnx"]


def test_a_plan_that_cannot_be_served_is_told(artifact):
    def says(*words: str) -> str:
        found = run(artifact, "--plan", *words)
        assert found.exit_code == 1 and len(found.stderr.strip().splitlines()) == 1
        assert not Path(artifact.folder.parent / "repo" / "mtml").exists()
        return found.stderr

    assert "lacks an engine of TensorRT for this model, there is none; build one" in says()
    write_engine(artifact)
    assert "takes batches of up to 16 images and --max-batch is 32" in says()
    assert "is for a GPU and --kind is cpu" in says("--max-batch", "8", "--kind", "cpu")
    assert "lacks the engine b.engine of TensorRT" in says("--plan-file", "b.engine")
    write_engine(artifact, "b", profile=BatchProfile(2, 8, 64))
    assert "has 2 engines of TensorRT for this model: a.engine, b.engine; name one" in says()
    assert "takes 2 images and more, and a server runs single ones" in says(
        "--plan-file", "b.engine"
    )
    (artifact.folder / "engines" / "b.engine").write_bytes(b"ftrt changed")
    assert "lacks the engine b.engine" in says("--plan-file", "b.engine")
