"""What CUDA calls leave behind, counted by a stand-in for libcuda that both drivers run on.

Each case is a process of its own, with the stand-in where the linker looks first. pycuda is tried
where it is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mtml_deploy.errors import BackendError, MissingExtraError
from mtml_deploy.runtime.cuda import open_driver
from mtml_deploy.runtime.cuda_driver import LibcudaDriver

HERE = Path(__file__).parent

PRELUDE = """
import ctypes, os, sys
sys.setdlopenflags(os.RTLD_LAZY)  # pycuda names more of the driver than the stand-in has
import numpy as np
from helpers_artifact import write_artifact
from helpers_fake_engine import engine_on
from mtml_deploy.errors import BackendError
from mtml_deploy.runtime.open import open_runtime
fake = ctypes.CDLL("libcuda.so.1")

def left():
    return fake.fake_left(), fake.fake_refs(), fake.fake_depth(), fake.fake_bad()

def images(count, size=32):
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)

def check(runtime, counts):
    for count in counts:
        given = images(count)
        expected = given.reshape(count, -1)[:, : runtime.manifest.dim].astype(np.float32)
        np.testing.assert_array_equal(runtime.run(given), expected)

artifact = write_artifact(PATH / "model")
opened = engine_on(artifact, fake)
"""

CLOSED = """
with opened() as runtime:
    check(runtime, [1, 2, 3, 8, 9, 41, 5])
    for number, found in enumerate(runtime.stream(images(n) for n in (3, 8, 1, 17, 2))):
        assert len(found.embeddings) == (3, 8, 1, 17, 2)[number]
    assert fake.fake_depth() == 0  # nothing of ours is current while the caller works
assert left() == (0, 0, 0, 0), left()
"""

PARTS = """
# every queued operation takes 200 us or more: a copy, the kernel, the mark after each
with opened() as runtime:
    check(runtime, [8])
    for count, pieces in ((8, 1), (17, 3)):
        found = runtime.time_parts(images(count))
        assert found.copy_in >= pieces * 2e-4, found
        assert found.compute >= pieces * 2e-4, found
        assert found.copy_out >= pieces * 2e-4, found
    check(runtime, [8, 3])
    assert fake.fake_depth() == 0
assert left() == (0, 0, 0, 0), left()
"""

FORGOTTEN = """
runtime = opened()
check(runtime, [8, 3])
del runtime
assert left() == (0, 0, 0, 0), left()
"""

AT_EXIT = """
import atexit
def last():
    print("left at exit", *left())
atexit.register(last)  # before the runtime's own: it runs after them
runtime = opened()
check(runtime, [8, 3])
"""

TWO = """
first, second = opened(), opened()
check(first, [8]); check(second, [3])
first.close()
check(second, [8, 1])
second.close()
assert left() == (0, 0, 0, 0), left()
"""

OTHERS_CONTEXT = """
# another library's context is current before, in between and after
theirs = ctypes.c_void_p()
device = ctypes.c_int()
fake.cuDeviceGet(ctypes.byref(device), 0)
fake.cuDevicePrimaryCtxRetain(ctypes.byref(theirs), device)
fake.cuCtxPushCurrent_v2(theirs)
with opened() as runtime:
    check(runtime, [8, 3])
    assert fake.fake_depth() == 1
assert left() == (0, 1, 1, 0), left()
"""

STICKY = """
runtime = opened()
check(runtime, [8])
fake.fake_stick(1)
try:
    runtime.run(images(8))
except BackendError as error:
    assert "illegal" in str(error), error
    assert "start it again" in str(error), error
else:
    raise SystemExit("no error")
# the memory goes with the process; the context is given back and nothing is used without it
assert left()[1:] == (0, 0, 0), left()
assert opened.closed == opened.made, (opened.closed, opened.made)
fake.fake_stick(0)
"""

NO_SUCH_GPU = """
from mtml_deploy.runtime.cuda import CudaDevice
try:
    CudaDevice(5)
except BackendError as error:
    assert "101" in str(error) or "invalid device" in str(error), error
else:
    raise SystemExit("no error")
assert left() == (0, 0, 0, 0), left()
"""


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory) -> Path:
    """Folder with the stand-in as libcuda.so.1."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed: it compiles the stand-in for libcuda")
    folder = tmp_path_factory.mktemp("fake_libcuda")
    words = ["-shared", "-fPIC", "-O1", "-pthread", "-w", str(HERE / "fake_libcuda.cpp")]
    subprocess.run([compiler, *words, "-o", str(folder / "libcuda.so.1")], check=True)
    return folder


@pytest.mark.parametrize("driver", ["driver", "pycuda"])
@pytest.mark.parametrize(
    "case", [CLOSED, PARTS, FORGOTTEN, AT_EXIT, TWO, OTHERS_CONTEXT, STICKY, NO_SUCH_GPU],
    ids=[
        "closed", "parts", "forgotten", "at-exit", "two", "others-context", "sticky", "no-such-gpu",
    ],
)  # fmt: skip
def test_nothing_is_left_behind(stand_in, tmp_path, driver, case):
    if driver == "pycuda" and find_spec("pycuda") is None:
        pytest.skip("pycuda is not installed")
    code = f"from pathlib import Path\nPATH = Path({str(tmp_path)!r})\n{PRELUDE}{case}"
    paths = [str(HERE.parent), str(HERE.parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "LD_LIBRARY_PATH": str(stand_in),
            "MTML_CUDA": driver,
            "FAKE_DELAY_US": "200",
            "PYTHONPATH": ":".join(paths),
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stderr
    assert "[fake] ERROR" not in done.stderr, done.stderr
    if case is not STICKY:  # pycuda itself tells of each free that fails then
        assert not done.stderr, done.stderr
    if case is AT_EXIT:
        assert done.stdout.splitlines()[-1] == "left at exit 0 0 0 0"


def test_what_makes_the_calls_is_chosen_and_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    monkeypatch.setenv("MTML_CUDA", "pycuda")
    with pytest.raises(MissingExtraError, match=r"pycuda.*mtml-reid\[pycuda\]"):
        open_driver()
    monkeypatch.setenv("MTML_CUDA", "cupy")
    with pytest.raises(BackendError, match="MTML_CUDA is 'cupy', expected pycuda or driver"):
        open_driver()
    monkeypatch.delenv("MTML_CUDA")
    monkeypatch.setattr(LibcudaDriver, "__init__", lambda self: None)
    assert open_driver().name == "driver"


def test_no_driver_is_said(monkeypatch):
    import ctypes

    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(BackendError, match=r"driver is not installed \(no libcuda\).*--device cpu"):
        LibcudaDriver()
