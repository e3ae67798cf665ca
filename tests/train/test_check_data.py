"""Checking a copy of a data set: every kind of fault is found, and nothing else."""

import shutil
from pathlib import Path

import pytest
from helpers_datasets import (
    REAL,
    VERI_QUERY,
    VERI_TEST,
    VERI_TRAIN,
    keypoint_line,
    write_images,
    write_list,
    write_veri,
    write_xml,
)
from PIL import Image

from mtml_deploy.data.data_sets import DATA_SETS, Counts
from mtml_deploy.errors import DataError
from mtml_train.data_check.check import check_data
from mtml_train.data_check.report import DataCheck, SplitCheck, render


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_veri(tmp_path / "VeRi")


def part(check: DataCheck, split: str) -> SplitCheck:
    return next(found for found in check.splits if found.split == split)


def test_a_faultless_subset(root: Path) -> None:
    steps: list[tuple[int, int]] = []
    check = check_data(f"veri:{root}", threads=2, progress=lambda *step: steps.append(step))
    assert check.complete and not check.as_published
    assert [split.split for split in check.splits] == ["train", "query", "gallery"]
    assert part(check, "train").found == Counts(3, 2, 2, 3)
    assert part(check, "query").found == Counts(1, 1, 1, 1)
    # the query is byte for byte an image of the gallery, as in the published set
    assert check.identical == ()
    for split in check.splits:
        assert split == SplitCheck(split.split, split.found, split.published)
    assert [total for _, total in steps] == [14] * len(steps)  # 7 files, read and decoded
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1] == (14, 14)
    text = render(check)
    assert "Complete" in text and "differ from the published" in text
    assert "| train | 3 (published: 37778) | 2 (published: 576) | 2 | 3 (published: 8) |" in text


def test_one_split_only(root: Path) -> None:
    shutil.rmtree(root / "image_train")
    check = check_data(f"veri:{root}#gallery", decode=False)
    assert [split.split for split in check.splits] == ["gallery"] and check.complete
    assert "not decoded" in render(check)


