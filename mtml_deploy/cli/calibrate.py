"""`mtml-deploy calibrate`: images that int8 models are calibrated on, chosen, checked, compared."""

from __future__ import annotations

from pathlib import Path

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeGroup
from mtml_deploy.cli.console import progress_bar, write_data, write_note

_listing = click.argument("listing", metavar="LIST", type=options.FILE)


@click.group(cls=SafeGroup, docs="calibration/README.md")
def calibrate() -> None:
    """Choose images that an int8 model is calibrated on, check them, compare the rules."""


@calibrate.command(
    docs="calibration/README.md",
    examples=(
        "mtml-deploy calibrate choose --data veri:VeRi --out LIST.txt",
        "mtml-deploy calibrate choose --data veri:VeRi --count 256 --holdout 0.1 --out LIST.txt",
    ),
)
@click.option("--data", required=True, metavar="SOURCE",
              help="Data set the model is trained on: its training split is taken.")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), default=512, show_default=True,
              help="Images to calibrate on.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice.")
@click.option("--holdout", "heldout_fraction", default=0.2, show_default=True,
              type=click.FloatRange(0, 1, min_open=True, max_open=True),
              help="Share of the vehicles, and of --count more images, to compare on.")  # fmt: skip
@click.option("--out", type=options.FILE, required=True, help="List to write, *.txt; the manifest "
              "is written beside it.")  # fmt: skip
@options.overwrite
def choose(
    *, data: str, count: int, seed: int, heldout_fraction: float, out: Path, overwrite: bool
) -> None:
    """Choose images, balanced over cameras and orientations, and show what was chosen.

    The vehicles are divided first: those that are held out are never calibrated on. Training
    images that the data set is tested on, by vehicle or by their bytes, are refused.
    """
    from mtml_deploy.calibration.candidates import (
        read_candidates,
        read_tested,
        require_decodable,
        require_untested,
        training_source,
    )
    from mtml_deploy.calibration.choose import choose as run
    from mtml_deploy.calibration.summary import found_lines, set_markdown
    from mtml_deploy.data.source import source_paths
    from mtml_deploy.precision.calibration_list import (
        manifest_path,
        require_list_writable,
        write_calibration,
    )

    options.refuse_huge_images()
    require_list_writable(out, overwrite=overwrite, inputs=source_paths(data))
    source = training_source(data)
    with progress_bar("reading training images", unit="images") as show:
        candidates = read_candidates(source, progress=show)
    for note in candidates.notes:
        write_note(f"{source}: {note}")
    with progress_bar("reading test images", unit="images") as show:
        require_untested(candidates.images, read_tested(source, progress=show))
    for line in found_lines(candidates):
        write_note(line)
    chosen = run(candidates, count=count, heldout_fraction=heldout_fraction, seed=seed)
    with progress_bar("decoding", unit="images") as show:
        require_decodable((*chosen.calibration, *chosen.heldout), progress=show)
    write_calibration(out, chosen, overwrite=overwrite)
    write_data(set_markdown(chosen))
    write_note(f"wrote {out} and {manifest_path(out)}")


@calibrate.command(
    docs="calibration/README.md",
    examples=(
        "mtml-deploy calibrate check LIST.txt",
        "mtml-deploy calibrate check LIST.txt --data veri:VeRi",
    ),
)
@_listing
@click.option("--data", default="", metavar="SOURCE",
              help="Where the data set is now.  [default: as choose was told]"
              )  # fmt: skip
def check(*, listing: Path, data: str) -> None:
    """Check that LIST holds what was chosen, and nothing that is tested on.

    Lists and manifest must agree, every image must have the bytes it had, and none may be of a
    vehicle, or have the bytes of an image, among the queries or the gallery.
    """
    from mtml_deploy.calibration.candidates import read_tested, require_untested, training_source
    from mtml_deploy.calibration.summary import set_markdown
    from mtml_deploy.precision.calibration_list import read_calibration, require_unchanged

    chosen = read_calibration(listing)
    images = (*chosen.calibration, *chosen.heldout)
    require_unchanged(images, listing=listing)
    source = training_source(data or chosen.source)
    with progress_bar("reading test images", unit="images") as show:
        require_untested(images, read_tested(source, progress=show))
    write_data(set_markdown(chosen))
    write_note(f"{listing} is as chosen, and nothing in it is tested on in {source}")


@calibrate.command(
    docs="calibration/README.md",
    examples=(
        "mtml-deploy calibrate compare model --calibration LIST.txt",
        "mtml-deploy calibrate compare model --calibration LIST.txt --json calibrators.json",
    ),
)
@options.model
@click.option("--calibration", "listing", metavar="LIST", type=options.FILE, required=True,
              help="What choose wrote.")  # fmt: skip
@options.json_file
@click.option("--markdown", type=options.FILE, help="Write the table that is printed.")
@options.threads
@options.model_threads
@options.overwrite
def compare(
    *,
    model: Path,
    listing: Path,
    json_file: Path | None,
    markdown: Path | None,
    threads: int,
    model_threads: int,
    overwrite: bool,
) -> None:
    """Compare the calibrators on the fp32 MODEL and name the one to use.

    Each is measured on the calibration images of LIST and compared with fp32 on the images that
    are held out. Prints Markdown.
    """
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.calibration.compare import compare_calibrators
    from mtml_deploy.calibration.comparison_report import (
        COMPARISON_JSON,
        COMPARISON_MARKDOWN,
        comparison_json,
        comparison_markdown,
    )
    from mtml_deploy.files import write_text
    from mtml_deploy.outputs import require_outputs
    from mtml_deploy.precision.calibration_list import (
        manifest_path,
        read_calibration,
        require_unchanged,
    )

    options.refuse_huge_images()
    require_outputs(
        [(options.on_disk(json_file), COMPARISON_JSON), (markdown, COMPARISON_MARKDOWN)],
        overwrite=overwrite,
        inputs=(listing, manifest_path(listing)),
    )
    chosen = read_calibration(listing)
    require_unchanged((*chosen.calibration, *chosen.heldout), listing=listing)
    found = compare_calibrators(
        open_artifact(model),
        chosen,
        threads=threads,
        model_threads=model_threads,
        say=write_note,
        progress=lambda title: progress_bar(title, unit="images"),
    )
    text = comparison_markdown(found)
    options.write_json(json_file, lambda: comparison_json(found))
    if markdown is not None:
        write_text(markdown, text)
    options.teller(json_file)(text)
