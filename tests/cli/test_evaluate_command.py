"""`evaluate` with drawn galleries and with ground-truth files, through the command line."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact, write_images
from helpers_embeddings import embedded

from mtml_deploy.cli.main import main
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.evaluation.random_galleries import evaluate_draws, pool_images
from mtml_deploy.search.rerank import RerankOptions, rerank


def images(vehicles, seed, *, source, cameras=True):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(8, 6))
    features = centres[np.array(vehicles, dtype=int)] + rng.normal(size=(len(vehicles), 6)) * 0.9
    return embedded(
        features,
        vehicles,
        np.arange(len(vehicles), dtype=np.int32) % 3 if cameras else None,
        names=(f"{source}/{source}{row}.jpg" for row in range(len(vehicles))),
        source=source,
    )


@pytest.fixture
def place(tmp_path):
    images([n % 8 for n in range(10)], 1, source="q").save(tmp_path / "q.npz")
    images([n % 8 for n in range(48)], 2, source="g").save(tmp_path / "g.npz")
    return tmp_path


def run(*words):
    return CliRunner().invoke(main, ["evaluate", "--explain", *map(str, words)])


def ok(*words):
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result


def notes(result):
    """What is said beside the result, without what was written and how to go on."""
    return [
        line for line in result.stderr.splitlines() if not line.startswith(("next: ", "wrote "))
    ]


def test_vehicleid_needs_one_file_and_no_cameras(tmp_path):
    images([n % 8 for n in range(48)], 2, source="g", cameras=False).save(tmp_path / "all.npz")
    words = ("--gallery", tmp_path / "all.npz", "--protocol", "vehicleid")
    result = ok(*words, "--json", tmp_path / "m.json", "--markdown", tmp_path / "m.md")
    assert result.stdout == (tmp_path / "m.md").read_text()
    assert notes(result) == []
    pool = pool_images(Embeddings.load(tmp_path / "all.npz"))
    (expected,) = evaluate_draws(pool, find_protocol("vehicleid"), draws=10, seed=0)
    record = json.loads((tmp_path / "m.json").read_text())
    assert record["draws"] == {"count": 10, "seed": 0}
    assert record["mean_ap"]["mean"] == expected.mean_ap
    assert f"| mAP (step) | {100 * expected.mean_ap:.1f} |" in result.stdout
    other = ok(*words, "--seed", 1, "--draws", 2, "--label", "M")
    assert "2 draws, seed 1; in each 40 queries against 8 gallery images" in other.stdout


def test_vehicleid_pools_both_files_and_reranks_each_draw(place):
    words = ("--gallery", place / "g.npz", "--query", place / "q.npz", "--protocol", "vehicleid")
    result = ok(
        *words, "--rerank", "--k1", 5, "--k2", 3, "--lambda", 0.2, "--draws", 3,
        "--json", place / "m.json", "--label", "M",
    )  # fmt: skip
    assert "re-ranking the 58 images of a draw takes about" in result.stderr
    pool = pool_images(Embeddings.load(place / "g.npz"), Embeddings.load(place / "q.npz"))
    options = RerankOptions(k1=5, k2=3, weight=0.2)
    _, after = evaluate_draws(pool, find_protocol("vehicleid"), draws=3, seed=0, reranking=options)
    record = json.loads((place / "m.json").read_text())
    assert record["images"]["used"] == 58
    assert record["reranked"]["mean_ap"]["mean"] == after.mean_ap
    assert f"| M, re-ranked | mAP (step) | {100 * after.mean_ap:.1f} |" in result.stdout


def test_vehicleid_draws_one_curve(place):
    pytest.importorskip("matplotlib")
    words = ("--gallery", place / "g.npz", "--protocol", "vehicleid", "--draws", 2)
    ok(*words, "--plot", place / "cmc.png")
    assert (place / "cmc.png").read_bytes().startswith(b"\x89PNG")


def test_ground_truth_files_replace_the_labels(place):
    query, gallery = Embeddings.load(place / "q.npz"), Embeddings.load(place / "g.npz")
    rule = find_protocol("veri776")
    excluded = rule.excluded(query, gallery)
    good, junk = [], []
    for row in range(len(query)):
        same = np.flatnonzero(gallery.vehicle_ids == query.vehicle_ids[row])
        good.append(" ".join(str(n + 1) for n in np.setdiff1d(same, excluded(row))))
        junk.append(" ".join(gallery.names[n].rpartition("/")[2] for n in excluded(row)))
    (place / "gt.txt").write_text("\n".join(good) + "\n")
    (place / "jk.txt").write_text("\n".join(junk) + "\n")
    result = ok(
        "--query", place / "q.npz", "--gallery", place / "g.npz", "--json", place / "m.json",
        "--ground-truth", place / "gt.txt", "--junk", place / "jk.txt", "--rerank",
    )  # fmt: skip
    record = json.loads((place / "m.json").read_text())
    expected = evaluate(query, gallery, rule)
    assert record["mean_ap"] == expected.mean_ap
    assert record["verification"]["negative_pairs"] == expected.verification.negatives
    order = rerank(query.features, gallery.features)
    after = evaluate(query, gallery, rule, reranked=order)
    assert record["reranked"]["mean_ap"] == after.mean_ap
    assert [file["role"] for file in record["ground_truth"]["files"]] == ["matches", "junk"]
    assert "Ground truth: matches" in result.stdout
    assert "note:" not in result.stderr


def test_a_ground_truth_of_other_images_is_noted_or_refused(place):
    words = ("--query", place / "q.npz", "--gallery", place / "g.npz", "--ground-truth",
             place / "gt.txt")  # fmt: skip
    # query n is vehicle n % 8, and so is gallery row n, number n + 1: all but two lines are wrong
    (place / "gt.txt").write_text("1\n2\n" + "1\n" * 6 + "9\n" + "9\n")
    assert "7 matches of the ground truth have another vehicle id" in ok(*words).stderr
    (place / "gt.txt").write_text("1\n")
    result = run(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "has 1 lines" in result.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "protocol veri776 needs --query"),
        (("--query", "q.npz", "--draws", 3), "--draws belongs to protocols that draw"),
        (("--query", "q.npz", "--seed", 3), "--seed belongs to protocols that draw"),
        (("--query", "q.npz", "--junk", "jk.txt"), "add --ground-truth FILE"),
        (("--protocol", "vehicleid", "--ground-truth", "gt.txt"), "protocol vehicleid draws it"),
        (("--protocol", "vehicleid", "--draws", 0), "--draws"),
    ],
)
def test_options_that_do_not_fit_together(place, monkeypatch, words, text):
    monkeypatch.chdir(place)
    result = run("--gallery", "g.npz", *words)
    assert result.exit_code == 2
    assert text in result.stderr


def test_a_query_set_that_is_the_gallery(place):
    words = ("--query", place / "g.npz", "--gallery", place / "g.npz", "--protocol", "plain")
    result = ok(*words)
    assert notes(result) == [
        "note: 48 queries meet their own copy in the gallery, which counts as a match; "
        "leave it out with --leave-out-self"
    ]
    result = ok(*words, "--leave-out-self", "--json", place / "m.json")
    assert notes(result) == []
    record = json.loads((place / "m.json").read_text())
    assert record["own_copies"]["left_out"] is True
    assert record["cmc"][0] < 1
    drawn = run("--gallery", place / "g.npz", "--protocol", "vehicleid", "--leave-out-self")
    assert drawn.exit_code == 2 and "--leave-out-self is for a fixed gallery" in drawn.stderr
    truth = run(*words, "--ground-truth", place / "gt.txt", "--leave-out-self")
    assert truth.exit_code == 2 and "give one of the two" in truth.stderr


# several pairs


def test_several_pairs_are_a_table_and_a_list_of_their_results(place):
    images([n % 8 for n in range(6)], 3, source="r").save(place / "r.npz")
    g = place / "g.npz"
    first, second = (("--query", place / f"{name}.npz", "--gallery", g) for name in "qr")
    words = (*first, *second)
    result = ok(*words, "--rerank", "--json", place / "m.json", "--markdown", place / "m.md")
    records = json.loads((place / "m.json").read_text())
    assert [record["query"]["source"] for record in records] == ["q", "r"]
    for record, pair in zip(records, (first, second), strict=True):
        label = record["label"]
        alone = ok(*pair, "--rerank", "--label", label, "--json", place / "a.json", "--overwrite")
        assert json.loads((place / "a.json").read_text()) == record
        lines = [line for line in alone.stdout.splitlines() if line.startswith(f"| {label}")]
        assert len(lines) == 6  # two tables: as embedded, of length 1, re-ranked
        assert set(lines) <= set(result.stdout.splitlines())
    assert records[1]["label"].endswith(", r in g")
    assert result.stdout == (place / "m.md").read_text()
    ok(*words, "--label", "A", "--label", "B", "--json", place / "m.json", "--overwrite")
    assert [each["label"] for each in json.loads((place / "m.json").read_text())] == ["A", "B"]


def test_several_galleries_are_drawn_from(place):
    words = ("--gallery", place / "g.npz", "--gallery", place / "q.npz")
    result = ok(*words, "--protocol", "vehicleid", "--draws", 2, "--json", place / "m.json")
    records = json.loads((place / "m.json").read_text())
    assert [record["images"]["source"] for record in records] == ["g", "q"]
    assert all(f"| {record['label']} | mAP (step) |" in result.stdout for record in records)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("--query", "q.npz", "--query", "q.npz"),
            "--query is given 2 times and --gallery 1 times",
        ),
        (("--query", "q.npz", "--gallery", "g.npz"), "--query is given 1 times and --gallery 2"),
        (("--query", "q.npz", "--label", "a", "--label", "b"), "--label is given 2 times and"),
        (("--label", "a", "--label", "a"), "--label 'a' names two pairs"),
        (
            ("--query", "q.npz", "--ground-truth", "a", "--junk", "b", "--junk", "c"),
            "--junk is given 2 times",
        ),
    ],
)
def test_pairs_that_do_not_fit_together(place, monkeypatch, words, text):
    monkeypatch.chdir(place)
    result = run("--gallery", "g.npz", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert text in result.stderr


def test_a_pair_given_twice_hides_no_result(place):
    words = ("--query", place / "q.npz", "--gallery", place / "g.npz") * 2
    result = run(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "two pairs are called" in result.stderr and "--label" in result.stderr
    assert "| B |" in ok(*words, "--label", "A", "--label", "B").stdout


# images


@pytest.fixture
def cars(tmp_path, monkeypatch):
    """A model, and a table of 16 images of 4 vehicles before 2 cameras, half of them queries."""
    monkeypatch.chdir(tmp_path)
    write_artifact(tmp_path / "model")
    write_images(tmp_path / "images", 16)
    rows = [f"images/{n:04d}.png,{n % 4},{n // 4 % 2},{'query' if n < 8 else 'gallery'}"
            for n in range(16)]  # fmt: skip
    (tmp_path / "cars.csv").write_text("\n".join(["path,vehicle_id,camera_id,split", *rows]) + "\n")
    return tmp_path


def test_images_are_judged_as_their_embeddings_are(cars):
    for part in ("query", "gallery"):
        words = ("embed", "model", "--images", f"csv:cars.csv#{part}", "--out", f"{part}.npz")
        assert CliRunner().invoke(main, list(words)).exit_code == 0
    files = ("--query", "query.npz", "--gallery", "gallery.npz")
    ok(*files, "--json", "files.json")
    ok("model", "--query", "csv:cars.csv", "--gallery", "csv:cars.csv", "--json", "images.json")
    ok("model", "--query", "csv:cars.csv", "--gallery", "gallery.npz", "--json", "both.json")
    expected = json.loads((cars / "files.json").read_text())
    assert expected["query"]["images"] == 8
    for name in ("images", "both"):
        assert json.loads((cars / f"{name}.json").read_text()) == expected
    pairs = ("--query", "csv:cars.csv", "--gallery", "gallery.npz")
    ok("model", *files, *pairs, "--label", "a", "--label", "b", "--json", "pairs.json")
    both = json.loads((cars / "pairs.json").read_text())
    for each in both:
        assert each["mean_ap"] == expected["mean_ap"] and each["cmc"] == expected["cmc"]


def test_images_need_the_model_that_the_other_side_came_from(cars):
    assert (
        "give MODEL as well" in run("--query", "csv:cars.csv", "--gallery", "csv:cars.csv").stderr
    )
    images([0, 1], 1, source="q").save(cars / "other.npz")
    other = run("model", "--query", "other.npz", "--gallery", "csv:cars.csv")
    assert other.exit_code == 1 and "other.npz was not made by model" in other.stderr


# what a terminal shows


def test_the_numbers_alone_are_what_is_shown_unasked(place):
    files = ("--query", place / "q.npz", "--gallery", place / "g.npz", "--label", "M")
    words = ["evaluate", *map(str, files), "--markdown", str(place / "m.md")]
    found = evaluate(*(Embeddings.load(place / name) for name in ("q.npz", "g.npz")),
                     find_protocol("veri776"))  # fmt: skip
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    first, blank, titles, row, *_ = result.stdout.splitlines()
    assert first == "veri776: 10 queries of q against 48 images of g; every query has a match"
    assert blank == ""
    assert titles.split() == ["percent", "mAP", "trapezoid", "mINP", "CMC@1", "CMC@5", "CMC@10"]
    numbers = (found.mean_ap, found.mean_ap_trapezoid, found.mean_inp, *found.cmc[[0, 4, 9]])
    assert row.split() == ["M", *(f"{100 * number:.1f}" for number in numbers)]
    assert "mean over the matches" not in result.stdout
    assert "mean over the matches" in (place / "m.md").read_text()
    assert f"wrote {place / 'm.md'}\n" in result.stderr
    drawn = CliRunner().invoke(
        main, ["evaluate", "--gallery", words[4], "--protocol", "vehicleid", "--draws", "2"]
    )
    assert drawn.stdout.startswith("vehicleid: 2 draws of 8 gallery images out of g, seed 0\n\n")
    assert "mAP (step)" in drawn.stdout and "|" not in drawn.stdout