def test_each_fault_is_listed(root: Path) -> None:
    test = root / "image_test"
    (test / VERI_TEST[0]).unlink()  # missing
    Image.new("RGB", (9, 9)).save(test / VERI_TEST[2], "PNG")  # not what its suffix says
    write_images(test, ["0009_c001_00000001_0.jpg"])  # unlisted
    train = root / "image_train"
    data = (train / VERI_TRAIN[0]).read_bytes()
    (train / VERI_TRAIN[0]).write_bytes(data[: len(data) // 2])  # unreadable
    shutil.copy(train / VERI_TRAIN[1], train / VERI_TRAIN[2])  # equal bytes
    write_list(root / "keypoint_train.txt", [keypoint_line(VERI_TRAIN[1], 0)])  # unlabelled
    check = check_data(f"veri:{root}", threads=1)
    assert not check.complete
    gallery, trained = part(check, "gallery"), part(check, "train")
    assert gallery.missing == (VERI_TEST[0],) and gallery.found.images == 2
    assert gallery.wrong_suffix == (f"{VERI_TEST[2]} holds a PNG",)
    assert gallery.unlisted == ("0009_c001_00000001_0.jpg",)
    assert gallery.unreadable == () and gallery.faults == ()
    (unreadable,) = trained.unreadable
    assert unreadable.startswith(f"{VERI_TRAIN[0]}: truncated")
    assert trained.without_orientation == (VERI_TRAIN[0], VERI_TRAIN[2])
    assert trained.complete is False and part(check, "query").complete
    assert check.identical == (tuple(f"image_train/{name}" for name in VERI_TRAIN[1:]),)
    text = render(check)
    for words in ("NOT complete", "gallery: 1 listed images have no file", f"- {VERI_TEST[0]}\n"):
        assert words in text


def test_lists_and_labels_that_do_not_load(root: Path) -> None:
    write_list(root / "name_train.txt", [*VERI_TRAIN, VERI_TRAIN[0]])
    (root / "name_query.txt").unlink()
    (root / "test_label.xml").write_text("<Items>")
    check = check_data(f"veri:{root}", decode=False)
    assert part(check, "train").repeated == (VERI_TRAIN[0],)
    assert "more than once" in part(check, "train").faults[0]
    assert part(check, "train").found == Counts(3, None, None, None)
    assert "name_query.txt" in part(check, "query").faults[0]
    assert part(check, "query").unlisted == VERI_QUERY
    assert "not well-formed" in part(check, "gallery").faults[0]
    assert not any(split.complete for split in check.splits)


def test_without_decoding_first_bytes_are_judged(root: Path) -> None:
    (root / "image_test" / VERI_TEST[0]).write_bytes(b"")
    (root / "image_test" / VERI_TEST[2]).write_bytes(b"")
    check = check_data(f"veri:{root}#gallery", decode=False)
    assert [text.partition(":")[0] for text in part(check, "gallery").unreadable] == [
        VERI_TEST[0],
        VERI_TEST[2],
    ]
    assert check.identical == ()  # two empty files are unreadable, not copies


def test_equal_bytes_that_are_not_a_query_and_its_copy(root: Path) -> None:
    # a training image in the gallery is a leak, whatever it is called
    shutil.copy(root / "image_train" / VERI_TRAIN[0], root / "image_test" / VERI_TEST[0])
    # a copy of a query under another name counts beside the original, the query itself does not
    shutil.copy(root / "image_query" / VERI_QUERY[0], root / "image_test" / VERI_TEST[2])
    assert check_data(f"veri:{root}", decode=False).identical == (
        (f"image_test/{VERI_TEST[0]}", f"image_train/{VERI_TRAIN[0]}"),
        (f"image_test/{VERI_TEST[1]}", f"image_test/{VERI_TEST[2]}"),
    )


def test_cityflow(tmp_path: Path) -> None:
    names = ["000001.jpg", "000002.jpg"]
    for folder in ("train", "query", "test"):
        write_images(tmp_path / f"image_{folder}", names)
        write_list(tmp_path / f"name_{folder}.txt", names)
    items = [{"imageName": name, "vehicleID": "7", "cameraID": "c001"} for name in names]
    write_xml(tmp_path / "train_label.xml", items)
    check = check_data(f"cityflow:{tmp_path}", threads=1)
    assert check.complete and not check.as_published
    assert part(check, "train").found == Counts(2, 1, 1, 0)
    assert part(check, "gallery").without_id == tuple(names)
    assert part(check, "train").without_orientation == ()  # the format has none
    # equal names are different images here, so equal bytes are remarkable
    assert len(check.identical) == 2


def test_formats_without_splits(root: Path) -> None:
    rows = ["path,vehicle_id", "image_test/none.jpg,", "name_test.txt,1"]
    table = write_list(root / "t.csv", rows)
    (images,) = check_data(f"csv:{table}", threads=1).splits
    assert images.missing == ("image_test/none.jpg",)
    assert images.without_id == ("none.jpg",) and images.found == Counts(1, 1, 0, 0)
    assert "not an image" in images.unreadable[0]
    folder = check_data(str(root / "image_test"), decode=False)
    assert folder.complete and folder.as_published
    assert folder.splits[0].found == Counts(images=3) and folder.splits[0].without_id == ()
    (root / "bad.csv").write_text("nothing\n")
    assert not check_data(f"csv:{root / 'bad.csv'}").complete


def test_no_such_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        check_data(f"veri:{tmp_path / 'none'}")


def test_published_counts_recognise_the_published_set() -> None:
    # Kanaci et al. 2019, Table 1, copied by hand
    published = DATA_SETS["veri"].published["train"]
    assert (published.images, published.ids, published.orientations) == (37778, 576, 8)
    cityflow = DATA_SETS["cityflow"].published
    assert (cityflow["gallery"].images, cityflow["train"].ids) == (18290, 333)
    whole = SplitCheck("train", Counts(37778, 576, 20, 8), published)
    assert whole.as_published
    assert not SplitCheck("train", Counts(37777, 576, 20, 8), published).as_published
    text = render(DataCheck("veri:V", (whole,), (), True))
    assert "The counts are the published ones." in text and "(published:" not in text


def test_long_lists_are_shortened() -> None:
    names = tuple(f"{number}.jpg" for number in range(25))
    text = render(DataCheck("csv:a", (SplitCheck("images", Counts(0), missing=names),), (), True))
    assert "## images: 25 listed images have no file" in text
    assert "- 19.jpg\n- and 5 more\n" in text and "- 20.jpg" not in text


def test_real_images() -> None:
    if not (REAL / "gims08").is_dir():
        pytest.skip("the real images are not here")
    check = check_data(f"veri:{REAL / 'gims08'}#gallery", threads=2)
    assert check.complete and not check.as_published
    assert part(check, "gallery") == SplitCheck(
        "gallery", Counts(1120, 10, 8, 8), DATA_SETS["veri"].published["gallery"]
    )
    assert check.identical == ()
