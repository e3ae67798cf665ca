"""A real Triton server on the CPU, from wheels, and the backend it runs ONNX files with.

The wheels are installed once into a cache folder; they never enter this environment.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from filelock import FileLock
from helpers_artifact import tiny_manifest, write_artifact
from msgspec.structs import replace
from onnx import numpy_helper

from mtml_deploy.artifact.artifact import Artifact, file_sha256, open_artifact, save_manifest

SERVER = "nvidia-pytriton==0.7.0"  # holds Triton 2.51.0
LIBRARIES = ("numpy==1.26.4", f"onnxruntime=={onnxruntime.__version__}", "flatbuffers")
"""Of the server's own interpreter: its Python backend gives empty outputs with NumPy 2."""

START_SECONDS = 60
PIP_SECONDS = 400

BACKEND = """
import os, sys
sys.path.insert(0, LIBRARIES)
import json, time
import numpy
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.file = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = None
        self.names = [each["name"] for each in config["output"]]
        # a model whose name says so takes as long as a large one
        self.seconds = 0.3 if "slow" in args["model_name"] else 0

    def execute(self, requests):
        if self.session is None:  # a model that is never run costs nothing
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(
                self.file, options, providers=["CPUExecutionProvider"]
            )
        time.sleep(self.seconds)
        given = [pb.get_input_tensor_by_name(one, "images").as_numpy() for one in requests]
        found = self.session.run(self.names, {"images": numpy.concatenate(given)})
        answers, start = [], 0
        for images in given:
            stop = start + len(images)
            tensors = [
                pb.Tensor(name, value[start:stop]) for name, value in zip(self.names, found)
            ]
            answers.append(pb.InferenceResponse(output_tensors=tensors))
            start = stop
        return answers
"""


def exact_artifact(folder: Path, *, seed: int = 0, **changes) -> Artifact:
    """A tiny artifact whose every product is exact in float32, whatever computes it.

    Weights are multiples of 1/64 and means of 512 pixels have 9 binary places: all sums are of
    fewer than 24 bits.
    """
    made = write_artifact(
        folder,
        tiny_manifest(**changes),
        seed=seed,
        with_orientation=changes.get("with_orientation", False),
    )
    model = onnx.load(made.model_path)
    for tensor in model.graph.initializer:
        if tensor.name == "weights":
            rounded = np.round(numpy_helper.to_array(tensor) * 64) / 64
            tensor.CopyFrom(numpy_helper.from_array(rounded.astype(np.float32), "weights"))
    onnx.save(model, made.model_path)
    save_manifest(folder, replace(made.manifest, model_sha256=file_sha256(made.model_path)))
    return open_artifact(folder)


def installed_server() -> Path:
    """The folder of the wheels, installed by the first that asks; skips where that cannot be."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip(f"the Triton wheel is for Linux on x86-64, this is {platform.platform()}")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtml-reid-tests"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = "-".join(("triton", version, *LIBRARIES, SERVER)).replace("==", "-")
    place = base / name
    try:
        base.mkdir(parents=True, exist_ok=True)
        with FileLock(base / f"{name}.lock"):
            if not place.exists():
                partial = base / f"{name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                _install(partial)
                partial.rename(place)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        pytest.skip(f"the Triton server cannot be installed here: {said.strip()[-300:]}")
    return place


def _install(place: Path) -> None:
    """Both sets of wheels, and the folder of backends."""
    for target, wheels in (("server", [SERVER]), ("libraries", LIBRARIES)):
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:",
             "--disable-pip-version-check", "--target", str(place / target), *wheels],
            check=True, capture_output=True, text=True, timeout=PIP_SECONDS,
        )  # fmt: skip
    inside = place / "server" / "pytriton" / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = inside / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, inside / "backends" / "python")


class TritonServer:
    """A running server; `http` and `grpc` are its addresses."""

    def __init__(self, wheels: Path, place: Path) -> None:
        self.repository = place / "repository"
        self.repository.mkdir(parents=True)
        self.http, self.grpc = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self._wheels, self._place = wheels, place
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until every model is ready."""
        inside = self._wheels / "server" / "pytriton" / "tritonserver"
        backends = self._place / "backends"
        (backends / "onnxruntime").mkdir(parents=True, exist_ok=True)
        if not (backends / "python").exists():
            # a link: a copy would look for its libraries in another place
            (backends / "python").symlink_to(inside / "backends" / "python")
        code = BACKEND.replace("LIBRARIES", repr(str(self._wheels / "libraries")))
        (backends / "onnxruntime" / "model.py").write_text(code)
        with (self._place / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [inside / "bin" / "tritonserver", f"--model-repository={self.repository}",
                 f"--backend-directory={backends}", "--allow-gpu-metrics=false",
                 "--allow-metrics=false", "--model-control-mode=explicit", "--load-model=*",
                 "--http-address=127.0.0.1", f"--http-port={self.http.split(':')[1]}",
                 "--grpc-address=127.0.0.1", f"--grpc-port={self.grpc.split(':')[1]}",
                 "--http-thread-count=4", "--exit-timeout-secs=1"],
                stdout=log, stderr=log, start_new_session=True,
                env=os.environ | {"PYTHONHOME": sys.base_prefix, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        until = time.monotonic() + START_SECONDS
        while not self.answers("v2/health/ready"):
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                pytest.fail(f"the server does not start:\n{self.log()[-3000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End it and the processes of its backends at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop it and its backends: it takes requests, and answers none."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill_backend(self, model: str) -> None:
        """End the process that runs a model."""
        for found in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = found.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"triton_python_backend_stub") and any(
                str(self.repository / model).encode() in word
                or word.startswith(f"{model}_".encode())
                for word in words
            ):
                os.kill(int(found.parent.name), signal.SIGKILL)

    def log(self) -> str:
        """What it has said."""
        return (self._place / "log").read_text(errors="replace")

    def answers(self, path: str) -> bool:
        """Whether a GET is answered with 200."""
        try:
            self.get(path)
        except (OSError, urllib.error.URLError):
            return False
        return True

    def get(self, path: str, *, body: bytes | None = None) -> object:
        """The JSON of an answer, None where it is empty."""
        with urllib.request.urlopen(f"http://{self.http}/{path}", data=body, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def load(self, model: str) -> None:
        """Load a model, again if it is loaded."""
        self.get(f"v2/repository/models/{model}/load", body=b"{}")

    def batches(self, model: str) -> dict[int, int]:
        """Images of a run -> runs, since the server was started."""
        (found,) = self.get(f"v2/models/{model}/stats")["model_stats"]
        return {each["batch_size"]: each["compute_infer"]["count"] for each in found["batch_stats"]}


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@contextmanager
def running(server: TritonServer) -> Iterator[TritonServer]:
    """The server, started, and ended whatever happens."""
    try:
        server.start()
        yield server
    finally:
        server.kill()
