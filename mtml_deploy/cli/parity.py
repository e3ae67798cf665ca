"""`mtml-deploy parity`: may this model replace the fp32 model it was made from?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import progress_bar, write_data, write_note
from mtml_deploy.cli.groups import comparing_group
from mtml_deploy.defaults import DEVICE, PROTOCOL
from mtml_deploy.errors import ParityError

if TYPE_CHECKING:
    from mtml_deploy.model import EmbedOptions


@click.command(epilog=options.SOURCES)
@click.argument("candidate", type=options.FOLDER)
@click.option(
    "--reference", required=True, type=options.FOLDER, metavar="ART_FP32", help="The fp32 artifact."
)
@click.option(
    "--data", required=True, metavar="SOURCE", help="Labelled set with query and gallery images."
)
@click.option(
    "--gallery", metavar="SOURCE", help="Gallery images, if --data names the queries only."
)
@click.option("--protocol", default=PROTOCOL, show_default=True, help=f"{options.PROTOCOLS}.")
@click.option(
    "--thresholds",
    type=options.FILE,
    help="TOML with a project's own bounds.",
)
@click.option(
    "--reference-device",
    default=DEVICE,
    show_default=True,
    help="Where the reference runs, on ONNX Runtime.",
)
@click.option("--json", "json_file", type=options.FILE, help="Write the verdict here as well.")
@click.option("--markdown", "markdown_file", type=options.FILE, help="Write what is printed.")
@comparing_group
@options.overwrite
def parity(
    *,
    candidate: Path,
    reference: Path,
    data: str,
    gallery: str | None,
    protocol: str,
    thresholds: Path | None,
    reference_device: str,
    json_file: Path | None,
    markdown_file: Path | None,
    how: EmbedOptions,
    overwrite: bool,
) -> None:
    """Compare the artifact CANDIDATE with its fp32 reference and pass or fail it.

    Compared are the embeddings of every image, branch by branch, the rank lists, mAP and CMC, and
    whether an image's embedding depends on its batch. The verdict is stored in the artifact; the
    exit status is 1 if a bound is not kept.
    """
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import load_source
    from mtml_deploy.evaluation.protocols import find_protocol
    from mtml_deploy.files import require_absent, write_text
    from mtml_deploy.parity.gate import run_gate
    from mtml_deploy.parity.thresholds import load_thresholds
    from mtml_deploy.parity.verdict import Side, gate_markdown, save_verdict, verdict_json

    rule = find_protocol(protocol)
    for path in filter(None, (json_file, markdown_file)):
        require_absent(path, overwrite=overwrite)
    judged = Side(open_artifact(candidate), how.backend, how.device)
    trusted = Side(open_artifact(reference), "ort", reference_device)
    bounds = load_thresholds(thresholds, judged.artifact.manifest.precision)
    images = load_source(data, split="query"), load_source(gallery or data, split="gallery")
    for part in images:
        for sentence in part.notes:
            write_note(f"note: {part.source}: {sentence}")
    result = run_gate(
        judged,
        trusted,
        images,
        protocol=rule,
        thresholds=bounds,
        batch_size=max(2, how.batch_size),
        threads=how.threads,
        progress=lambda title: progress_bar(title, unit="images"),
    )
    sources = images[0].source, images[1].source
    text = gate_markdown(
        result, candidate=judged, reference=trusted, sources=sources, protocol=rule
    )
    record = verdict_json(
        result,
        candidate=judged,
        reference=trusted,
        sources=sources,
        protocol=rule,
        thresholds=bounds,
    )
    stored = save_verdict(judged, record=record, markdown=text)
    if json_file is not None:
        write_text(json_file, record)
    if markdown_file is not None:
        write_text(markdown_file, text)
    write_data(text.rstrip("\n"))
    write_note(f"verdict stored as {stored}")
    if not result.passed:
        failed = [check for check in result.checks if not check.passed]
        raise ParityError(
            f"{candidate} does not pass: {failed[0].name} is {failed[0].value:.6g}, must be "
            f"{failed[0].bound}"
            + (f" (and {len(failed) - 1} more)" if len(failed) > 1 else "")
            + "; do not deploy it"
        )
