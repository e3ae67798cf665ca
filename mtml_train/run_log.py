"""What a run says of itself while it trains: its own curves, and TensorBoard's events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from mtml_train.history import BOARD, HISTORY, Group, HistoryWriter, Point


class RunLog:
    """Both logs of a run, for the first process."""

    def __init__(self, folder: Path, *, after: int) -> None:
        """Go on with the logs of a run.

        Args:
            folder: of the run.
            after: what they say of later steps is replaced: those are done again.

        Raises:
            DataError: the curves that are there cannot be read.
        """
        self._history = HistoryWriter(folder / HISTORY, after=after)
        self._board = SummaryWriter(str(folder / BOARD), purge_step=after + 1)

    def add(self, step: int, group: Group, values: Mapping[str, float]) -> None:
        """Write what was read after `step`; nothing where there is nothing."""
        if values:
            self._history.add(Point(step, group, dict(values)))
        for name, value in values.items():
            self._board.add_scalar(f"{group}/{name}", value, step)

    def flush(self) -> None:
        """Before a checkpoint: after a kill, its steps are not done again."""
        self._board.flush()

    def close(self) -> None:
        """Nothing is added any more."""
        self._history.close()
        self._board.close()
