"""Fast decoding of float16 equals NumPy's, for every finite value."""

import numpy as np

from mtml_deploy.gallery.folder.fp16 import decode_half, keeps_subnormals


def test_every_finite_value_bit_for_bit():
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)].reshape(-1, 2)
    assert values.size == (1 << 16) - (1 << 11)  # two signs of 2^10 words are infinite or NaN
    buffer = np.full(values.size + 5, -1, dtype=np.int32)
    found = decode_half(values, buffer)
    assert found.dtype == np.float32
    assert np.array_equal(found.view(np.uint32), values.astype(np.float32).view(np.uint32))


def test_subnormals_are_kept_here():
    assert keeps_subnormals()
