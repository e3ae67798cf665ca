"""The TensorRT library that is installed: TensorRT or TensorRT-RTX behind one small interface.

In: a target's name. Out: the imported module and what differs between the two.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, Final, Literal

from mtml_deploy.engine.library_log import LibraryLog, last_errors, library_log
from mtml_deploy.errors import BackendError, MissingExtraError

Target = Literal["tensorrt", "tensorrt-rtx"]
"""What an engine is built for and loaded by."""

TARGETS: Final[tuple[Target, ...]] = ("tensorrt", "tensorrt-rtx")

_MODULES: Final[Mapping[Target, tuple[str, str, str]]] = MappingProxyType(
    {
        "tensorrt": ("tensorrt", "tensorrt", "tensorrt"),
        "tensorrt-rtx": ("tensorrt_rtx", "rtx", "tensorrt-rtx-cu13"),
    }
)
"""Target -> module, the extra that installs it, and the distribution that holds it."""

OLDEST: Final = (10, 3)
"""Oldest TensorRT: that of JetPack 6; strongly typed networks are complete from 10.12."""


@dataclass(frozen=True)
class Library:
    """An imported TensorRT.

    Attributes:
        target: which of the two.
        module: `tensorrt` or `tensorrt_rtx`; the names this project uses are the same in both.
        version: for example "10.16.1.11".
    """

    target: Target
    module: ModuleType
    version: str

    @property
    def is_rtx(self) -> bool:
        """Whether engines are compiled ahead of time for listed compute capabilities."""
        return self.target == "tensorrt-rtx"

    def logger(self) -> LibraryLog:
        """The library's logger, whose messages go where this program's log goes."""
        return library_log(self.module)


def load_library(target: Target) -> Library:
    """Import the library of a target.

    Args:
        target: "tensorrt" or "tensorrt-rtx".

    Returns:
        The library.

    Raises:
        MissingExtraError: it is not installed.
        BackendError: it is installed but cannot be imported, or is too old.
    """
    name, extra, distribution = _MODULES[target]
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{target} engines need {name}", extra) from error
    except (ImportError, OSError, RuntimeError) as error:  # its shared libraries are broken
        raise BackendError(
            f"{name} is installed but cannot be imported ({error}); install it again: "
            f"pip install --force-reinstall {distribution}"
        ) from error
    version = str(module.__version__)
    if target == "tensorrt" and _numbers(version)[:2] < OLDEST:
        raise BackendError(
            f"TensorRT {version} is installed, expected {'.'.join(map(str, OLDEST))} or newer; "
            f"upgrade it: pip install --upgrade {distribution}"
        )
    return Library(target=target, module=module, version=version)


def make(library: Library, name: str, log: LibraryLog) -> Any:  # noqa: ANN401 - untyped library
    """A `Builder` or `Runtime` of the library.

    Args:
        library: the imported TensorRT.
        name: of the class.
        log: from `Library.logger`.

    Returns:
        The object.

    Raises:
        BackendError: CUDA cannot start, for example under a driver that is too old.
    """
    try:
        return getattr(library.module, name)(log)
    except (TypeError, RuntimeError) as error:  # its bindings got no object
        told = last_errors(log, 3)
        raise BackendError(
            f"{library.target} {library.version} cannot start CUDA ({told or error}); its CUDA may "
            "be newer than the driver's: compare them with mtml-deploy doctor, then update the "
            "driver or install the TensorRT for its CUDA (for example tensorrt-cu12)"
        ) from error


def installed_target() -> Target | None:
    """The first target whose library can be imported; None if neither is installed.

    Raises:
        BackendError: one is installed but broken or too old.
    """
    for target in TARGETS:
        try:
            return load_library(target).target
        except MissingExtraError:
            continue
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version."""
    parts = []
    for part in version.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)
