"""The error of a persistent gallery."""

from __future__ import annotations

from mtml_deploy.errors import MtmlError


class GalleryError(MtmlError):
    """A gallery is missing, damaged, in use, or cannot hold what it was given."""
