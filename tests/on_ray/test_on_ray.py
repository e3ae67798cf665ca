"""Parts by workers on Ray: the bytes of one process, whatever is killed on the way."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact, write_images
from helpers_environment import environment

from mtml_deploy.cli.main import main
from mtml_deploy.errors import BackendError
from mtml_deploy.lock import one_writer
from mtml_deploy.model import EmbedOptions, open_model
from mtml_deploy.on_ray import worker
from mtml_deploy.on_ray.cluster import needs_of, room_of
from mtml_deploy.on_ray.worker import RayJob, Worker

ROOT = Path(__file__).parents[2]
IMAGES = 46
PACKAGES = (
    "ray==2.60.0", "msgpack==1.2.4", "jsonschema==4.26.0", "jsonschema-specifications==2025.9.1",
    "referencing==0.37.0", "rpds-py==2026.9.1",
)  # fmt: skip
"""Beside what the tests have."""

SLOW = """
import os, signal, sys, time
if any("default_worker" in word for word in sys.orig_argv):
    import mtml_deploy.data.batches as batches
    real = batches.decode_into
    def slow(target, image):
        if os.environ.get("DEADLY", "nothing") in str(image):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.1)
        return real(target, image)
    batches.decode_into = slow
"""
"""Run by every Python before anything else: makes workers slow, and an image deadly."""


def run(*words):
    return CliRunner().invoke(main, list(map(str, words)))


@pytest.fixture(scope="module")
def python():
    """The interpreter that has Ray."""
    return environment("ray", PACKAGES)


@pytest.fixture
def place(tmp_path):
    """An artifact and images."""
    write_artifact(tmp_path / "art")
    write_images(tmp_path / "images", IMAGES)
    return tmp_path


def begun(python, place, *more, slow=False, **env):
    """The command, at work in the folder, with all that it names relative to it."""
    (place / "first").mkdir(exist_ok=True)
    (place / "first" / "sitecustomize.py").write_text(SLOW if slow else "")
    words = ["embed", "art", "--images", "images", "--batch-size", "4", *map(str, more)]
    code = f"from mtml_deploy.cli.main import main\nmain({words!r})"
    return subprocess.Popen(
        [python, "-c", code], stderr=subprocess.PIPE, text=True, cwd=place,
        env=os.environ | {"PYTHONPATH": f"{place / 'first'}:{ROOT}"} | env,
    )  # fmt: skip


def on_ray(python, place, *more, **how):
    """The same on Ray."""
    return begun(python, place, "--out", "parts", "--engine", "ray", "--shards", 5, *more, **how)


def ended(child):
    """Exit status and stderr of a command."""
    _, told = child.communicate(timeout=240)
    return child.returncode, told


def require_bytes_of_one_process(python, place):
    """Compare all parts together with what one process writes that is asked in the same words."""
    status, told = ended(begun(python, place, "--out", "single.npz"))
    assert status == 0, told
    done = run("embed", "--merge", place / "parts", "--out", place / "all.npz")
    assert done.exit_code == 0, done.stderr
    assert (place / "all.npz").read_bytes() == (place / "single.npz").read_bytes()
    assert sorted(path.name for path in (place / "parts").iterdir()) == [
        *(f"part-{n:05d}-of-00005.npz" for n in range(1, 6)), "shards.json",
    ]  # fmt: skip


def a_worker(place, *, but=()):
    """Process number of a worker that has finished a batch of a part."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for lock in sorted((place / "parts").glob(".part-*.npz.lock")):
            rows = place / "parts" / f"{lock.name[1:-5]}.part" / "rows.f32"
            try:
                number = int(lock.read_text().split()[0])
                if rows.stat().st_size and number not in but:
                    return number
            except (OSError, ValueError, IndexError):
                continue  # gone meanwhile, or not signed yet
        time.sleep(0.005)
    raise AssertionError("no worker was seen")


def test_workers_write_what_one_process_writes(place, monkeypatch):
    """Workers alone, in this process: what Ray brings is when each is asked for which part."""
    monkeypatch.setattr(worker, "_BUSY_S", 0.01)
    how = EmbedOptions(batch_size=4, threads=1, model_threads=1)
    source = str(place / "images")
    job = RayJob(
        artifact=str(place / "art"), images=source, source=source, out=str(place / "parts"),
        shards=5, how=how,
    )  # fmt: skip
    one, other = Worker(job), Worker(job)
    assert (one.open().error, other.open().error) == ("", "")
    told = [(one, other)[number % 2].embed(number) for number in (2, 5, 1, 4, 3)]
    assert [each.error for each in told] == [""] * 5 and all(each.written for each in told)
    assert sum(each.images for each in told) == IMAGES
    assert not other.embed(4).written
    with open_model(place / "art", model_threads=1) as model:
        model.embed_to(place / "single.npz", source, batch_size=4)
    done = run("embed", "--merge", place / "parts", "--out", place / "all.npz")
    assert done.exit_code == 0, done.stderr
    assert (place / "all.npz").read_bytes() == (place / "single.npz").read_bytes()

    strange = Worker(dataclasses.replace(job, version="9")).open().error
    assert "9 where the command runs; install the same version on every machine" in strange
    assert (
        "batch_size is 4 and 2"
        in Worker(dataclasses.replace(job, how=dataclasses.replace(how, batch_size=2))).open().error
    )
    (place / "parts" / "part-00002-of-00005.npz").unlink()
    with one_writer(place / "parts" / "part-00002-of-00005.npz"):
        busy = one.embed(2)
    assert busy.busy and "is being written by another process" in busy.error
    (place / "images" / "0013.png").write_bytes(b"no image")
    bad = one.embed(2)
    assert "0013.png" in bad.error and not bad.busy and bad.node


