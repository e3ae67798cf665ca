"""`--expand` of evaluate, rank and search, and several query images in search."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_embeddings import embedded
from helpers_gallery import batch, identity, new_gallery, search_by_loop

from mtml_deploy.cli.main import main
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.embed.unit_length import unit_length
from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.search.query_expansion import ExpansionOptions, expand
from mtml_deploy.search.rank import rank
from mtml_deploy.search.rerank import RerankOptions, rerank

DIM = 6
OPTIONS = ("--expand", 3, "--alpha", 2)
PARAMETERS = ExpansionOptions(neighbours=3, alpha=2)
RERANK = ("--rerank", "--k1", 5, "--k2", 3, "--lambda", 0.2)


def images(vehicles, seed, *, source, dim=DIM):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(8, dim)) + 1
    features = centres[np.array(vehicles, dtype=int)] + rng.normal(size=(len(vehicles), dim)) * 0.9
    return embedded(
        features,
        vehicles,
        np.arange(len(vehicles), dtype=np.int32) % 3,
        source=source,
        model=identity(dim=dim),
    )


@pytest.fixture
def sets(tmp_path):
    query = images([n % 8 for n in range(10)], 1, source="q")
    gallery = images([n % 8 for n in range(48)], 2, source="g")
    query.save(tmp_path / "q.npz")
    gallery.save(tmp_path / "g.npz")
    return tmp_path, query, gallery


def run(command, *words):
    return CliRunner().invoke(main, [str(word) for word in (command, *words)])


def ok(command, *words):
    result = run(command, *words)
    assert result.exit_code == 0, result.output
    return result


def pair(folder):
    return ("--query", folder / "q.npz", "--gallery", folder / "g.npz")


def expanded(query, gallery, rule):
    features = expand(
        query.features,
        gallery.features,
        options=PARAMETERS,
        excluded=rule.excluded(query, gallery),
    )
    return Embeddings(**vars(query) | {"features": features})


def test_evaluate_shows_and_keeps_every_step(sets):
    folder, query, gallery = sets
    rule = find_protocol("veri776")
    words = (*OPTIONS, *RERANK, "--json", folder / "m.json", "--label", "M")
    result = ok("evaluate", *pair(folder), *words, "--explain")
    after = expanded(query, gallery, rule)
    order = rerank(after.features, gallery.features, options=RerankOptions(k1=5, k2=3, weight=0.2))
    expected = [
        evaluate(query, gallery, rule).mean_ap,
        evaluate(after, gallery, rule).mean_ap,
        evaluate(after, gallery, rule, reranked=order).mean_ap,
    ]
    assert len(set(expected)) == 3
    rows = [line for line in result.stdout.splitlines() if line.startswith("| M")][:4]
    scaled = evaluate(unit_length(query), unit_length(gallery), rule).mean_ap
    labels = ("M", "M, length 1", "M, expanded", "M, expanded, re-ranked")
    for row, label, value in zip(rows, labels, [expected[0], scaled, *expected[1:]], strict=True):
        assert row.startswith(f"| {label} | {100 * value:.1f} |")
    assert "3 images, alpha 2" in result.stdout
    record = json.loads((folder / "m.json").read_text())
    found = [record["mean_ap"], record["expanded"]["mean_ap"], record["reranked"]["mean_ap"]]
    assert found == expected
    assert [record["expanded"][name] for name in ("neighbours", "alpha")] == [3, 2]
    assert record["reranked"]["expanded_queries"] is True


def test_without_expansion_nothing_is_said_of_it(sets):
    folder = sets[0]
    result = ok("evaluate", *pair(folder), "--json", folder / "m.json")
    assert "expan" not in result.stdout.lower()
    assert "expanded" not in json.loads((folder / "m.json").read_text())


def test_what_the_protocol_removes_does_not_help(sets):
    folder, _, gallery = sets
    query = images([7], 3, source="q")
    query.save(folder / "q.npz")
    # its own copy, of its vehicle and camera, would be the nearest image
    copied = Embeddings.concat([gallery, query])
    copied.save(folder / "copied.npz")
    values = []
    for name in ("g", "copied"):
        words = ("--query", folder / "q.npz", "--gallery", folder / f"{name}.npz", *OPTIONS)
        ok("evaluate", *words, "--json", folder / f"{name}.json")
        values.append(json.loads((folder / f"{name}.json").read_text())["expanded"]["mean_ap"])
    assert values[0] == values[1]
    helped = expanded(query, copied, find_protocol("plain"))  # which removes nothing
    assert evaluate(helped, copied, find_protocol("veri776")).mean_ap != values[1]


def test_rank_lists_those_of_the_expanded_queries(sets):
    folder, query, gallery = sets
    rule = find_protocol("plain")
    words = ("--json", folder / "r.json", "--html", folder / "r.html", "--top-k", 4, "--label", "M")
    result = ok("rank", *pair(folder), *OPTIONS, *words)
    after = expanded(query, gallery, rule)
    rows = rank(after.features, gallery.features, top_k=4).rows.tolist()
    record = json.loads((folder / "r.json").read_text())
    found = [[place["row"] for place in each["ranks"]] for each in record["expanded"]["queries"]]
    assert found == rows
    assert found != [[place["row"] for place in each["ranks"]] for each in record["queries"]]
    first = [line.split()[3] for line in result.stdout.splitlines()[1:5]]
    assert first == [gallery.names[row] for row in rows[0]]
    shown = [evaluate(each, gallery, rule).mean_ap for each in (query, after)]
    assert "the lists are of expanded queries: " in result.stderr
    assert f"mAP {100 * shown[0]:.1f} % before, {100 * shown[1]:.1f} % after" in result.stderr
    assert "M, expanded: alpha query expansion" in (folder / "r.html").read_text()


def test_refusals_before_any_work(sets):
    folder = sets[0]
    for command in ("evaluate", "rank"):
        result = run(command, *pair(folder), "--alpha", 2)
        assert result.exit_code == 2
        assert "--alpha belongs to query expansion; add --expand N" in result.stderr
        assert run(command, *pair(folder), "--expand", 0).exit_code == 2
    drawn = run("evaluate", "--gallery", folder / "g.npz", "--protocol", "vehicleid", *OPTIONS)
    assert drawn.exit_code == 2
    assert "draws one image of each; leave it out" in drawn.stderr


@pytest.fixture
def gallery_of(tmp_path):
    """A gallery folder with the images of a set, row number = row + 1."""

    def make(stored):
        with new_gallery(tmp_path / "cars", dim=DIM) as gallery:
            contents = [str(row) for row in range(len(stored))]
            gallery.add_rows(
                batch(
                    stored.features,
                    contents=contents,
                    dim=DIM,
                    camera_id=stored.camera_ids.tolist(),
                )
            )
        return tmp_path / "cars"

    return make


def search(gallery, out, *words):
    ok("search", "--gallery", gallery, "--json", out, "--overwrite", "--top-k", 5, *words)
    record = json.loads(out.read_text())
    return record, [[hit["row"] for hit in each["ranks"]] for each in record["queries"]]


def test_search_asks_again_with_expanded_queries(sets, gallery_of):
    folder, query, stored = sets
    cars = gallery_of(stored)
    record, found = search(cars, folder / "s.json", "--query", folder / "q.npz", *OPTIONS)
    rows = {row + 1: vector for row, vector in enumerate(stored.features)}
    after = expand(query.features, stored.features, options=PARAMETERS)
    assert found == search_by_loop(rows, after, 5)[0]
    assert found != search_by_loop(rows, query.features, 5)[0]
    assert record["expansion"] == {"neighbours": 3, "alpha": 2}
    # a filter holds for the rows that take part in the expansion as well
    words = ("--query", folder / "q.npz", *OPTIONS, "--camera", 1)
    _, found = search(cars, folder / "s.json", *words)
    passing = {row: vector for row, vector in rows.items() if stored.camera_ids[row - 1] == 1}
    left = np.array(list(passing.values()))
    after = expand(query.features, left, options=PARAMETERS)
    assert found == search_by_loop(passing, after, 5)[0]


def test_search_with_several_images_of_one_vehicle(sets, gallery_of):
    folder, _, stored = sets
    cars = gallery_of(stored)
    rows = {row + 1: vector for row, vector in enumerate(stored.features)}
    left, right = images([3, 3], 5, source="a"), images([3], 6, source="b")
    left.save(folder / "a.npz")
    right.save(folder / "b.npz")
    both = ("--query", folder / "a.npz", "--query", folder / "b.npz")
    together = np.concatenate([left.features, right.features])
    record, found = search(cars, folder / "s.json", *both)
    assert found == search_by_loop(rows, together, 5)[0]
    record, found = search(cars, folder / "s.json", *both, "--as-one")
    mean = (together.astype(np.float64).sum(axis=0) / 3).astype(np.float32)[None]
    assert found == search_by_loop(rows, mean, 5)[0]
    assert [each["name"] for each in record["queries"]] == ["a0.jpg and 2 more"]
    images([4], 6, source="b").save(folder / "b.npz")
    result = run("search", "--gallery", cars, *both, "--as-one")
    assert result.exit_code == 1
    assert "shows 2 vehicles, for example 3 and 4" in result.stderr
