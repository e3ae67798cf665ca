"""A TensorRT whose contexts enqueue on the stand-in tests/runtime/fake_libcuda.cpp."""

from __future__ import annotations

import ctypes
import hashlib
from enum import Enum
from types import ModuleType, SimpleNamespace

from helpers_engine import a_gpu

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import EMBEDDINGS_OUTPUT, INPUT_NAME
from mtml_deploy.engine.library import Library
from mtml_deploy.engine.manifest import engine_manifest_json, make_engine_manifest
from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.runtime import trt
from mtml_deploy.runtime.runtime import Runtime

PROFILE = BatchProfile(1, 8, 8)


class Opener:
    """Opens runtimes, and counts contexts made and closed."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.made = self.closed = 0

    def __call__(self) -> Runtime:
        return trt.TensorRtRuntime(self.artifact, target="tensorrt", device="cuda:0")


def engine_on(artifact: Artifact, fake: ctypes.CDLL) -> Opener:
    """An engine file in `artifact`, and what opens it: "embeddings" are the first bytes."""
    opener = Opener(artifact)
    library = _library(artifact, fake, opener)
    folder = artifact.folder / "engines"
    folder.mkdir()
    (folder / "a.engine").write_bytes(b"plan")
    side = make_engine_manifest(
        plan_sha256=hashlib.sha256(b"plan").hexdigest(),
        plan_bytes=4,
        model_sha256=artifact.manifest.model_sha256,
        library=library,
        gpu=a_gpu(),
        options=BuildOptions(profile=PROFILE),
        build_seconds=1.0,
    )
    (folder / "a.json").write_text(engine_manifest_json(side))
    trt.load_library = lambda target: library
    trt.require_gpu = lambda device, backend: a_gpu()
    return opener


def _library(artifact: Artifact, fake: ctypes.CDLL, opener: Opener) -> Library:
    """The names of TensorRT that the runtime uses."""
    manifest = artifact.manifest
    row = manifest.height * manifest.width * 3
    modes = Enum("TensorIOMode", "INPUT OUTPUT")
    types = Enum("DataType", "UINT8 FLOAT")
    tensors = {
        INPUT_NAME: (modes.INPUT, types.UINT8, (-1, manifest.height, manifest.width, 3)),
        EMBEDDINGS_OUTPUT: (modes.OUTPUT, types.FLOAT, (-1, manifest.dim)),
    }

    class Context:
        def __init__(self) -> None:
            opener.made += 1
            self.addresses: dict[str, int] = {}

        def __del__(self) -> None:
            # TensorRT's destructor needs the context that it was made in
            assert fake.fake_depth() > 0
            opener.closed += 1

        def set_optimization_profile_async(self, index: int, stream: int) -> bool:
            return True

        def update_device_memory_size_for_shapes(self) -> int:
            return 64

        def set_device_memory(self, address: int, size: int) -> None:
            pass

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self.batch = shape[0]
            return True

        def set_tensor_address(self, name: str, address: int) -> bool:
            self.addresses[name] = address
            return True

        def execute_async_v3(self, stream: int) -> bool:
            pointers = (self.addresses[INPUT_NAME], self.addresses[EMBEDDINGS_OUTPUT])
            status = fake.fake_kernel(
                ctypes.c_void_p(stream), *map(ctypes.c_ulonglong, pointers), self.batch, row,
                manifest.dim,
            )  # fmt: skip
            return status == 0

    engine = SimpleNamespace(
        num_io_tensors=len(tensors),
        num_optimization_profiles=2,
        get_tensor_name=lambda index: list(tensors)[index],
        get_tensor_mode=lambda name: tensors[name][0],
        get_tensor_dtype=lambda name: tensors[name][1],
        get_tensor_shape=lambda name: tensors[name][2],
        create_execution_context=lambda strategy: Context(),
    )

    class ILogger:
        Severity = Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO")

        def __init__(self) -> None:
            pass

    module = ModuleType("tensorrt")
    for name, value in {
        "ILogger": ILogger,
        "Runtime": lambda log: SimpleNamespace(deserialize_cuda_engine=lambda plan: engine),
        "TensorIOMode": modes,
        "DataType": types,
        "ExecutionContextAllocationStrategy": SimpleNamespace(USER_MANAGED=2),
    }.items():
        setattr(module, name, value)
    return Library(target="tensorrt", module=module, version="10.3.0")
