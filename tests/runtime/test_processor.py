"""Which instruction sets a system tells, on processors that are not here as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtml_deploy.runtime.processor import Processor, this_processor

SERVER = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8480+
flags\t\t: fpu sse2 amx_bf16 avx2 avx512f avx512_vnni avx512_bf16 amx_tile amx_int8 avx2x

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp sve i8mm bf16\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    ("told", "instructions", "words"),
    [
        (
            SERVER,
            ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"),
            "AVX2, AVX-512, AVX-512 VNNI, AVX-512 BF16, AMX, AMX INT8, AMX BF16",
        ),
        (
            ARM,
            ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
            "ASIMD, ASIMD half precision, dot products, I8MM, BF16, SVE",
        ),
        ("flags\t: fpu sse2\n", (), "no vector units"),
        ("hardware\t: unknown\n", None, "not told"),
        ("", None, "not told"),
    ],
)
def test_what_linux_tells(tmp_path: Path, told: str, instructions, words: str):
    file = tmp_path / "cpuinfo"
    file.write_text(told)
    found = this_processor(file)
    assert found.instructions == instructions
    assert words in found.told


def test_the_name_is_the_first_processor_s_and_never_empty(tmp_path: Path):
    file = tmp_path / "cpuinfo"
    file.write_text(SERVER)
    assert this_processor(file).name == "Intel(R) Xeon(R) Platinum 8480+"
    file.write_text(ARM)
    assert this_processor(file).name
    absent = this_processor(tmp_path / "none")
    assert absent.name and absent.instructions is None
    assert isinstance(this_processor(), Processor)
