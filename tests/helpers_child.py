"""Code in a fresh interpreter to which some libraries are not installed."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCKED = (
    "torch", "torchvision", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda",
    "matplotlib", "safetensors", "tensorboard", "pymilvus", "milvus_lite", "mtml_train",
    "ray",
    "tritonclient",
    "fastapi", "starlette", "uvicorn", "pydantic", "orjson", "prometheus_client",
)  # fmt: skip

CHILD = """
import importlib, resource, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
{code}
used = resource.getrusage(resource.RUSAGE_SELF)
print(f"\\n{{used.ru_utime + used.ru_stime}}")
"""


def child(code: str, blocked: tuple[str, ...] = BLOCKED) -> tuple[str, float]:
    """What `code` prints in a fresh interpreter, and the CPU seconds it took."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(blocked=blocked, code=code)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    text, _, seconds = done.stdout.rstrip("\n").rpartition("\n")
    return text, float(seconds)
