"""What a reader of the search page is told of its model.

In: an artifact. Out: words and numbers, as the service's `/v1/info` and a page in a file hold them.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import to_builtins

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.artifact.threshold import calibrated_distance
from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.text import percent


def model_label(manifest: Manifest) -> str:
    """The model in few words: variant, backbone and what an embedding is."""
    return f"{manifest.variant} {manifest.backbone} {manifest.embedding}"


def measured_at(manifest: Manifest) -> str:
    """What the model was measured at when it was trained.

    Args:
        manifest: of the model.

    Returns:
        One phrase; where the record holds no measurement it says so.
    """
    found = manifest.training.get("validation")
    values = found if isinstance(found, Mapping) else {}
    told = [
        f"{name} {percent(value)} %"
        for name in ("mAP", "CMC@1")
        if isinstance(value := values.get(name), int | float)
    ]
    if not told:
        return "not measured in training"
    return f"{', '.join(told)} in validation"


def page_facts(model: ModelIdentity, artifact: Artifact | None) -> dict[str, object]:
    """What a page in a file says of the model of its lists.

    Args:
        model: of the queries.
        artifact: of the model, where it is at hand.

    Raises:
        ArtifactError: its record of a distance is damaged.
    """
    manifest = None if artifact is None else artifact.manifest
    cut = None if artifact is None else calibrated_distance(artifact)
    return {
        "model": to_builtins(model),
        "label": model.embedding if manifest is None else model_label(manifest),
        "measured": None if manifest is None else measured_at(manifest),
        "warning": None,
        "max_distance": None if cut is None else cut.distance,
        "max_distance_words": None if cut is None else cut.in_words(),
    }
