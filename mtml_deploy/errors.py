"""Errors a user can fix: each text says what was found, what was expected and what to do.

The command line prints the text and exits with 1. A caller's programming mistake is a `ValueError`.
"""

from __future__ import annotations

from typing import Final

_MOST_SHOWN: Final = 4_000
"""Characters of an error: a damaged file may hold a name of megabytes."""


class MtmlError(Exception):
    """Base of every error that is the input's, not the program's; `str(error)` is for the user."""

    def __str__(self) -> str:
        """The text, its middle left out where it is long."""
        text = super().__str__()
        if len(text) <= _MOST_SHOWN:
            return text
        half = _MOST_SHOWN // 2
        return f"{text[:half]} [... {len(text) - 2 * half:,} characters ...] {text[-half:]}"


class DataError(MtmlError):
    """A data set, list, label file or table does not hold what its format promises."""


class ImageError(MtmlError):
    """One image cannot be decoded or is refused; the text names the file."""


class ArtifactError(MtmlError):
    """An exported model folder is missing, incomplete or does not match its manifest."""


class EmbeddingsError(MtmlError):
    """An embeddings file is corrupted, or two sets must not be compared."""


class ProtocolError(MtmlError):
    """An evaluation protocol needs something the data does not have."""


class BackendError(MtmlError):
    """An inference backend or device that was asked for is not usable here."""


class UnsupportedGpuError(BackendError):
    """A library has no kernels for a GPU; another backend may have."""


class MissingExtraError(MtmlError):
    """A library of an optional extra is not installed; the text holds the install command."""

    def __init__(self, what: str, extra: str) -> None:
        """Say which library is missing for which purpose.

        Args:
            what: what needs it and what was not found, for example
                "embedding on ONNX Runtime needs onnxruntime".
            extra: the extra of the distribution that brings it.
        """
        super().__init__(f"{what}, which is not installed; run: pip install 'mtml-reid[{extra}]'")


class OutputExistsError(MtmlError):
    """What would be written is there already, or is an input."""


class OutputBusyError(OutputExistsError):
    """Another process is writing the same file or folder."""


class CheckpointError(MtmlError):
    """A training checkpoint is missing, corrupted or does not fit the request."""


class DivergedError(MtmlError):
    """A training has come to losses or weights that are not finite."""


class ParityError(MtmlError):
    """An exported model does not give what the trained model gives."""


class MemoryBudgetError(MtmlError):
    """The memory a user allows is less than the work needs; the text says the least that works."""
