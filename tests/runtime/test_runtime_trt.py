"""The engine runtime without a GPU: its errors, and what it asks of a fake one in which order."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from helpers_artifact import SIZE, write_artifact
from helpers_engine import a_gpu, rtx_library
from helpers_fake_gpu import FakeMachine, fake_library

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.engine.manifest import engine_manifest_json, make_engine_manifest
from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.errors import ArtifactError, BackendError
from mtml_deploy.runtime import trt
from mtml_deploy.runtime.open import open_runtime

PROFILE = BatchProfile(2, 8, 8)
"""Runs of 2, 3, 4, 6 and 8 images."""


def images_of(count: int) -> np.ndarray:
    shape = (count, SIZE, SIZE, 3)
    return np.random.default_rng(count).integers(0, 256, size=shape, dtype=np.uint8)


def expected(images: np.ndarray, dim: int) -> np.ndarray:
    return np.array([image.reshape(-1)[:dim] for image in images], dtype=np.float32)


def put_engine(artifact: Artifact, plan: bytes = b"plan") -> None:
    """An engine file and its manifest, as a build with TensorRT 10.3 on an L4 leaves them."""
    folder = artifact.folder / "engines"
    folder.mkdir()
    (folder / "a.engine").write_bytes(plan)
    side = make_engine_manifest(
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_bytes=len(plan),
        model_sha256=artifact.manifest.model_sha256,
        library=fake_library(FakeMachine(), artifact.manifest),
        gpu=a_gpu(),
        options=BuildOptions(profile=PROFILE),
        build_seconds=1.0,
    )
    (folder / "a.json").write_text(engine_manifest_json(side))


@pytest.fixture
def artifact(tmp_path) -> Artifact:
    return write_artifact(tmp_path / "model")


@pytest.fixture
def machine(monkeypatch, artifact) -> FakeMachine:
    """A machine with the fake GPU and library."""
    found = FakeMachine()
    found.install(monkeypatch)
    library = fake_library(found, artifact.manifest)
    monkeypatch.setattr(trt, "load_library", lambda target: library)
    monkeypatch.setattr(trt, "require_gpu", lambda device, backend: a_gpu())
    return found


def opened(artifact: Artifact):
    return open_runtime(artifact, backend="tensorrt", device="cuda:0")


def nothing_left(machine: FakeMachine) -> bool:
    held = (machine.memory, machine.pinned, machine.depth, machine.retained, machine.graphs)
    return not any(held)


@pytest.mark.parametrize("device", ["cpu", "cuda:99", "gpu"])
@pytest.mark.parametrize("backend", ["tensorrt-rtx", "ort-tensorrt"])
def test_an_engine_needs_a_gpu_that_is_here(artifact, backend, device, monkeypatch):
    if backend == "tensorrt-rtx":
        rtx_library()
    else:
        import onnxruntime

        offered = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
    says = (
        r"expected cpu or cuda:N"
        if (backend, device) == ("ort-tensorrt", "gpu")
        else (rf"{backend} runs on a GPU.*cuda:0.*--backend ort")
    )
    with pytest.raises(BackendError, match=says):
        open_runtime(artifact, backend=backend, device=device)


def test_rows_come_back_in_order_for_any_batch(artifact, machine):
    put_engine(artifact)
    dim = artifact.manifest.dim
    with opened(artifact) as runtime:
        for count in (1, 2, 3, 5, 7, 8, 9, 16, 41, 5, 1):
            images = images_of(count)
            found = runtime.run(images)
            np.testing.assert_array_equal(found, expected(images, dim))
            assert found.flags.c_contiguous and found.dtype == np.float32
    assert nothing_left(machine)


def test_each_batch_size_of_a_slot_has_its_own_context_and_graph(artifact, machine):
    put_engine(artifact)
    with opened(artifact) as runtime:
        for _ in range(3):
            runtime.run(images_of(25))  # 8, 8, 8, 1: every slot, two sizes
        assert sorted(context.shape[0] for context in machine.contexts) == [2, 8, 8, 8]
        # once before the capture and once into it; all later ones are launches
        assert [context.runs for context in machine.contexts] == [2, 2, 2, 2]
        assert machine.launches == 8
        scratch = [context.scratch for context in machine.contexts]
        assert len(set(scratch)) == 3  # shared within a slot, never between slots
    assert nothing_left(machine)


def test_padding_does_not_depend_on_earlier_batches(artifact, machine):
    put_engine(artifact)
    with opened(artifact) as runtime:
        runtime.run(images_of(8))
        runtime.run(images_of(7))
        assert machine.contexts[0].shape[0] == 8
        assert machine.contexts[0].images[7].max() == 0 < machine.contexts[0].images[6].max()


def test_a_view_is_copied_and_bad_input_changes_nothing(artifact, machine):
    put_engine(artifact)
    images = images_of(5)
    with opened(artifact) as runtime:
        view = images[::-1, :, ::-1]
        found = runtime.run(view)
        np.testing.assert_array_equal(found, expected(view, artifact.manifest.dim))
        for bad in (images[:0], images.astype(np.float32), images[:, :-1], images[0]):
            with pytest.raises(ValueError, match="images must"):
                runtime.run(bad)
        np.testing.assert_array_equal(runtime.run(view), found)
    with pytest.raises(ValueError, match="closed"):
        runtime.run(images)


def test_a_cuda_error_closes_the_runtime_and_frees_everything_else(artifact, machine):
    put_engine(artifact)
    runtime = opened(artifact)
    runtime.run(images_of(4))
    machine.broken = True
    with pytest.raises(BackendError, match=r"batch of 4.*illegal memory access.*start it again"):
        runtime.run(images_of(4))
    # memory goes with the process; the context is given back, nothing is used without it
    assert not machine.depth and not machine.retained
    with pytest.raises(ValueError, match="closed"):
        runtime.run(images_of(4))
    runtime.close()


def test_an_interrupted_run_leaves_nothing_at_work(artifact, machine, monkeypatch):
    put_engine(artifact)
    with opened(artifact) as runtime:
        runtime.run(images_of(8))
        with monkeypatch.context() as patch:
            patch.setattr(trt.Slot, "wait", interrupt_once(trt.Slot.wait))
            with pytest.raises(KeyboardInterrupt):
                runtime.run(images_of(24))
        assert not any(stream.waiting for stream in machine.streams)
        images = images_of(7)
        np.testing.assert_array_equal(runtime.run(images), expected(images, artifact.manifest.dim))
    assert nothing_left(machine)


def test_closing_waits_for_what_is_still_at_work(artifact, machine):
    put_engine(artifact)
    runtime = opened(artifact)
    runtime.run(images_of(24))  # every slot has run: from here on a launch only queues
    outputs = runtime.stream(images_of(8) for _ in range(5))
    next(outputs)
    assert sum(bool(stream.waiting) for stream in machine.streams) == 3
    runtime.close()
    assert not any(stream.waiting for stream in machine.streams)
    assert nothing_left(machine)


def test_two_pieces_are_at_work_while_the_third_slot_is_filled_or_emptied(
    artifact, machine, monkeypatch
):
    put_engine(artifact)
    busy = []
    started, waited = trt.Slot.start, trt.Slot.wait

    def at_work() -> int:
        return sum(bool(s.waiting) for s in machine.streams)

    def start(slot, images, piece):
        busy.append(("filled", at_work()))
        started(slot, images, piece)

    def wait(slot):
        waited(slot)
        busy.append(("emptied", at_work()))

    with opened(artifact) as runtime:
        runtime.run(images_of(24))  # the first run of a slot waits for itself, to be captured
        monkeypatch.setattr(trt.Slot, "start", start)
        monkeypatch.setattr(trt.Slot, "wait", wait)
        for _ in runtime.stream(images_of(8) for _ in range(6)):
            busy.append(("given", at_work()))
    filling = [("filled", 0), ("filled", 1), ("filled", 2)]
    steady = [("emptied", 2), ("filled", 2), ("given", 3)]
    ending = [
        ("emptied", 2),
        ("given", 2),
        ("emptied", 1),
        ("given", 1),
        ("emptied", 0),
        ("given", 0),
    ]
    assert busy == filling + 3 * steady + ending


def test_parts_are_timed_apart_by_the_clock_of_the_gpu(artifact, machine):
    """Copying in 1 ms a byte, an image 1000 ms, copying back 2 ms a byte; 17 images: 8, 8, 2."""
    put_engine(artifact)
    with opened(artifact) as runtime:
        runtime.run(images_of(8))
        found = runtime.time_parts(images_of(17))
        rows = 8 + 8 + 2
        assert found.copy_in == pytest.approx(rows * SIZE * SIZE * 3 / 1e3)
        assert found.compute == pytest.approx(rows)
        assert found.copy_out == pytest.approx(2 * rows * 4 * artifact.manifest.dim / 1e3)
        with pytest.raises(ValueError, match="images must"):
            runtime.time_parts(images_of(3)[0])
        images = images_of(5)
        np.testing.assert_array_equal(runtime.run(images), expected(images, artifact.manifest.dim))
    assert machine.freed_events == len(machine.events) == 4
    assert nothing_left(machine)


def test_a_stream_keeps_every_slot_busy_across_batches(artifact, machine):
    put_engine(artifact)
    dim = artifact.manifest.dim
    counts = [3, 8, 1, 17, 2, 8]
    batches = [images_of(count) for count in counts]
    with opened(artifact) as runtime:
        read = []

        def source():
            for number, batch in enumerate(batches):
                read.append(number)
                yield batch

        for number, outputs in enumerate(runtime.stream(source())):
            np.testing.assert_array_equal(outputs.embeddings, expected(batches[number], dim))
            # the next batch was begun before this one was asked for
            assert len(read) > min(number + 1, len(batches) - 1)
        assert number == len(batches) - 1
        # batches of 1, 2 and 3 run as such, not joined to larger ones
        assert {context.shape[0] for context in machine.contexts} == {2, 3, 8}
    assert nothing_left(machine)


def test_an_error_of_the_batches_comes_after_the_outputs_before_it(artifact, machine):
    put_engine(artifact)

    def source():
        yield from (images_of(8), images_of(3), images_of(5))
        raise OSError("the disk is gone")

    found = []
    with opened(artifact) as runtime:
        with pytest.raises(OSError, match="disk is gone"):
            found.extend(len(outputs.embeddings) for outputs in runtime.stream(source()))
        assert found == [8, 3, 5]
        assert len(runtime.run(images_of(2))) == 2
    assert nothing_left(machine)


def test_two_streams_at_once_are_refused_and_a_closed_one_frees_the_slots(artifact, machine):
    put_engine(artifact)
    with opened(artifact) as runtime:
        first = runtime.stream(images_of(8) for _ in range(5))
        next(first)
        with pytest.raises(ValueError, match="in a stream already"):
            runtime.run(images_of(2))
        first.close()
        images = images_of(5)
        np.testing.assert_array_equal(runtime.run(images), expected(images, artifact.manifest.dim))
    assert nothing_left(machine)


def interrupt_once(real):
    left = [True]

    def wait(slot):
        if left:
            left.clear()
            raise KeyboardInterrupt
        real(slot)

    return wait


def test_too_little_memory_is_said_and_frees_what_was_taken(artifact, machine):
    put_engine(artifact)
    machine.room = 8 * SIZE * SIZE * 3 + 100
    with pytest.raises(BackendError, match=r"NVIDIA L4 has no room.*out of memory.*--opt-batch"):
        opened(artifact)
    assert nothing_left(machine)


def test_a_plan_that_the_library_refuses(artifact, machine):
    put_engine(artifact, b"refused")
    with pytest.raises(BackendError, match=r"magic tag does not match.*mtml-deploy build"):
        opened(artifact)
    assert nothing_left(machine)


def test_an_engine_with_other_outputs_than_the_manifest_s_never_runs(
    artifact, machine, monkeypatch
):
    put_engine(artifact)
    wider = fake_library(machine, artifact.manifest, dim=artifact.manifest.dim + 1)
    monkeypatch.setattr(trt, "load_library", lambda target: wider)
    with pytest.raises(ArtifactError, match="not those of its manifest"):
        opened(artifact)
    assert nothing_left(machine)


def test_a_changed_plan_never_reaches_the_library(artifact, machine):
    put_engine(artifact)
    (artifact.folder / "engines" / "a.engine").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="executable code"):
        opened(artifact)
    assert not machine.retained
