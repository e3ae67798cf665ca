"""A gallery in a Milvus collection: addresses, limits, faults, and the commands on milvus-lite.

What it does like every other gallery is in test_gallery_contract.py.
"""

import fcntl
import json
import re
import socket
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from helpers_artifact import write_artifact, write_images
from helpers_cli import run
from helpers_gallery import batch, identity, new_name, search_by_loop

from mtml_deploy.data.clock import FIRST_US
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import MissingExtraError
from mtml_deploy.gallery.milvus import client as asking
from mtml_deploy.gallery.milvus import gallery as store
from mtml_deploy.gallery.milvus import rows as reading
from mtml_deploy.gallery.milvus import search
from mtml_deploy.gallery.milvus.address import TOKEN_VARIABLE, parse_address
from mtml_deploy.gallery.milvus.client import Collection
from mtml_deploy.gallery.milvus.entities import filter_expression
from mtml_deploy.gallery.open import create_gallery, open_gallery
from mtml_deploy.gallery.values import Filter, GalleryError, NewRows, RowRecord, Selection

DIM = 16
MODEL = identity(dim=DIM)
INT64 = 2**63
UNREACHABLE_SECONDS = 20
"""Two attempts of at most a second each (patched below), and a busy machine."""


@pytest.fixture(params=["milvus-lite", "milvus"])
def gallery(request):
    """A new one, open for writing."""
    if request.param == "milvus":
        name = request.getfixturevalue("made_on_server")(DIM)
    else:
        name = new_name(request.getfixturevalue("milvus_lite"))
        create_gallery(name, MODEL)
    with open_gallery(name, write=True) as opened:
        yield opened


@pytest.fixture
def lite(milvus_lite) -> str:
    """The beginning of the address of any collection of one local folder."""
    return milvus_lite


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "uri", "database", "collection"),
    [
        ("milvus://h/cars", "http://h:19530", "", "cars"),
        ("milvus://h.example:1234/db_1/_Cars9", "http://h.example:1234", "db_1", "_Cars9"),
        ("MILVUSS://h/cars/", "https://h:19530", "", "cars"),
        ("milvus://[::1]:5/cars", "http://[::1]:5", "", "cars"),
        ("milvus-lite:///data/a b/x.db/cars", "/data/a b/x.db", "", "cars"),
        ("milvus-lite://x.db/cars", "x.db", "", "cars"),
    ],
)
def test_addresses(text, uri, database, collection):
    address = parse_address(text)
    assert (address.uri, address.database, address.collection) == (uri, database, collection)
    assert (address.folder is not None) == text.startswith("milvus-lite")


@pytest.mark.parametrize(
    "text",
    [
        "milvus://",
        "milvus://h",
        "milvus:///cars",
        "milvus://h/a/b/c",
        "milvus://h/9cars",
        "milvus://h/cars?x=1",
        "milvus://h:x/cars",
        "milvus://h/" + "a" * 256,
        "milvus://h/c-d",
        "milvus-lite:///data/x/cars",
        "milvus-lite:///data/x.db",
        "milvus-lite:///data/x.db/a b",
    ],
)
def test_malformed_addresses_are_refused_before_anything_is_contacted(text):
    with pytest.raises(GalleryError, match="expected"):
        open_gallery(text)


def test_a_password_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(GalleryError, match=TOKEN_VARIABLE) as caught:
        open_gallery("milvus://me:secret@h/cars")
    assert "secret" not in str(caught.value)
    with pytest.raises(GalleryError, match="'other', expected a folder"):
        open_gallery("other://h/cars")


