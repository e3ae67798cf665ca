"""Ground-truth files: both kinds of entries, the order of the lists, and everything refused."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from helpers_embeddings import embedded

from mtml_deploy.data.source import load_source
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import DataError
from mtml_deploy.evaluation.ground_truth import read_ground_truth
from mtml_deploy.evaluation.protocols import find_protocol, same_vehicle_rows

DATA = Path(__file__).parents[3] / "shared" / "data" / "gims08"


def named(names, vehicles=None, source="set"):
    return embedded(
        np.zeros((len(names), 1), dtype=np.float32), vehicles, names=names, source=source
    )


QUERY = named(["image_query/q1.jpg", "image_query/q2.jpg", "image_query/q3.jpg"], [1, 2, -1])
GALLERY = named([f"image_test/{n}.jpg" for n in "abcd"], [1, 2, 3, -1], "gallery set")


def lists(rows):
    return [row.tolist() for row in rows]


def write(folder, *, gt="1 2\n\n4\n", jk=None, query=None, test=None):
    texts = {"gt.txt": gt, "jk.txt": jk, "name_query.txt": query, "name_test.txt": test}
    for name, text in texts.items():
        if text is not None:
            (folder / name).write_bytes(text.encode())
    return folder / "gt.txt", None if jk is None else folder / "jk.txt"


def test_numbers_count_from_one_and_names_need_no_folder(tmp_path):
    by_number = read_ground_truth(*write(tmp_path, jk="\n3 1\n\n"), QUERY, GALLERY)
    assert lists(by_number.matches) == [[0, 1], [], [3]]
    assert lists(by_number.junk) == [[], [0, 2], []]
    by_name = read_ground_truth(
        *write(tmp_path, gt="b.jpg a.jpg\r\n\r\nd.jpg\r\n", jk="\n1 3\n\n"), QUERY, GALLERY
    )
    assert lists(by_name.matches) == lists(by_number.matches)
    assert lists(by_name.junk) == lists(by_number.junk)


def test_without_junk_nothing_is_left_out(tmp_path):
    assert lists(read_ground_truth(*write(tmp_path), QUERY, GALLERY).junk) == [[], [], []]


def test_lists_beside_the_file_give_the_order(tmp_path):
    # the embeddings are in another order than the data set
    paths = write(tmp_path, query="q3.jpg\nq1.jpg\nq2.jpg\n", test="d.jpg\nc.jpg\nb.jpg\na.jpg\n")
    found = read_ground_truth(*paths, QUERY, GALLERY)
    # line 1, of q3: numbers 1 and 2 are d and c; line 3, of q2: number 4 is a
    assert lists(found.matches) == [[], [0], [2, 3]]
    assert [file.role for file in found.files] == ["matches", "query order", "gallery order"]


def test_every_file_is_recorded_with_its_hash(tmp_path):
    found = read_ground_truth(*write(tmp_path, jk="\n\n\n"), QUERY, GALLERY)
    assert [(file.role, file.path) for file in found.files] == [
        ("matches", str(tmp_path / "gt.txt")), ("junk", str(tmp_path / "jk.txt")),
    ]  # fmt: skip
    assert found.files[0].sha256 == hashlib.sha256(b"1 2\n\n4\n").hexdigest()


def test_matches_that_labels_contradict_are_counted(tmp_path):
    # query 1 is vehicle 1: a agrees, b and c do not, d is unknown; query 3 is unknown
    found = read_ground_truth(*write(tmp_path, gt="1 2 3 4\n2\n1\n"), QUERY, GALLERY)
    assert found.contradictions == 2


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"gt": "1\n2\n"}, r"gt\.txt has 2 lines, and the query set has 3 images"),
        ({"gt": "1\n2\n3\n4\n"}, "has 4 lines"),
        ({"gt": "1\n2\n\n\n"}, "has 4 lines"),
        ({"gt": "1\n\n0\n"}, r"line 3: '0' is no image of the gallery \(gallery set, 4 images\)"),
        ({"gt": "1\n5\n\n"}, r"line 2: '5' is no image"),
        ({"gt": "1\n-1\n\n"}, "holds numbers and names"),
        ({"gt": "a.jpg\nz.jpg\n\n"}, r"line 2: 'z\.jpg' is no image"),
        ({"gt": "a.jpg\n2\n\n"}, "holds numbers and names; expected one kind"),
        ({"gt": "1 2 1\n\n\n"}, "line 1 lists 1 more than once"),
        ({"jk": "2\n\n\n"}, r"jk\.txt leaves out image_test/b\.jpg for the query .*q1\.jpg, which"),
        ({"jk": "\n\n"}, r"jk\.txt has 2 lines"),
        ({"query": "q1.jpg\nq2.jpg\n"}, r"name_query\.txt lists 2 .* lacks 0, and it has 1 others"),
        ({"test": "a.jpg\nb.jpg\nc.jpg\nd.jpg\ne.jpg\n"}, r"lacks 1, .* 0 others \(e\.jpg\)"),
        ({"test": "a.jpg\na.jpg\n"}, "more than once"),
        ({"test": ""}, "is empty"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path, files, text):
    with pytest.raises(DataError, match=text):
        read_ground_truth(*write(tmp_path, **files), QUERY, GALLERY)


def test_missing_and_undecodable_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="the ground truth is missing"):
        read_ground_truth(tmp_path / "none.txt", None, QUERY, GALLERY)
    (tmp_path / "gt.txt").write_bytes(b"1\n\xff\n\n")
    with pytest.raises(DataError, match="line 2: byte 0xff"):
        read_ground_truth(tmp_path / "gt.txt", None, QUERY, GALLERY)


def test_names_must_tell_the_images_apart(tmp_path):
    twins = named(["1/a.jpg", "2/a.jpg", "1/b.jpg", "1/c.jpg"], source="twins")
    with pytest.raises(DataError, match=r"1 file names of the gallery \(twins\) .* a\.jpg"):
        read_ground_truth(*write(tmp_path, gt="a.jpg\n\n\n"), QUERY, twins)
    assert lists(read_ground_truth(*write(tmp_path), QUERY, twins).matches) == [[0, 1], [], [3]]


def test_files_of_a_real_set_say_what_its_labels_say():
    if not DATA.is_dir():
        pytest.skip(f"real data not found at {DATA}")

    def embedded(split):
        images = load_source(f"veri:{DATA}", split=split)
        cameras = np.array([record.camera_id for record in images.records], dtype=np.int32)
        rows = named(images.names(), [record.vehicle_id for record in images.records])
        return Embeddings(**{**vars(rows), "camera_ids": cameras})

    query, gallery = embedded("query"), embedded("gallery")
    found = read_ground_truth(DATA / "gt_image.txt", DATA / "jk_image.txt", query, gallery)
    same = same_vehicle_rows(query, gallery)
    excluded = find_protocol("veri776").excluded(query, gallery)
    for row in range(len(query)):
        assert found.matches[row].tolist() == sorted({*same(row)} - {*excluded(row)})
        assert found.junk[row].tolist() == excluded(row).tolist()
    assert found.contradictions == 0
    assert len(found.files) == 4
