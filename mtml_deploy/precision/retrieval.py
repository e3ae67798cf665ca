"""mAP of a model that is not published yet.

In: an artifact and a labelled source. Out: one number, by the very code that ranks and evaluates.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.data.source import load_source
from mtml_deploy.embed.embed import embed
from mtml_deploy.embed.embeddings import load_embeddings
from mtml_deploy.evaluate.metrics import evaluate
from mtml_deploy.evaluate.protocols import find_protocol
from mtml_deploy.runtime.open import open_runtime

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Title -> progress callback for a piece of work."""


def mean_ap(
    artifact: Artifact, data: str, *, protocol: str, title: str, progress: Progress
) -> float:
    """MAP (step) of a data set's queries against its gallery.

    Args:
        artifact: the model, run by ONNX Runtime on the CPU.
        data: labelled source with the splits query and gallery, for example "veri:DIR".
        protocol: name of the evaluation protocol.
        title: what the progress shows.
        progress: for a title, gives the progress callback.

    Returns:
        Fraction 0..1.

    Raises:
        MtmlError: what reading, embedding and evaluating raise.
    """
    rule = find_protocol(protocol)
    sets = [load_source(data, split=split) for split in ("query", "gallery")]
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="mtml-convert-") as folder,
        open_runtime(artifact) as runtime,
    ):
        for split, images in zip(("query", "gallery"), sets, strict=True):
            out = Path(folder) / f"{split}.npz"
            with progress(f"{title}: {split}") as report:
                embed(runtime, images, out, progress=report)
            found.append(load_embeddings(out))
    return evaluate(found[0], found[1], rule).mean_ap
