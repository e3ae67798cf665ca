"""`mtml-deploy compress`: an artifact with projected embeddings, measured before it is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import progress_bar, write_next, write_note
from mtml_deploy.cli.groups import was_given
from mtml_deploy.defaults import FOLDS, PROJECTION, PROTOCOL, SHRINKAGE, ProjectionMethod
from mtml_deploy.errors import EmbeddingsError

if TYPE_CHECKING:
    from mtml_deploy.cli.screen import Screen
    from mtml_deploy.compression.cross_validation import CrossValidation
    from mtml_deploy.compression.learn import CompressOptions
    from mtml_deploy.embed.embeddings import Embeddings


@click.command(
    cls=SafeCommand,
    docs="docs/compression.md",
    examples=(
        "mtml-deploy compress model --train train.npz --dim 256",
        "mtml-deploy compress model --train train.npz --method lda --out model-lda "
        "--query query.npz --gallery gallery.npz",
    ),
)
@options.model
@click.option(
    "--train", required=True, type=options.FILE, help="Its embeddings of training images."
)
@click.option(
    "--out",
    type=options.FOLDER,
    metavar="MODEL",
    help="The model to make.  [default: none, only measure]",
)
@click.option(
    "--method",
    type=click.Choice(get_args(ProjectionMethod)),
    default=PROJECTION,
    show_default=True,
    help="pca keeps the directions of largest variance; pca-whiten gives them equal variance; lda "
    "makes images of one vehicle differ alike in all directions, and needs vehicle ids.",
)
@click.option(
    "--dim",
    type=click.IntRange(min=1),
    help="Dimensions to keep, such as 256 or 1024; lda alone can keep all.  [default: all]",
)
@click.option(
    "--shrinkage",
    type=click.FloatRange(0, 1, min_open=True),
    default=SHRINKAGE,
    show_default=True,
    help="Of lda: share of the average variance in every direction.",
)
@click.option(
    "--no-normalise",
    is_flag=True,
    help="Do not scale the rows to length 1.",
)
@click.option(
    "--folds",
    type=click.IntRange(min=0),
    default=FOLDS,
    show_default=True,
    help="Cross-validate all methods on that many parts of the training vehicles; 0 does not.",
)
@click.option(
    "--query", type=options.FILE, metavar="EMB", help="Queries, to measure before, after."
)
@click.option("--gallery", type=options.FILE, metavar="EMB", help="Gallery of these queries.")
@click.option("--protocol", default=PROTOCOL, show_default=True, help=f"{options.PROTOCOLS}.")
@click.option("--images", metavar="SOURCE", help="Images for the check instead of training images.")
@options.json_file
@options.overwrite
def compress(
    *,
    model: Path,
    train: Path,
    out: Path | None,
    method: ProjectionMethod,
    dim: int | None,
    shrinkage: float,
    no_normalise: bool,
    folds: int,
    query: Path | None,
    gallery: Path | None,
    protocol: str,
    images: str | None,
    json_file: Path | None,
    overwrite: bool,
) -> None:
    """Learn a projection of embeddings, measure it, and write MODEL with it.

    First every method is measured on training vehicles that it did not learn from, and a table
    printed; without --out that is all. With --query and --gallery the metrics before and after are
    printed as well. The new artifact keeps both.
    """
    if (query is None) != (gallery is None):
        raise click.UsageError("give --query and --gallery together, or neither")
    if dim is None and method != "lda":
        raise click.UsageError(f"--method {method} needs --dim; lda alone can keep all dimensions")
    if method != "lda" and was_given("shrinkage"):
        raise click.UsageError(f"--shrinkage belongs to lda, and the method is {method}")
    if folds == 1:
        raise click.UsageError("--folds is 0, or 2 and more: one part leaves none to learn from")
    if out is None and folds == 0 and query is None:
        raise click.UsageError("there is nothing to do: give --out, --folds, or --query")
    options.refuse_huge_images()
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.artifact.artifact_folder import ARTIFACT
    from mtml_deploy.cli.screen import Screen
    from mtml_deploy.compression.compress import compress as write_compressed
    from mtml_deploy.compression.compress import learn, require_compressible, require_made_by
    from mtml_deploy.compression.learn import CompressOptions
    from mtml_deploy.compression.measure import measure, require_unseen
    from mtml_deploy.compression.table import COMPRESSED_JSON, cross_validation_record
    from mtml_deploy.embed.embed import model_identity
    from mtml_deploy.embed.embeddings import Embeddings
    from mtml_deploy.evaluation.protocols import find_protocol
    from mtml_deploy.outputs import require_output, require_outputs
    from mtml_deploy.parity.images import parity_images
    from mtml_deploy.record_file import record_json
    from mtml_deploy.report.metrics_json import describe_evaluation
    from mtml_deploy.report.short_tables import evaluation_tables, judged_on

    rule = find_protocol(protocol)
    asked = CompressOptions(method=method, dim=dim, shrinkage=shrinkage, normalise=not no_normalise)
    given = (model, train, *filter(None, (query, gallery)))
    if out is not None:
        require_output(out, ARTIFACT, overwrite=overwrite, inputs=given)
    require_outputs(
        [(options.on_disk(json_file), COMPRESSED_JSON)], overwrite=overwrite, inputs=given
    )
    screen = Screen(json_file)
    opened, training = open_artifact(model), Embeddings.load(train)
    require_compressible(opened, asked)
    require_made_by(opened, training)
    judged = None
    if query is not None and gallery is not None:
        judged = Embeddings.load(query), Embeddings.load(gallery)
        for images_of_test in judged:
            require_made_by(opened, images_of_test)
            require_unseen(training, images_of_test)
    check = None
    if out is not None:
        manifest = opened.manifest
        check = parity_images(
            images or training.source, height=manifest.height, width=manifest.width
        )
    record: dict[str, object] = {}

    def told() -> str:
        empty = {"cross_validation": None, "metrics": None}
        return record_json({"method": method, "dim": dim, **empty, **record}, indent=1) + "\n"

    found = _cross_validated(training, asked, folds, screen)
    if found is not None:
        record["cross_validation"] = cross_validation_record(found)
    if out is None and judged is None:
        options.write_json(json_file, told)
        return
    write_note(f"learning {method} from {len(training):,} embeddings")
    projection = learn(opened, training, asked)
    identity, measured = model_identity(opened.manifest), None
    if judged is not None:
        write_note("measuring before and after")
        measured = measure(*judged, rule, projection)
        record["metrics"] = measured.record()
    if out is not None and check is not None:
        write_note(f"writing, and comparing on {len(check)} images")
        made = write_compressed(
            opened,
            projection,
            out,
            train=training,
            check=check,
            measured=record,
            overwrite=overwrite,
            say=write_note,
        )
        identity = model_identity(made.manifest)
    if measured is not None:
        after = replace(measured.projected_query, model=identity)
        before = describe_evaluation("before", measured.before, measured.query, measured.gallery)
        compressed = describe_evaluation(
            "compressed", measured.after, after, measured.projected_gallery
        )
        for sentence in judged_on([before]):
            screen.prose(sentence)
        screen.short_tables(evaluation_tables([before, compressed]))
    options.write_json(json_file, told)
    if out is not None:
        share = projection.learnt.get("explained_variance")
        held = "" if not isinstance(share, float) else (
            f", which hold {100 * share:.2f} % of the variance of the training embeddings"
        )  # fmt: skip
        write_note(
            f"wrote {out}: {opened.manifest.dim} to {projection.dim} dimensions by {method}{held}"
        )
        write_next("mtml-deploy", "embed", out, "--images", "SOURCE", "--out", "FILE.npz")


def _cross_validated(
    training: Embeddings, asked: CompressOptions, folds: int, screen: Screen
) -> CrossValidation | None:
    """Measure, print the table and what it says; None where it was not asked for or cannot be."""
    if folds == 0:
        return None
    from mtml_deploy.compression.cross_validation import cross_validate
    from mtml_deploy.compression.table import (
        SCORE_ALIGN,
        SCORE_TITLES,
        advice,
        change_rule,
        measured_on,
        score_rows,
    )

    try:
        with progress_bar("cross-validating", unit="folds") as progress:
            found = cross_validate(training, asked, folds=folds, progress=progress)
    except EmbeddingsError as error:
        # lda says the same by itself; a PCA needs no labels
        write_note(f"note: not cross-validated: {error}")
        return None
    screen.prose(measured_on(found))
    screen.text("")
    screen.table(SCORE_TITLES, score_rows(found), align=SCORE_ALIGN)
    screen.text("")
    screen.prose(change_rule(found))
    screen.text("")
    write_note(advice(found))
    return found
