"""Fixtures that cost seconds: built once per test run and shared by all its worker processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_IN_OWN = "MTML_TEST_IN_OWN_PROCESS"

# a shell starts what runs in the background deaf to these, and every process of a test with it
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


def shared(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """The folder `name`, built by the first worker that asks; the others wait for it.

    Args:
        factory: gives this worker's folder.
        name: of the folder.
        build: makes the folder it is given.
    """
    from filelock import FileLock  # comes with torch, so deployment tests run without it

    base = factory.getbasetemp()
    # a worker's folder is inside the run's; without workers the parent belongs to all runs
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    target = common / f"shared-{name}"
    with FileLock(common / f"shared-{name}.lock"):
        if not target.exists():
            partial = common / f"shared-{name}-partial"
            shutil.rmtree(partial, ignore_errors=True)  # of a worker that failed
            build(partial)
            partial.rename(target)
    return target


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test marked `own_process` in a pytest of its own.

    A signal that a test sends its own process also meets what other tests have loaded into it,
    and what distributes the tests: a worker was lost now and then.
    """
    if pyfuncitem.get_closest_marker("own_process") is None or _IN_OWN in os.environ:
        return None
    environment = os.environ | {_IN_OWN: "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", pyfuncitem.nodeid]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=pyfuncitem.config.rootpath,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return True


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered set in VeRi-776 layout: 6 training and 4 test vehicles, 6 images each."""
    from mtml_train.synthetic import SyntheticSpec, write_synthetic

    spec = SyntheticSpec(
        train_vehicles=6,
        test_vehicles=4,
        images_per_vehicle=6,
        cameras=3,
        image_size=48,
        queries_per_vehicle=1,
        seed=1,
    )
    return shared(tmp_path_factory, "set", lambda folder: write_synthetic(folder, spec))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_set: Path) -> Path:
    """The run folder of an MTML-OSG after two steps on `tiny_set`, validated once."""
    from helpers_training import small_config

    from mtml_train.train import train

    config = small_config(tiny_set, variant="MTML-OSG", max_steps=2, val=f"veri:{tiny_set}")
    return shared(tmp_path_factory, "run", lambda folder: train(config, folder))


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    """`tiny_run` exported with all four branches and the orientation."""
    from mtml_train.checkpoint import load_checkpoint
    from mtml_train.export.export import ExportOptions, export

    options = ExportOptions(with_orientation=True, licence="made for tests")
    return shared(
        tmp_path_factory,
        "artifact",
        lambda folder: export(load_checkpoint(tiny_run), folder, options),
    )


@pytest.fixture(scope="session")
def untrained_run(tmp_path_factory: pytest.TempPathFactory, tiny_set: Path) -> Path:
    """The run folder of an MTML-G (two branches, the cheapest) before its first step."""
    from helpers_training import small_config

    from mtml_train.train import train

    config = small_config(tiny_set, max_steps=0)
    return shared(tmp_path_factory, "untrained", lambda folder: train(config, folder))


@pytest.fixture(scope="session")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the README's first block of commands leaves: `cars`, `run`, `model`."""
    from helpers_pages import marked, run_block

    # not in the folder that `shared` renames afterwards: a model knows where its images are
    def build(done: Path) -> None:
        folder = done.parent / "readme-tour"
        shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
        folder.mkdir()
        ran = run_block(*marked("README.md")["tour"], folder)
        assert ran.returncode == 0, ran.stdout
        done.mkdir()

    return shared(tmp_path_factory, "readme", build).parent / "readme-tour"
