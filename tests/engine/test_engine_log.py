"""What TensorRT-RTX makes of the fp16 and int8 graphs: its build log, read on a CPU.

A change of where values are quantised, or of what follows a convolution, shows in the number of
kernels and in the bytes that they read and write.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from helpers_artifact import tiny_manifest
from helpers_engine import a_gpu, rtx_library, write_precisions
from helpers_engine_log import EngineLog, read_engine_log

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.engine import build as build_module
from mtml_deploy.engine.build import build_plan
from mtml_deploy.engine.library import Library
from mtml_deploy.engine.library_log import library_log
from mtml_deploy.engine.options import BatchProfile, BuildOptions

CONVOLUTIONS = 80
"""Four ResNet-18: a stem, 16 in blocks, 3 in shortcuts that change size."""

SCRATCH_MARGIN = 0.2
"""Scratch memory is packed by a heuristic; a changed fusion moves it by more."""

# (precision, compute capability) -> kernels, int8 convolutions, bytes of feature maps per image,
# scratch bytes for 4 images; images of 32 pixels
KNOWN: Mapping[str, Mapping[tuple[str, int], tuple[int, int, int, int]]] = {
    "1.7.1.116": {
        ("fp16", 75): (96, 0, 1_060_192, 16_696_832),
        ("fp16", 86): (96, 0, 1_010_768, 8_456_192),
        ("int8", 75): (256, 0, 2_202_080, 54_248_448),
        ("int8", 86): (160, 80, 1_960_904, 33_222_656),
    }
}


@pytest.fixture(scope="session")
def precisions(tmp_path_factory: pytest.TempPathFactory, tiny_artifact: Path) -> Path:
    """Folder with the tiny MTML-OSG as fp32.onnx, fp16.onnx and int8.onnx."""
    folder = tmp_path_factory.mktemp("precisions")
    write_precisions(open_artifact(tiny_artifact).model_path, folder)
    return folder


def logged(path: Path, sm: int, caplog: pytest.LogCaptureFixture) -> EngineLog:
    """The engine that a build logs."""
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="mtml_deploy.engine.library_log"):  # as with -v
        options = BuildOptions(profile=BatchProfile(1, 2, 4), sm=(sm,))
        built = build_plan(path, tiny_manifest(), options, rtx_library(), gpu=None)
    found = read_engine_log(caplog.messages)
    assert built.aux_streams == found.streams - 1
    return found


def test_kernels_types_and_traffic_of_every_precision(
    precisions: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = rtx_library().version
    found = {
        (precision, sm): logged(precisions / f"{precision}.onnx", sm, caplog)
        for precision in ("fp16", "int8")
        for sm in (75, 86)
    }
    for engine in found.values():
        assert len(engine.convolutions) == CONVOLUTIONS
    half, eight = found["fp16", 86], found["int8", 86]
    # every convolution of the fp16 graph takes bias, ReLU and shortcut along and writes fp16
    assert half.outputs == {"Half"} and half.int8_convolutions == 0
    assert sum(len(kernel.inputs) == 2 for kernel in half.convolutions) == 4 * 8
    # each one of the int8 graph is int8, as our placement of Q/DQ asks; what it writes is wider
    assert eight.int8_convolutions == CONVOLUTIONS
    assert "Int8" not in eight.outputs
    assert len(eight.kernels) > 1.5 * len(half.kernels)
    assert eight.moved > 1.5 * half.moved
    # which is why int8 is refused for compute capability 7.5: not one convolution is int8
    assert found["int8", 75].int8_convolutions == 0
    for key, (kernels, int8, moved, scratch) in KNOWN.get(version, {}).items():
        engine = found[key]
        assert (len(engine.kernels), engine.int8_convolutions) == (kernels, int8), key
        assert engine.moved == moved, key
        assert engine.scratch == pytest.approx(scratch, rel=SCRATCH_MARGIN), key


def test_a_listing_is_read_as_written() -> None:
    """Two kernels of a listing, by hand: 4*8*8 halves in, 2*4*4 floats out, then read twice."""
    tensor = "{{ Name: {}, Dimensions: [{}], Strides: [1], Datatype: {}, Format: x }}"
    image = tensor.format("a", "-1,4,8,8", "Half")
    weight = tensor.format("w", "2,4,3,3", "Half")
    map_ = tensor.format("b", "-1,2,4,4", "Float")
    row = tensor.format("c", "-1,32", "Float")
    listing = (
        "Layers:\n"
        f"Name: one, LayerType: correlation, Inputs: [ {image}], Constants: [ {weight}], Outputs: "
        f"[ {map_}], TacticName: t, StreamId: 0, Metadata: [ONNX Layer: x]\n"
        "Name: s, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: , "
        "StreamId: 2, EventId: 1, Metadata: \n"
        f"Name: two, LayerType: kgen, Inputs: [ {map_}, {map_}], Constants: [], Outputs: [ {row}], "
        "TacticName: t, StreamId: 1, Metadata: \n"
    )
    found = read_engine_log(["Max Scratch Memory: 12 bytes", listing])
    assert [kernel.kind for kernel in found.kernels] == ["correlation", "kgen"]
    assert [kernel.moved for kernel in found.kernels] == [2 * 256 + 4 * 32, 2 * 4 * 32]
    assert (found.outputs, found.int8_convolutions) == ({"Float"}, 0)
    assert (found.scratch, found.streams) == (12, 2)


class Severity(Enum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


def a_module() -> ModuleType:
    """A TensorRT with a logger alone."""
    module = ModuleType("tensorrt")

    class ILogger:
        pass

    ILogger.Severity = Severity
    module.ILogger = ILogger
    return module


def test_one_logger_per_library_whose_errors_do_not_grow() -> None:
    module, other = a_module(), a_module()
    log = library_log(module)
    assert library_log(module) is log is not library_log(other)
    for number in range(1000):
        log.log(Severity.ERROR, f"error {number}")
    assert list(log.errors)[-1] == "error 999" and len(log.errors) < 100


def test_an_ignored_setting_is_a_warning_and_the_rest_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = library_log(a_module())
    with caplog.at_level(logging.DEBUG, logger="mtml_deploy.engine.library_log"):
        for level, text in (
            (Severity.WARNING, "[MS] Multi stream is disabled because the assignment failed"),
            (Severity.WARNING, "Converting conv weight scales to fp32."),
            (Severity.VERBOSE, "Disabling unused tactic source: EDGE_MASK_CONVOLUTIONS"),
            (Severity.ERROR, "out of memory"),
        ):
            log.log(level, text)
    assert [record.levelno for record in caplog.records] == [
        logging.WARNING, logging.INFO, logging.DEBUG, logging.INFO,
    ]  # fmt: skip


def test_streams_of_a_tensorrt_engine_are_those_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for 3, given 1: the built engine is loaded and asked."""
    made = SimpleNamespace(num_aux_streams=1)
    module = a_module()
    module.Runtime = lambda log: SimpleNamespace(
        deserialize_cuda_engine=lambda plan: made if plan == b"plan" else None
    )
    config = SimpleNamespace(add_optimization_profile=lambda profile: None)
    module.Builder = lambda log: SimpleNamespace(
        create_network=lambda flags: None,
        create_builder_config=lambda: config,
        create_optimization_profile=lambda: SimpleNamespace(set_shape=lambda *words: None),
        build_serialized_network=lambda network, config: b"plan",
    )
    module.OnnxParser = lambda network, log: SimpleNamespace(parse_from_file=lambda path: True)
    module.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=0)
    module.ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
    trt = Library(target="tensorrt", module=module, version="10.16")
    monkeypatch.setattr(build_module, "on_gpu", lambda gpu: nullcontext())
    built = build_plan(
        tmp_path / "model.onnx", tiny_manifest(), BuildOptions(aux_streams=3), trt, gpu=a_gpu()
    )
    assert (built.plan, built.aux_streams) == (b"plan", 1)
    assert (config.max_aux_streams, config.profiling_verbosity) == (3, "detailed")
