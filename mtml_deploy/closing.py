"""What is open until it is closed: usable in a `with` statement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """A context manager that is closed when it is left, also by an error."""

    @abstractmethod
    def close(self) -> None:
        """Free what is held; closing twice is allowed."""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; an error goes on."""
        self.close()
