"""Deployment imports without training and inference libraries, and help answers at once."""

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import mtml_deploy
from mtml_deploy.cli import main

ROOT = Path(__file__).parents[1]
BLOCKED = (
    "torch", "torchvision", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda",
    "matplotlib", "safetensors", "tensorboard", "mtml_train",
)  # fmt: skip
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(mtml_deploy.__path__, "mtml_deploy.")
)
HELP_SECONDS = 0.5
"""CPU time of one answer; the best of three, since other programs share the machine."""

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


def child(code: str) -> tuple[str, float]:
    """What `code` prints in a fresh interpreter, and the CPU seconds it took."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(blocked=BLOCKED, code=code)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    text, _, seconds = done.stdout.rstrip("\n").rpartition("\n")
    return text, float(seconds)


def test_the_block_blocks() -> None:
    for name in BLOCKED:
        code = f"try:\n    import {name}\nexcept ModuleNotFoundError:\n    print('blocked')"
        assert child(code)[0].strip() == "blocked"


def test_every_module_imports_without_heavy_libraries() -> None:
    assert "mtml_deploy.runtime.ort" in MODULES
    child("\n".join(f"importlib.import_module({name!r})" for name in MODULES))


@pytest.mark.parametrize(
    "words", [["--help"], *([name, "--help"] for name in sorted(main.commands))]
)
def test_help_answers_at_once(words: list[str]) -> None:
    code = (
        "from mtml_deploy.cli import main\n"
        f"main({words!r}, prog_name='mtml-deploy', standalone_mode=False)\n"
        "assert 'numpy' not in sys.modules, 'help imports NumPy'"
    )
    answers = [child(code) for _ in range(3)]
    assert answers[0][0].startswith("Usage: mtml-deploy")
    assert min(seconds for _, seconds in answers) < HELP_SECONDS


def test_package_imports_at_once() -> None:
    assert min(child("import mtml_deploy")[1] for _ in range(3)) < HELP_SECONDS


def test_missing_inference_library_is_one_line(tmp_path: Path) -> None:
    from helpers_artifact import write_artifact, write_images

    write_artifact(tmp_path / "art")
    write_images(tmp_path / "images", 1)
    words = ["embed", str(tmp_path / "art"), "--images", str(tmp_path / "images")]
    words += ["--out", str(tmp_path / "out.npz")]
    text, _ = child(
        "from click.testing import CliRunner\n"
        "from mtml_deploy.cli import main\n"
        f"result = CliRunner().invoke(main, {words!r})\n"
        "print(result.exit_code, result.stderr)"
    )
    assert text.startswith("1 error: ")
    assert "pip install 'mtml-reid[cpu]'" in text
    assert not (tmp_path / "out.npz").exists()