def test_missing_libraries_name_their_extra(lite, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "milvus_lite", None)
        with pytest.raises(MissingExtraError, match=r"mtml-reid\[milvus-lite\]"):
            create_gallery(f"{lite}none", MODEL)
        patch.setitem(sys.modules, "pymilvus", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'mtml-reid\[milvus\]'"):
            open_gallery("milvus://127.0.0.1:9/cars")
        with pytest.raises(MissingExtraError, match=r"mtml-reid\[milvus-lite\]"):
            create_gallery(f"{lite}none", MODEL)
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert [re.split("[>=]", word)[0] for word in extras["milvus"]] == ["pymilvus"]
    lite_needs = [re.split("[>=]", word)[0] for word in extras["milvus-lite"]]
    assert lite_needs == ["pymilvus", "milvus-lite"]


def test_an_unreachable_server_is_told_within_seconds(monkeypatch, capfd):
    monkeypatch.setattr("mtml_deploy.gallery.milvus.connect._CONNECT_S", 1.0)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begin = time.monotonic()
        for port in (silent.getsockname()[1], 9):  # one never answers, one refuses
            with pytest.raises(GalleryError, match=rf"no Milvus server can be used .*:{port}") as e:
                open_gallery(f"milvus://127.0.0.1:{port}/cars")
            assert f"{TOKEN_VARIABLE} (now not set)" in str(e.value)
        assert time.monotonic() - begin < UNREACHABLE_SECONDS
    assert capfd.readouterr().err == ""  # no traceback of the library


@pytest.mark.parametrize(
    ("version", "refused"),
    [("v2.2.16", True), ("1.1", True), ("v2.3.0-lite", False), ("2.6.6", False), ("v3.0", False),
     ("a managed service", False)],
)  # fmt: skip
def test_servers_that_are_too_old(monkeypatch, version, refused):
    import pymilvus

    class Answering:
        def __init__(self, *_, **__):
            pass

        def get_server_version(self, **_):
            return version

        def has_collection(self, *_, **__):
            return False

        def close(self):
            pass

    monkeypatch.setattr(pymilvus, "MilvusClient", Answering)
    expected = f"is Milvus {version}, expected 2.3 or newer" if refused else "there is no gallery"
    with pytest.raises(GalleryError, match=expected):
        open_gallery("milvus://h/cars")


def test_token_and_database_go_to_the_server(monkeypatch):
    import pymilvus

    asked = {}

    def refuse(uri, **words):
        asked.update(words, uri=uri)
        raise pymilvus.MilvusException(message="auth check failure")

    monkeypatch.setattr(pymilvus, "MilvusClient", refuse)
    monkeypatch.setenv(TOKEN_VARIABLE, "me:secret")
    with pytest.raises(GalleryError, match="auth check failure") as caught:
        open_gallery("milvuss://h/db/cars")
    assert "now set" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert (asked["uri"], asked["token"]) == ("https://h:19530", "me:secret")
    assert asked["db_name"] == "db"


def test_a_server_that_goes_away_is_an_error_of_one_line(tmp_path, capfd):
    server_manager = pytest.importorskip("milvus_lite.server_manager")
    folder = tmp_path / "x.db"
    name = f"milvus-lite://{folder}/cars"
    create_gallery(name, MODEL)
    with open_gallery(name, write=True) as gallery:
        gallery.add_rows(batch(vectors(3), dim=DIM))
        server_manager.server_manager_instance.release_server(str(folder))
        with pytest.raises(GalleryError, match="counting rows failed: found") as caught:
            len(gallery)
        assert "\n" not in str(caught.value)
    with open_gallery(name) as gallery:
        assert len(gallery) == 3
    assert capfd.readouterr().err == ""
    with pytest.raises(ValueError, match="closed"):
        len(gallery)


def test_a_local_folder_is_freed_and_is_for_one_process(tmp_path):
    pytest.importorskip("milvus_lite")
    folder = tmp_path / "deeper" / "x.db"
    name = f"milvus-lite://{folder}/cars"
    create_gallery(name, MODEL)
    with (folder / "LOCK").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # closing gave it back
        with pytest.raises(GalleryError, match="no other process has open"):
            open_gallery(name)
    with open_gallery(name) as gallery:
        with open_gallery(name) as other:
            assert len(other) == 0
        assert len(gallery) == 0  # the last one stops the server
    absent = tmp_path / "y.db"
    with pytest.raises(GalleryError, match="there is no gallery"):
        open_gallery(f"milvus-lite://{absent}/cars")
    assert not absent.exists()
    with pytest.raises(GalleryError, match="there is no gallery"):
        open_gallery(f"milvus-lite://{folder}/vans")


@pytest.mark.parametrize("dim", [1, 32769])
def test_lengths_that_milvus_does_not_keep(lite, dim):
    with pytest.raises(GalleryError, match=f"{dim} values, expected 2 to 32768"):
        create_gallery(f"{lite}d{dim}", identity(dim=dim))


def test_other_types_are_refused(lite):
    with pytest.raises(GalleryError, match="int8 were asked for, expected float32"):
        create_gallery(f"{lite}coded", MODEL, dtype="int8")


def test_creation_that_fails_leaves_nothing(lite, monkeypatch):
    name = f"{lite}broken"

    def broken(*_):
        raise GalleryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "put", broken)
        with pytest.raises(GalleryError, match="no room"):
            create_gallery(name, MODEL)
    create_gallery(name, MODEL)


