"""Losses and weights that are not finite: a run that has them stops, and says what to try.

In: losses that were read, or a model with its optimiser. Out: nothing, or an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from mtml_deploy.errors import DivergedError
from mtml_train.config import TrainConfig

_SOME_EPOCHS: Final = 5
"""Of a warm-up that is proposed."""

_SOME_LENGTH: Final = 5
"""Of gradients, where shortening them is proposed."""


def require_finite_losses(table: Tensor, names: Sequence[str], *, first_step: int) -> None:
    """Refuse losses that are not finite.

    Args:
        table: float [steps, parts], on the CPU.
        names: [parts] of the losses; the total may be among them.
        first_step: number of the step of the first row.

    Raises:
        DivergedError: one of them is NaN or infinite; the first is named with its step.
    """
    bad = ~table.isfinite()
    if not bad.any():
        return
    row = int(bad.any(dim=1).nonzero()[0])
    found = {name: float(table[row, column]) for column, name in enumerate(names)
             if bad[row, column]}  # fmt: skip
    # the total only repeats what a part says
    name = next((each for each in found if each != "total"), "total")
    raise DivergedError(f"the loss {name} is {found[name]} at step {first_step + row}")


def require_finite_state(model: nn.Module, optimizer: torch.optim.Optimizer, *, step: int) -> None:
    """Refuse weights, statistics of BatchNorm or an optimiser that are not finite.

    Args:
        model: about to be saved.
        optimizer: likewise.
        step: of the run, for the text.

    Raises:
        DivergedError: one of their tensors holds a NaN or an infinity.
    """
    tensors: dict[str, Tensor] = dict(model.state_dict())
    for number, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"{slot} of parameter {number}": value for slot, value in slots.items()}
    if name := first_not_finite(tensors):
        raise DivergedError(f"{name} is not finite after step {step}")


def first_not_finite(tensors: Mapping[str, Tensor]) -> str:
    """The name of the first tensor that holds a NaN or an infinity; empty where none does."""
    floats = {name: value for name, value in tensors.items() if value.is_floating_point()}
    if not floats:
        return ""
    device = next(iter(floats.values())).device
    # one wait for the device, not one per tensor
    finite = torch.stack([value.isfinite().all().to(device) for value in floats.values()]).tolist()
    return next((name for name, good in zip(floats, finite, strict=True) if not good), "")


def advice(config: TrainConfig, *, kept: str) -> str:
    """What to do after a run has diverged.

    Args:
        config: its settings.
        kept: which checkpoint is left.

    Returns:
        One line, to follow what was found.
    """
    tries = [f"a lower --lr than {config.lr:g}"]
    if config.amp == "fp16":
        tries.append("--amp bf16 or none in place of fp16")
    if config.max_grad_norm == 0:
        tries.append(f"shorter gradients (--set max_grad_norm={_SOME_LENGTH})")
    if config.warmup_epochs == config.warmup_steps == 0:
        tries.append(f"a warm-up (--set warmup_epochs={_SOME_EPOCHS})")
    return (
        f"expected finite numbers: the training has diverged; {kept}; start another run with "
        + (" or ".join([", ".join(tries[:-1]), tries[-1]]) if len(tries) > 1 else tries[0])
    )
