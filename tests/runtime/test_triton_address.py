"""How `--backend` names a model on a server."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from helpers_artifact import write_artifact

from mtml_deploy.cli.main import main
from mtml_deploy.errors import BackendError
from mtml_deploy.runtime.open import open_runtime
from mtml_deploy.runtime.triton_address import TritonAddress, on_server


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("triton://box:8000/mtml", TritonAddress("http", "box:8000", "mtml")),
        ("triton+grpc://10.0.0.1:8001/m.1", TritonAddress("grpc", "10.0.0.1:8001", "m.1")),
        ("triton://[::1]:8000/mtml/", TritonAddress("http", "[::1]:8000", "mtml")),
        ("triton://box:8000/mtml/12", TritonAddress("http", "box:8000", "mtml", "12")),
        (
            "triton://box:8000/mtml/2?timeout=7",
            TritonAddress("http", "box:8000", "mtml", "2", timeout_s=7),
        ),
    ],
)
def test_the_parts_of_an_address(text, expected):
    assert TritonAddress.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "triton", "triton:", "triton://", "triton://box/mtml", "triton://box:8000",
        "triton://box:8000/", "triton://box:0/mtml", "triton://box:65536/mtml",
        "triton://box:8000/mtml/0", "triton://box:8000/mtml/x", "triton://box:8000/mtml?time=3",
        "triton://box:8000/mtml?timeout=0", "triton+http://box:8000/mtml", "triton+grpc:box:1/m",
        "triton://user@box:8000/mtml", "triton://box:8000/a b", "triton://box:8000/mtml\n",
        "triton://böx:8000/mtml",
    ],
)  # fmt: skip
def test_another_form_is_refused(text):
    assert on_server(text)
    with pytest.raises(BackendError, match=r"expected triton://HOST:PORT/MODEL or triton\+grpc"):
        TritonAddress.parse(text)


def test_a_name_is_no_address():
    assert not any(map(on_server, ("ort", "tensorrt", "tritons://a:1/b", "")))


def test_a_wrong_backend_names_what_there_is(tmp_path):
    artifact = write_artifact(tmp_path / "art")
    with pytest.raises(BackendError, match=r"one of ort, .*, or triton://HOST:PORT/MODEL"):
        open_runtime(artifact, backend="onnx")
    words = ["embed", str(artifact.folder), "--images", "x", "--out", "x.npz", "--backend"]
    found = CliRunner().invoke(main, [*words, "triton://box/mtml"])
    assert found.exit_code == 2 and "expected triton://HOST:PORT/MODEL" in found.stderr
    found = CliRunner().invoke(main, [*words, "onnx"])
    assert found.exit_code == 2 and "'openvino'" in found.stderr
