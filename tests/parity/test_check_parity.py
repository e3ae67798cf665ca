"""The parity gate: planted faults fail it, what is sound passes, and the verdict is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import helpers_faults as faults
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from helpers_artifact import tiny_manifest, write_artifact
from helpers_records import check_json_reader, check_toml_reader
from helpers_report import METRICS

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.artifact.verdict import parity_warning, verdict_path
from mtml_deploy.cli.main import main
from mtml_deploy.errors import ParityError
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.model import EmbedOptions
from mtml_deploy.parity.agreement import Agreement
from mtml_deploy.parity.bootstrap import Change, paired_change
from mtml_deploy.parity.compare import require_same_model
from mtml_deploy.parity.judge import Check, Consistency, ParityResult, parts_of
from mtml_deploy.parity.rank_agreement import RankAgreement, kendall_tau
from mtml_deploy.parity.thresholds import DEFAULT_THRESHOLDS, load_thresholds
from mtml_deploy.parity.verdict import (
    VERDICT_JSON,
    VERDICT_MARKDOWN,
    Side,
    save_verdict,
    verdict_json,
)


def run_parity(candidate: Path, reference: Path, data: Path, *more: str):
    words = ["parity", str(candidate), "--reference", str(reference), "--data", f"veri:{data}"]
    return CliRunner().invoke(main, [*words, "--batch-size", "8", *more])


def failed_checks(candidate: Path) -> set[str]:
    path = verdict_path(open_artifact(candidate), backend="ort", device="cpu")
    checks = json.loads(path.read_text())["checks"]
    return {check["name"] for check in checks if not check["passed"]}


ALONE = {"alone or at any row of a batch", "alone or in a batch of 8"}


def cosines(*names: str) -> set[str]:
    return {f"smallest cosine, {name}" for name in names}


# the loosest bounds of all (int8): a fault that they catch is caught by every gate
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.blue_first, cosines("identity", "embedding")),
        (faults.normalised_twice, cosines("identity", "embedding")),
        (faults.swapped_branches, cosines("identity", "scale", "embedding")),
        (faults.nearest_resize, cosines("scale")),
        (faults.dead_branch, cosines("gray") | {"closest different images, gray"}),
        (faults.corrupted_row, ALONE),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_fails(tiny_artifact, tiny_set, tmp_path, fault, expected):
    artifact = faults.plant(tiny_artifact, tmp_path / "model", fault, precision="int8")
    result = run_parity(artifact.folder, tiny_artifact, tiny_set)
    assert result.exit_code == 1, result.output
    assert expected <= failed_checks(artifact.folder)
    assert "do not deploy it" in result.output
    assert "FAILED the parity gate" in parity_warning(artifact, backend="ort", device="cpu")


def test_a_sound_model_passes_and_is_not_warned_of(tiny_artifact, tiny_set, tmp_path):
    artifact = faults.plant(tiny_artifact, tmp_path / "model", faults.nothing, precision="fp16")
    warning = parity_warning(artifact, backend="ort", device="cpu")
    assert "never compared" in warning and "mtml-deploy parity" in warning
    page, record = tmp_path / "gate.md", tmp_path / "gate.json"
    result = run_parity(
        artifact.folder, tiny_artifact, tiny_set, "--markdown", str(page), "--json", str(record)
    )
    assert result.exit_code == 0, result.output
    assert page.read_text().startswith("# Parity gate: PASSED")
    assert VERDICT_JSON.known(record) and VERDICT_MARKDOWN.known(page)
    assert not VERDICT_JSON.known(tmp_path / "model" / "manifest.json")
    values = json.loads(record.read_text())
    # the same graph: everything that compares two models is at its best value
    assert values["ranking"] == {"top1": 1.0, "top10": 1.0, "kendall_tau": 1.0}
    assert values["mean_ap"]["difference"] == values["mean_ap"]["low"] == 0.0
    assert {part["max_abs"] for part in values["agreement"].values()} == {0.0}
    assert set(values["agreement"]) == {"identity", "scale", "gray", "orientation", "embedding"}
    assert parity_warning(artifact, backend="ort", device="cpu") == ""
    # the verdict is of this file on this backend and device, and of no other
    assert parity_warning(artifact, backend="ort", device="cuda:0") != ""
    changed = msgspec.structs.replace(artifact.manifest, model_sha256="1" * 64)
    other = replace(artifact, manifest=changed)
    assert "another model file" in parity_warning(other, backend="ort", device="cpu")
    verdict_path(artifact, backend="ort", device="cpu").write_text("{")
    assert "cannot be read" in parity_warning(artifact, backend="ort", device="cpu")


def test_embedding_with_an_ungated_model_warns_once(tmp_path):
    artifact = write_artifact(tmp_path / "model", tiny_manifest(precision="int8"))
    from helpers_artifact import write_images

    write_images(tmp_path / "images", 3)
    out = str(tmp_path / "rows.npz")
    source = str(tmp_path / "images")
    words = ["embed", str(artifact.folder), "--images", source, "--out", out]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert result.output.count("never compared with its reference") == 1
    words = ["rank", str(artifact.folder), "--query", source, "--gallery", source]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert result.output.count("never compared with its reference") == 1


def test_a_fp32_model_needs_no_verdict_on_the_cpu_only(tmp_path):
    artifact = write_artifact(tmp_path / "model")
    assert parity_warning(artifact, backend="ort", device="cpu") == ""
    assert parity_warning(artifact, backend="ort", device="cuda:0") != ""


@pytest.mark.parametrize(
    ("candidate", "reference", "says"),
    [
        ({}, {"precision": "fp16"}, "reference is fp16"),
        ({"checkpoint_sha256": "a" * 64}, {}, "checkpoint_sha256"),
        ({"branches": ("identity",)}, {}, "branches"),
        ({"embedding": "consensus"}, {}, "embedding"),
        ({"dim": 4}, {}, "dim"),
    ],
)
def test_only_one_trained_model_is_compared(candidate, reference, says):
    with pytest.raises(ParityError, match=says):
        require_same_model(tiny_manifest(**candidate), tiny_manifest(**reference))


def test_parts_of_an_embedding():
    fused = tiny_manifest(branches=("identity", "gray"), dim=6)
    assert parts_of(fused) == {
        "identity": slice(0, 3),
        "gray": slice(3, 6),
        "embedding": slice(0, 6),
    }
    for whole in (
        msgspec.structs.replace(fused, embedding="consensus"),
        msgspec.structs.replace(fused, branches=("gray",)),
        msgspec.structs.replace(fused, compression={"dim": 6}),
    ):
        assert parts_of(whole) == {"embedding": slice(0, 6)}


def test_thresholds_from_a_file(tmp_path):
    path = tmp_path / "bounds.toml"
    path.write_text("[int8]\nmin_cosine = 0.95\nmax_map_change = 0\n")
    found = load_thresholds(path, "int8")
    assert (found.min_cosine, found.max_map_change) == (0.95, 0.0)
    assert found.min_spread == DEFAULT_THRESHOLDS["int8"].min_spread
    assert load_thresholds(path, "fp16") == DEFAULT_THRESHOLDS["fp16"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("min_cosine = 1", "expected tables"),
        ("[int4]\nmin_cosine = 1", "int4"),
        ("[int8]\ncosine = 1", "cosine"),
        ("[int8]\nmin_cosine = '1'", "int8.min_cosine must be a number in -1..1, found '1'"),
        ("[int8]\nmin_cosine = 2", "-1..1"),
        ("[int8]\nmax_map_change = -1", "0 or more"),
        ("[int8]\nmax_map_change = nan", "0 or more"),
        ("[", "cannot be read"),
    ],
)
def test_broken_threshold_files_are_refused(tmp_path, text, says):
    path = tmp_path / "bounds.toml"
    path.write_text(text)
    with pytest.raises(ParityError, match=says):
        load_thresholds(path, "int8")
    with pytest.raises(ParityError, match="cannot be read"):
        load_thresholds(tmp_path / "absent.toml", "int8")


def test_a_damaged_thresholds_file_is_refused_in_words(tmp_path):
    path = tmp_path / "bounds.toml"
    path.write_text("[int8]\nmin_cosine = 0.95\nmax_map_change = 0\n[fp16]\nmin_spread = 1e-3\n")
    check_toml_reader(path, lambda: load_thresholds(path, "int8"), ParityError)


def test_a_damaged_verdict_is_a_warning(tmp_path):
    artifact = write_artifact(tmp_path / "model")
    side = Side(artifact, EmbedOptions("ort", "cuda:0"))
    result = ParityResult(
        agreement={"embedding": Agreement(0.9, 0.95, 0.99, 0.1, 0.2)},
        ranking=RankAgreement(0.5, 0.75, float("nan")),
        mean_ap=Change(0.5, 0.25, -0.5, 0.0, 2),
        cmc={1: (1.0, 0.5)},
        consistency=Consistency(0.0, 0.0, 4, {"embedding": 0.1}),
        metrics=(METRICS, METRICS),
        checks=(Check("smallest cosine, embedding", 0.9, "at least 0.5", passed=True),),
        thresholds=DEFAULT_THRESHOLDS["fp32"],
    )
    record = verdict_json(
        result,
        candidate=side,
        reference=side,
        sources=("veri:A#query", "veri:A#gallery"),
        protocol=find_protocol("plain"),
    )
    path = save_verdict(side, result, record=record, markdown="")
    assert json.loads(record)["ranking"] == {"top1": 0.5, "top10": 0.75, "kendall_tau": None}
    assert list(json.loads(record)["candidate"])[-2:] == ["engine_sha256", "computes_in"]
    assert "engine_sha256" not in json.loads(record)["reference"]

    def read() -> None:
        warning = parity_warning(artifact, backend="ort", device="cuda:0")
        if "cannot be read" in warning:
            raise ParityError(warning)

    read()
    assert parity_warning(artifact, backend="ort", device="cuda:0") == ""
    check_json_reader(path, read, ParityError)


def test_bounds_of_the_verdict_come_from_the_file(tiny_artifact, tiny_set, tmp_path):
    path = tmp_path / "bounds.toml"
    path.write_text("[fp32]\nmin_spread = 1e6\n")
    artifact = faults.plant(tiny_artifact, tmp_path / "model", faults.nothing, precision="fp32")
    result = run_parity(artifact.folder, tiny_artifact, tiny_set, "--thresholds", str(path))
    assert result.exit_code == 1
    assert failed_checks(artifact.folder) >= {"closest different images, gray"}


def test_kendall_tau_counts_pairs():
    rng = np.random.default_rng(0)
    for order in permutations(range(4)):
        agreeing = sum(order[i] < order[j] for i in range(4) for j in range(i + 1, 4))
        expected = (agreeing - (6 - agreeing)) / 6
        assert kendall_tau(np.array(order, dtype=np.float64)) == pytest.approx(expected)
    assert kendall_tau(np.zeros(5)) == 0.0  # ties agree with neither order
    assert kendall_tau(rng.normal(size=1)) == 1.0


def test_the_interval_of_a_change():
    same = np.linspace(0, 1, 50)
    assert paired_change(same, same) == paired_change(same, same)
    assert (paired_change(same, same).low, paired_change(same, same).high) == (0.0, 0.0)
    # a constant shift is certain however much the queries differ
    shifted = paired_change(same, same - 0.25)
    assert shifted.low == pytest.approx(-0.25) and shifted.high == pytest.approx(-0.25)
    # one query in a hundred loses everything: the mean of 100 draws is 0.01 times a Poisson(1)
    # count, whose 2.5 % and 97.5 % quantiles are 0 and 3
    one = np.ones(100)
    changed = one.copy()
    changed[7] = 0.0
    found = paired_change(one, changed)
    assert found.difference == pytest.approx(-0.01)
    assert (round(found.low, 2), found.high) == (-0.03, 0.0)
    with pytest.raises(ValueError, match="queries"):
        paired_change(one, one[:3])