def client_of(gallery):
    """The library's client, to do what another program might."""
    return gallery.collection._client, gallery.collection.address.collection


def test_collections_of_others_are_refused(gallery):
    client, name = client_of(gallery)
    theirs = new_name("")
    client.create_collection(theirs, dimension=DIM)
    with pytest.raises(GalleryError, match="not a gallery: found a collection whose field"):
        open_gallery(f"{gallery.name.removesuffix(name)}{theirs}")
    client.release_collection(name)
    client.drop_index(name, "vector")
    index = client.prepare_index_params()
    index.add_index("vector", index_type="IVF_FLAT", metric_type="L2", params={"nlist": 4})
    client.create_index(name, index, sync=False)
    with pytest.raises(
        GalleryError, match=rf"index IVF_FLAT, expected FLAT or HNSW .*index {gallery.name} --exact"
    ):
        open_gallery(gallery.name)


def test_a_missing_damaged_or_newer_manifest(gallery):
    client, name = client_of(gallery)
    (card,) = client.query(name, filter="row == 0", output_fields=["*"])
    values = json.loads(card["path"])
    wrong = values | {"schema": 99}, values | {"next_row": 0}, {"schema": 1}
    for text, error in (
        ("{", "damaged"),
        (json.dumps(wrong[0]), "schema is 99, this version reads 1; use the version"),
        (json.dumps(wrong[1]), "damaged"),
        (json.dumps(wrong[2]), "damaged"),
    ):
        client.upsert(name, [card | {"path": text}])
        with pytest.raises(GalleryError, match=error):
            open_gallery(gallery.name)
    client.delete(name, ids=[0])
    with pytest.raises(GalleryError, match="has no card"):
        open_gallery(gallery.name)


def test_parts_that_a_call_can_carry(gallery, monkeypatch):
    for module in (reading, store):
        monkeypatch.setattr(module, "ASKED", 3)
        monkeypatch.setattr(module, "RPC_BYTES", 4 * DIM * 4)  # four vectors
    monkeypatch.setattr(reading, "RECORD_BYTES", 0)
    sizes = {"insert": [], "query": [], "delete": []}
    for kind, counts in sizes.items():
        real = getattr(Collection, kind)

        def counted(self, what, *rest, real=real, counts=counts, **words):
            result = real(self, what, *rest, **words)
            counts.append(len(what if result is None else result))
            return result

        monkeypatch.setattr(Collection, kind, counted)
    kept = vectors(11)
    new = batch(kept, dim=DIM, vehicle_id=[5] * 8 + [6] * 3)
    assert gallery.add_rows(new).rows.tolist() == list(range(1, 12))
    assert sizes["insert"] == [4, 4, 3]
    assert not gallery.add_rows(new).is_new.any()
    monkeypatch.setattr(reading, "RECORD_BYTES", 16)
    sizes["query"].clear()
    assert np.array_equal(gallery.embeddings().features, kept)
    assert sizes["query"] == [1, 3, 3, 3, 2]  # the card, then rows of 64 + 16 bytes
    sizes["query"].clear()
    assert np.array_equal(gallery.vectors(range(11, 0, -1)), kept[::-1])
    assert sizes["query"] == [3, 3, 3, 2]
    assert [stored.row for stored in gallery.rows()] == list(range(1, 12))
    assert [stored.row for stored in gallery.rows(range(12, 0, -1))] == list(range(11, 0, -1))
    hits = gallery.search(kept[:1], model=MODEL, top_k=11)
    assert hits.rows.tolist() == search_by_loop(dict(enumerate(kept, 1)), kept[:1], 11)[0]
    assert gallery.remove(Selection(vehicles=(5,))) == 8
    assert sizes["delete"] == [3, 3, 2]
    assert len(gallery) == 3


