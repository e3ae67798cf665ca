"""The same commands give the same rows, whether a gallery is a folder or on a Milvus server."""

import re

import pytest
from helpers_artifact import write_artifact, write_images
from helpers_gallery import new_name
from test_gallery_life import records, run

import mtml_deploy as md
from mtml_deploy.gallery.milvus import gallery as milvus_gallery


@pytest.fixture
def both(on_server, tmp_path):
    """A folder and a collection of the same 9 images: 2 cameras, 4 hours, one without either."""
    write_artifact(tmp_path / "art")
    files = write_images(tmp_path / "images", 9)
    lines = ["path,vehicle_id,camera_id,time"]
    for n, file in enumerate(files[:8]):
        camera = "north gate" if n < 4 else 2
        lines.append(f"{file},{n // 2},{camera},2024-05-01T0{n % 4}:00:00")
    lines.append(f"{files[8]},9,,")
    (tmp_path / "cars.csv").write_text("\n".join(lines))
    names = str(tmp_path / "g"), new_name(on_server)
    for name in names:
        ok("gallery", "create", name, tmp_path / "art")
        ok("gallery", "add", name, tmp_path / "art", "--images", f"csv:{tmp_path / 'cars.csv'}")
    return names


def ok(*words):
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result


def test_rows_change_and_go_alike(both, tmp_path, monkeypatch):
    monkeypatch.setattr(milvus_gallery, "RPC_BYTES", 40_000)  # two rows a call
    folder, server = both
    before = records(folder)
    assert records(server) == before

    def same(*words):
        """The command on both; its output without the name."""
        told = [run("gallery", words[0], name, *words[1:]) for name in both]
        texts = [result.output.replace(name, "G") for result, name in zip(told, both, strict=True)]
        assert texts[0] == texts[1] and told[0].exit_code == told[1].exit_code, texts
        assert records(server) == records(folder)
        return texts[0]

    for words, rows in (
        (["--camera", "north gate", "--until", "2024-05-01T02:00:00"], [1, 2]),
        (["--since", "2024-05-01T03:00:00"], [4, 8]),
        (["--vehicle", 0, "--vehicle", 2, "--camera", 2], [5, 6]),
        (["--row", 1, "--row", 9], [1, 9]),
        (["--path", tmp_path / "images" / "0004.png"], [5]),
    ):
        dry = same("remove", *words, "--dry-run")
        assert [int(row) for row in re.findall(r"^(\d+)\t", dry, re.M)] == rows
        assert f"{len(rows)} rows would be removed" in dry
    assert records(server) == before

    vectors = vectors_of(server)
    labels = ["--set-vehicle", "AB-41", "--set-camera", "südtor", "--set-orientation", 3,
              "--set-time", "unknown", "--set-tracklet", 7]  # fmt: skip
    dry = same("relabel", "--camera", 2, *labels, "--dry-run")
    assert "4 rows would be labelled anew" in dry and records(server) == before
    assert "4 rows labelled anew" in same("relabel", "--camera", 2, *labels)
    changed = records(server)[6]
    assert (str(changed.vehicle_id), str(changed.camera_id)) == ("AB-41", "südtor")
    assert (changed.orientation, changed.time_us, changed.tracklet_id) == (3, None, 7)
    assert (vectors_of(server) == vectors).all()
    dry = same("remove", "--camera", "südtor", "--vehicle", "AB-41", "--dry-run")
    assert "4 rows would be removed" in dry

    assert "2 rows removed" in same("remove", "--camera", "north gate", "--until", "2024-05-01T02")
    assert "0 rows removed" in same("remove", "--until", "2024-05-01T02")
    assert "holds no row that matches" in same("remove", "--camera", 17)
    assert sorted(records(server)) == [3, 4, 5, 6, 7, 8, 9]


def vectors_of(name):
    with md.open_gallery(name) as gallery:
        assert gallery.verify() == ()
        return gallery.embeddings().features


def test_another_model_from_and_to_a_server(both, on_server, tmp_path):
    """Folder to server, and server to server, stopped in the middle: what each new one holds."""
    folder, server = both
    write_artifact(tmp_path / "other", seed=5)
    for name in both:
        ok("gallery", "remove", name, "--row", 3)
    targets = [new_name(on_server) for _ in both]
    gone = tmp_path / "images" / "0004.png"
    kept = gone.read_bytes()
    for name, target in zip(both, targets, strict=True):
        gone.unlink()
        words = ("gallery", "migrate", name, target, tmp_path / "other", "--batch-size", 2)
        stopped = run(*words)
        assert stopped.exit_code == 1 and "cannot be read; copy it back" in stopped.stderr
        gone.write_bytes(kept)
        ok(*words)
        assert "0 added, 8 there already" in ok(*words).stderr
    old, new = records(server), [records(target) for target in targets]
    assert new[0] == new[1] and list(new[0]) == list(range(1, 9))
    assert list(new[0].values()) == list(old.values())
    with md.open_model(tmp_path / "other") as model:
        expected = model.embed([record.path for record in old.values()], batch_size=2).features
    for target in targets:
        assert (vectors_of(target) == expected).all()
    refused = run("gallery", "migrate", folder, server, tmp_path / "other")
    assert refused.exit_code == 1 and "model" in refused.stderr
