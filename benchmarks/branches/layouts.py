"""The branches of a model in torch: serial, on streams, grouped; eager and as a CUDA graph.

Which layout is fastest decides how a model with several branches is best exported. Images are on
the device already: only computation differs between the layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure.limits import ceiling_keys, ceilings, torch_threads
from benchmarks.measure.machine import describe_environment
from benchmarks.measure.rounds import Ratio, Series, alternate, ratio
from benchmarks.measure.single_runs import RunPlan, Timed, sample_in_turn
from benchmarks.report.record import Plain, Record
from benchmarks.runners.layout_modules import BranchLayout, Layout
from benchmarks.runners.open import LEAST_COSINE, lowest_cosine
from benchmarks.runners.torch_model import Module, record_graph, require_torch_device
from benchmarks.sizes import BATCHES, Arithmetic
from mtml_deploy.errors import BackendError
from mtml_train.export.extractor import FusedExtractor

_BEST: Final = "best"
_PLAIN: Final = "plain"


@dataclass(frozen=True)
class LayoutBench:
    """How layouts are measured.

    Attributes:
        batches: batch sizes, ascending.
        plan: how often each layout runs at each batch size.
        compiled: also through torch.compile, which compiles for minutes.
        matrix_size: side of the matrices of the device's limit; None for the usual one.
    """

    batches: tuple[int, ...] = BATCHES
    plan: RunPlan = field(default_factory=RunPlan)
    compiled: bool = False
    matrix_size: int | None = None


def measure_layouts(
    extractor: FusedExtractor,
    *,
    device: str,
    threads: int,
    size: tuple[int, int],
    model: dict[str, Plain],
    bench: LayoutBench,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Time of every layout at every batch size.

    Args:
        extractor: on the CPU, in evaluation mode.
        device: "cuda:N", where all layouts run in fp16; or "cpu": serial and grouped in float32.
        threads: on the CPU; 0 for one per physical core.
        size: height and width of the images, pixels.
        model: what the record says of it.
        bench: how to measure.
        say: receives progress.

    Returns:
        The record; on a GPU its ratios have targets.

    Raises:
        BackendError: no such GPU, or a layout gives other embeddings.
    """
    environment = describe_environment()
    place = torch.device(device)
    require_torch_device(place)
    precision: Arithmetic = "fp32" if place.type == "cpu" else "fp16"
    flop = counted_flop(extractor, size)
    series: dict[str, Series] = {}
    ratios: list[Ratio] = []
    with torch.inference_mode(), torch_threads(threads) as used:
        modules = _modules(extractor, place, compiled=bench.compiled)
        limits = ceilings(place, (precision,), threads=used, size=bench.matrix_size)
        measured = alternate(limits, rounds=bench.plan.rounds, say=say, settle_s=0)
        limit = max((measured[key] for key in ceiling_keys(place, precision)), key=_median)
        for batch in bench.batches:
            pixels = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)
            images = torch.from_numpy(pixels).to(place)
            times = sample_in_turn(_timed(modules, images), bench.plan, say=say)
            series |= times
            ratios += compared(times, batch=batch, flop=flop, limit=limit)
    return Record(
        kind="layouts",
        title="Layouts of the branches",
        environment=environment,
        model={**model, "branches": extractor.branches, "precision": precision,
               "flop_per_image": flop},
        settings={
            "device": device,
            "threads": used,
            "batches": [str(batch) for batch in bench.batches],
            "most_runs": bench.plan.most,
        },
        series=(*series.values(), *measured.values()),
        ratios=tuple(ratios),
        notes=(
            "Times are from uint8 images to embeddings, both on the device.",
            "Grouped: branches of one image size share kernels; the scale branch, whose images are "
            "smaller, runs after them.",
            *(() if place.type == "cuda" else ("Streams and graphs: not measured, they need a "
                                               "GPU.",)),
        ),
        percentiles=True,
    )  # fmt: skip


