"""A calibrated distance that nobody has measured."""

from __future__ import annotations

from msgspec.structs import replace

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.threshold import Threshold


def a_threshold(artifact: Artifact, **changes) -> Threshold:
    """A valid record of an artifact."""
    record = Threshold(
        created="2026-11-28T12:00:00+00:00",
        version="1",
        model_sha256=artifact.manifest.model_sha256,
        precision="fp32",
        normalised=None,
        backend="ort",
        device="cpu",
        computes_in="",
        protocol="veri776",
        mode="image-to-image",
        fpr=0.001,
        distance=0.75,
        distance_interval=(0.5, None),
        tpr=0.9,
        tpr_interval=(0.8, 0.95),
        positive_pairs=1000,
        negative_pairs=20_000,
        accepted_negative_pairs=20,
        queries=324,
        vehicles=40,
        query_source="veri:D#query",
        gallery_source="veri:D#gallery",
        query_sha256="a" * 64,
        gallery_sha256="b" * 64,
    )
    return replace(record, **changes)
