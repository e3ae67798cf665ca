"""Engines after an export: which are built, which are not, and what is said of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact
from helpers_engine import a_gpu, rtx_library

from mtml_deploy.engine.folder import list_engines
from mtml_deploy.engine.gpu import GpuSearch
from mtml_deploy.engine.library import Library
from mtml_deploy.engine.options import BuildOptions
from mtml_deploy.errors import BackendError, MissingExtraError
from mtml_train.cli.export import export_main
from mtml_train.export import engines as export_engines
from mtml_train.export.engines import EngineJob, EnginePlan, build_engines, plan_engines


@pytest.fixture
def no_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither TensorRT is installed."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)


def here(monkeypatch: pytest.MonkeyPatch, *gpus: object) -> None:
    """A machine with these GPUs."""
    search = GpuSearch(gpus, "" if gpus else "no driver")  # type: ignore[arg-type]
    monkeypatch.setattr(export_engines, "find_gpus", lambda: search)


def installed(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """A machine with one of the libraries."""

    def load(asked: str) -> Library:
        if asked != target:
            raise MissingExtraError(f"{asked} engines need {asked}", asked)
        return Library(target=asked, module=sys, version="10.16")  # type: ignore[arg-type]

    monkeypatch.setattr(export_engines, "load_library", load)


def test_without_a_library_nothing_is_built_and_the_reason_is_said(
    no_libraries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch, a_gpu())
    plan = plan_engines(())
    assert plan.jobs == ()
    assert [text.partition(":")[0] for text in plan.left_out] == [
        "no tensorrt engine", "no tensorrt-rtx engine",
    ]  # fmt: skip
    assert "mtml-reid[tensorrt]" in plan.left_out[0] and "mtml-reid[rtx]" in plan.left_out[1]


def test_without_a_gpu_nothing_is_built_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch)
    installed(monkeypatch, "tensorrt")
    plan = plan_engines(())
    assert plan.jobs == ()
    assert "no driver" in plan.left_out[0]
    assert "mtml-deploy build MODEL --target tensorrt" in plan.left_out[0]


def test_a_gpu_and_a_library_build_an_engine_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, a_gpu())
    installed(monkeypatch, "tensorrt")
    plan = plan_engines(())
    assert [(job.library.target, job.gpu) for job in plan.jobs] == [("tensorrt", a_gpu())]
    assert not plan.asked
    assert len(plan.left_out) == 1


def test_onnx_alone_means_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, a_gpu())
    installed(monkeypatch, "tensorrt")
    assert plan_engines(("onnx",)) == EnginePlan((), asked=True)


def test_what_is_named_and_cannot_be_built_is_an_error(
    no_libraries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingExtraError, match=r"mtml-reid\[tensorrt\]"):
        plan_engines(("onnx", "tensorrt"))
    installed(monkeypatch, "tensorrt")
    here(monkeypatch)
    with pytest.raises(BackendError, match="none was found here"):
        plan_engines(("tensorrt",))
    with pytest.raises(ValueError, match="--sm is for --target tensorrt-rtx"):
        plan_engines(("tensorrt",), sm=(86,))


def test_rtx_without_a_gpu_needs_to_know_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    rtx_library()
    here(monkeypatch)
    with pytest.raises(BackendError, match="--sm 86"):
        plan_engines(("tensorrt-rtx",))
    with pytest.raises(BackendError, match="no compute capability 90"):
        plan_engines(("tensorrt-rtx",), sm=(90,))
    with pytest.raises(ValueError, match="once"):
        plan_engines(("tensorrt-rtx",), sm=(86, 86))
    (job,) = plan_engines(("tensorrt-rtx",), sm=(86, 89)).jobs
    assert job.options == BuildOptions(sm=(86, 89))


def test_an_engine_that_fails_is_an_error_only_where_it_was_named(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "model")
    job = EngineJob(rtx_library(), BuildOptions(sm=(75,)), None)  # fp32 products
    with pytest.raises(BackendError, match=r"was written, but without a tensorrt-rtx engine.*fp16"):
        build_engines(artifact, EnginePlan((job,), asked=True), say=lambda text: None)
    lines: list[str] = []
    plan = EnginePlan((job,), asked=False, left_out=("and another",))
    found = build_engines(artifact, plan, say=lines.append)
    assert found[0].startswith("no tensorrt-rtx engine: ") and found[1:] == ("and another",)
    assert lines == [f"building an engine with tensorrt-rtx {job.library.version}"]
    assert list_engines(artifact) == ()


def test_the_command_refuses_before_it_reads_the_run(tmp_path: Path, no_libraries: None) -> None:
    words = [str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(export_main, [*words, "--target", "tensorrt"])
    assert result.exit_code == 1
    assert "mtml-reid[tensorrt]" in result.stderr  # and not that there is no run
    result = CliRunner().invoke(export_main, [*words, "--sm", "86"])
    assert result.exit_code == 2
    assert "--target tensorrt-rtx" in result.stderr


def test_the_command_builds_and_sums_up(tmp_path: Path, untrained_run: Path) -> None:
    rtx_library()
    words = [str(untrained_run), "--out", str(tmp_path / "out"), "--target", "tensorrt-rtx"]
    result = CliRunner().invoke(export_main, [*words, "--sm", "86", "--sm", "120"])
    assert result.exit_code == 0, result.output
    engine = tmp_path / "out" / "engines" / "tensorrt-rtx-sm86-sm120.engine"
    assert engine.is_file() and engine.with_suffix(".json").is_file()
    *_, last, following = result.stderr.splitlines()
    assert following.startswith("next: mtml-deploy embed ")
    assert last.startswith(f"tensorrt-rtx engine: {engine}, ")
    assert last.endswith("for compute capability 8.6, compute capability 12.0")
    assert "cosine, fused" in result.stdout
