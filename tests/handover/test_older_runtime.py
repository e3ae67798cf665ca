"""A file for ONNX Runtime 1.17, loaded there, in an environment of the test's own."""

import json
import subprocess

import numpy as np
import pytest
from helpers_artifact import SIZE, expected_embeddings, write_artifact
from helpers_environment import environment

from mtml_deploy.handover.variant import Variant, write_variant

pytestmark = pytest.mark.slow
PACKAGES = ("onnxruntime==1.17.3", "numpy==1.26.4", "flatbuffers==25.12.19", "packaging==26.3",
            "protobuf==7.36.2", "coloredlogs==15.0.1", "humanfriendly==10.0", "sympy==1.14.0",
            "mpmath==1.3.0")  # fmt: skip

SCRIPT = """
import json, sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
images = np.load(sys.argv[2])
print(json.dumps([onnxruntime.__version__, session.run(None, {"images": images})[0].tolist()]))
"""


def test_ir_version_9_loads_in_1_17(tmp_path):
    python = environment("ort-1.17", PACKAGES, with_base=False)
    images = np.random.default_rng(6).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    plain = write_artifact(tmp_path / "art")
    older = write_variant(plain, tmp_path / "older", Variant(ir_version=9))

    def run(artifact):
        words = [python, "-c", SCRIPT, artifact.model_path, tmp_path / "images.npy"]
        return subprocess.run(words, capture_output=True, text=True, timeout=120)

    assert "IR version: 10" in run(plain).stderr or "ir_version" in run(plain).stderr.lower()
    done = run(older)
    assert done.returncode == 0, done.stderr
    version, rows = json.loads(done.stdout)
    assert version == "1.17.3"
    np.testing.assert_allclose(rows, expected_embeddings(images), atol=1e-3)
