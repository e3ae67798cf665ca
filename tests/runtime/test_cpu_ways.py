"""Which way to run a model on a CPU is told, and when nothing is."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from helpers_artifact import tiny_manifest, write_artifact, write_images
from msgspec.structs import replace

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.verdict import Compared, Judged, Verdict, verdict_path
from mtml_deploy.cli.main import main
from mtml_deploy.record_file import record_json
from mtml_deploy.runtime import cpu_ways
from mtml_deploy.runtime.cpu_ways import (
    CpuWay,
    JudgedWay,
    computed_by_instructions,
    faster_way,
    judged_ways,
)
from mtml_deploy.runtime.processor import Processor

BF16, F32, ORT = CpuWay("openvino", "bf16"), CpuWay("openvino"), CpuWay("ort")
WITH_BF16 = Processor("a server", ("avx2", "avx512f", "avx512_bf16"))
WITHOUT = Processor("a laptop", ("avx2",))


@pytest.fixture
def artifact(tmp_path) -> Artifact:
    return write_artifact(tmp_path / "art")


def judge(artifact: Artifact, way: CpuWay, *, passed: bool) -> None:
    """Let the gate have judged a way."""
    manifest = artifact.manifest
    judged = Judged(
        artifact="art",
        model_sha256=manifest.model_sha256,
        checkpoint_sha256=manifest.checkpoint_sha256,
        precision=manifest.precision,
        embedding=manifest.embedding,
        backend=way.backend,
        device="cpu",
        engine_sha256="",
        computes_in=way.computes_in,
    )
    known = {name: getattr(judged, name) for name in Compared.__struct_fields__}
    verdict = Verdict(
        passed=passed,
        created="2026-11-28T12:00:00+00:00",
        version="0.1.0",
        candidate=judged,
        reference=Compared(**known | {"backend": "ort"}),
        data={},
        protocol="veri776",
        thresholds={},
        checks=(),
        agreement={},
        ranking={},
        mean_ap={},
        cmc={},
        consistency={},
    )
    path = verdict_path(artifact, backend=way.backend, device="cpu", computes_in=way.computes_in)
    path.parent.mkdir(exist_ok=True)
    path.write_text(record_json(verdict))


def here(monkeypatch, processor: Processor, *, openvino: bool = True) -> None:
    """Let the machine have this processor, with or without OpenVINO."""
    monkeypatch.setattr(cpu_ways, "this_processor", lambda: processor)
    monkeypatch.setattr(cpu_ways, "find_spec", lambda name: object() if openvino else None)


def told(artifact: Artifact, way: CpuWay, *, device: str = "cpu") -> str:
    return faster_way(artifact, backend=way.backend, device=device, precision=way.precision)


def test_what_a_processor_computes_in_is_told_by_its_instructions():
    for instructions, computed in (
        (("avx2",), ("f32",)),
        (("avx512_bf16",), ("f32", "bf16")),
        (("amx_bf16", "avx512_fp16"), ("f32", "f16", "bf16")),
        (("asimd", "asimdhp", "bf16"), ("f32", "f16")),
        (None, ("f32",)),
    ):
        assert computed_by_instructions(Processor("", instructions)) == computed


def test_the_fastest_comes_first_and_only_what_is_installed():
    assert cpu_ways.cpu_ways(("f32", "bf16"), ort=True) == (BF16, F32, ORT)
    assert cpu_ways.cpu_ways((), ort=True) == (ORT,)
    assert cpu_ways.cpu_ways(("f32", "f16", "bf16"), ort=False)[0] == BF16
    assert cpu_ways.cpu_ways((), ort=False) == ()
    # the rest of an int8 model is not worth rounding
    assert cpu_ways.cpu_ways(("f32", "bf16"), ort=True, model="int8") == (F32, BF16, ORT)


def test_a_faster_way_is_named_with_the_gate_to_pass(artifact, monkeypatch):
    here(monkeypatch, WITH_BF16)
    found = told(artifact, ORT)
    assert found.startswith("--backend openvino --execution-precision bf16 is likely faster")
    command = found.partition("pass it: ")[2]
    assert command == (
        f"mtml-deploy parity {artifact.folder} --reference {artifact.folder} --data veri:DIR "
        "--backend openvino --device cpu --execution-precision bf16"
    )
    assert told(artifact, F32) == found
    judge(artifact, BF16, passed=True)
    assert told(artifact, ORT).endswith("has passed the parity gate")


def test_what_failed_is_not_named_and_the_next_is(artifact, monkeypatch):
    here(monkeypatch, WITH_BF16)
    judge(artifact, BF16, passed=False)
    assert told(artifact, ORT).startswith("--backend openvino is likely faster")
    judge(artifact, F32, passed=False)
    assert told(artifact, ORT) == ""


def test_a_verdict_of_another_file_does_not_count(artifact, monkeypatch):
    here(monkeypatch, WITHOUT)
    other = Artifact(artifact.folder, replace(artifact.manifest, model_sha256="f" * 64))
    judge(other, F32, passed=True)
    assert "let the parity gate pass it" in told(artifact, ORT)


def test_nothing_is_said_where_nothing_is_faster(artifact, monkeypatch):
    here(monkeypatch, WITH_BF16)
    assert told(artifact, BF16) == ""
    assert told(artifact, CpuWay("openvino", "auto")) == ""
    assert told(artifact, ORT, device="cuda:0") == ""
    assert told(artifact, F32, device="gpu:0") == ""
    here(monkeypatch, WITHOUT)
    assert told(artifact, F32) == ""
    here(monkeypatch, WITH_BF16, openvino=False)
    assert told(artifact, ORT) == ""


def test_each_way_with_its_verdict(artifact):
    judge(artifact, BF16, passed=False)
    bf16, f32, ort = judged_ways(artifact, (BF16, F32, ORT))
    assert (bf16.gate, f32.gate) == ("failed", "open")
    assert "FAILED" in bf16.what and "mtml-deploy parity" in f32.what
    assert ort == JudgedWay("--backend ort", "passed", "the parity gate has passed it")


def test_another_precision_needs_the_fp32_artifact(tmp_path, monkeypatch):
    here(monkeypatch, WITHOUT)
    half = write_artifact(tmp_path / "half", tiny_manifest(precision="fp16"))
    assert "--reference FP32" in told(half, ORT)
    here(monkeypatch, WITH_BF16)
    int8 = write_artifact(tmp_path / "int8", tiny_manifest(precision="int8"))
    assert told(int8, ORT).startswith("--backend openvino is likely faster")
    assert told(int8, F32) == ""


def test_commands_say_it_once_on_stderr(artifact, tmp_path, monkeypatch):
    here(monkeypatch, WITH_BF16)
    write_images(tmp_path / "images", 4)

    def run(*words: object):
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        assert "is likely faster" not in done.stdout
        return done

    images, art, rows = tmp_path / "images", artifact.folder, tmp_path / "rows.npz"
    done = run("embed", art, "--images", images, "--out", rows)
    assert (
        done.stderr.count("note: --backend openvino --execution-precision bf16 is likely faster")
        == 1
    )
    # two sources, one model
    done = run("rank", art, "--query", images, "--gallery", images)
    assert done.stderr.count("is likely faster") == 1
    assert "is likely faster" not in run("rank", "--query", rows, "--gallery", rows).stderr
    run("gallery", "create", tmp_path / "gallery", art)
    done = run("gallery", "add", tmp_path / "gallery", art, "--images", images)
    assert done.stderr.count("is likely faster") == 1
    done = run("search", "--gallery", tmp_path / "gallery", art, "--query", images)
    assert done.stderr.count("is likely faster") == 1
    here(monkeypatch, WITH_BF16, openvino=False)
    assert (
        "is likely faster"
        not in run("embed", art, "--images", images, "--out", rows, "--overwrite").stderr
    )