@pytest.mark.slow
def test_parts_are_the_bytes_of_one_process(python, place):
    status, told = ended(on_ray(python, place, "--workers", 2))
    assert status == 0, told
    assert f"parts: 5 parts, {IMAGES} images, 0 skipped" in told and "2 workers; join" in told
    require_bytes_of_one_process(python, place)
    # what a worker meets is told by its machine, in the words of the library
    (place / "images" / "0013.png").write_bytes(b"no image")
    for path in (place / "parts").glob("part-00002*"):
        path.unlink()
    status, told = ended(on_ray(python, place))
    assert status == 1 and "a worker on " in told and "0013.png" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_lost_workers_lose_and_double_nothing(python, place):
    child = on_ray(python, place, "--workers", 2, slow=True)
    killed = []
    try:
        for _ in range(2):
            killed.append(a_worker(place, but=killed))
            os.kill(killed[-1], signal.SIGKILL)
    finally:
        status, told = ended(child)
    assert status == 0, told
    assert "2 of them lost and replaced" in told and told.count("a worker was lost at part") == 2
    require_bytes_of_one_process(python, place)


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on(python, place):
    """With another number of workers; those of the killed one end by themselves."""
    child = on_ray(python, place, "--workers", 2, slow=True)
    try:
        number = a_worker(place)
        end = time.monotonic() + 120
        while not list((place / "parts").glob("part-*.npz")):
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        child.kill()
        child.communicate(timeout=60)
    end = time.monotonic() + 60
    while Path(f"/proc/{number}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    status, told = ended(on_ray(python, place, "--workers", 1))
    assert status == 0, told
    assert "there already" in told
    require_bytes_of_one_process(python, place)


@pytest.mark.slow
def test_a_part_that_ends_every_worker_is_named(python, place):
    status, told = ended(on_ray(python, place, "--workers", 1, slow=True, DEADLY="0013.png"))
    assert status == 1 and "part 2/5 ended 4 workers" in told, told
    assert "Traceback" not in told
    status, told = ended(on_ray(python, place, "--workers", 2))
    assert status == 0, told
    require_bytes_of_one_process(python, place)


@pytest.mark.slow
def test_a_signal_ends_it_and_its_workers(python, place):
    child = on_ray(python, place, "--workers", 1, slow=True)
    number = a_worker(place)
    child.send_signal(signal.SIGTERM)
    status, told = ended(child)
    assert status == 128 + signal.SIGTERM and "Traceback" not in told, told
    end = time.monotonic() + 60
    while Path(f"/proc/{number}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_without_ray_the_extra_is_named(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run("embed", place / "art", "--images", place / "images", "--out", place / "parts",
               "--engine", "ray")  # fmt: skip
    assert done.exit_code == 1
    assert "--engine ray needs ray, which is not installed" in done.stderr
    assert "pip install 'mtml-reid[ray]'" in done.stderr
    assert not (place / "parts").exists()


def test_room_for_workers():
    """By hand: 8 CPUs hold 4 workers of 2 threads, and 1 GPU one, however many CPUs there are."""
    two = needs_of(EmbedOptions(model_threads=2))
    gpu = needs_of(EmbedOptions(device="cuda:0", model_threads=1))
    assert (two, gpu) == ({"num_cpus": 2}, {"num_cpus": 1, "num_gpus": 1})
    assert needs_of(EmbedOptions(backend="triton://h/m", device="cuda:1", model_threads=1)) == {
        "num_cpus": 1
    }
    assert room_of({"CPU": 8.0}, two, 0) == 4 and room_of({"CPU": 8.0, "GPU": 1.0}, gpu, 1) == 1
    for has, needs, workers, text in (
        ({"CPU": 8.0}, two, 5, "room for 4 workers (8 CPU, and each takes 2 CPU), expected 5"),
        ({"CPU": 8.0}, gpu, 0, "room for 0 workers (8 CPU and 0 GPU, and each takes 1 CPU and"),
    ):
        with pytest.raises(BackendError, match=re.escape(text)):
            room_of(has, needs, workers)
    with pytest.raises(BackendError, match="say cuda:0"):
        needs_of(EmbedOptions(device="cuda:1", model_threads=1))
