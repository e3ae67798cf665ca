"""What the doctor says of this machine and of machines that are not here."""

from __future__ import annotations

import ctypes
import json
import sys

import pytest
from click.testing import CliRunner
from helpers_artifact import tiny_manifest, write_artifact
from helpers_engine import a_gpu
from helpers_gpu import require_gpu

from mtml_deploy.cli import doctor
from mtml_deploy.cli.doctor import examine
from mtml_deploy.cli.main import main
from mtml_deploy.engine.gpu import GpuSearch, find_gpus, gpu_of


def ability(name: str):
    return next(one for one in examine().abilities if one.name == name)


def test_the_command_tells_the_same_in_both_forms():
    plain = CliRunner().invoke(main, ["doctor"])
    assert plain.exit_code == 0, plain.output
    values = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout)
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
    found = json.loads(CliRunner().invoke(main, ["doctor", str(folder), "--json"]).stdout)
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