def test_more_candidates_until_none_can_be_missing(gallery, monkeypatch):
    limits = []
    real = Collection.search

    def counted(self, points, expression, *, limit, **words):
        limits.append(limit)
        return real(self, points, expression, limit=limit, **words)

    monkeypatch.setattr(Collection, "search", counted)
    kept = vectors(400)
    kept[200:290] = kept[0]
    rows = dict(enumerate(kept, 1))
    gallery.add_rows(batch(kept, contents=[str(i) for i in range(400)], dim=DIM))
    query = kept[:1]
    hits = gallery.search(query, model=MODEL, top_k=5)
    # 91 rows are equally near: 5 + 16 and four times that may miss some of them, 336 may not
    assert limits == [21, 84, 336]
    assert hits.rows.tolist() == [[1, 201, 202, 203, 204]]
    far = -3 * kept[:1]
    limits.clear()
    assert (
        gallery.search(far, model=MODEL, top_k=5).rows.tolist() == search_by_loop(rows, far, 5)[0]
    )
    assert limits == [21]

    monkeypatch.setattr(search, "MAX_CANDIDATES", 64)
    with pytest.raises(GalleryError, match="Milvus returns 64 candidates at most"):
        gallery.search(query, model=MODEL, top_k=5)
    with pytest.raises(GalleryError, match="the 500 nearest rows"):
        gallery.search(far, model=MODEL, top_k=500)
    # as many as pass are no question of candidates
    gallery.remove(Selection(rows=tuple(range(64, 401))))
    left = {row: vector for row, vector in rows.items() if row < 64}
    assert gallery.search(far, model=MODEL, top_k=500).rows.tolist() == [
        search_by_loop(left, far, 500)[0][0]
    ]


def test_a_search_waits_for_the_newest_writes_once(made_on_server, monkeypatch):
    from pymilvus.client.grpc_handler import GrpcHandler

    waits, calls = [], []
    real_wait, real_search = GrpcHandler.alloc_timestamp, Collection.search

    def waited(self, *rest, **words):
        waits.append(real_wait(self, *rest, **words))
        return waits[-1]

    def called(self, points, *rest, **words):
        calls.append(len(points))
        return real_search(self, points, *rest, **words)

    name = made_on_server(DIM)
    kept = vectors(40)
    with open_gallery(name, write=True) as gallery:
        gallery.add_rows(batch(kept, dim=DIM))
    monkeypatch.setattr(GrpcHandler, "alloc_timestamp", waited)
    monkeypatch.setattr(Collection, "search", called)
    rows = dict(enumerate(kept, 1))
    with open_gallery(name) as reader, open_gallery(name, write=True) as writer:
        waits.clear()
        hits = reader.search(kept[:35], model=MODEL, top_k=3)
        assert calls == [16, 16, 3]
        assert (hits.rows.tolist(), hits.distances.tolist()) == search_by_loop(rows, kept[:35], 3)
        assert len(reader.hit_lists(hits)) == 35
        assert len(reader.vectors(hits.rows[0].tolist(), fresh=False)) == 3
        assert len(waits) == 1
        # and sees them, whoever wrote them
        writer.remove(Selection(rows=(1,)))
        assert 1 not in reader.search(kept[:1], model=MODEL, top_k=39).rows
        assert [stored.row for stored in reader.rows([1, 2])] == [2]
        assert len(waits) == len(set(waits))


def test_more_hits_than_one_answer_carries(gallery, monkeypatch):
    asked = []
    real = Collection.search

    def called(self, points, *rest, fields, **words):
        asked.append((len(points), len(fields)))
        return real(self, points, *rest, fields=fields, **words)

    monkeypatch.setattr(Collection, "search", called)
    for module in (asking, reading):
        monkeypatch.setattr(module, "RPC_BYTES", 4 * DIM * 60)  # sixty vectors
    kept = vectors(100)
    gallery.add_rows(batch(kept, dim=DIM))
    rows = dict(enumerate(kept, 1))
    for top_k, one_call in ((4, (3, 2)), (50, (1, 0))):
        # 20 candidates for each of three queries, or 66 for one, whose vectors come by parts
        asked.clear()
        hits = gallery.search(kept[:3], model=MODEL, top_k=top_k)
        assert hits.rows.tolist() == search_by_loop(rows, kept[:3], top_k)[0]
        if gallery.name.startswith("milvus://"):
            assert set(asked) == {one_call}


