"""A TensorRT-RTX library, where it is installed, and machines that are not here."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import onnx
import pytest

from mtml_deploy.engine.gpu import Gpu
from mtml_deploy.engine.library import Library, load_library
from mtml_deploy.errors import MissingExtraError
from mtml_deploy.precision.lowering import Plan, lowered
from mtml_deploy.precision.network import read_network

STEP = 0.05
"""Quantisation step of every activation: any positive number builds."""


def rtx_library() -> Library:
    """TensorRT-RTX, which builds without a GPU; skips the test where it is not installed."""
    try:
        return load_library("tensorrt-rtx")
    except MissingExtraError as error:
        pytest.skip(str(error))


def library(target: str = "tensorrt", version: str = "10.16.1.11") -> Library:
    """A library for questions that do not call it."""
    return Library(target=target, module=ModuleType("none"), version=version)


def a_gpu(name: str = "NVIDIA L4", capability: str = "8.9") -> Gpu:
    """A GPU of some machine."""
    return Gpu(
        index=0,
        name=name,
        compute_capability=capability,
        memory_bytes=24 << 30,
        driver="580.1",
        cuda="13.0",
    )


def write_precisions(path: Path, folder: Path) -> None:
    """The fp32 model in `path` as fp32.onnx, fp16.onnx and int8.onnx."""
    network = read_network(path)
    steps = {layer.source: STEP for layer in network.layers}
    (folder / "fp32.onnx").symlink_to(path)
    onnx.save(lowered(network, Plan()), folder / "fp16.onnx")
    onnx.save(lowered(network, Plan(quantised=network.layers, steps=steps)), folder / "int8.onnx")
