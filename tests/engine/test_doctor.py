"""What the doctor says of this machine and of machines that are not here."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from enum import Enum
from importlib.metadata import PackageNotFoundError
from types import ModuleType

import pytest
from click.testing import CliRunner
from helpers_artifact import tiny_manifest, write_artifact
from helpers_distributions import pretend_installed
from helpers_engine import a_gpu
from helpers_gpu import require_gpu

from mtml_deploy.cli import doctor
from mtml_deploy.cli.doctor import examine
from mtml_deploy.cli.main import main
from mtml_deploy.engine import fit
from mtml_deploy.engine.gpu import GpuSearch, find_gpus, gpu_of
from mtml_deploy.engine.library import Library


def ability(name: str):
    return next(one for one in examine().abilities if one.name == name)


def test_the_command_tells_the_same_in_both_forms():
    plain = CliRunner().invoke(main, ["doctor"])
    assert plain.exit_code == 0, plain.output
    values = json.loads(CliRunner().invoke(main, ["doctor", "--json", "-"]).stdout)
    for one in values["abilities"]:
        line = next(line for line in plain.stdout.splitlines() if f"  {one['name']} " in line)
        assert line.startswith("yes" if one["usable"] else "no")
        assert one["reason"] in line
    assert f"numpy {values['packages']['numpy']}" in plain.stdout


def test_what_is_missing_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    found = ability("--backend ort --device cpu")
    assert not found.usable and "mtml-reid[cpu]" in found.reason
    found = ability("--backend tensorrt --device cuda:N")
    assert not found.usable and "mtml-reid[tensorrt]" in found.reason


def test_a_gpu_without_its_libraries_is_not_usable(monkeypatch):
    monkeypatch.setattr(doctor, "find_gpus", lambda: GpuSearch((a_gpu(),), ""))
    monkeypatch.setattr(doctor, "_offered", lambda: ("CPUExecutionProvider",))
    found = ability("--backend ort --device cuda:N")
    assert not found.usable and "mtml-reid[gpu]" in found.reason
    offered = ("CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(doctor, "_offered", lambda: offered)
    found = ability("--backend ort --device cuda:N")
    assert found.usable and "NVIDIA L4 (cuda:0)" in found.reason
    found = ability("--backend ort-tensorrt --device cuda:N")
    assert not found.usable and "without TensorRT" in found.reason
    more = ("TensorrtExecutionProvider", *offered)
    monkeypatch.setattr(doctor, "_offered", lambda: more)
    assert ability("--backend ort-tensorrt --device cuda:N").usable
    # the GPU build of the library offers CUDA on machines that have none
    monkeypatch.setattr(doctor, "find_gpus", lambda: GpuSearch((), "no driver"))
    found = ability("--backend ort --device cuda:N")
    assert not found.usable and "no driver" in found.reason


def fake_library(target: str, monkeypatch, *, cuda: int | None, kernels: tuple[int, ...] = ()):
    """A TensorRT that pip installed for a CUDA, with kernels for some GPUs."""
    module = ModuleType(target)
    names = ["NONE", "CURRENT", *(f"SM{number}" for number in kernels)]
    module.ComputeCapability = Enum("ComputeCapability", names)
    made = Library(target=target, module=module, version="1.7")

    def version(name: str) -> str:
        if cuda is not None and name == f"{target}-cu{cuda}":
            return "1.7"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(fit, "version", version)
    monkeypatch.setattr(doctor, "load_library", lambda asked: made)
    return made


def test_rtx_has_no_kernels_for_hopper(monkeypatch):
    fake_library("tensorrt-rtx", monkeypatch, cuda=13, kernels=(120, 86, 89))
    hopper, ada = a_gpu("NVIDIA H100", "9.0"), replace(a_gpu(), index=1)
    monkeypatch.setattr(doctor, "find_gpus", lambda: GpuSearch((hopper,), ""))
    for name in ("--backend tensorrt-rtx --device cuda:N", "build --target tensorrt-rtx"):
        found = ability(name)
        assert not found.usable
        assert "no kernels for NVIDIA H100" in found.reason and "86, 89, 120" in found.reason
        assert "--target tensorrt" in found.reason
    monkeypatch.setattr(doctor, "find_gpus", lambda: GpuSearch((hopper, ada), ""))
    found = ability("--backend tensorrt-rtx --device cuda:N")
    assert found.usable and "on NVIDIA L4 (cuda:1); " in found.reason
    assert "no kernels for NVIDIA H100" in found.reason


@pytest.mark.parametrize(
    ("driver", "library", "usable"),
    [("12.4", 13, False), ("13.0", 13, True), ("13.2", 12, True), ("12.4", None, True)],
)
def test_a_driver_older_than_the_cuda_of_the_library(monkeypatch, driver, library, usable):
    fake_library("tensorrt", monkeypatch, cuda=library)
    gpu = replace(a_gpu(), cuda=driver)
    monkeypatch.setattr(doctor, "find_gpus", lambda: GpuSearch((gpu,), ""))
    offered = ("CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(doctor, "_offered", lambda: offered)
    monkeypatch.setattr(
        "onnxruntime.cuda_version", f"{library}.0" if library else "", raising=False
    )
    for name in (
        "--backend tensorrt --device cuda:N", "build --target tensorrt",
        "--backend ort --device cuda:N",
    ):  # fmt: skip
        found = ability(name)
        assert found.usable is usable, found
        if not usable:
            assert "CUDA up to 12.4" in found.reason and "needs 13" in found.reason
            assert "for CUDA 12" in found.reason


def test_a_shared_library_that_the_provider_lacks_is_named(tmp_path, monkeypatch):
    """A provider is compiled that needs libnvinfer.so.77, which is nowhere the linker looks."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed: it compiles the stand-in for a provider")
    for folder in ("onnxruntime/capi", "nvidia"):
        (tmp_path / folder).mkdir(parents=True)
    needed = tmp_path / "nvidia" / "libnvinfer.so.77"
    provider = tmp_path / "onnxruntime" / "capi" / "libonnxruntime_providers_tensorrt.so"
    (tmp_path / "a.cpp").write_text('extern "C" int nvinfer() { return 77; }')
    (tmp_path / "b.cpp").write_text(
        'extern "C" int nvinfer(); extern "C" int provide() { return nvinfer(); }'
    )
    shared = [compiler, "-shared", "-fPIC"]
    soname = "-Wl,-soname,libnvinfer.so.77"
    subprocess.run([*shared, tmp_path / "a.cpp", soname, "-o", needed], check=True)
    subprocess.run([*shared, tmp_path / "b.cpp", needed, "-o", provider], check=True)
    offered = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(doctor, "find_gpus", lambda: GpuSearch((a_gpu(),), ""))
    monkeypatch.setattr(doctor, "_offered", lambda: offered)
    monkeypatch.setattr("onnxruntime.__file__", str(tmp_path / "onnxruntime" / "__init__.py"))
    found = ability("--backend ort-tensorrt --device cuda:N")
    assert not found.usable
    assert "libnvinfer.so.77" in found.reason and "pip install 'tensorrt<11'" in found.reason
    assert ability("--backend ort --device cuda:N").usable
    ctypes.CDLL(str(needed))  # as importing the package does
    assert ability("--backend ort-tensorrt --device cuda:N").usable


