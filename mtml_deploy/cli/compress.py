"""`mtml-deploy compress`: an artifact with shorter embeddings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import SafeCommand, write_data, write_note
from mtml_deploy.defaults import PROTOCOL


@click.command(cls=SafeCommand, epilog=options.SOURCES)
@click.argument("artifact", type=options.FOLDER)
@click.option(
    "--dim", required=True, type=click.IntRange(min=1), help="Dimensions, such as 256 or 1024."
)
@click.option(
    "--train", required=True, type=options.FILE, help="Its embeddings of training images."
)
@click.option("--out", required=True, type=options.FOLDER, help="The artifact to make.")
@click.option("--query", type=options.FILE, help="Embeddings of queries, to measure before, after.")
@click.option("--gallery", type=options.FILE, help="Embeddings of the gallery of these queries.")
@click.option("--protocol", default=PROTOCOL, show_default=True, help=f"{options.PROTOCOLS}.")
@click.option(
    "--whiten/--no-whiten",
    default=True,
    show_default=True,
    help="Give all kept directions about equal variance.",
)
@click.option(
    "--normalise/--no-normalise",
    default=True,
    show_default=True,
    help="Scale every embedding to length 1.",
)
@click.option("--images", metavar="SOURCE", help="Images for the check instead of training images.")
@options.overwrite
def compress(
    *,
    artifact: Path,
    dim: int,
    train: Path,
    out: Path,
    query: Path | None,
    gallery: Path | None,
    protocol: str,
    whiten: bool,
    normalise: bool,
    images: str | None,
    overwrite: bool,
) -> None:
    """Learn a projection to --dim dimensions and write ARTIFACT with it.

    The projection is learnt from embeddings of training images; with --query and --gallery the
    metrics before and after are printed and kept in the new artifact.
    """
    if (query is None) != (gallery is None):
        raise click.UsageError("give --query and --gallery together, or neither")
    options.refuse_huge_images()
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.artifact.artifact_folder import ARTIFACT
    from mtml_deploy.compression.compress import CompressOptions, learn, require_made_by
    from mtml_deploy.compression.compress import compress as write_compressed
    from mtml_deploy.compression.measure import measure, require_unseen
    from mtml_deploy.embed.embed import model_identity
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.evaluation.protocols import find_protocol
    from mtml_deploy.outputs import require_output
    from mtml_deploy.parity.images import parity_images
    from mtml_deploy.report.metrics_json import describe_evaluation
    from mtml_deploy.report.metrics_markdown import metrics_markdown

    rule = find_protocol(protocol)
    given = (artifact, train, *filter(None, (query, gallery)))
    require_output(out, ARTIFACT, overwrite=overwrite, inputs=given)
    opened, training = open_artifact(artifact), Embeddings.load(train)
    require_made_by(opened, training)
    judged = None
    if query is not None and gallery is not None:
        judged = Embeddings.load(query), Embeddings.load(gallery)
        for images_of_test in judged:
            require_made_by(opened, images_of_test)
            require_unseen(training, images_of_test)
    manifest = opened.manifest
    check = parity_images(images or training.source, height=manifest.height, width=manifest.width)
    write_note(f"learning {dim} directions from {len(training):,} embeddings")
    projection = learn(
        opened, training, CompressOptions(dim=dim, whiten=whiten, normalise=normalise)
    )
    measured = None
    if judged is not None:
        write_note("measuring before and after")
        measured = measure(*judged, rule, projection)
    write_note(f"writing, and comparing on {len(check)} images")
    made = write_compressed(
        opened,
        projection,
        out,
        train=training,
        check=check,
        metrics=None if measured is None else measured.record(),
        overwrite=overwrite,
        say=write_note,
    )
    if measured is not None:
        model = model_identity(made.manifest)
        after = replace(measured.projected_query, model=model)
        before = describe_evaluation("before", measured.before, measured.query, measured.gallery)
        compressed = describe_evaluation(
            "compressed", measured.after, after, measured.projected_gallery
        )
        write_data(metrics_markdown([before, compressed]).rstrip("\n"))
    write_note(
        f"{out}: {opened.manifest.dim} to {made.manifest.dim} dimensions, which hold "
        f"{100 * projection.explained_variance:.2f} % of the variance of the training embeddings"
    )
