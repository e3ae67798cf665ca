"""`mtml-deploy doctor`: what this machine can run, and what each thing it cannot run needs.

In: nothing, or an artifact. Out: processor, GPUs, library versions and backends with a reason each,
and the fastest way to run a model on the CPU. Nothing is changed, and nothing heavy is imported but
the libraries asked about.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.cpu_advice import on_the_cpu
from mtml_deploy.engine.fit import misfit, old_driver
from mtml_deploy.engine.gpu import Gpu, GpuSearch, find_gpus
from mtml_deploy.engine.library import Library, Target, load_library
from mtml_deploy.errors import MtmlError
from mtml_deploy.runtime.processor import Processor, this_processor
from mtml_deploy.version import __version__

if TYPE_CHECKING:
    from mtml_deploy.runtime.cpu_ways import JudgedWay

PACKAGES: Final = (
    "numpy",
    "pillow",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "onnx",
    "tensorrt",
    "tensorrt-rtx-cu13",
    "pycuda",
    "torch",
    "faiss-cpu",
    "pymilvus",
)
"""Distributions whose versions matter to a bug report."""

_NEEDS_GPU: Final = "a CUDA GPU"


@dataclass(frozen=True)
class Ability:
    """One thing a user may ask for.

    Attributes:
        name: the flags that ask for it.
        usable: whether it can work here.
        reason: why not, and what to do; what it rests on where it can.
    """

    name: str
    usable: bool
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything `examine` found.

    Attributes:
        version: of this project.
        python: version of Python.
        system: operating system and machine type.
        processor: its name and instruction sets.
        gpus: the GPUs, or why there is none.
        packages: version of each installed distribution of `PACKAGES`.
        conflict: what of these hides another, and what to do; empty where nothing does.
        abilities: what can be asked for, backends first.
        cpu_ways: with an artifact, the ways to run it on the CPU, fastest first.
        advice: which way to take on the CPU.
    """

    version: str
    python: str
    system: str
    processor: Processor
    gpus: GpuSearch
    packages: Mapping[str, str]
    conflict: str
    abilities: tuple[Ability, ...]
    cpu_ways: tuple[JudgedWay, ...]
    advice: str


@click.command(
    cls=SafeCommand,
    docs="docs/engines.md",
    examples=(
        "mtml-deploy doctor",
        "mtml-deploy doctor model --json doctor.json",
    ),
)
@options.a_model
@options.json_file
@options.overwrite
def doctor(*, model: Path | None, json_file: Path | None, overwrite: bool) -> None:
    """Show the processor, GPUs, versions, and which backends are usable here.

    Nothing is changed. For each backend that is not usable it says what is missing. With MODEL
    also which way to run it on the CPU is the fastest that the parity gate has passed.
    """
    from mtml_deploy.cli.screen import Screen
    from mtml_deploy.output_kind import json_kind
    from mtml_deploy.outputs import require_outputs

    kind = json_kind("what doctor found, as JSON", "version", "system", "processor", "abilities")
    require_outputs([(options.on_disk(json_file), kind)], overwrite=overwrite)
    found = examine(model)
    options.write_json(json_file, lambda: json.dumps(asdict(found), indent=1, allow_nan=False))
    screen = Screen(json_file)
    tell = screen.prose
    tell(f"mtml-reid {found.version}, Python {found.python}, {found.system}")
    tell(f"cpu  {found.processor.name}: {found.processor.told}")
    for gpu in found.gpus.gpus:
        driver = f", driver {gpu.driver}" if gpu.driver else ""
        tell(
            f"cuda:{gpu.index}  {gpu.name}, compute capability {gpu.compute_capability}, "
            f"{gpu.memory_bytes / 2**30:.0f} GiB{driver}, CUDA up to {gpu.cuda}"
        )
    if not found.gpus.gpus:
        tell(f"no GPU: {found.gpus.reason}")
    tell(", ".join(f"{name} {number}" for name, number in found.packages.items()))
    if found.conflict:
        tell(f"conflict: {found.conflict}")
    screen.plain(
        [
            ("yes" if ability.usable else "no", ability.name, ability.reason)
            for ability in found.abilities
        ]
    )
    for way in found.cpu_ways:
        tell(f"{way.gate:<6}  {way.flags}: {way.what}")
    tell(found.advice)


def examine(artifact: Path | None = None) -> Diagnosis:
    """Look at this machine.

    Args:
        artifact: also says what runs this one fastest on the CPU.

    Raises:
        ArtifactError: it is none.
    """
    # with msgspec, which help does without
    from mtml_deploy.runtime.ort_provider import two_libraries

    gpus = find_gpus()
    judged, advice = on_the_cpu(artifact, ort=_offered() is not None)
    return Diagnosis(
        version=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=this_processor(),
        gpus=gpus,
        packages=_versions(),
        conflict=two_libraries(),
        abilities=(
            _ort_cpu(),
            *_openvino(),
            _ort_cuda(gpus),
            _ort_tensorrt(gpus),
            _engine("tensorrt", gpus),
            _engine("tensorrt-rtx", gpus),
            _build("tensorrt", gpus),
            _build("tensorrt-rtx", gpus),
            _optional("rank --search-engine faiss", "faiss", "faiss"),
            _optional("gallery milvus://", "pymilvus", "milvus"),
            _optional("convert, compress, build", "onnx", "onnx"),
        ),
        cpu_ways=judged,
        advice=advice,
    )