def test_what_a_float32_sum_can_hide():
    point = np.full(100, 2, np.float32)  # norm 20
    # (100 + 16) 2^-24 1.25 (2 20 + 3)^2 = 0.01598 about a squared distance of 9
    assert search._none_missing(point, 9.0, 9.017)
    assert not search._none_missing(point, 9.0, 9.015)
    assert not search._none_missing(np.zeros(100, np.float32), 0.0, 0.0)


def test_two_writers(gallery):
    gallery.add_rows(batch(vectors(3), dim=DIM))
    with open_gallery(gallery.name, write=True) as later:
        with pytest.raises(GalleryError, match="opened for writing by another process"):
            gallery.add_rows(batch(vectors(3, seed=1), dim=DIM))
        with pytest.raises(GalleryError, match="opened for writing by another process"):
            gallery.remove(Selection(rows=(1,)))
        assert later.add_rows(batch(vectors(3, seed=2), dim=DIM)).rows.tolist() == [4, 5, 6]
    assert len(gallery) == 6


def test_a_manifest_behind_the_rows_gives_no_number_twice(gallery):
    client, name = client_of(gallery)
    (card,) = client.query(name, filter="row == 0", output_fields=["*"])
    gallery.add_rows(batch(vectors(5), dim=DIM))
    client.upsert(name, [card])  # as from a backup
    assert gallery.add_rows(batch(vectors(2, seed=1), dim=DIM)).rows.tolist() == [6, 7]
    assert gallery.verify() == ()


def test_verify_finds_what_others_did(gallery):
    gallery.add_rows(batch(vectors(6), contents=list("abcdef"), dim=DIM))
    client, name = client_of(gallery)
    rows = client.query(name, filter="row > 0", output_fields=["*"])
    changed = list(rows[1]["vector"])
    changed[3] = float(np.nextafter(np.float32(changed[3]), np.float32(9)))
    client.upsert(
        name,
        [
            rows[1] | {"vector": changed},
            rows[2] | {"orientation": 99},
            rows[3] | {"vector": rows[0]["vector"], "crc": rows[0]["crc"]},
            rows[4] | {"row": 70},
            rows[4] | {"row": -2},
        ],
    )
    found = [(finding.kind, finding.row) for finding in gallery.verify()]
    assert found == [
        ("corrupted", 2), ("foreign", 3), ("foreign", -2), ("foreign", 70), ("duplicate", 4),
    ]  # fmt: skip
    for use in (
        lambda: gallery.vectors([1, 2]),
        lambda: gallery.search(vectors(1), model=MODEL, top_k=6),
        gallery.embeddings,
    ):
        with pytest.raises(GalleryError, match=r"row 2 of .* is corrupted"):
            use()
    with pytest.raises(GalleryError, match="row 3 was not written by this program"):
        list(gallery.rows())
    gallery.remove(Selection(rows=(2, 3, 4, 70)))
    assert [stored.row for stored in gallery.rows()] == [1, 5, 6]


def test_texts_that_a_field_cannot_hold_are_refused_whole(gallery):
    for path, content, text in (
        ("é" * 4097, "c", "has 8194 bytes, expected at most 8192"),
        ("p", "c" * 513, "has 513 bytes, expected at most 512"),
        ("\udcff", "c", "not Unicode"),
    ):
        records = (RowRecord("p", "fine"), RowRecord(path, content))
        with pytest.raises(GalleryError, match=text):
            gallery.add_rows(NewRows(MODEL, vectors(2), records))
    assert len(gallery) == 0
    assert gallery.remove(Selection(paths=("\udcff",))) == 0
    longest = RowRecord("é" * 4096, "c" * 512)
    gallery.add_rows(NewRows(MODEL, vectors(1), (longest,)))
    assert [stored.record for stored in gallery.rows()] == [longest]


def test_texts_cannot_leave_their_quotes(gallery):
    gallery.add_rows(batch(vectors(2), contents=["a", "b"], dim=DIM))
    for text in ('"] or row > 0 or content in ["', '\\"] or row > 0 or path in [\\"', "'", "\\"):
        assert gallery.holds([text]) == {}
        assert gallery.remove(Selection(paths=(text,))) == 0
    assert len(gallery) == 2


