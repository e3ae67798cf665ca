"""A model card: read back by the Hub's own library, numbers as evaluated, texts as they are."""

import json

import pytest
from click.testing import CliRunner
from helpers_artifact import tiny_manifest, write_artifact

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.artifact.artifact_folder import ARTIFACT
from mtml_deploy.cli.main import main
from mtml_deploy.report.metrics_json import SCHEMA

NASTY = 'terms: "none" | <b>\n- x: [y](z)'


def run(*words):
    return CliRunner().invoke(main, ["card", *map(str, words)])


def result_file(place, mean_ap, cmc):
    """What evaluate --json writes, as much of it as a card reads."""
    content = {
        "schema": SCHEMA,
        "label": "consensus fp32",
        "protocol": {"name": "veri776"},
        "query": {"source": "veri:VeRi#query"},
        "gallery": {"source": "veri:VeRi#gallery"},
        "mean_ap": mean_ap,
        "mean_ap_trapezoid": mean_ap,
        "mean_inp": 0.5,
        "cmc": cmc,
        "queries": {"all": 10, "valid": 9},
    }
    place.write_text(json.dumps(content))
    return place


@pytest.fixture
def artifact(tmp_path):
    return write_artifact(tmp_path / "art", tiny_manifest(licence=NASTY)).folder


def test_the_hub_reads_the_numbers(artifact, tmp_path):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    judged = result_file(tmp_path / "veri.json", 0.8125, [0.75, 0.75, 0.875, 0.875, 1.0])
    out = artifact / "README.md"
    result = run(artifact, "--out", out, "--result", judged, "--name", "cars: v1 #2")
    assert result.exit_code == 0, result.stderr
    card = hub.ModelCard.load(out)
    data = card.data
    assert data.license == "other" and data.library_name == "onnx"
    assert data.pipeline_tag == "image-feature-extraction" and data.model_name == "cars: v1 #2"
    assert data.to_dict()["license_name"] == 'terms: "none" | <b> - x: [y](z)'
    found = {each.metric_name: each.metric_value for each in data.eval_results}
    assert found == {"mAP (step)": 0.8125, "CMC@1": 0.75, "CMC@5": 1.0}
    (first, *_) = data.eval_results
    assert first.task_type == "image-retrieval" and first.dataset_type == "veri776"
    assert "81.25 %" in card.text and "consensus fp32" in card.text
    # the folder is still an artifact, and another card replaces this one alone
    assert open_artifact(artifact).manifest.licence == NASTY
    assert run(artifact, "--out", out).exit_code == 1
    assert run(artifact, "--out", out, "--overwrite").exit_code == 0
    assert hub.ModelCard.load(out).data.eval_results is None


def test_only_what_is_known_is_said(artifact, tmp_path):
    out = tmp_path / "card.md"
    assert run(artifact, "--out", out).exit_code == 0
    text = out.read_text()
    assert "model-index" not in text and "## Results" not in text
    assert "The gate was not run on any backend" in text
    assert "| images | 12 |" in text and "steps" not in text
    assert 'terms: "none" \\| \\<b\\> - x: \\[y\\]\\(z\\)' in text
    (tmp_path / "mine.md").write_text("# mine\n")
    result = run(artifact, "--out", tmp_path / "mine.md", "--overwrite")
    assert result.exit_code == 1 and (tmp_path / "mine.md").read_text() == "# mine\n"


def test_a_broken_verdict_is_told(artifact, tmp_path):
    (artifact / "parity").mkdir()
    (artifact / "parity" / "ort-cpu.json").write_text("{}")
    result = run(artifact, "--out", tmp_path / "card.md")
    assert result.exit_code == 1 and "run the parity gate again" in result.stderr
    assert not (tmp_path / "card.md").exists()


def test_an_artifact_with_its_card_may_be_replaced(artifact, tmp_path):
    assert run(artifact, "--out", artifact / "README.md").exit_code == 0
    assert ARTIFACT.foreign(artifact) == []
    (artifact / "README.md").write_text("# my own notes\n")
    assert ARTIFACT.foreign(artifact) == ["README.md"]
