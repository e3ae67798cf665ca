"""Track files: tracklets by image name."""

from pathlib import Path

import pytest
from helpers_datasets import write_list

from mtml_deploy.data.labels.tracks import homeless_notes, read_tracks, stranger_notes
from mtml_deploy.errors import DataError


def test_lines_are_tracklets(tmp_path: Path) -> None:
    # a blank line is no tracklet, and a name twice in one line is one image
    path = write_list(tmp_path / "t.txt", ["a.jpg a.jpg  b.jpg ", "", "c.jpg\td.jpg"])
    assert read_tracks(path) == {"a.jpg": 0, "b.jpg": 0, "c.jpg": 2, "d.jpg": 2}


def test_names_that_do_not_fit(tmp_path: Path) -> None:
    tracks = {"a.jpg": 0, "b.jpg": 1}
    assert stranger_notes("t.txt", tracks, ("a.jpg", "c.jpg")) == (
        "t.txt: 1 images are in no list: b.jpg",
    )
    assert homeless_notes("t.txt", tracks, ("a.jpg", "c.jpg")) == (
        "t.txt: 1 listed images are in no tracklet: c.jpg",
    )
    assert stranger_notes("t.txt", tracks, tuple(tracks)) == ()
    assert homeless_notes("t.txt", tracks, tuple(tracks)) == ()


def test_an_image_in_two_tracklets_is_refused(tmp_path: Path) -> None:
    path = write_list(tmp_path / "train_track.txt", ["a.jpg", "b.jpg", "c.jpg a.jpg"])
    with pytest.raises(DataError, match=r"line 3: a\.jpg is in the tracklet of line 1 too"):
        read_tracks(path)
