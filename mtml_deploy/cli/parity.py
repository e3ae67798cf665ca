"""`mtml-deploy parity`: may this model replace the fp32 model it was made from?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import progress_bar, write_next, write_note
from mtml_deploy.cli.groups import comparing_group
from mtml_deploy.defaults import DEVICE, PROTOCOL
from mtml_deploy.errors import ParityError

if TYPE_CHECKING:
    from mtml_deploy.model import EmbedOptions


@click.command(
    cls=SafeCommand,
    docs="docs/parity.md",
    examples=(
        "mtml-deploy parity model-fp16 --reference model --data veri:VeRi",
        "mtml-deploy parity model --reference model --data veri:VeRi --backend openvino "
        "--execution-precision bf16",
    ),
)
@options.model
@click.option(
    "--reference", required=True, type=options.FOLDER, metavar="MODEL", help="The fp32 artifact."
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
@options.explain
@options.json_file
@click.option("--markdown", "markdown_file", type=options.FILE, help="Write the page of --explain.")
@comparing_group
@options.overwrite
def parity(
    *,
    model: Path,
    reference: Path,
    data: str,
    gallery: str | None,
    protocol: str,
    thresholds: Path | None,
    reference_device: str,
    explain: bool,
    json_file: Path | None,
    markdown_file: Path | None,
    how: EmbedOptions,
    overwrite: bool,
) -> None:
    """Compare MODEL with its fp32 reference and pass or fail it.

    Compared are the embeddings of every image, branch by branch, the rank lists, mAP and CMC, and
    whether an image's embedding depends on its batch. The verdict is stored in the artifact; the
    exit status is 1 if a bound is not kept.
    """
    from mtml_deploy.cli.screen import Screen
    from mtml_deploy.evaluation.protocols import find_protocol
    from mtml_deploy.files import write_text
    from mtml_deploy.outputs import require_outputs
    from mtml_deploy.parity.check import check_parity
    from mtml_deploy.parity.verdict import VERDICT_JSON, VERDICT_MARKDOWN
    from mtml_deploy.report.short_tables import parity_tables

    find_protocol(protocol)  # an unknown one is told first
    require_outputs(
        [(options.on_disk(json_file), VERDICT_JSON), (markdown_file, VERDICT_MARKDOWN)],
        overwrite=overwrite,
        inputs=filter(None, (thresholds,)),
    )
    found = check_parity(
        model,
        reference,
        data,
        gallery=gallery,
        protocol=protocol,
        thresholds=thresholds,
        backend=how.backend,
        device=how.device,
        precision=how.precision,
        model_threads=how.model_threads,
        streams=how.streams,
        reference_device=reference_device,
        batch_size=max(2, how.batch_size),
        threads=how.threads,
        note=lambda text: write_note(f"note: {text}"),
        progress=lambda title: progress_bar(title, unit="images"),
    )
    options.write_json(json_file, lambda: found.json)
    if markdown_file is not None:
        write_text(markdown_file, found.markdown)
        write_note(f"wrote {markdown_file}")
    result = found.result
    screen = Screen(json_file)
    if explain:
        screen.text(found.markdown.rstrip("\n"))
    else:
        kept = sum(check.passed for check in result.checks)
        word = "PASSED" if result.passed else "FAILED"
        screen.prose(
            f"{word}: {model} keeps {kept} of {len(result.checks)} bounds against {reference}, "
            f"{result.mean_ap.queries} queries, protocol {protocol}"
        )
        screen.short_tables(parity_tables(result))
    write_note(f"wrote {found.file} and {found.file.with_suffix('.md').name}")
    if not result.passed:
        failed = [check for check in result.checks if not check.passed]
        raise ParityError(
            f"{model} does not pass: {failed[0].name} is {failed[0].value:.6g}, must be "
            f"{failed[0].bound}"
            + (f" (and {len(failed) - 1} more)" if len(failed) > 1 else "")
            + "; do not deploy it"
        )
    write_next("mtml-deploy", "embed", model, "--images", "SOURCE", "--out", "FILE.npz",
               "--backend", how.backend, "--device", how.device,
               "--execution-precision", how.precision)  # fmt: skip
