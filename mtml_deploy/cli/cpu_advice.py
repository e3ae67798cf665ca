"""Which way to run a model on this CPU: what `mtml-deploy doctor` says last.

In: an artifact, or none. Out: the ways with their verdicts, and one sentence. It rests on what is
installed, what the processor has, and which verdicts of the parity gate lie beside the artifact.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtml_deploy.runtime.cpu_ways import JudgedWay


def on_the_cpu(artifact: Path | None, *, ort: bool) -> tuple[tuple[JudgedWay, ...], str]:
    """The ways to run an artifact on this CPU, fastest first, and the one to take.

    Args:
        artifact: its folder; None says what is the fastest of all.
        ort: ONNX Runtime is installed.

    Returns:
        The ways, none without an artifact; and the advice, one sentence.

    Raises:
        ArtifactError: it is none.
    """
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.runtime.cpu_ways import computed_by_instructions, cpu_ways, judged_ways
    from mtml_deploy.runtime.openvino import offered_precisions
    from mtml_deploy.runtime.processor import this_processor

    offered = offered_precisions()
    computed = (offered or {}).get("cpu", ())
    opened = None if artifact is None else open_artifact(artifact)
    model = "fp32" if opened is None else opened.manifest.precision
    ways = cpu_ways(computed, ort=ort, model=model)
    judged = () if opened is None else judged_ways(opened, ways)
    missing = ""
    if offered is None:
        best = computed_by_instructions(this_processor())[-1]
        missing = (
            f"; OpenVINO is not installed, it would compute in {best} here: "
            "pip install 'mtml-reid[openvino]'"
        )
    if not ways:
        return judged, "fastest on this CPU: nothing that runs a model is installed" + missing
    if artifact is None:
        return judged, (
            f"fastest on this CPU: {ways[0].flags}{missing}; which ways an artifact may take says "
            "mtml-deploy doctor MODEL"
        )
    passed = [way.flags for way in judged if way.gate == "passed"]
    if not passed:
        return judged, "no way on this CPU has passed the parity gate for this artifact" + missing
    return judged, f"fastest on this CPU that the parity gate has passed: {passed[0]}{missing}"
