"""What a person sees of a training run: a progress bar on a terminal, plain lines elsewhere.

In: the reports of `train`. Out: text on stderr.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mtml_deploy.text import printable
from mtml_train.run_data import Checking
from mtml_train.train import StepReport
from mtml_train.validate import Validation

_BAR: Final = 10
_OTHERS: Final = 66
"""Columns beside the losses, for as many digits as epochs, steps and speeds have at most."""


class TrainDisplay:
    """Context manager whose `show` takes the reports of `train`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        # a file or a pipe gets each text on one line
        self._console.soft_wrap = not self._console.is_terminal
        self._bar = Progress(
            TextColumn("{task.fields[stage]}"),
            BarColumn(bar_width=_BAR),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[losses]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, stage="", speed="", losses="")
        self._stepped = False

    def __enter__(self) -> Self:
        """Start the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        self._bar.stop()

    def show(self, report: StepReport | Validation | Checking | str) -> None:
        """Show one report.

        Args:
            report: progress, a validation, images checked or a note.
        """
        if isinstance(report, str):
            self._console.print(printable(report, keep="\n\t"))
        elif isinstance(report, Validation):
            self._console.print("validation  " + in_percent(report.scalars()))
        elif isinstance(report, Checking):
            self._bar.update(
                self._task, completed=report.done, total=report.total, stage="checking images"
            )
        else:
            self._show_step(report)

    def _show_step(self, report: StepReport) -> None:
        """Move the bar; a line of losses where they were read."""
        if not self._stepped:
            # the time left is told from steps alone: not from images checked, nor from those that
            # an earlier run has done
            self._bar.reset(self._task, completed=report.step - 1, total=report.total_steps)
            self._stepped = True
        self._bar.update(
            self._task,
            completed=report.step,
            total=report.total_steps,
            stage=f"epoch {report.epoch}",
        )
        if not report.losses:
            return
        speed = f"{report.images_per_second:.1f} images/s"
        losses = by_branch(report.losses)
        shown = losses
        if _OTHERS + len(losses) > self._console.width:
            shown = f"loss {report.losses['total']:.3f}"
        self._bar.update(self._task, speed=speed, losses=shown)
        if not self._console.is_terminal:
            self._console.print(
                f"step {report.step}/{report.total_steps}  epoch {report.epoch}  {speed}  {losses}"
            )


def by_branch(losses: Mapping[str, float]) -> str:
    """Losses added up per branch, for example "total 9.1  identity 1.9  consensus 1.7".

    Args:
        losses: parts by names such as "gray/mutual".

    Returns:
        One line; names in the order of their first part.
    """
    sums: dict[str, float] = {}
    for name, value in losses.items():
        branch = name.split("/")[0]
        sums[branch] = sums.get(branch, 0.0) + value
    return "  ".join(f"{branch} {value:.3f}" for branch, value in sums.items())


def in_percent(fractions: Mapping[str, float]) -> str:
    """Metrics as percentages on one line, for example "mAP 61.2 %  CMC@1 88.0 %"."""
    return "  ".join(f"{name} {100 * value:.1f} %" for name, value in fractions.items())