def counted_flop(extractor: FusedExtractor, size: tuple[int, int]) -> int:
    """Floating point operations of one image, counted by torch while it computes one."""
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        extractor(torch.zeros(1, *size, 3, dtype=torch.uint8))
    return int(counter.get_total_flops())


def compared(times: dict[str, Series], *, batch: int, flop: int, limit: Series) -> list[Ratio]:
    """What follows from the times of one batch size.

    No layout has a target: torch stores every activation between its operators, so that memory
    bounds it long before arithmetic (`python -m benchmarks roofline`).

    Args:
        times: by key "b<batch>/<layout>".
        batch: its size.
        flop: floating point operations of one image.
        limit: the device's matrix product.

    Returns:
        The speed of every layout against the plain one, and the arithmetic of the fastest against
        the limit.
    """
    plain = times[f"b{batch}/{_PLAIN}"]
    best = min(times.values(), key=_median)
    # time over time, so that 2 is twice as fast
    found = [ratio(plain, item) for item in times.values() if item not in (plain, best)]
    if best is not plain:
        found.append(ratio(plain, best))
    share = batch * flop / best.median / limit.median
    found.append(
        Ratio(
            f"b{batch}/{_BEST}/{limit.key}",
            f"{best.title}: arithmetic / {limit.title}",
            share,
        )
    )
    return found


def _median(series: Series) -> float:
    return series.median


def _modules(
    extractor: FusedExtractor, device: torch.device, *, compiled: bool
) -> dict[str, tuple[str, Module]]:
    """Key -> title and module of every layout that runs on the device."""
    on_gpu = device.type == "cuda"
    dtype = torch.float16 if on_gpu else torch.float32
    layouts: tuple[Layout, ...] = ("plain", "serial", "grouped")
    if on_gpu:
        layouts = ("plain", "serial", "streams", "grouped")
    found: dict[str, tuple[str, Module]] = {}
    for layout in layouts:
        module = BranchLayout(extractor, layout=layout, dtype=dtype).to(device)
        found[layout] = layout, module
        if compiled and layout in ("serial", "grouped"):
            fused: Module = torch.compile(module, dynamic=False)
            found[f"{layout}-compile"] = f"{layout}, torch.compile", fused
    return found


def _timed(modules: dict[str, tuple[str, Module]], images: Tensor) -> list[Timed]:
    """Every layout on one batch, and on a GPU every one but the plain as a CUDA graph too."""
    batch = len(images)
    expected: Tensor | None = None
    timed = []
    for key, title, act in _acts(modules, images):
        found = act()
        _wait(images)
        # a graph overwrites its result
        found = found.float().cpu().clone()
        expected = found if expected is None else expected
        lowest = lowest_cosine(expected.numpy(), found.numpy())
        if not lowest >= LEAST_COSINE:
            raise BackendError(
                f"the layout {title} gives other embeddings than plain torch: least cosine "
                f"{lowest:.4f}, expected {LEAST_COSINE} or more; report this as a fault"
            )
        timed.append(
            Timed(
                f"b{batch}/{key}",
                f"batch {batch}, {title}",
                f"Branches {title}, images and embeddings on the device.",
                partial(_run, act, images),
            )
        )
    return timed


def _acts(
    modules: dict[str, tuple[str, Module]], images: Tensor
) -> Iterator[tuple[str, str, Callable[[], Tensor]]]:
    """Key, title and one run of each layout."""
    for key, (title, module) in modules.items():
        yield key, title, partial(module, images)
        if images.device.type == "cuda" and key != _PLAIN:
            graph, _, result = record_graph(module, images)
            yield f"{key}-graph", f"{title}, CUDA graph", partial(_replay, graph, result)


def _replay(graph: torch.cuda.CUDAGraph, result: Tensor) -> Tensor:
    graph.replay()
    return result


def _run(act: Callable[[], Tensor], images: Tensor) -> None:
    act()
    _wait(images)


def _wait(images: Tensor) -> None:
    """Return when the device of `images` is done."""
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
