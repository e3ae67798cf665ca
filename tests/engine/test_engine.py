"""TensorRT engines: really built on the CPU with TensorRT-RTX; checked before they are loaded."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import msgspec
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact
from helpers_engine import a_gpu, library, rtx_library
from helpers_records import check_json_reader
from onnx import helper

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.cli.main import main
from mtml_deploy.engine import folder as module
from mtml_deploy.engine.folder import build_engine, find_engine, list_engines, read_plan
from mtml_deploy.engine.manifest import (
    engine_manifest_json,
    load_engine_manifest,
    make_engine_manifest,
)
from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.errors import ArtifactError, BackendError, MissingExtraError, OutputExistsError
from mtml_deploy.outputs import require_output

SMALL = BuildOptions(profile=BatchProfile(1, 2, 4), sm=(86,))


@pytest.fixture
def built(tmp_path):
    """A tiny artifact with an engine for compute capability 8.6."""
    rtx = rtx_library()
    artifact = write_artifact(tmp_path / "model")
    return artifact, build_engine(artifact, SMALL, rtx, gpu=None), rtx


def ada_engine(**changes):
    """A manifest as a build on an L4 with TensorRT 10.16 writes it."""
    side = make_engine_manifest(
        plan_sha256="1" * 64,
        plan_bytes=1,
        model_sha256="2" * 64,
        library=library(),
        gpu=a_gpu(),
        options=BuildOptions(),
        build_seconds=1.0,
    )
    return msgspec.structs.replace(side, **changes)


def misfits(side, *, model="2" * 64, lib=None, gpu=None):
    return " ".join(side.misfits(model_sha256=model, library=lib or library(), gpu=gpu or a_gpu()))


def test_a_fitting_engine_has_no_misfit():
    assert misfits(ada_engine()) == ""


def test_what_does_not_fit_is_named():
    side = ada_engine()
    assert "another model file" in misfits(side, model="3" * 64)
    found = misfits(side, lib=library(version="10.16.1.12"))
    assert "10.16.1.11" in found and "10.16.1.12" in found
    assert "not tensorrt-rtx" in misfits(side, lib=library("tensorrt-rtx"))
    assert "'NVIDIA L4' but this GPU is 'Tesla T4'" in misfits(side, gpu=a_gpu("Tesla T4", "7.5"))
    # the same name with another capability is another product
    assert misfits(side, gpu=a_gpu(capability="9.0")) != ""
    assert side.misfits(model_sha256="2" * 64, library=library(), gpu=None) == (
        "no such GPU is here",
    )


def test_compatible_engines_run_on_more_than_one_gpu():
    wide = ada_engine(hardware_compatible=True)
    assert misfits(wide, gpu=a_gpu("NVIDIA A10", "8.6")) == ""
    assert "older" in misfits(wide, gpu=a_gpu("Tesla T4", "7.5"))
    listed = ada_engine(gpu="", compute_capability="", sm=(86, 120))
    assert misfits(listed, gpu=a_gpu("NVIDIA A10", "8.6")) == ""
    assert misfits(listed, gpu=a_gpu("NVIDIA RTX 5090", "12.0")) == ""
    assert "8.6, 12.0" in misfits(listed)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: BatchProfile(0, 1, 2), "found min 0"),
        (lambda: BatchProfile(2, 1, 4), "opt 1"),
        (lambda: BatchProfile(1, 8, 4), "max 4"),
        (lambda: BatchProfile(1, 8, 4096), "1024"),
        (lambda: BuildOptions(workspace_bytes=-1), "workspace"),
        (lambda: BuildOptions(optimization_level=6), "0..5"),
        (lambda: BuildOptions(aux_streams=-1), "aux_streams"),
        (lambda: BuildOptions(sm=(86, 86)), "once"),
    ],
)
def test_meaningless_options_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_an_engine_is_built_and_its_manifest_binds_it(built):
    artifact, engine, rtx = built
    assert engine.path == artifact.folder / "engines" / "tensorrt-rtx-sm86.engine"
    side = load_engine_manifest(engine.path.with_suffix(".json"))
    assert side == engine.manifest
    assert side.profile == BatchProfile(1, 2, 4)
    assert (side.sm, side.gpu, side.target_version) == ((86,), "", rtx.version)
    assert read_plan(engine)  # hashed
    assert [found.path for found in list_engines(artifact)] == [engine.path]
    found = find_engine(artifact, rtx, a_gpu("NVIDIA A10", "8.6"))
    assert found == engine
    with pytest.raises(OutputExistsError):
        build_engine(artifact, SMALL, rtx, gpu=None)
    again = build_engine(artifact, SMALL, rtx, gpu=None, overwrite=True)
    assert again.path == engine.path
    # one that lost its sidecar is known by its first bytes, and a file of others by neither
    side_path, plan = engine.path.with_suffix(".json"), engine.path.read_bytes()
    text = side_path.read_bytes()
    side_path.unlink()
    require_output(engine.path, module._ENGINE, overwrite=True)
    engine.path.write_text("mine")
    with pytest.raises(OutputExistsError, match="is a file, not a TensorRT engine"):
        build_engine(artifact, SMALL, rtx, gpu=None, overwrite=True)
    assert engine.path.read_text() == "mine"
    engine.path.write_bytes(plan)
    side_path.write_bytes(text)


def test_a_timing_cache_is_no_text_and_no_file_of_another_kind(tmp_path):
    for name, content in (("cache", b"notes"), ("cache.npz", b"\0"), ("cache", b"")):
        (tmp_path / name).write_bytes(content)
        if content:
            with pytest.raises(OutputExistsError, match="not a timing cache"):
                require_output(tmp_path / name, module._TIMING_CACHE, overwrite=True)
        else:
            require_output(tmp_path / name, module._TIMING_CACHE, overwrite=True)
    (tmp_path / "cache").write_bytes(b"measured\0")
    require_output(tmp_path / "cache", module._TIMING_CACHE, overwrite=True)


def test_an_engine_for_another_gpu_is_not_found(built):
    artifact, _, rtx = built
    with pytest.raises(ArtifactError, match=r"'Tesla T4' has 7.5.*mtml-deploy build"):
        find_engine(artifact, rtx, a_gpu("Tesla T4", "7.5"))


def test_an_engine_of_another_library_version_is_not_found(built):
    artifact, _, rtx = built
    newer = replace(rtx, version="99.1")
    with pytest.raises(ArtifactError, match=r"built with tensorrt-rtx .*installed is 99\.1.*build"):
        find_engine(artifact, newer, a_gpu("NVIDIA A10", "8.6"))


def test_a_changed_plan_is_refused(built):
    artifact, engine, _ = built
    data = bytearray(engine.path.read_bytes())
    data[len(data) // 2] ^= 1
    engine.path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"was changed.*executable code.*mtml-deploy build"):
        read_plan(engine)
    assert list_engines(artifact) == ()


def test_a_plan_without_manifest_or_with_anothers_is_refused(built):
    artifact, engine, rtx = built
    side = engine.path.with_suffix(".json")
    text = side.read_text()
    gpu = a_gpu("NVIDIA A10", "8.6")
    side.unlink()
    with pytest.raises(ArtifactError, match="no sidecar"):
        find_engine(artifact, rtx, gpu)
    side.write_text(text.replace(artifact.manifest.model_sha256, "0" * 64))
    with pytest.raises(ArtifactError, match="another model file"):
        find_engine(artifact, rtx, gpu)
    for broken in ("{", "[]", "{}", json.dumps({**json.loads(text), "sm": 86})):
        side.write_text(broken)
        with pytest.raises(ArtifactError, match="sidecar"):
            find_engine(artifact, rtx, gpu)


def test_a_damaged_manifest_is_refused_in_words(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(engine_manifest_json(ada_engine(sm=(86, 89))))
    assert load_engine_manifest(path) == ada_engine(sm=(86, 89), created=ANY)
    later = frozenset({"aux_streams"})
    check_json_reader(path, lambda: load_engine_manifest(path), ArtifactError, optional=later)
    path.write_text(path.read_text().replace('"opt": 32', '"opt": 65'))
    with pytest.raises(ArtifactError, match=r"a\.json.*profile: .*opt 65.*mtml-deploy build"):
        load_engine_manifest(path)


def test_a_sidecar_of_an_earlier_version_has_no_streams(tmp_path):
    path = tmp_path / "a.json"
    values = json.loads(engine_manifest_json(ada_engine(aux_streams=2)))
    assert values.pop("aux_streams") == 2
    path.write_text(json.dumps(values))
    side = load_engine_manifest(path)
    assert side.aux_streams is None and "streams" not in side.in_words()
    assert ada_engine(aux_streams=2).in_words() == (
        "tensorrt 10.16.1.11 for NVIDIA L4, batches of 1 to 64, tuned for 32, 3 streams"
    )


def test_the_build_and_info_say_how_the_engine_runs(tmp_path):
    rtx = rtx_library()
    folder = str(write_artifact(tmp_path / "model").folder)
    words = ["build", folder, "--target", "tensorrt-rtx", "--sm", "86", "--sm", "120"]
    kept = str(tmp_path / "engine.json")
    more = ("--opt-batch", "2", "--max-batch", "4", "--json", kept)
    result = CliRunner().invoke(main, [*words, *more])
    assert result.exit_code == 0, result.output
    (side,) = (Path(folder) / "engines").glob("*.json")
    streams = load_engine_manifest(side).aux_streams
    assert streams is not None
    line = (
        f"tensorrt-rtx {rtx.version} for compute capability 8.6, 12.0, batches of 1 to 4, tuned "
        f"for 2, {streams + 1} streams"
    )
    assert f"runs as    {line}\n" in result.stdout
    assert Path(kept).read_text() == side.read_text()
    shown = CliRunner().invoke(main, ["info", folder])
    (told,) = (text for text in shown.output.splitlines() if text.startswith("engine "))
    assert told.split(maxsplit=1)[1].startswith("tensorrt-rtx-sm86-sm120.engine, ")
    assert told.endswith(f" MB: {line}")


def test_the_command_builds_for_every_listed_gpu(tmp_path):
    rtx_library()
    artifact = write_artifact(tmp_path / "model")
    for sm in ("80", "86", "89", "120"):
        words = ["build", str(artifact.folder), "--target", "tensorrt-rtx", "--sm", sm]
        result = CliRunner().invoke(main, [*words, "--opt-batch", "2", "--max-batch", "4"])
        assert result.exit_code == 0, result.output
    assert len(list_engines(artifact)) == 4
    words = ["build", str(artifact.folder), "--target", "tensorrt-rtx", "--sm", "86", "--sm", "89"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert (artifact.folder / "engines" / "tensorrt-rtx-sm86-sm89.json").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sm", "90"], "no compute capability 90"),
        (["--sm", "86", "--hardware-compatible"], "no --hardware-compatible"),
        (["--sm", "86", "--timing-cache", "cache"], "no --timing-cache"),
        (["--sm", "86", "--aux-streams", "0"], "no --aux-streams"),
        (["--sm", "86", "--opt-batch", "8", "--max-batch", "4"], "max 4"),
    ],
)
def test_options_that_would_be_ignored_are_refused(tmp_path, words, says):
    rtx_library()
    artifact = write_artifact(tmp_path / "model")
    words = ["build", str(artifact.folder), "--target", "tensorrt-rtx", *words]
    result = CliRunner().invoke(main, words)
    assert result.exit_code != 0
    assert says in result.output
    assert not (artifact.folder / "engines").exists()


def test_an_absent_library_is_named(tmp_path, monkeypatch):
    artifact = write_artifact(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    result = CliRunner().invoke(main, ["build", str(artifact.folder)])
    assert result.exit_code == 1
    assert "no TensorRT is installed" in result.output
    result = CliRunner().invoke(main, ["build", str(artifact.folder), "--target", "tensorrt"])
    assert result.exit_code == 1
    assert "mtml-reid[tensorrt]" in result.output


def test_an_old_or_broken_library_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    from mtml_deploy.engine.library import load_library

    (folder / "tensorrt.py").write_text("__version__ = '8.6.1'")
    with pytest.raises(BackendError, match=r"8.6.1.*10.3"):
        load_library("tensorrt")
    monkeypatch.delitem(sys.modules, "tensorrt")
    (folder / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10 not found')")
    with pytest.raises(BackendError, match="libnvinfer"):
        load_library("tensorrt")
    (folder / "tensorrt.py").unlink()
    with pytest.raises(MissingExtraError):
        load_library("tensorrt")


def test_what_the_parser_refuses_fails_in_the_check_before(tmp_path):
    rtx = rtx_library()
    artifact = write_artifact(tmp_path / "model")
    model = onnx.load(artifact.model_path)
    pool = next(node for node in model.graph.node if node.op_type == "AveragePool")
    scales = onnx.numpy_helper.from_array(np.ones(4, np.float32), "scales")
    model.graph.initializer.append(scales)
    resize = helper.make_node(
        "Resize", ["planes", "", "scales"], ["resized"], mode="linear", antialias=1
    )
    model.graph.node.insert(list(model.graph.node).index(pool), resize)
    pool.input[0] = "resized"
    onnx.save(model, artifact.model_path)
    with pytest.raises(ArtifactError, match="antialias"):
        build_engine(artifact, SMALL, rtx, gpu=None)
    assert not (artifact.folder / "engines").exists()


def test_a_full_disk_leaves_nothing(tmp_path):
    """A file size limit stands in for a full disk: write fails with an OSError in both."""
    rtx_library()
    artifact = write_artifact(tmp_path / "model")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    words = ["build", str(artifact.folder), "--target", "tensorrt-rtx", "--sm", "86"]
    done = subprocess.run(
        [sys.executable, "-c", "from mtml_deploy.cli.main import main; main()", *words],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        cwd=Path(__file__).parents[2],
        timeout=120,
    )
    assert done.returncode == 1
    assert "error:" in done.stderr and "Traceback" not in done.stderr
    assert not (artifact.folder / "engines").exists()


def test_a_killed_build_leaves_nothing_that_loads(tmp_path):
    rtx = rtx_library()
    artifact = write_artifact(tmp_path / "model")
    words = ["build", str(artifact.folder), "--target", "tensorrt-rtx", "--sm", "86"]
    child = subprocess.Popen(
        [sys.executable, "-c", "from mtml_deploy.cli.main import main; main()", *words],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert child.stderr is not None
    assert "building with" in child.stderr.readline()
    time.sleep(0.05)
    child.kill()
    child.wait()
    child.stderr.close()
    gpu = a_gpu("NVIDIA A10", "8.6")
    if list_engines(artifact):  # it was faster than the kill
        assert read_plan(find_engine(artifact, rtx, gpu))
    else:
        with pytest.raises(ArtifactError, match="no engine for this machine"):
            find_engine(artifact, rtx, gpu)
    build_engine(artifact, SMALL, rtx, gpu=None, overwrite=True)
    assert open_artifact(artifact.folder).manifest == artifact.manifest
    assert read_plan(find_engine(artifact, rtx, gpu))
