"""The distance up to which a model's embeddings show one vehicle, kept beside the model.

In: an artifact and what was measured. Out: `ART/threshold.json`, with a checksum of itself, and the
record read back: what searches cut their lists by.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import Normalised, Precision
from mtml_deploy.defaults import Rounding
from mtml_deploy.errors import ArtifactError
from mtml_deploy.files import write_text
from mtml_deploy.output_kind import json_kind
from mtml_deploy.record_file import Count, Fraction, Positive, Record, Sha256
from mtml_deploy.regular_file import RECORD_BYTES, read_regular
from mtml_deploy.seal import parse_sealed, sealed_json
from mtml_deploy.text import printable

THRESHOLD_FILE: Final = "threshold.json"

Distance = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class Threshold(Record, frozen=True, kw_only=True):
    """A distance, what it accepts, and what it was measured on.

    Attributes:
        schema: version of this record.
        created: when, ISO 8601, UTC.
        version: of the program that measured.
        model_sha256: of the model file.
        precision: of the model.
        normalised: what its graph scales to length 1; None for raw embeddings.
        backend: what ran it; empty where embeddings files were given.
        device: where; likewise.
        computes_in: what the backend rounded float32 values to; empty where it did not.
        protocol: which pairs took part.
        mode: what was compared with what, "image-to-image" where nothing was pooled.
        fpr: largest share of the other pairs that may be accepted.
        distance: L2 distance; a pair is accepted at it and below.
        distance_interval: 95 % of other draws of vehicles, null where it is open.
        tpr: share of the matching pairs that is accepted.
        tpr_interval: likewise.
        positive_pairs: matching pairs.
        negative_pairs: other pairs.
        accepted_negative_pairs: of these, how many are accepted.
        queries: that took part.
        vehicles: of these queries.
        query_source: where the queries came from.
        gallery_source: where the gallery came from.
        query_sha256: of names and labels of the queries, in order.
        gallery_sha256: likewise of the gallery.
        check: SHA-256 of all other values.
    """

    schema: Literal[1] = 1
    created: str
    version: str
    model_sha256: Sha256
    precision: Precision
    normalised: Normalised | None
    backend: str
    device: str
    computes_in: Rounding
    protocol: str
    mode: str
    fpr: Share
    distance: Distance
    distance_interval: tuple[Distance | None, Distance | None]
    tpr: Fraction
    tpr_interval: tuple[Fraction | None, Fraction | None]
    positive_pairs: Positive
    negative_pairs: Positive
    accepted_negative_pairs: Count
    queries: Positive
    vehicles: Positive
    query_source: str
    gallery_source: str
    query_sha256: Sha256
    gallery_sha256: Sha256
    check: str = ""

    def in_words(self) -> str:
        """Where the distance comes from, as part of a sentence."""
        return (
            f"at FPR {self.fpr:g} on {self.queries:,} queries of {printable(self.query_source)}, "
            f"{self.created[:10]}"
        )


THRESHOLD_JSON: Final = json_kind(
    "a distance of mtml-deploy calibrate-threshold", "schema", "fpr", "distance", "tpr"
)


def threshold_path(artifact: Artifact) -> Path:
    """Where the record of an artifact is."""
    return artifact.folder / THRESHOLD_FILE


def save_threshold(artifact: Artifact, found: Threshold) -> Path:
    """Write the record into the artifact, whole or not at all; what was there is replaced."""
    path = threshold_path(artifact)
    write_text(path, sealed_json(found))
    return path


def calibrated_distance(artifact: Artifact) -> Threshold | None:
    """The distance that was measured for a model.

    Args:
        artifact: the model.

    Returns:
        The record; None where nobody has measured one.

    Raises:
        ArtifactError: the record is damaged, or of another model file.
    """
    path = threshold_path(artifact)
    fix = f"delete it and measure again: {calibrate_command(artifact)}"
    try:
        found = parse_sealed(read_regular(path, most_bytes=RECORD_BYTES), Threshold)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is not valid: {error}; {fix}") from error
    if found.model_sha256 != artifact.manifest.model_sha256:
        raise ArtifactError(
            f"{path} is of a model file {found.model_sha256[:12]}..., expected "
            f"{artifact.manifest.model_sha256[:12]}...; {fix}"
        )
    return found


def require_calibrated(artifact: Artifact) -> Threshold:
    """As `calibrated_distance`, and an error where there is none.

    Raises:
        ArtifactError: nobody has measured one, or see `calibrated_distance`.
    """
    found = calibrated_distance(artifact)
    if found is None:
        raise ArtifactError(
            f"{artifact.folder} has no calibrated distance, expected {THRESHOLD_FILE} in it; "
            f"measure one on labelled images: {calibrate_command(artifact)}, or give a number"
        )
    return found


def calibrate_command(artifact: Artifact) -> str:
    """The command that measures a distance."""
    return f"mtml-deploy calibrate-threshold {artifact.folder} --data veri:DIR"
