"""Conversion: what is written, what it is compared with, and that a bad model is not written."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers_cli import run
from helpers_hints import parsed_line
from helpers_precision import (
    BRANCHES,
    mini_artifact,
    mini_model,
    pictures,
    scale_weight,
    write_pictures,
)

from mtml_deploy.artifact.artifact import Artifact, file_sha256, open_artifact
from mtml_deploy.data.records import ImageRecord
from mtml_deploy.errors import ArtifactError, DataError, OutputExistsError, ParityError
from mtml_deploy.parity.agreement import agreement
from mtml_deploy.precision import convert as module
from mtml_deploy.precision import mixed as search
from mtml_deploy.precision.calibration_list import (
    CalibrationImage,
    CalibrationSet,
    write_calibration,
)
from mtml_deploy.precision.convert import convert
from mtml_deploy.precision.options import Conversion
from mtml_deploy.runtime.open import open_runtime

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "gims08"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """`fp32`, images to compare on, and a calibration list of others."""
    mini_artifact(tmp_path / "fp32")
    write_pictures(tmp_path / "images", 12, seed=1)
    paths = write_pictures(tmp_path / "calibration", 10, seed=2)
    (tmp_path / "list.txt").write_text("".join(f"calibration/{path.name}\n" for path in paths))
    return tmp_path


def int8(place: Path, **changes: object) -> Conversion:
    conversion = Conversion(
        precision="int8", images=str(place / "images"), calibration=place / "list.txt"
    )
    return replace(conversion, **changes)  # type: ignore[arg-type]


def fp16(place: Path) -> Conversion:
    return Conversion(precision="fp16", images=str(place / "images"))


def embeddings(artifact: Artifact, images: np.ndarray) -> np.ndarray:
    with open_runtime(artifact) as runtime:
        return runtime.run(images)


def untouched(place: Path) -> None:
    """No new folder, whole or half."""
    assert sorted(path.name for path in place.iterdir()) == [
        "calibration", "fp32", "images", "list.txt",
    ]  # fmt: skip


def test_fp16(place: Path) -> None:
    before = open_artifact(place / "fp32")
    found = convert(before, place / "fp16", fp16(place))
    manifest = found.manifest
    assert manifest.precision == "fp16"
    assert manifest.model_sha256 == file_sha256(found.model_path)
    assert manifest.conversion is not None
    assert manifest.conversion["from_sha256"] == before.manifest.model_sha256
    assert manifest.conversion["kept_fp32"] == []
    for name in ("checkpoint_sha256", "embedding", "branches", "dim", "training", "licence"):
        assert getattr(manifest, name) == getattr(before.manifest, name)
    assert manifest.parity["reference"] == "fp32"
    assert manifest.parity["images"] == 12
    assert set(manifest.parity["branches"]) == set(BRANCHES)  # type: ignore[call-overload]
    images = pictures(5, seed=3)
    measured = agreement(embeddings(before, images), embeddings(found, images))
    assert measured.cosine_min >= 0.9995
    assert measured.max_abs > 0  # it is not the fp32 model
    kinds = {t.data_type for t in onnx.load(found.model_path).graph.initializer
             if t.name.endswith("weight")}  # fmt: skip
    assert kinds == {onnx.TensorProto.FLOAT16}


def test_threads_decode_images_and_model_threads_run_every_model(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def counted(self: ThreadPoolExecutor, threads: int, **options: object) -> None:
        started.append(threads)
        POOL(self, threads, **options)  # type: ignore[arg-type]

    def session(
        *arguments: object, sess_options: onnxruntime.SessionOptions, **options: object
    ) -> object:
        used.append(sess_options.intra_op_num_threads)
        return SESSION(*arguments, sess_options=sess_options, **options)

    POOL, SESSION = ThreadPoolExecutor.__init__, onnxruntime.InferenceSession
    used: list[int] = []
    monkeypatch.setattr(ThreadPoolExecutor, "__init__", counted)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    found = convert(
        open_artifact(place / "fp32"),
        place / "int8",
        int8(place, max_map_drop=0.5, threads=3, model_threads=2),
    )
    assert found.manifest.precision == "int8"
    assert set(used) == {2} and len(used) > 5  # ranges, noise of layers, candidates, the result
    assert set(started) == {3} and len(started) == 2  # those to calibrate and to compare on
    with pytest.raises(ValueError, match="threads are 0 or more, found -1 and 0"):
        int8(place, threads=-1)


def test_int8(place: Path) -> None:
    before = open_artifact(place / "fp32")
    found = convert(before, place / "int8", int8(place, calibrator="percentile"))
    record = found.manifest.conversion
    assert record is not None
    assert (record["quantised"], record["kept_fp16"]) == (16, [])
    assert (record["calibrator"], record["calibration_images"]) == ("percentile", 10)
    assert record["calibration_sha256"] == file_sha256(place / "list.txt")
    images = pictures(5, seed=3)
    measured = agreement(embeddings(before, images), embeddings(found, images))
    assert 0.99 <= measured.cosine_min < 0.99999
    assert [path.name for path in sorted(found.folder.iterdir())] == ["manifest.json", "model.onnx"]


def test_what_overflows_is_kept_and_named(place: Path, tmp_path: Path) -> None:
    model = mini_model()
    scale_weight(model, "scale.layer1.0.conv1.weight", 1e5)
    scale_weight(model, "scale.layer1.0.conv2.weight", 1e-5)
    found = convert(mini_artifact(tmp_path / "large", model), tmp_path / "fp16", fp16(place))
    assert found.manifest.conversion is not None
    assert found.manifest.conversion["kept_fp32"] == [
        "scale.layer1.0.conv1", "scale.scale.layer1.0.relu1", "scale.layer1.0.conv2",
    ]  # fmt: skip
    assert found.manifest.parity["branches"]["scale"]["cosine_min"] >= 0.9995  # type: ignore[index,call-overload]


def test_what_overflows_unseen_is_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mini_model()
    scale_weight(model, "scale.layer1.0.conv1.weight", 1e5)
    scale_weight(model, "scale.layer1.0.conv2.weight", 1e-5)
    artifact = mini_artifact(tmp_path / "large", model)
    monkeypatch.setattr(module, "overflowing", lambda *_: ())
    # ONNX Runtime on this CPU would not have noticed
    with pytest.raises(ParityError, match=r"scale of the converted model is not finite"):
        convert(artifact, tmp_path / "fp16", fp16(place))
    assert not (tmp_path / "fp16").exists()


def spoil(monkeypatch: pytest.MonkeyPatch, *sources: str) -> None:
    """Quantisation steps far too coarse."""
    measure = module.quantisation_steps

    def coarse(*args: object) -> dict[str, float]:
        steps = measure(*args)  # type: ignore[arg-type]
        return {name: step * (100 if name in sources else 1) for name, step in steps.items()}

    monkeypatch.setattr(module, "quantisation_steps", coarse)


def test_a_bad_int8_model_is_refused_and_leaves_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, "scale.layer2.0.relu1")
    refusal = (
        r"cosine to fp32 of scale is 0\.\d+, must be at least 0\.99; the model was not written"
    )
    with pytest.raises(ParityError, match=refusal):
        convert(open_artifact(place / "fp32"), place / "int8", int8(place))
    untouched(place)


def labelled(place: Path) -> str:
    """The images as four vehicles, each with itself in the gallery."""
    lines = [f"{i:03}.png,{i // 3},{i}" for i in range(12)]
    (place / "images" / "labels.csv").write_text("\n".join(["path,vehicle_id,camera_id", *lines]))
    return f"csv:{place / 'images' / 'labels.csv'}"


def test_mixed_layers_pass_where_int8_does_not(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, "identity.layer2.0.downsample.0.out", "scale.layer2.0.relu1")
    said: list[str] = []
    asked = int8(place, max_map_drop=0.05, data=labelled(place), protocol="plain")
    found = convert(open_artifact(place / "fp32"), place / "mixed", asked, say=said.append)
    record = found.manifest.conversion
    assert record is not None
    spoiled = {"identity.layer2.0.add", "scale.layer2.0.conv2"}
    assert set(record["kept_fp16"]) == spoiled  # type: ignore[call-overload]
    report = json.loads((found.folder / "sensitivity.json").read_text())
    kept = [layer["layer"] for layer in report["layers"] if layer["precision"] == "fp16"]
    assert sorted(kept) == sorted(record["kept_fp16"])  # type: ignore[call-overload]
    assert {layer["layer"] for layer in report["layers"][:2]} == spoiled
    curve = report["curve"]
    assert [point["passed"] for point in curve] == [False] * (len(curve) - 1) + [True]
    assert [point["kept"] for point in curve] == [0, 1, 2, 4, 8, 15][: len(curve)]
    assert curve[0]["mean_ap"] is None  # a model that breaks the cosine is not embedded
    assert abs(curve[-1]["mean_ap"] - report["mean_ap_fp32"]) <= 0.05
    text = (found.folder / "sensitivity.md").read_text()
    assert f"{len(kept)} of 16 layers stay fp16" in text
    assert f"| 1 | {report['layers'][0]['layer']} |" in text
    assert (found.folder / "sensitivity.svg").is_file()
    assert "trying int8 with 0 of 16 layers in fp16" in said


def test_without_data_cosine_alone_decides_and_that_is_said(place: Path) -> None:
    said: list[str] = []
    found = convert(
        open_artifact(place / "fp32"),
        place / "mixed",
        int8(place, max_map_drop=0.005),
        say=said.append,
    )
    assert "no --data: layers are kept by cosine alone, mAP is not measured" in said
    assert "mAP not measured" in (found.folder / "sensitivity.md").read_text()
    assert json.loads((found.folder / "sensitivity.json").read_text())["mean_ap_fp32"] is None


def test_a_search_that_cannot_pass_writes_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, "scale.layer2.0.relu1")
    # the fault is made the least sensitive layer, so that it is kept last
    ranked = search.rank_layers
    monkeypatch.setattr(search, "rank_layers", lambda *a, **k: ranked(*a, **k)[::-1])
    with pytest.raises(ParityError, match=r"with 15 of 16 layers in fp16 the int8 model still"):
        convert(open_artifact(place / "fp32"), place / "mixed", int8(place, max_map_drop=0.005))
    untouched(place)


def test_only_fp32_is_converted(place: Path) -> None:
    half = convert(open_artifact(place / "fp32"), place / "fp16", fp16(place))
    with pytest.raises(ArtifactError, match="is fp16 already, expected an fp32 artifact"):
        convert(half, place / "again", int8(place))


def test_an_existing_artifact_is_left_alone(place: Path) -> None:
    (place / "out").mkdir()
    with pytest.raises(OutputExistsError):
        convert(open_artifact(place / "fp32"), place / "out", fp16(place))
    convert(open_artifact(place / "fp32"), place / "out", fp16(place), overwrite=True)
    assert open_artifact(place / "out").manifest.precision == "fp16"


def test_calibration_images_are_not_compared_on(place: Path) -> None:
    conversion = int8(place, images=str(place / "calibration"))
    with pytest.raises(ParityError, match="holds 0 image that is not used for calibration"):
        convert(open_artifact(place / "fp32"), place / "int8", conversion)
    untouched(place)


def test_a_list_with_a_manifest_is_held_to_it(place: Path) -> None:
    def image(path: Path, vehicle: int) -> CalibrationImage:
        return CalibrationImage(ImageRecord(path, vehicle, 0, 0), file_sha256(path))

    paths = sorted((place / "calibration").iterdir())
    chosen = CalibrationSet(
        source="veri:somewhere",
        seed=0,
        heldout_fraction=0.5,
        calibration=tuple(image(path, 1) for path in paths[:5]),
        heldout=tuple(image(path, 2) for path in paths[5:]),
    )
    with pytest.raises(
        OutputExistsError, match=r"list\.txt is a list of images, not a list of cal"
    ):
        write_calibration(place / "list.txt", chosen, overwrite=True)
    (place / "list.txt").unlink()
    write_calibration(place / "list.txt", chosen)
    found = convert(open_artifact(place / "fp32"), place / "int8", int8(place))
    assert found.manifest.conversion is not None
    assert found.manifest.conversion["calibration_images"] == 5
    paths[3].write_bytes(paths[7].read_bytes())
    with pytest.raises(DataError, match=r"are not the files that were chosen.*003\.png"):
        convert(open_artifact(place / "fp32"), place / "again", int8(place))
    assert not (place / "again").exists()


def test_the_training_data_is_the_default(place: Path) -> None:
    with pytest.raises(ParityError, match=r"those of veri:somewhere could not be read .*--images"):
        convert(open_artifact(place / "fp32"), place / "fp16", Conversion(precision="fp16"))
    bare = mini_artifact(place / "bare", training={})
    with pytest.raises(DataError, match="does not say which images"):
        convert(bare, place / "fp16", Conversion(precision="fp16"))


def test_choices_that_do_not_fit() -> None:
    with pytest.raises(DataError, match=r"mtml-deploy calibrate choose --data veri:DIR --out LIST"):
        Conversion(precision="int8")
    with pytest.raises(DataError, match="are for --int8"):
        Conversion(precision="fp16", calibration=Path("list.txt"))
    with pytest.raises(DataError, match="add for example --max-map-drop"):
        Conversion(precision="int8", calibration=Path("list.txt"), data="veri:x")
    with pytest.raises(ValueError, match="fraction"):
        Conversion(precision="int8", calibration=Path("list.txt"), max_map_drop=5)


def test_the_command(place: Path) -> None:
    words = ("convert", place / "fp32", "--images", place / "images", "--out", place / "out")
    result = run(*words, "--int8", "--calibration", place / "list.txt", "--json", place / "m.json")
    assert result.exit_code == 0, result.output
    assert json.loads((place / "m.json").read_text())["reference"] == "fp32"
    assert "precision  int8\n" in result.stdout and "at least 0.99 " in result.stdout
    assert "FAILED" not in result.stdout
    assert f"wrote {place / 'out'}\n" in result.stderr
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("next: "))
    assert parsed_line(line.removeprefix("next: ")).params["reference"] == place / "fp32"
    assert run("info", place / "out").exit_code == 0


def test_the_command_refuses(place: Path) -> None:
    words = ("convert", place / "fp32", "--images", place / "images", "--out", place / "out")
    result = run(*words, "--int8")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "mtml-deploy calibrate choose" in result.stderr
    assert run(*words).exit_code == run(*words, "--fp16", "--int8").exit_code == 2
    result = run(*words, "--int8", "--calibration", place / "absent.txt")
    assert result.exit_code == 1
    assert "no calibration list" in result.stderr
    untouched(place)


def test_real_pictures(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip(f"no real images in {DATA}")
    artifact = mini_artifact(tmp_path / "fp32")
    chosen = sorted((DATA / "image_train").iterdir())[::100]
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in chosen))
    asked = Conversion(
        precision="int8",
        images=f"veri:{DATA}#gallery",
        calibration=tmp_path / "list.txt",
        max_map_drop=0.05,
        data=f"veri:{DATA}",
    )
    found = convert(artifact, tmp_path / "int8", asked)
    report = json.loads((found.folder / "sensitivity.json").read_text())
    assert 0.05 < report["mean_ap_fp32"] < 1
    assert abs(report["curve"][-1]["mean_ap"] - report["mean_ap_fp32"]) <= 0.05
