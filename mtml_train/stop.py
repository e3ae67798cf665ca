"""Ctrl-C and the kill that asks first: a run stops between two steps, where it can be saved.

In: SIGINT, SIGTERM and SIGHUP. Out: `Stopped`, at a moment at which weights and progress belong
together.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, Self

import torch
from torch import Tensor, distributed

from mtml_deploy.signals import SIGNALS, Interrupted
from mtml_train.distributed import Process

_STEPS_LATE: Final = 2
"""After so many steps a vote is looked at: at once, the program would wait for the device."""


class Stopped(Interrupted):
    """A run was asked to stop.

    Attributes:
        torn: in the middle of a step, because it was asked twice: the weights are not to be saved.
        agreed: every process stops at the same step.
    """

    def __init__(self, number: int, *, torn: bool = False, agreed: bool = False) -> None:
        """Say which signal it was."""
        super().__init__(number)
        self.torn = torn
        self.agreed = agreed


class StopRequests:
    """Context manager that receives the signals while a run trains.

    A process alone stops at once, or at the end of what is `held`. Several stop after a step that
    all of them agree on, see `require_none`.
    """

    def __init__(self, process: Process) -> None:
        """No signal has come yet."""
        self._process = process
        self._number: int | None = None
        self._held = False
        self._votes: deque[Tensor] = deque()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Receive the signals; elsewhere than in the main thread there are none."""
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._receive)
                for number in SIGNALS
                if signal.getsignal(number) is not signal.SIG_IGN  # nohup
            }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the signals to who had them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A signal that comes inside takes effect at the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._number is not None and self._process.world == 1:
            raise Stopped(self._number)

    def require_none(self) -> None:
        """Stop here, if one of the processes was asked to; all of them come here after each step.

        Raises:
            Stopped: in every process.
        """
        if self._process.world == 1:
            return  # it stopped when the signal came
        asked = self._number or 0
        vote = torch.full((), asked, dtype=torch.int32, device=self._process.device)
        distributed.all_reduce(vote, op=distributed.ReduceOp.MAX)
        self._votes.append(vote)
        if len(self._votes) > _STEPS_LATE and (number := int(self._votes.popleft())):
            raise Stopped(number, agreed=True)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        """A signal has come."""
        if self._number is not None:  # whoever asks twice does not want to wait
            raise Stopped(number, torn=self._held)
        self._number = number
        if self._process.world == 1 and not self._held:
            raise Stopped(number)
