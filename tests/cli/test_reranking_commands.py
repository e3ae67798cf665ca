"""`--rerank` of evaluate and rank: both results are shown, and those after are of the new order."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_embeddings import embedded

from mtml_deploy.cli.main import main
from mtml_deploy.evaluation.metrics import evaluate, retrieval_metrics
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.search.rerank import RerankOptions, rerank

OPTIONS = ("--rerank", "--k1", 5, "--k2", 3, "--lambda", 0.2)
PARAMETERS = RerankOptions(k1=5, k2=3, weight=0.2)


def images(vehicles, seed, *, source):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(8, 6))
    features = centres[np.array(vehicles, dtype=int)] + rng.normal(size=(len(vehicles), 6)) * 0.9
    return embedded(features, vehicles, np.arange(len(vehicles), dtype=np.int32) % 3, source=source)


@pytest.fixture
def sets(tmp_path):
    query = images([n % 8 for n in range(10)], 1, source="q")
    gallery = images([n % 8 for n in range(48)], 2, source="g")
    query.save(tmp_path / "q.npz")
    gallery.save(tmp_path / "g.npz")
    return tmp_path, query, gallery


def run(command, folder, *words):
    texts = [command, "--query", folder / "q.npz", "--gallery", folder / "g.npz", *words]
    return CliRunner().invoke(main, [str(text) for text in texts])


@pytest.mark.parametrize("protocol", ["veri776", "aicity-top100", "plain"])
def test_metrics_after_are_those_of_the_reranked_lists(sets, protocol):
    _, query, gallery = sets
    rule = find_protocol(protocol)
    order = rerank(query.features, gallery.features, options=PARAMETERS)
    found = evaluate(query, gallery, rule, reranked=order)
    # ranks read off the full lists
    rows = order.rank(top_k=len(gallery), excluded=rule.excluded(query, gallery)).rows
    ranks = [
        np.array([place for place, row in enumerate(listed.tolist(), start=1)
                  if row >= 0 and gallery.vehicle_ids[row] == vehicle])
        for listed, vehicle in zip(rows, query.vehicle_ids, strict=True)
    ]  # fmt: skip
    expected = retrieval_metrics(ranks, protocol=rule, gallery_size=len(gallery), ties=0)
    assert found.mean_ap == expected.mean_ap
    assert found.cmc.tolist() == expected.cmc.tolist()
    assert found.mean_ap != evaluate(query, gallery, rule).mean_ap


def test_evaluate_shows_and_keeps_both(sets):
    folder, query, gallery = sets
    words = ("--json", folder / "m.json", "--markdown", folder / "m.md", "--label", "M")
    result = run("evaluate", folder, *OPTIONS, *words, "--explain")
    assert result.exit_code == 0, result.output
    assert "re-ranking 58 images takes about" in result.stderr
    rule = find_protocol("veri776")
    before = evaluate(query, gallery, rule)
    order = rerank(query.features, gallery.features, options=PARAMETERS)
    after = evaluate(query, gallery, rule, reranked=order)
    rows = [
        line
        for line in result.stdout.splitlines()
        if line.startswith("| M") and "length 1" not in line
    ]
    assert rows[0].startswith(f"| M | {100 * before.mean_ap:.1f} |")
    assert rows[1].startswith(f"| M, re-ranked | {100 * after.mean_ap:.1f} |")
    assert "k1 5, k2 3, lambda 0.2" in result.stdout
    assert (folder / "m.md").read_text().strip() == result.stdout.strip()
    record = json.loads((folder / "m.json").read_text())
    assert record["mean_ap"] == before.mean_ap
    assert record["reranked"]["mean_ap"] == after.mean_ap
    assert record["reranked"]["cmc"] == after.cmc.tolist()
    assert [record["reranked"][name] for name in ("k1", "k2", "lambda")] == [5, 3, 0.2]


def test_evaluate_without_reranking_says_nothing_of_it(sets):
    folder, _, _ = sets
    result = run("evaluate", folder, "--json", folder / "m.json")
    assert result.exit_code == 0, result.output
    assert "re-rank" not in result.output.lower()
    assert "reranked" not in json.loads((folder / "m.json").read_text())


def test_rank_prints_the_reranked_lists_and_keeps_both(sets):
    folder, query, gallery = sets
    words = ("--json", folder / "r.json", "--html", folder / "r.html", "--top-k", 4, "--label", "M")
    result = run("rank", folder, *OPTIONS, *words)
    assert result.exit_code == 0, result.output
    record = json.loads((folder / "r.json").read_text())
    order = rerank(query.features, gallery.features, options=PARAMETERS).rank(top_k=4)
    after = [[place["row"] for place in each["ranks"]] for each in record["reranked"]["queries"]]
    before = [[place["row"] for place in each["ranks"]] for each in record["queries"]]
    assert after == order.rows.tolist()
    assert after != before
    shown = [
        evaluate(query, gallery, find_protocol("plain"), reranked=each).mean_ap
        for each in (None, rerank(query.features, gallery.features, options=PARAMETERS))
    ]
    assert f"mAP {100 * shown[0]:.1f} % before, {100 * shown[1]:.1f} % after" in result.stderr
    first = [line.split() for line in result.stdout.splitlines()[1:5]]
    assert [line[3] for line in first] == [gallery.names[row] for row in order.rows[0]]
    page = (folder / "r.html").read_text()
    assert "M, re-ranked" in page
    assert "re-ranked distance" in page


def test_refusals_before_any_work(sets):
    folder, _, _ = sets
    for command in ("evaluate", "rank"):
        result = run(command, folder, "--k1", 5)
        assert result.exit_code == 2
        assert "--k1 belongs to re-ranking; add --rerank" in result.stderr
        result = run(command, folder, "--rerank", "--k1", 2, "--k2", 4)
        assert result.exit_code == 2
        assert "lower --k2 or raise --k1" in result.stderr


def test_an_empty_gallery_is_refused(sets):
    folder, _, _ = sets
    images([], 3, source="g").save(folder / "g.npz")
    result = run("rank", folder, "--rerank")
    assert result.exit_code == 1
    assert "the gallery (g) has no images" in result.stderr