def _versions() -> dict[str, str]:
    """Versions of what is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _offered() -> tuple[str, ...] | None:
    """Providers of the installed ONNX Runtime; None where it is not installed."""
    # with NumPy, which help does without
    from mtml_deploy.runtime.ort_library import offered_providers

    return offered_providers()


def _ort_cpu() -> Ability:
    """ONNX Runtime on the CPU."""
    name = "--backend ort --device cpu"
    if _offered() is None:
        return Ability(
            name, False, "onnxruntime is not installed; run: pip install 'mtml-reid[cpu]'"
        )
    return Ability(name, True, "onnxruntime is installed")


def _openvino() -> tuple[Ability, ...]:
    """OpenVINO on the CPU, in each precision that the CPU computes in, and on Intel GPUs."""
    from mtml_deploy.runtime.openvino import offered_precisions

    name = "--backend openvino --device "
    offered = offered_precisions()
    if offered is None:
        reason = "openvino is not installed; run: pip install 'mtml-reid[openvino]'"
        return (Ability(f"{name}cpu", False, reason),)
    return tuple(
        Ability(f"{name}{device}", True, f"--execution-precision {', '.join(precisions)}")
        for device, precisions in offered.items()
    )


def _ort_cuda(gpus: GpuSearch) -> Ability:
    """ONNX Runtime on a GPU."""
    # with msgspec, which help does without
    from mtml_deploy.runtime.ort_provider import CUDA, INSTALL_FOR_GPU

    name = "--backend ort --device cuda:N"
    offered = _offered()
    if offered is None or CUDA not in offered:
        return Ability(
            name,
            False,
            f"onnxruntime-gpu is not installed; run: {INSTALL_FOR_GPU}",
        )
    if not gpus.gpus:
        return Ability(name, False, f"it needs {_NEEDS_GPU}: {gpus.reason}")
    old = old_driver(gpus.gpus[0], _ort_is_for_cuda(), needed_by="onnxruntime-gpu")
    if reason := old or _lacks(CUDA):
        return Ability(name, False, reason)
    return Ability(name, True, f"onnxruntime-gpu offers CUDA on {_names(gpus.gpus)}")


def _ort_is_for_cuda() -> int | None:
    """Major version of the CUDA that ONNX Runtime was built for."""
    from mtml_deploy.runtime.ort_library import built_for_cuda

    return built_for_cuda()


def _lacks(provider: str) -> str:
    """What ONNX Runtime's library for a provider does not find; empty where nothing."""
    from mtml_deploy.runtime.ort_library import missing_library

    found = missing_library(provider)
    return f"onnxruntime-gpu cannot load {provider}: {found}" if found else ""


def _ort_tensorrt(gpus: GpuSearch) -> Ability:
    """TensorRT inside ONNX Runtime."""
    from mtml_deploy.runtime.ort_provider import TENSORRT

    name = "--backend ort-tensorrt --device cuda:N"
    cuda = _ort_cuda(gpus)
    if not cuda.usable:
        return Ability(name, False, cuda.reason)
    if TENSORRT not in (_offered() or ()):
        return Ability(name, False, "this onnxruntime-gpu was built without TensorRT")
    if reason := _lacks(TENSORRT):
        return Ability(name, False, f"{reason}; run: pip install 'tensorrt<11'")
    return Ability(name, True, f"onnxruntime-gpu offers TensorRT on {_names(gpus.gpus)}")


def _engine(target: Target, gpus: GpuSearch) -> Ability:
    """Running engines."""
    name = f"--backend {target} --device cuda:N"
    try:
        library = load_library(target)
    except MtmlError as error:
        return Ability(name, False, str(error))
    if not gpus.gpus:
        return Ability(name, False, f"it needs {_NEEDS_GPU}: {gpus.reason}")
    return _of_gpus(name, library, gpus, "on")


def _build(target: Target, gpus: GpuSearch) -> Ability:
    """Building engines."""
    name = f"build --target {target}"
    try:
        library = load_library(target)
    except MtmlError as error:
        return Ability(name, False, str(error))
    if gpus.gpus:
        return _of_gpus(name, library, gpus, "for")
    if library.is_rtx:
        return Ability(name, True, f"{target} {library.version}, with --sm as there is no GPU")
    return Ability(name, False, f"it needs {_NEEDS_GPU}: {gpus.reason}")


def _of_gpus(name: str, library: Library, gpus: GpuSearch, word: str) -> Ability:
    """What a library can do with the GPUs that are here: at least one must fit."""
    reasons = {gpu: misfit(library, gpu) for gpu in gpus.gpus}
    others = "; ".join(dict.fromkeys(reason for reason in reasons.values() if reason))
    fitting = tuple(gpu for gpu, reason in reasons.items() if not reason)
    if not fitting:
        return Ability(name, False, others)
    told = f"{library.target} {library.version} {word} {_names(fitting)}"
    return Ability(name, True, f"{told}; {others}" if others else told)


def _optional(name: str, module: str, extra: str) -> Ability:
    """What one Python library enables."""
    if find_spec(module) is None:
        return Ability(
            name, False, f"{module} is not installed; run: pip install 'mtml-reid[{extra}]'"
        )
    return Ability(name, True, f"{module} is installed")


def _names(gpus: tuple[Gpu, ...]) -> str:
    """The GPUs in words."""
    return ", ".join(f"{gpu.name} (cuda:{gpu.index})" for gpu in gpus)
