"""Engines of real exports: every precision, variant and GPU generation, really built on a CPU.

Values do not matter to a builder, so that the fp16 and int8 graphs are lowered without measuring.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from helpers_artifact import tiny_manifest, write_artifact
from helpers_engine import a_gpu, rtx_library, write_precisions

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.artifact.manifest import EMBEDDINGS_OUTPUT
from mtml_deploy.engine.build import build_plan, require_fitting
from mtml_deploy.engine.folder import build_engine, rtx_remark
from mtml_deploy.engine.gpu import Gpu
from mtml_deploy.engine.graph_check import fp32_products, require_buildable
from mtml_deploy.engine.library import Library
from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.errors import ArtifactError, BackendError, UnsupportedGpuError
from mtml_train.config import VARIANTS

PRECISIONS = ("fp32", "fp16", "int8")
GENERATIONS = (75, 80, 86, 89, 120)
"""Turing, two of Ampere, Ada, Blackwell."""
SMALL = BatchProfile(1, 2, 4)
PLAN_BYTES = 1 << 20
"""Fewer than the weights of one trunk in int8."""


def keep_branches(model: onnx.ModelProto, kept: tuple[str, ...], all_of: tuple[str, ...]) -> None:
    """Cut a model with all branches down to some, as an export with --branches gives it."""
    producers = {name: node for node in model.graph.node for name in node.output}
    fused = producers[EMBEDDINGS_OUTPUT]
    assert fused.op_type == "Concat" and len(fused.input) == len(all_of)
    parts = [name for name, branch in zip(fused.input, all_of, strict=True) if branch in kept]
    del fused.input[:]
    fused.input.extend(parts)
    outputs = [value for value in model.graph.output if value.name == EMBEDDINGS_OUTPUT]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    needed, waiting = set(), [EMBEDDINGS_OUTPUT]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += producers[name].input if name in producers else []
    nodes = [node for node in model.graph.node if needed & set(node.output)]
    held = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(held)
    constants = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    stored = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in constants]
    del model.graph.initializer[:]
    model.graph.initializer.extend(stored)
    del model.graph.value_info[:]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_artifact: Path) -> Path:
    """A folder per variant with a model per precision, all from one export of MTML-OSG."""
    folder = tmp_path_factory.mktemp("models")
    everything = open_artifact(tiny_artifact)
    for variant, branches in VARIANTS.items():
        place = folder / variant
        place.mkdir()
        if variant == "MTML-OSG":
            source = everything.model_path
        else:
            model = onnx.load(everything.model_path)
            keep_branches(model, branches, everything.manifest.branches)
            source = place / "cut.onnx"
            onnx.save(model, source)
        write_precisions(source, place)
    return folder


def build(path: Path, sm: tuple[int, ...]) -> bytes:
    """The plan of a model, after our own check of it."""
    require_buildable(path)
    options = BuildOptions(profile=SMALL, sm=sm)
    return build_plan(path, tiny_manifest(), options, rtx_library(), gpu=None).plan


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_for_every_generation(models: Path, variant: str, precision: str) -> None:
    path = models / variant / f"{precision}.onnx"
    sm = GENERATIONS[1:] if fp32_products(path) else GENERATIONS
    assert len(build(path, sm)) > PLAN_BYTES


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("sm", [75, 120])
def test_the_oldest_and_the_newest_alone(models: Path, precision: str, sm: int) -> None:
    assert len(build(models / "MTML-OSG" / f"{precision}.onnx", (sm,))) > PLAN_BYTES


def test_the_builder_looks_at_every_listed_generation(models: Path) -> None:
    path = models / "MTML-S" / "fp32.onnx"
    assert fp32_products(path)
    for sm in ((75,), (86, 75)):
        with pytest.raises(BackendError, match="FP32 GEMM is not supported"):
            build(path, sm)


def test_only_the_scale_branch_and_the_orientation_need_fp32_products(models: Path) -> None:
    for variant, branches in VARIANTS.items():
        found = {name: fp32_products(models / variant / f"{name}.onnx") for name in PRECISIONS}
        view = 2 if "scale" in branches else 0  # rows, then columns
        head = 1 if variant == "MTML-OSG" else 0  # the others are cut without their orientation
        assert len(found["fp32"]) == view + head
        assert not found["fp16"] and not found["int8"]


@pytest.mark.parametrize(
    ("options", "gpu"),
    [
        (BuildOptions(sm=(86, 75)), None),
        (BuildOptions(sm=(75,)), a_gpu("NVIDIA A10", "8.6")),
        (BuildOptions(), a_gpu("Tesla T4", "7.5")),
    ],
)
def test_fp32_products_are_refused_for_turing_before_the_builder(
    tmp_path: Path, options: BuildOptions, gpu: Gpu | None
) -> None:
    library = Library(target="tensorrt-rtx", module=ModuleType("unused"), version="1.7")
    artifact = write_artifact(tmp_path / "model")
    with pytest.raises(ArtifactError, match=r"7\.5.*mtml-deploy convert .* --fp16"):
        build_engine(artifact, options, library, gpu=gpu)
    assert not (artifact.folder / "engines").exists()


def test_a_gpu_without_kernels_is_named_before_building():
    hopper = a_gpu("NVIDIA H100", "9.0")
    options = BuildOptions(profile=SMALL)
    with pytest.raises(UnsupportedGpuError, match=r"no kernels for NVIDIA H100 .*9\.0.* 89, 120"):
        require_fitting(options, rtx_library(), hopper)
    require_fitting(options, rtx_library(), a_gpu("NVIDIA RTX 5090", "12.0"))
    # for others it builds here as well
    require_fitting(replace(options, sm=(86,)), rtx_library(), hopper)


def test_int8_is_refused_for_turing_and_remarked_on_elsewhere(tmp_path: Path) -> None:
    """Its convolutions would be fp16 there: the build log of TensorRT-RTX 1.7 has no other."""
    rtx = Library(target="tensorrt-rtx", module=ModuleType("unused"), version="1.7")
    artifact = write_artifact(tmp_path / "model", manifest=tiny_manifest(precision="int8"))
    with pytest.raises(ArtifactError, match=r"no int8 convolution for compute capability 7\.5"):
        build_engine(artifact, BuildOptions(sm=(86, 75)), rtx, gpu=None)
    assert "twice the bytes of fp16" in rtx_remark(artifact, rtx)
    full = Library(target="tensorrt", module=ModuleType("unused"), version="10.3")
    assert rtx_remark(artifact, full) == ""
    assert rtx_remark(write_artifact(tmp_path / "fp32"), rtx) == ""


def test_few_and_many_images_get_a_profile_each(models: Path) -> None:
    wide = BatchProfile(1, 8, 16)
    assert len(wide.parts()) == 2
    path = models / "MTML-S" / "fp16.onnx"
    plans = [
        build_plan(
            path, tiny_manifest(), BuildOptions(profile=profile, sm=(86,)), rtx_library(), gpu=None
        ).plan
        for profile in (BatchProfile(5, 8, 16), wide)
    ]
    # weights are shared; the second profile adds little but its kernels
    assert len(plans[0]) < len(plans[1]) < 2 * len(plans[0])
