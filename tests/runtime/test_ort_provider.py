"""What ONNX Runtime is asked for on a GPU, and the words for what it lacks: no GPU needed."""

from __future__ import annotations

import stat
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from helpers_artifact import tiny_manifest, write_artifact
from helpers_distributions import pretend_installed
from helpers_engine import a_gpu

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.errors import BackendError
from mtml_deploy.runtime import ort, ort_provider
from mtml_deploy.runtime.open import open_runtime
from mtml_deploy.runtime.ort import OrtRuntime
from mtml_deploy.runtime.ort_provider import (
    device_provider,
    engine_cache,
    inactive,
    tensorrt_provider,
)

VERSION = "1.32.0"
OFFERED = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write_artifact(tmp_path / "model")


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[object]]:
    """A library that says it has every provider, and opens sessions on the CPU.

    Returns:
        What each session was asked for.
    """
    import onnxruntime

    asked: list[list[object]] = []
    real = onnxruntime.InferenceSession

    def opened(path, sess_options, providers, **_):
        asked.append(providers)
        return real(path, sess_options=sess_options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: OFFERED)
    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    monkeypatch.setattr(ort, "require_gpu", lambda device, backend: a_gpu())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return asked


def test_options_of_a_device() -> None:
    assert device_provider("cpu") == ("CPUExecutionProvider", {})
    assert device_provider("cuda:3") == (
        "CUDAExecutionProvider", {"device_id": "3", "use_tf32": "0"},
    )  # fmt: skip
    assert device_provider("cuda:0", cuda_graphs=True)[1]["enable_cuda_graph"] == "1"
    with pytest.raises(ValueError, match="cuda_graphs"):
        device_provider("cpu", cuda_graphs=True)
    assert device_provider("cuda:0", nhwc=True)[1] == {
        "device_id": "0", "use_tf32": "0", "prefer_nhwc": "1", "fuse_conv_bias": "1",
    }  # fmt: skip
    with pytest.raises(ValueError, match="nhwc needs device cuda:N"):
        device_provider("cpu", nhwc=True)


def test_tensorrt_takes_the_precision_of_the_file_and_a_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name, options = tensorrt_provider(tiny_manifest(), a_gpu(), library=VERSION)
    assert name == "TensorrtExecutionProvider"
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("False", "False")
    assert options["trt_profile_min_shapes"] == "images:1x32x32x3"
    assert options["trt_profile_opt_shapes"] == "images:64x32x32x3"
    assert options["trt_profile_max_shapes"] == "images:64x32x32x3"
    assert options["device_id"] == "0"
    assert Path(options["trt_engine_cache_path"]).parent == tmp_path / "mtml-reid" / "ort-tensorrt"
    assert not Path(options["trt_engine_cache_path"]).exists()


def test_a_cache_is_of_one_model_gpu_driver_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(manifest=None, gpu=None, library=VERSION) -> Path:
        return engine_cache(manifest or tiny_manifest(), gpu or a_gpu(), library=library)

    others = [
        folder(manifest=tiny_manifest(model_sha256="1" * 64)),
        folder(gpu=a_gpu("NVIDIA L40")),
        folder(gpu=a_gpu(capability="9.0")),
        folder(gpu=replace(a_gpu(), driver="999.1")),
        folder(library="1.33.0"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(ort_provider, "version", lambda name: "10.99")
        others.append(folder())
    assert len({folder(), *others}) == 1 + len(others)
    assert folder() == folder()


@pytest.mark.parametrize("value", [None, "", "relative"])
def test_without_a_usable_variable_the_cache_is_at_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if value is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    found = engine_cache(tiny_manifest(), a_gpu(), library=VERSION)
    assert found.is_relative_to(tmp_path / ".cache" / "mtml-reid")


def test_tensorrt_is_asked_for_first_and_its_absence_is_an_error(
    artifact: Artifact, gpu_build: list[list[object]], tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match=r"could not start TensorrtExecution.*TensorRT 10"):
        open_runtime(artifact, backend="ort-tensorrt", device="cuda:0")
    first, second = gpu_build[0]
    assert (first[0], second[0]) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    cache = Path(first[1]["trt_engine_cache_path"])
    assert cache.is_relative_to(tmp_path / "cache")
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert second[1]["use_tf32"] == "0"


def test_cuda_that_could_not_start_is_an_error(
    artifact: Artifact, gpu_build: list[list[object]]
) -> None:
    with pytest.raises(BackendError, match=r"could not start CUDAExecution.*cuDNN.*doctor"):
        OrtRuntime(artifact, device="cuda:0", cuda_graphs=True)
    assert gpu_build[0][0][1]["enable_cuda_graph"] == "1"
    for option in ({"cuda_graphs": True}, {"nhwc": True}):
        with pytest.raises(ValueError, match="for the CUDA provider, found tensorrt"):
            OrtRuntime(artifact, device="cuda:0", tensorrt=True, **option)


def test_a_library_without_tensorrt(
    artifact: Artifact, gpu_build: list[list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: OFFERED[1:])
    with pytest.raises(BackendError, match="not TensorrtExecutionProvider"):
        open_runtime(artifact, backend="ort-tensorrt", device="cuda:0")


def test_two_libraries_under_one_name_are_told(
    tmp_path: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    pretend_installed(tmp_path / "site", monkeypatch, onnxruntime="9.8.0", onnxruntime_gpu="9.7.0")
    # the one for CPUs came last: its files took the places of the other's
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: OFFERED[2:])
    with pytest.raises(BackendError, match="not CUDAExecutionProvider") as caught:
        open_runtime(artifact, backend="ort", device="cuda:0")
    told = str(caught.value)
    assert "onnxruntime 9.8.0 and onnxruntime-gpu 9.7.0 are both installed, expected one" in told
    remove = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'mtml-reid"
    assert f"{remove}[gpu]'" in told and f"{remove}[cpu]'" in told
    open_runtime(artifact, backend="ort", device="cpu").close()  # nothing is wrong with this


def test_a_library_for_cpus_alone_is_to_be_replaced(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    def only(name: str) -> str:
        if name == "onnxruntime":
            return "9.8.0"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(ort_provider, "version", only)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: OFFERED[2:])
    with pytest.raises(BackendError, match="not CUDAExecutionProvider; ask for --device cpu"):
        open_runtime(artifact, backend="ort", device="cuda:0")


def test_the_linker_names_the_missing_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "capi"
    folder.mkdir()
    (folder / "libonnxruntime_providers_tensorrt.so").write_bytes(b"")

    def text() -> str:
        return inactive("cuda:0", OFFERED[0], OFFERED[2:], package=tmp_path)

    def fails(message: str) -> None:
        def load(path: str) -> None:
            assert path == str(folder / "libonnxruntime_providers_tensorrt.so")
            raise OSError(message)

        monkeypatch.setattr(ort_provider.ctypes, "CDLL", load)

    fails("libnvinfer.so.10: cannot open shared object file: No such file or directory")
    assert "libnvinfer.so.10: cannot open" in text()
    fails("undefined symbol: Provider_GetHost")
    assert "it gave no reason" in text()
    assert "took CPUExecutionProvider" in text()
    # the CUDA provider has no file of its own here
    assert "no reason" in inactive("cuda:0", OFFERED[1], OFFERED[2:], package=tmp_path)
