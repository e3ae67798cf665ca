"""Options of `mtml-deploy serve`: where it listens, and its limits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.groups import group
from mtml_deploy.defaults import BATCH_SIZE

if TYPE_CHECKING:
    from mtml_deploy.serve.options import ServeOptions


def _serving(
    *,
    host: str,
    port: int,
    token_file: Path | None,
    batch_size: int,
    queue_delay_ms: float,
    queue_size: int,
    max_requests: int,
    max_images: int,
    max_body_mib: int,
    search_threads: int,
    threads: int,
    writable: bool,
    keep_uploads: Path | None,
    drain_s: float,
) -> ServeOptions:
    """How the service runs."""
    from mtml_deploy.serve.options import ServeOptions, read_token

    if keep_uploads is not None and not writable:
        raise click.UsageError("--keep-uploads belongs to a gallery that clients add to; add "
                               "--writable")  # fmt: skip
    return ServeOptions(
        host=host,
        port=port,
        token="" if token_file is None else read_token(token_file),
        batch_size=batch_size,
        delay_ms=queue_delay_ms,
        queue=queue_size,
        requests=max_requests,
        images=max_images,
        body_bytes=max_body_mib << 20,
        search_threads=search_threads,
        decode_threads=threads,
        writable=writable,
        uploads=keep_uploads,
        drain_s=drain_s,
    )


_COUNT = click.IntRange(min=1)

serve_group = group(
    "serving",
    _serving,
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        help="Address to listen on; others than loopback need --token-file.",
    ),
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=8000,
        show_default=True,
        help="Port to listen on; 0 takes a free one.",
    ),
    click.option("--token-file", type=options.FILE, help="Holds what clients must show."),
    click.option(
        "--batch-size",
        type=_COUNT,
        default=BATCH_SIZE,
        show_default=True,
        help="Most images per run of the model.",
    ),
    click.option(
        "--queue-delay-ms",
        type=click.FloatRange(min=0, max=10_000),
        default=2.0,
        show_default=True,
        help="How long an idle model waits for more images.",
    ),
    click.option(
        "--queue-size",
        type=_COUNT,
        default=256,
        show_default=True,
        help="Images that may wait; more are refused with 429.",
    ),
    click.option(
        "--max-requests",
        type=_COUNT,
        default=128,
        show_default=True,
        help="Requests worked on at once; more are refused with 429.",
    ),
    click.option(
        "--max-images", type=_COUNT, default=64, show_default=True, help="Images of one request."
    ),
    click.option(
        "--max-body-mib", type=_COUNT, default=32, show_default=True, help="Size of one request."
    ),
    click.option(
        "--search-threads",
        type=_COUNT,
        default=2,
        show_default=True,
        help="Searches at work at once.",
    ),
    options.threads,
    click.option("--writable", is_flag=True, help="Let clients change the gallery."),
    click.option(
        "--keep-uploads",
        type=options.FOLDER,
        help="Folder for the images that clients add; without it only their rows are kept.",
    ),
    click.option(
        "--drain-s",
        type=click.FloatRange(min=0),
        default=30.0,
        show_default=True,
        help="Longest wait for accepted requests at the end.",
    ),
)
"""--host, --port, --token-file and the limits as `serving: ServeOptions`."""
