"""From which distance on two images show different vehicles, as the artifact's record tells."""

from __future__ import annotations

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.threshold import calibrated_distance


def default_max_distance(artifact: Artifact) -> float | None:
    """The distance up to which hits are shown where a client names none.

    Args:
        artifact: the model.

    Returns:
        An L2 distance; None where the artifact has no record of one, and all are shown.

    Raises:
        ArtifactError: its record is damaged.
    """
    found = calibrated_distance(artifact)
    return None if found is None else found.distance
