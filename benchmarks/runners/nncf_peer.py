"""NNCF, the peer that quantises for OpenVINO: the exported float32 model in its int8, run there.

In: a `Subject` with images to calibrate on. Out: a `Runner`. NNCF is no part of the project; it is
measured where it is installed.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from typing import Any, Final

from benchmarks.runners.deployed import compiled_run
from benchmarks.runners.runner import Runner, Subject, run_each
from mtml_deploy.artifact.manifest import INPUT_NAME
from mtml_deploy.data.batches import decode_images
from mtml_deploy.errors import BackendError

CALIBRATION_IMAGES: Final = 128
"""The first so many images; NNCF takes 300 unless told otherwise, in several minutes."""


@contextmanager
def open_nncf(subject: Subject) -> Iterator[Runner]:
    """The exported model, quantised by NNCF as it does by itself.

    Args:
        subject: the model, fp32, and images.

    Yields:
        The runner.

    Raises:
        BackendError: it is not installed, or the model is not fp32.
        ImageError: an image cannot be used.
    """
    manifest = subject.artifact.manifest
    if manifest.precision != "fp32":
        raise BackendError(f"it quantises fp32 models, this one is {manifest.precision}")
    if subject.images is None:
        raise BackendError("it calibrates on images: --images SOURCE")
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise BackendError(f"not installed ({error}); run: pip install nncf openvino") from error
    nncf.set_log_level(logging.ERROR)
    paths = [record.path for record in subject.images.records[:CALIBRATION_IMAGES]]
    images = decode_images(paths, height=manifest.height, width=manifest.width)
    core = openvino.Core()

    def quantised() -> Any:  # noqa: ANN401 - untyped library
        data = nncf.Dataset(
            [images[row : row + 1] for row in range(len(images))],
            lambda batch: {INPUT_NAME: batch},
        )
        model = core.read_model(subject.artifact.model_path)
        with redirect_stdout(io.StringIO()):  # its progress bars; stdout is for data
            return nncf.quantize(model, data, subset_size=len(images))

    run = compiled_run(core, quantised, subject)
    yield Runner(
        key="nncf",
        title="NNCF int8, OpenVINO CPU",
        what=f"The exported model, quantised by NNCF {nncf.__version__} on {len(images)} images, "
        "through OpenVINO, floating point as float32.",
        precision="int8",
        run=run,
        stream=partial(run_each, run),
    )
