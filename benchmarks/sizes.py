"""What the speed benchmarks can measure: batch sizes and runners. Imports nothing heavy."""

from __future__ import annotations

from typing import Final, Literal

Arithmetic = Literal["fp32", "bf16", "fp16", "int8"]
"""What products are computed in, whatever the file says."""

BATCHES: Final = (1, 8, 32, 64, 128)
"""Batch sizes unless told otherwise."""

RUNNERS: Final = (
    "ort", "ort-nhwc", "openvino", "openvino-bf16", "openvino-alone", "nncf", "tensorrt",
    "tensorrt-rtx", "torch", "torch-compile", "torch-bf16", "torch-fp16", "torch-fp16-graph",
)  # fmt: skip
"""Keys of all that can run a model; on a device that one does not know it is listed as absent."""

GPU_NAMES: Final = ("h100-sxm", "h100-pcie", "a100-80gb", "a10", "l4", "t4")
"""GPUs whose limits the roofline knows."""