def test_no_driver_is_an_answer(monkeypatch):
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert find_gpus() == GpuSearch((), "the NVIDIA driver is not installed (no libcuda)")
    assert gpu_of("cuda:0") is None
    assert gpu_of("cpu") is None


def test_a_driver_that_fails_is_an_answer(monkeypatch):
    class Broken:
        def cuInit(self, flags: int) -> int:
            return 999

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Broken())
    assert "error 999" in find_gpus().reason


@pytest.mark.gpu
def test_a_gpu_that_is_here_is_found():
    require_gpu()
    for gpu in find_gpus().gpus:
        assert gpu.name and gpu.memory_bytes > 1 << 30
        assert float(gpu.compute_capability) >= 5


def test_an_artifact_gets_its_ways_and_the_one_to_take(tmp_path, monkeypatch):
    folder = write_artifact(tmp_path / "art").folder
    found = json.loads(CliRunner().invoke(main, ["doctor", str(folder), "--json", "-"]).stdout)
    last = found["cpu_ways"][-1]
    assert (last["flags"], last["gate"]) == ("--backend ort", "passed")
    assert all(way["gate"] == "open" for way in found["cpu_ways"][:-1])
    assert found["advice"].startswith(
        "fastest on this CPU that the parity gate has passed: --backend ort"
    )
    plain = CliRunner().invoke(main, ["doctor", str(folder)])
    assert plain.stdout.splitlines()[-1] == found["advice"]
    assert "passed  --backend ort: the parity gate has passed it" in plain.stdout
    half = write_artifact(tmp_path / "half", tiny_manifest(precision="fp16")).folder
    assert "no way on this CPU has passed" in examine(half).advice
    assert "does not exist" in CliRunner().invoke(main, ["doctor", str(tmp_path / "no")]).stderr


def test_without_openvino_the_doctor_says_what_it_would_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    advice = examine().advice
    assert advice.startswith("fastest on this CPU: --backend ort; OpenVINO is not installed")
    assert "pip install 'mtml-reid[openvino]'" in advice
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "nothing that runs a model is installed" in examine().advice


def test_the_processor_is_told():
    found = examine().processor
    first, second = CliRunner().invoke(main, ["doctor"]).stdout.splitlines()[:2]
    assert first.startswith("mtml-reid ")
    assert second == f"cpu  {found.name}: {found.told}"


def test_two_libraries_of_one_module_are_told(tmp_path, monkeypatch):
    pretend_installed(tmp_path, monkeypatch, onnxruntime="9.8.0", onnxruntime_gpu="9.7.0")
    lines = CliRunner().invoke(main, ["doctor"]).stdout.splitlines()
    told = "conflict: onnxruntime 9.8.0 and onnxruntime-gpu 9.7.0 are both installed"
    assert sum(line.startswith(told) for line in lines) == 1
    values = json.loads(CliRunner().invoke(main, ["doctor", "--json", "-"]).stdout)
    assert values["conflict"].startswith("onnxruntime 9.8.0 and onnxruntime-gpu")
