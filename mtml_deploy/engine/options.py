"""How an engine is built: batch profile, GPUs, memory and effort.

In: values a user gave. Out: checked, frozen options that the engine's manifest records.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mtml_deploy.defaults import BATCH_LIMIT, BATCH_SIZE
from mtml_deploy.record_file import Record

LEVELS: Final = range(6)
"""Builder optimization levels of TensorRT."""


_FEW: Final = 4
"""Images of a batch that is tuned for on its own: one frame's crops."""


class BatchProfile(Record, frozen=True):
    """Images per run that an engine accepts.

    Attributes:
        min: fewest.
        opt: what the builder tunes for.
        max: most; a longer batch is split.
    """

    min: int = 1
    opt: int = BATCH_SIZE
    max: int = 64

    def __post_init__(self) -> None:
        """Refuse a profile that no builder takes.

        Raises:
            ValueError: not 1 <= min <= opt <= max <= 1024.
        """
        if not 1 <= self.min <= self.opt <= self.max <= BATCH_LIMIT:
            raise ValueError(
                f"a batch profile is 1 <= min <= opt <= max <= {BATCH_LIMIT}, found min "
                f"{self.min}, opt {self.opt}, max {self.max}"
            )

    def parts(self) -> tuple[BatchProfile, ...]:
        """The optimization profiles of an engine: few images get kernels chosen for few.

        Returns:
            One or two profiles that cover every batch once, ascending.

        Example:
            >>> [(part.min, part.opt, part.max) for part in BatchProfile(1, 16, 64).parts()]
            [(1, 1, 4), (5, 16, 64)]
        """
        if not self.min <= _FEW < self.max:
            return (self,)
        few = BatchProfile(self.min, self.opt if self.opt <= _FEW else self.min, _FEW)
        return few, BatchProfile(_FEW + 1, max(self.opt, _FEW + 1), self.max)


@dataclass(frozen=True)
class BuildOptions:
    """Everything that changes an engine.

    Attributes:
        profile: batch sizes.
        sm: compute capabilities without the dot (86 is 8.6) to compile for, TensorRT-RTX only;
            empty compiles for the GPU of this machine.
        workspace_bytes: most device memory of one layer's scratch; 0 sets no limit.
        optimization_level: 0 (fast build) to 5 (fast engine); None is the library's default.
        aux_streams: streams beside the main one, where branches may run side by side; None is the
            library's choice, 0 forbids them; TensorRT only.
        hardware_compatible: runs on every GPU since Ampere, slower; TensorRT only.
    """

    profile: BatchProfile = field(default_factory=BatchProfile)
    sm: tuple[int, ...] = ()
    workspace_bytes: int = 0
    optimization_level: int | None = None
    aux_streams: int | None = None
    hardware_compatible: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no builder takes.

        Raises:
            ValueError: the text names the option.
        """
        if self.workspace_bytes < 0:
            raise ValueError(f"workspace_bytes must be 0 or more, found {self.workspace_bytes}")
        if self.optimization_level is not None and self.optimization_level not in LEVELS:
            raise ValueError(f"optimization_level is 0..5, found {self.optimization_level}")
        if self.aux_streams is not None and self.aux_streams < 0:
            raise ValueError(f"aux_streams must be 0 or more, found {self.aux_streams}")
        if len(set(self.sm)) != len(self.sm):
            raise ValueError(f"each compute capability once, found {self.sm}")
