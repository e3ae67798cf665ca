"""Refuses a graph whose input is another than this toolkit feeds.

In: a manifest. Out: nothing, or an error.
"""

from __future__ import annotations

from mtml_deploy.artifact.input_form import PLAIN
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.errors import BackendError


def require_plain(manifest: Manifest, what: str) -> None:
    """Refuse a graph of another form, where nothing turns images into it.

    Args:
        manifest: the model.
        what: who would feed it, for the error.

    Raises:
        BackendError: its form is another.
    """
    if manifest.form != PLAIN:
        raise BackendError(
            f"the model takes {manifest.form}, which is for programs of others, and {what} needs "
            f"{PLAIN}; use the artifact exported with --input nhwc-uint8"
        )
