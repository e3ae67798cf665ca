"""What each instruction set is worth: which ways are run, with which limit, and what follows."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers_artifact import tiny_manifest, write_artifact

import benchmarks.measure.process
import benchmarks.speed.instruction_sets as sets
from benchmarks.cli.instruction_sets import _SETS
from benchmarks.measure.process import Entrant, FreshProcess, Outcome
from benchmarks.measure.rounds import Series
from benchmarks.runners.runner import Subject
from benchmarks.speed.instruction_sets import (
    SETS,
    VARIABLE,
    IsaBench,
    Way,
    measure_instruction_sets,
    sets_of,
    summarise,
)
from mtml_deploy.errors import BackendError
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.runtime.processor import Processor

NEAR = 1e-12
"""Of quotients in float64."""


@pytest.fixture
def subject(tmp_path) -> Subject:
    return Subject(write_artifact(tmp_path / "art"), None, "cpu", 1)


def test_the_sets_are_those_of_the_processor():
    assert tuple(SETS) == _SETS  # the command names them without loading NumPy
    server = Processor("", ("avx2", "avx512f", "avx512_vnni", "avx512_bf16"))
    assert sets_of(server) == (
        "AVX2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16",
    )  # fmt: skip
    assert sets_of(Processor("", ("asimd",))) == ()
    assert sets_of(Processor("", None)) == ()


def test_every_way_has_its_limit_and_the_reference_has_none(subject: Subject, tmp_path: Path):
    int8 = write_artifact(tmp_path / "int8", tiny_manifest(precision="int8"))
    found = sets._ways(subject, int8, ("AVX2", "AVX512_CORE"), ("openvino", "torch-bf16"))
    assert [(way.key, dict(way.environment)) for way in found] == [
        ("fp32/ort", {}),
        ("AVX2/fp32/openvino", {VARIABLE: "AVX2"}),
        ("AVX2/fp32/torch-bf16", {VARIABLE: "AVX2"}),
        ("AVX2/int8/openvino", {VARIABLE: "AVX2"}),
        ("AVX512_CORE/fp32/openvino", {VARIABLE: "AVX512_CORE"}),
        ("AVX512_CORE/fp32/torch-bf16", {VARIABLE: "AVX512_CORE"}),
        ("AVX512_CORE/int8/openvino", {VARIABLE: "AVX512_CORE"}),
    ]


class Started(Exception):
    """In place of a process."""


def test_a_process_gets_its_variables(tmp_path: Path, monkeypatch):
    seen: list[dict[str, str]] = []

    def start(words, **options):
        seen.append(options["env"])
        raise Started

    monkeypatch.setenv(VARIABLE, "ALL")
    monkeypatch.setattr(benchmarks.measure.process.subprocess, "run", start)
    for variables in ({VARIABLE: "AVX2"}, {}):
        entrant = Entrant("a", "a", "", partial(print), variables)
        with pytest.raises(Started):
            FreshProcess(entrant, threads=3, scratch=tmp_path).measure()
    assert [each[VARIABLE] for each in seen] == ["AVX2", "ALL"]
    assert all(each["OMP_NUM_THREADS"] == "3" for each in seen)


def test_speeds_cosines_and_map_stand_beside_each_other(subject: Subject):
    def outcome(key: str, seconds: tuple[float, ...], rows: list[list[float]]) -> Outcome:
        return Outcome(
            Series(key, key, "", "s", seconds),
            Series(key, key, "", "B", (1.0,)),
            (1,),
            {"rows": np.array(rows, np.float32)},
        )

    ways = (Way(subject, "ort", ""), Way(subject, "openvino-bf16", "AVX2"))
    first, second = (way.key for way in ways)
    outcomes = {
        first: outcome(first, (2.0, 4.0, 3.0), [[3.0, 4.0], [0.0, 1.0]]),
        # a run of two rows, twice; the second row has cosine 0.8
        second: outcome(second, (1.0, 0.5, 8.0), [[6.0, 8.0], [3.0, 4.0]] * 2),
    }
    series, ratios, lines = summarise(ways, outcomes, 2, {second: 0.5})
    assert series[1].values == (2.0, 4.0, 0.25)  # images/s of two images
    found = {item.key: item.value for item in ratios}
    assert found[f"{second}/{first}"] == pytest.approx(2.0 / (2 / 3), abs=NEAR)
    assert found[f"{second}/cosine"] == pytest.approx(0.8, abs=1e-6)
    assert found[f"{second}/map"] == 0.5
    assert lines[2].split(" | ")[-3:] == ["1.00", "1.000000", "not measured |"]
    assert lines[3].split(" | ")[-4:] == ["2.0", "3.00", "0.800000", "50.0 % |"]


def test_what_does_not_run_is_a_note_and_the_rest_is_measured(subject: Subject, tmp_path: Path):
    pytest.importorskip("openvino", reason="openvino is not installed")
    bench = IsaBench(
        ("AVX2",), ("openvino", "torch"), batch_size=2, rounds=1, seconds=0.01, settle_s=0
    )
    found = measure_instruction_sets(
        subject, None, None, tmp_path, protocol=find_protocol("plain"), bench=bench
    )
    assert [item.key for item in found.series] == ["fp32/ort", "AVX2/fp32/openvino"]
    assert any(
        note.startswith("AVX2/fp32/torch: not measured: ") and "--run RUN" in note
        for note in found.notes
    )
    cosine = {item.key: item.value for item in found.ratios}["AVX2/fp32/openvino/cosine"]
    assert cosine == pytest.approx(1, abs=1e-6)  # float32 sums of 512 pixels
    assert found.lead[0].startswith("| instructions |")


def test_a_processor_without_any_of_them_needs_names(subject: Subject, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sets, "this_processor", lambda: Processor("", ("asimd",)))
    with pytest.raises(BackendError, match=r"none of avx2.*--isa"):
        measure_instruction_sets(
            subject, None, None, tmp_path, protocol=find_protocol("plain"), bench=IsaBench()
        )
