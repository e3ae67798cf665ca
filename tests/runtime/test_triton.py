"""A model on a real Triton server: the rows of ONNX Runtime, or one line that says why not."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from helpers_artifact import DIM, SIZE, write_images
from helpers_triton import TritonServer, exact_artifact, free_port, installed_server, running

import mtml_deploy.runtime.triton as runtime_module
from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.cli.main import main
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import ArtifactError, BackendError
from mtml_deploy.model import EmbedOptions
from mtml_deploy.runtime.open import open_runtime
from mtml_deploy.runtime.triton_address import TritonAddress
from mtml_deploy.runtime.triton_connection import ServerFailure, TritonConnection
from mtml_deploy.triton.options import ServingOptions
from mtml_deploy.triton.repository import write_repository

pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")

PROTOCOLS = ("http", "grpc")
CHANGING = ServingOptions(name="changing", version=3, version_policy="specific:3", warm_up=False)
WIDTHS = {"embeddings": DIM, "orientation": 8}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Artifact:
    return exact_artifact(tmp_path_factory.mktemp("triton") / "art", with_orientation=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory, artifact):
    """A server with the same artifact under four names."""
    made = TritonServer(installed_server(), tmp_path_factory.mktemp("server"))
    for options in (
        ServingOptions(max_batch=8, preferred_batches=(4, 8), queue_delay_us=100_000),
        ServingOptions(name="slow", queue_size=1, queue_timeout_ms=20_000, warm_up=False),
        ServingOptions(name="doomed", warm_up=False),
        CHANGING,
    ):
        write_repository(artifact, made.repository, options)
    with running(made):
        yield made


@pytest.fixture
def quick(monkeypatch):
    """Little time between tries."""
    monkeypatch.setattr(runtime_module, "WAITS", (0.01, 0.02, 0.04))


def images_of(count: int, seed: int = 0) -> np.ndarray:
    shape = (count, SIZE, SIZE, 3)
    return np.random.default_rng([count, seed]).integers(0, 256, size=shape, dtype=np.uint8)


def address(server: TritonServer, protocol: str, model: str = "mtml", more: str = "") -> str:
    if protocol == "grpc":
        return f"triton+grpc://{server.grpc}/{model}{more}"
    return f"triton://{server.http}/{model}{more}"


def connection(server: TritonServer, protocol: str, model: str = "mtml") -> TritonConnection:
    return TritonConnection(TritonAddress.parse(address(server, protocol, model)))


def failure(made: TritonConnection, images: np.ndarray, version: str = "1") -> ServerFailure:
    with pytest.raises(ServerFailure) as caught:
        made.run(images, version=version, widths=WIDTHS)
    made.close()
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rows_are_those_of_onnx_runtime_bit_for_bit(artifact, server, protocol):
    counts = [3, 1, 21, 8, 2]  # 21 is cut in three: the server takes 8
    with (
        open_runtime(artifact) as local,
        open_runtime(artifact, backend=address(server, protocol), streams=2) as remote,
    ):
        found = list(remote.stream(images_of(count) for count in counts))
        for count, outputs in zip(counts, found, strict=True):
            expected = local.run_all(images_of(count))
            assert outputs.embeddings.dtype == np.float32
            np.testing.assert_array_equal(outputs.embeddings, expected.embeddings)
            np.testing.assert_allclose(outputs.orientation, expected.orientation, rtol=1e-6)
        np.testing.assert_array_equal(remote.run(images_of(21)), found[2].embeddings)
        found[2].embeddings[:] = 0  # the caller's own memory
        assert (remote.engine_sha256, remote.computes_in) == ("", "")
        with pytest.raises(ValueError, match=r"must be uint8 \[B, 32, 32, 3\]"):
            remote.run(np.zeros((1, 64, 64, 3), np.uint8))
        with pytest.raises(ValueError, match="at least one image"):
            remote.run(images_of(1)[:0])
        broken = remote.stream(images_of(2 // (2 - each)) for each in range(3))
        assert [len(next(broken).embeddings) for _ in range(2)] == [1, 2]
        with pytest.raises(ZeroDivisionError):  # of what gives the batches: behind those before it
            next(broken)
    with pytest.raises(ValueError, match="closed"):
        remote.run(images_of(1))


def test_clients_share_batches_and_keep_their_rows(artifact, server):
    before = server.batches("mtml")
    with ExitStack() as stack:
        runtimes = [
            stack.enter_context(open_runtime(artifact, backend=address(server, protocol)))
            for protocol in (*PROTOCOLS, *PROTOCOLS)
        ]
        local = stack.enter_context(open_runtime(artifact))
        start = threading.Barrier(len(runtimes))

        def ask(number: int) -> list[np.ndarray]:
            start.wait()
            given = (images_of(1, seed=10 * number + each) for each in range(4))
            return [outputs.embeddings for outputs in runtimes[number].stream(given)]

        with ThreadPoolExecutor(len(runtimes)) as pool:
            found = list(pool.map(ask, range(len(runtimes))))
        for number, rows in enumerate(found):
            for each, row in enumerate(rows):
                expected = local.run(images_of(1, seed=10 * number + each))
                np.testing.assert_array_equal(row, expected)
    after = server.batches("mtml")
    together = {size: runs - before.get(size, 0) for size, runs in after.items() if size > 1}
    assert sum(together.values()) > 0, after


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_the_server_refuses_is_one_line_and_not_tried_again(server, protocol):
    too_many = failure(connection(server, protocol), images_of(9))
    assert too_many.cause == "refused" and "batch-size must be <= 8" in str(too_many)
    wrong = failure(connection(server, protocol), np.zeros((1, 64, 64, 3), np.uint8))
    assert wrong.cause == "refused" and "Expected [-1,32,32,3], got [1,64,64,3]" in str(wrong)
    version = failure(connection(server, protocol), images_of(1), version="2")
    assert version.cause == "refused" and "version 2 is not found" in str(version)
    with pytest.raises(ServerFailure, match=r"unknown model: 'none'") as caught:
        connection(server, protocol, "none").config()
    assert caught.value.cause == "refused"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_full_queue_is_tried_again_and_then_told(artifact, server, protocol, quick, monkeypatch):
    with open_runtime(artifact, backend=address(server, protocol, "slow"), streams=5) as runtime:
        with pytest.raises(BackendError) as caught:
            list(runtime.stream(images_of(1, seed=each) for each in range(6)))
        says = str(caught.value)
        assert "Exceeds maximum queue size" in says and "(tried 4 times)" in says
        assert ("503" if protocol == "http" else "UNAVAILABLE") in says
        assert "--queue-size N" in says and "\n" not in says
        # with time, all are answered
        monkeypatch.setattr(runtime_module, "WAITS", (0.3,) * 20)
        given = [images_of(1, seed=each) for each in range(4)]
        found = [outputs.embeddings for outputs in runtime.stream(given)]
    with open_runtime(artifact) as local:
        for images, rows in zip(given, found, strict=True):
            np.testing.assert_array_equal(rows, local.run(images))


def test_a_late_answer_ends_at_the_time_that_was_given(artifact, server):
    more = "?timeout=2"  # also of opening, which a busy machine must do within it
    with ExitStack() as stack:
        runtimes = [
            stack.enter_context(open_runtime(artifact, backend=address(server, each, more=more)))
            for each in PROTOCOLS
        ]
        pool = stack.enter_context(ThreadPoolExecutor(len(runtimes)))
        server.pause()  # it takes requests, and answers none
        try:
            found = [pool.submit(each.run, images_of(1)).exception() for each in runtimes]
        finally:
            server.resume()
    for error in found:
        assert isinstance(error, BackendError)
        assert "no answer within 2 seconds; " in str(error) and "?timeout=SECONDS" in str(error)


def test_a_dead_backend_is_told_at_once(artifact, server):
    with ExitStack() as stack:
        runtimes = [
            stack.enter_context(open_runtime(artifact, backend=address(server, each, "doomed")))
            for each in PROTOCOLS
        ]
        for runtime in runtimes:
            runtime.run(images_of(2))
        server.kill_backend("doomed")
        for runtime in (*runtimes, runtimes[0]):  # for ever: never tried again
            with pytest.raises(BackendError) as caught:
                runtime.run(images_of(2))
            says = str(caught.value)
            assert "Stub process 'doomed_0_0' is not healthy; see the log" in says
            assert "model 'doomed'" in says and "tried" not in says


def test_another_artifact_is_refused(artifact, server, tmp_path):
    other = exact_artifact(tmp_path / "other", seed=1, with_orientation=True)
    for protocol in PROTOCOLS:
        with pytest.raises(ArtifactError) as caught:
            open_runtime(other, backend=address(server, protocol))
        says = str(caught.value)
        assert artifact.manifest.model_sha256[:12] in says
        assert other.manifest.model_sha256[:12] in says and "mtml-deploy triton" in says
        with pytest.raises(ArtifactError, match=r"says what its version 3 was made from.*/3"):
            open_runtime(artifact, backend=address(server, protocol, "changing", "/1"))
        with open_runtime(artifact, backend=address(server, protocol, "changing", "/3")) as model:
            assert model.run(images_of(1)).shape == (1, DIM)


def test_an_unmarked_model_is_refused(artifact, server, monkeypatch):
    config = connection(server, "http").config()
    assert config.max_batch_size == 8 and len(config.parameters) == 2
    unmarked = msgspec.structs.replace(config, parameters={})
    monkeypatch.setattr(TritonConnection, "config", lambda self: unmarked)
    with pytest.raises(ArtifactError, match=r"does not say which .*: mtml-deploy triton"):
        open_runtime(artifact, backend=address(server, "http"))


def test_a_model_that_is_exchanged_gives_no_row(artifact, server, tmp_path):
    other = exact_artifact(tmp_path / "other", seed=2, with_orientation=True)
    with ExitStack() as stack:
        runtimes = [
            stack.enter_context(open_runtime(artifact, backend=address(server, each, "changing")))
            for each in PROTOCOLS
        ]
        for runtime in runtimes:
            assert runtime.run(images_of(2)).shape == (2, DIM)
        write_repository(other, server.repository, CHANGING, overwrite=True)
        server.load("changing")
        for runtime in runtimes:
            with pytest.raises(ArtifactError, match="was made from a model file"):
                runtime.run(images_of(2))


def test_a_device_that_the_server_does_not_run_on_is_refused(artifact, server):
    for device, says in (
        ("cuda:0", r"runs on cpu and cuda:0 was asked for; add --device cpu"),
        ("gpu:0", "expected cpu or cuda:N"),
    ):
        with pytest.raises(BackendError, match=says):
            open_runtime(artifact, backend=address(server, "http"), device=device)
    for changed in ({"precision": "bf16"}, {"threads": 2}):
        with pytest.raises(BackendError, match="are settled on the server"):
            open_runtime(artifact, backend=address(server, "http"), **changed)


def test_no_server_is_one_line_at_once(artifact, server):
    port = free_port()
    wrong = (
        f"triton://127.0.0.1:{port}/mtml",
        f"triton+grpc://127.0.0.1:{port}/mtml",
        f"triton://{server.grpc}/mtml",  # the two ports taken for each other
        f"triton+grpc://{server.http}/mtml",
    )
    for where in wrong:
        with pytest.raises(BackendError, match=r"the connection failed .*see that the server runs"):
            open_runtime(artifact, backend=where)


def test_an_embedding_survives_a_server_that_is_killed(artifact, tmp_path, quick, monkeypatch):
    """The rows that were there are kept; --resume gives the file of an undisturbed run."""
    wheels, images, out = installed_server(), tmp_path / "cars", tmp_path / "rows.npz"
    write_images(images, 40)
    made = TritonServer(wheels, tmp_path / "server")
    write_repository(artifact, made.repository, ServingOptions(max_batch=4, warm_up=False))
    where = address(made, "http")
    words = ["embed", str(artifact.folder), "--images", str(images), "--batch-size", "4",
             "--threads", "1"]  # fmt: skip
    asked = []
    run = TritonConnection.run

    def counted(self, *given, **named):
        asked.append(1)
        if len(asked) == 6:
            made.kill()
        return run(self, *given, **named)

    monkeypatch.setattr(TritonConnection, "run", counted)
    with running(made):
        remote = [*words, "--out", str(out), "--backend", where]
        ended = CliRunner().invoke(main, remote)
        assert ended.exit_code == 1 and "add --resume" in ended.stderr, ended.stderr
        assert "the connection failed" in ended.stderr and "(tried 4 times)" in ended.stderr
        assert len(ended.stderr.strip().splitlines()[-1]) < 400 and not out.exists()
        made.start()
        resumed = CliRunner().invoke(main, [*remote, "--resume"])
        assert resumed.exit_code == 0, resumed.stderr
        assert "by an earlier run" in resumed.stderr
    CliRunner().invoke(main, [*words, "--out", str(tmp_path / "local.npz")])
    found, expected = Embeddings.load(out), Embeddings.load(tmp_path / "local.npz")
    assert found.model == expected.model
    np.testing.assert_array_equal(found.features, expected.features)


def test_the_gate_judges_a_server(artifact, server, tmp_path):
    """Its verdict is kept under a name without address, and holds for both protocols."""
    write_images(tmp_path / "cars", 12)
    rows = [
        f"{each:04d}.png,{each % 3},{each // 3},{'query' if each < 3 else 'gallery'}"
        for each in range(12)
    ]
    table = tmp_path / "cars" / "labels.csv"
    table.write_text("\n".join(["path,vehicle_id,camera_id,split", *rows]))
    where = address(server, "grpc")
    with EmbedOptions(backend=where).open(artifact) as model:
        assert "was never compared with its reference; compare it: mtml-deploy" in model.warning
        assert where in model.warning
    words = ["parity", str(artifact.folder), "--reference", str(artifact.folder), "--data",
             f"csv:{table}", "--backend", where, "--batch-size", "4"]  # fmt: skip
    judged = CliRunner().invoke(main, words)
    path = artifact.folder / "parity" / "triton-cpu.json"
    assert path.is_file(), judged.output
    verdict = json.loads(path.read_text())
    assert verdict["candidate"]["backend"] == where
    assert verdict["agreement"]["embedding"]["max_abs"] == 0
    for protocol in PROTOCOLS:
        with EmbedOptions(backend=address(server, protocol)).open(artifact) as model:
            assert model.warning == "" or not verdict["passed"]
