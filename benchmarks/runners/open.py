"""What can run a model here: one offer per library, opened only where it can work.

In: a `Subject`. Out: its runners, checked to give the same embeddings, and for each that cannot run
here the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.runners.deployed import open_deployed, open_openvino_alone
from benchmarks.runners.nncf_peer import open_nncf
from benchmarks.runners.runner import Images, Offer, Runner, Subject, TorchKey
from mtml_deploy.errors import ArtifactError, BackendError, MissingExtraError

LEAST_COSINE: Final = 0.98
"""A runner that gives other embeddings than the first computes something else: int8 has 0.99."""


def offers(subject: Subject) -> tuple[Offer, ...]:
    """Every runner, the project's own backends first.

    Args:
        subject: the model.

    Returns:
        In the order of `benchmarks.sizes.RUNNERS`.
    """

    def open_torch(key: TorchKey) -> AbstractContextManager[Runner]:
        # the memory of the others must not hold torch
        from benchmarks.runners.torch_model import open_torch

        return open_torch(subject, key)

    on_gpu = subject.device != "cpu"
    gpu_only = "" if on_gpu else "it runs on a GPU only: --device cuda:0"
    cpu_only = "it runs on a CPU only: --device cpu" if on_gpu else ""
    no_run = "" if subject.run is not None else "it needs the trained weights: --run RUN"
    no_images = "" if subject.images is not None else "it calibrates on images: --images SOURCE"
    where = subject.device.partition(":")[0].upper().replace("CUDA", "GPU")
    return (
        Offer("ort", f"ONNX Runtime {where}", partial(open_deployed, subject, "ort")),
        Offer(
            "ort-nhwc", "ONNX Runtime GPU NHWC", partial(open_deployed, subject, "ort", nhwc=True),
            gpu_only,
        ),
        Offer("openvino", "OpenVINO CPU", partial(open_deployed, subject, "openvino"), cpu_only),
        Offer(
            "openvino-bf16", "OpenVINO CPU bf16",
            partial(open_deployed, subject, "openvino", "bf16"), cpu_only,
        ),
        Offer(
            "openvino-alone", "OpenVINO alone CPU", partial(open_openvino_alone, subject), cpu_only
        ),
        Offer(
            "nncf", "NNCF int8, OpenVINO CPU", partial(open_nncf, subject), cpu_only or no_images
        ),
        Offer("tensorrt", "TensorRT", partial(open_deployed, subject, "tensorrt"), gpu_only),
        Offer(
            "tensorrt-rtx", "TensorRT-RTX", partial(open_deployed, subject, "tensorrt-rtx"),
            gpu_only,
        ),
        Offer("torch", "torch eager", partial(open_torch, "torch"), no_run),
        Offer(
            "torch-compile", "torch.compile", partial(open_torch, "torch-compile"), no_run
        ),
        Offer(
            "torch-bf16", "torch eager bf16, channels last",
            partial(open_torch, "torch-bf16"), no_run or cpu_only,
        ),
        Offer(
            "torch-fp16", "torch eager fp16, channels last",
            partial(open_torch, "torch-fp16"), no_run or gpu_only,
        ),
        Offer(
            "torch-fp16-graph", "torch fp16, channels last, CUDA graph",
            partial(open_torch, "torch-fp16-graph"), no_run or gpu_only,
        ),
    )  # fmt: skip


def open_runners(
    subject: Subject, stack: ExitStack, images: Images, *, chosen: Sequence[str] = ()
) -> tuple[tuple[Runner, ...], tuple[str, ...]]:
    """Load every runner that works here and check that all compute the same.

    Args:
        subject: the model.
        stack: closes the runners.
        images: a batch they are compared on.
        chosen: keys of the runners wanted; empty for all that work.

    Returns:
        The runners, and a sentence for each one that is absent and one on their agreement.

    Raises:
        BackendError: a chosen one does not work here, or none does, or embeddings differ.
    """
    found: list[Runner] = []
    notes: list[str] = []
    for offer in offers(subject):
        if chosen and offer.key not in chosen:
            continue
        reason = offer.reason
        if not reason:
            try:
                found.append(stack.enter_context(offer.open()))
            except (MissingExtraError, BackendError, ArtifactError) as error:
                reason = str(error)
        if reason and chosen:
            raise BackendError(f"{offer.title} was asked for but is not usable here: {reason}")
        if reason:
            notes.append(f"{offer.title}: not measured: {reason}.")
    if not found:
        raise BackendError(
            "nothing here can run the model: " + " ".join(notes) + " See mtml-deploy doctor"
        )
    return tuple(found), (*notes, *_agreement(found, images))


def _agreement(runners: Sequence[Runner], images: Images) -> tuple[str, ...]:
    """A sentence on how near the embeddings of the runners are to those of the first.

    Raises:
        BackendError: below `LEAST_COSINE`.
    """
    first, *others = runners
    expected = first.run(images)
    said = []
    for runner in others:
        lowest = lowest_cosine(expected, runner.run(images))
        if not lowest >= LEAST_COSINE:  # so that NaN is refused
            raise BackendError(
                f"{runner.title} gives other embeddings than {first.title}: their least cosine is "
                f"{lowest:.4f}, expected {LEAST_COSINE} or more; a speed of something else is of "
                "no use, so find out which one is wrong: "
                "mtml-deploy parity MODEL --reference MODEL --data SOURCE"
            )
        said.append(f"{runner.title} {lowest:.6f}")
    if not said:
        return ()
    return (f"Least cosine with the embeddings of {first.title}: {', '.join(said)}.",)


def lowest_cosine(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Least cosine between rows.

    Args:
        expected: float32 [B, D].
        found: float32 [B, D].

    Returns:
        -1..1; NaN where a row is 0 or not finite.
    """
    left, right = (cast("NDArray[np.float64]", a.astype(np.float64)) for a in (expected, found))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(((left * right).sum(axis=1) / norms).min())
