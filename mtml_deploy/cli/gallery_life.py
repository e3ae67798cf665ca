"""`mtml-deploy gallery remove`, `relabel`, `migrate`: rows go, change, or get another model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import progress_bar, write_data, write_note
from mtml_deploy.cli.groups import embedding_group, group
from mtml_deploy.data.ids import UNKNOWN

if TYPE_CHECKING:
    from mtml_deploy.gallery.choose import Choice
    from mtml_deploy.gallery.gallery import Gallery
    from mtml_deploy.gallery.values import NewLabels
    from mtml_deploy.model import EmbedOptions

_UNKNOWN: Final = "unknown"
"""What makes a label unknown."""


def _choice(
    *,
    paths: tuple[str, ...],
    vehicles: tuple[int, ...],
    rows: tuple[int, ...],
    cameras: tuple[int, ...],
    since: str | None,
    until: str | None,
) -> Choice:
    """The rows that the options mean.

    Raises:
        click.UsageError: none of them is given.
    """
    if not (paths or vehicles or rows or cameras or since or until):
        raise click.UsageError(
            "say which rows: --path, --vehicle, --row, --camera, --since or --until"
        )
    from mtml_deploy.gallery.choose import Choice
    from mtml_deploy.gallery.times import parse_time
    from mtml_deploy.gallery.values import Filter, Selection

    # stored absolute where it was a file; a URI stays as it is
    absolute = [str(Path(path).absolute()) for path in paths]
    named = Selection(rows=rows, paths=tuple({*paths, *absolute}), vehicles=vehicles)
    where = Filter(
        cameras=cameras,
        since_us=None if since is None else parse_time(since),
        until_us=None if until is None else parse_time(until),
    )
    return Choice(named, where)


_choice_group = group(
    "choice",
    _choice,
    click.option("--path", "paths", multiple=True, help="Image file or URI; may be repeated."),
    click.option(
        "--vehicle", "vehicles", type=options.an_id, metavar="ID", multiple=True,
        help="Vehicle id; may be repeated.",
    ),
    click.option("--row", "rows", type=int, multiple=True, help="Row number; may be repeated."),
    click.option(
        "--camera", "cameras", type=options.an_id, metavar="ID", multiple=True,
        help="Only rows of this camera; may be repeated.",
    ),
    click.option("--since", metavar="TIME", help="Only rows taken then or later."),
    click.option("--until", metavar="TIME", help="Only rows taken before."),
)  # fmt: skip
_dry_run = click.option(
    "--dry-run", is_flag=True, help="Change nothing; print row and path of each that is meant."
)


@click.command(
    cls=SafeCommand,
    docs="docs/gallery.md",
    examples=(
        "mtml-deploy gallery remove cars --vehicle 41 --dry-run",
        "mtml-deploy gallery remove cars --camera 7 --until 2024-05-01",
    ),
)
@click.argument("name", metavar="GALLERY")
@_choice_group
@_dry_run
def remove(*, name: str, choice: Choice, dry_run: bool) -> None:
    """Remove the rows that match any of --path, --vehicle and --row, and all other options.

    A row of unknown camera or time is not meant by an option that asks for one. Removed rows are
    not found any more; gallery compact takes their bytes off the disk.
    """
    from mtml_deploy.gallery.choose import remove_rows
    from mtml_deploy.gallery.open import open_gallery

    with open_gallery(name, write=not dry_run) as opened:
        rows = _meant(opened, name, choice, dry_run=dry_run)
        count = len(rows) if dry_run else remove_rows(opened, rows)
    write_note(f"{name}: {count} rows {'would be ' if dry_run else ''}removed")


def _labels(
    *,
    set_vehicle: str | None,
    set_camera: str | None,
    set_tracklet: str | None,
    set_orientation: str | None,
    set_time: str | None,
) -> NewLabels:
    """The labels that the options tell.

    Raises:
        click.UsageError: none of them is given.
    """
    given = (set_vehicle, set_camera, set_tracklet, set_orientation, set_time)
    if all(each is None for each in given):
        raise click.UsageError("say what to change: --set-vehicle, --set-camera and so on")
    from mtml_deploy.data.clock import UNKNOWN_TIME
    from mtml_deploy.gallery.times import parse_time
    from mtml_deploy.gallery.values import NewLabels

    def id_of(text: str | None) -> int | None:
        return None if text is None else UNKNOWN if text == _UNKNOWN else options.an_id(text)

    orientation = None
    if set_orientation is not None:
        orientation = UNKNOWN if set_orientation == _UNKNOWN else int(set_orientation)
    time_us = None
    if set_time is not None:
        time_us = UNKNOWN_TIME if set_time == _UNKNOWN else parse_time(set_time)
    return NewLabels(
        vehicle_id=id_of(set_vehicle),
        camera_id=id_of(set_camera),
        orientation=orientation,
        tracklet_id=id_of(set_tracklet),
        time_us=time_us,
    )


_labels_group = group(
    "labels",
    _labels,
    click.option("--set-vehicle", metavar="ID", help="Vehicle id, or unknown."),
    click.option("--set-camera", metavar="ID", help="Camera, or unknown."),
    click.option("--set-tracklet", metavar="ID", help="Tracklet, or unknown."),
    click.option(
        "--set-orientation", type=click.Choice([*map(str, range(8)), _UNKNOWN]),
        help="Orientation class, or unknown.",
    ),
    click.option("--set-time", metavar="TIME", help="Time: ISO 8601 or seconds, or unknown."),
)  # fmt: skip


@click.command(
    cls=SafeCommand,
    docs="docs/gallery.md",
    examples=(
        "mtml-deploy gallery relabel cars --vehicle 41 --set-vehicle 17",
        "mtml-deploy gallery relabel cars --path inbox/0001.jpg --set-camera 7 "
        "--set-time 2024-05-01T08:00",
    ),
)
@click.argument("name", metavar="GALLERY")
@_choice_group
@_labels_group
@_dry_run
def relabel(*, name: str, choice: Choice, labels: NewLabels, dry_run: bool) -> None:
    """Change what is known of the rows that match, as remove chooses them.

    Vectors and row numbers stay.
    """
    from mtml_deploy.gallery.choose import relabel_rows
    from mtml_deploy.gallery.open import open_gallery

    with open_gallery(name, write=not dry_run) as opened:
        rows = _meant(opened, name, choice, dry_run=dry_run)
        count = len(rows) if dry_run else relabel_rows(opened, rows, labels)
    write_note(f"{name}: {count} rows {'would be ' if dry_run else ''}labelled anew")


@click.command(
    cls=SafeCommand,
    docs="docs/gallery.md",
    examples=(
        "mtml-deploy gallery migrate cars cars-fp16 model-fp16",
        "mtml-deploy gallery migrate cars cars-2 model-2 --skip-bad --device cuda:0",
    ),
)
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@options.model
@embedding_group
def migrate(*, old: str, new: str, model: Path, how: EmbedOptions) -> None:
    """Embed the images that gallery OLD names with another model, into the gallery NEW.

    NEW is made where it is not there. Vehicles, cameras, orientations, tracklets and times go with
    each image; row numbers are new. OLD is only read. The same command goes on after a kill.
    """
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.embed.embed import model_identity
    from mtml_deploy.errors import OutputExistsError
    from mtml_deploy.gallery.checks import require_same_model
    from mtml_deploy.gallery.migrate import migrate as run
    from mtml_deploy.gallery.open import create_gallery, open_gallery

    artifact = open_artifact(model)
    identity = model_identity(artifact.manifest)
    with open_gallery(old) as source:
        try:
            create_gallery(new, identity)
            write_note(f"{new}: made for {identity.label}")
        except OutputExistsError:
            with open_gallery(new) as there:
                require_same_model(identity, there.model, str(model))
        with (
            open_gallery(new, write=True) as target,
            how.open(artifact) as opened,
            progress_bar("embedding", unit="rows") as progress,
        ):
            options.note_model(opened, how)
            done = run(
                source,
                target,
                opened.runtime,
                model=opened.identity,
                batch_size=how.batch_size,
                threads=how.threads,
                skip_bad=how.skip_bad,
                progress=progress,
            )
    options.note_skipped(done.skipped)
    write_note(
        f"{new}: {done.added} added, {done.present} there already, {len(done.skipped)} skipped"
    )


def _meant(gallery: Gallery, name: str, choice: Choice, *, dry_run: bool) -> Sequence[int]:
    """Numbers of the rows that are meant, each printed on a dry run.

    A span of time may hold none: a command that runs every night finds nothing old at first.

    Raises:
        GalleryError: there is none, and no time was asked for.
    """
    from mtml_deploy.gallery.choose import chosen
    from mtml_deploy.gallery.values import GalleryError
    from mtml_deploy.text import printable

    rows = []
    for stored in chosen(gallery, choice):
        rows.append(stored.row)
        if dry_run:
            write_data(f"{stored.row}\t{printable(stored.record.path)}")
    if not rows and choice.where.since_us is None and choice.where.until_us is None:
        raise GalleryError(
            f"{name} holds no row that matches, expected at least one; nothing was changed: check "
            "path, id, number, camera and time, for example in the JSON of mtml-deploy search"
        )
    return rows