def test_filters_outside_the_range_of_a_field(gallery):
    assert filter_expression(Filter()) == "row > 0"
    assert filter_expression(Filter(cameras=(2**70,))) is None
    assert filter_expression(Filter(since_us=INT64)) is None
    assert filter_expression(Filter(until_us=-INT64)) is None
    both = Filter(cameras=(3, 2**70, 1), not_cameras=(2**70,), until_us=INT64)
    known = f"row > 0 and camera_id in [1, 3] and time_us >= {1 - INT64}"
    assert filter_expression(both) == known
    gallery.add_rows(batch(vectors(2), dim=DIM, time_us=[FIRST_US, None]))
    for where, rows in (
        (Filter(cameras=(2**40,)), []),
        (Filter(until_us=INT64), [1]),
        (Filter(since_us=-(2**70)), [1]),
        (Filter(not_cameras=(2**40,)), [1, 2]),
    ):
        hits = gallery.search(vectors(1), model=MODEL, top_k=2, where=where)
        assert hits.rows.tolist() == [rows]


def test_the_commands_do_the_same_as_in_a_folder(tmp_path, lite):
    write_artifact(tmp_path / "art")
    paths = write_images(tmp_path / "cars", 9, seed=1)
    rows = [f"{path.name},{i % 4},{i // 4}" for i, path in enumerate(paths)]
    table = tmp_path / "cars" / "labels.csv"
    table.write_text("\n".join(["path,vehicle_id,camera_id", *rows]) + "\n")
    model = (tmp_path / "art",)
    outputs = []
    for name in (str(tmp_path / "g"), f"{lite}cli"):
        steps = (
            ("gallery", "create", name, *model),
            ("gallery", "add", name, *model, "--images", f"csv:{table}", "--batch-size", 4),
            ("gallery", "add", name, *model, "--images", tmp_path / "cars"),
            ("search", "--gallery", name, *model, "--query", paths[3], "--exclude-camera", 0),
            ("search", "--gallery", name, *model, "--query", paths[3], "--expand", 2, "--rerank"),
            ("gallery", "remove", name, "--path", paths[2], "--vehicle", 1),
            ("gallery", "remove", name, "--vehicle", 77),
            ("gallery", "compact", name),
            ("gallery", "verify", name),
            ("gallery", "info", name, "--json", "-"),
            ("gallery", "info", name),
            ("gallery", "export", name, "--out", tmp_path / f"{len(outputs)}.npz"),
            ("gallery", "add", name, "--embeddings", tmp_path / f"{len(outputs)}.npz"),
            ("gallery", "create", name, *model),
        )
        outputs.append([(step, run(*step)) for step in steps])
    for i, ((step, folder), (_, milvus)) in enumerate(zip(*outputs, strict=True)):
        fails = i in (6, 13)  # no such vehicle; made already
        assert folder.exit_code == fails, folder.output
        assert milvus.exit_code == fails, milvus.output
        if step[:2] == ("gallery", "info"):
            continue
        left = folder.output.replace(str(tmp_path / "g"), "G").replace("0.npz", "N")
        right = milvus.output.replace(f"{lite}cli", "G").replace("1.npz", "N")
        if step[1] == "compact":
            assert (left, right) == (
                "G: 3 removed rows dropped, 6 rows kept\n",
                "G: the server drops removed rows in the background, 6 rows kept\n",
            )
        elif step[1] == "create" and folder.exit_code:
            assert "exists already" in left
            assert "exists already" in right
        else:
            assert right == left
    (_, folder), (_, milvus) = (results[9] for results in outputs)
    one, other = json.loads(folder.stdout), json.loads(milvus.stdout)
    for field in ("rows", "vehicles", "cameras", "with_time", "dtype", "model"):
        assert other[field] == one[field]
    assert (other["removed"], other["segments"], other["disk_bytes"]) == (None, None, None)
    assert "disk      on the server" in outputs[1][10][1].stdout
    assert outputs[1][10][1].stdout.startswith("rows      6\n")
    left, right = (Embeddings.load(tmp_path / f"{i}.npz") for i in (0, 1))
    assert np.array_equal(left.features, right.features)
    assert left.names == right.names
    write_artifact(tmp_path / "other", seed=5)
    refused = run("search", "--gallery", f"{lite}cli", tmp_path / "other",
                  "--query", paths[0])  # fmt: skip
    assert refused.exit_code == 1
    assert "model_sha256" in refused.stderr
