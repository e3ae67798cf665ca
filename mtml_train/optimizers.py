"""What moves the weights: the optimiser, and the average of the weights that it leaves.

In: a model and settings. Out: an optimiser whose groups know their share of the learning rate; an
average that is validated, saved and exported in place of the weights of the last step.
"""

from __future__ import annotations

import copy

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mtml_train.config import TrainConfig
from mtml_train.model import MTML


def build_optimizer(model: MTML, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a run; parameters in the order of the model, backbones first.

    Args:
        model: whose parameters it moves.
        config: uses optimizer, beta1, beta2, momentum, weight_decay, head_lr, freeze_steps.

    Returns:
        Of groups with "factor", their share of the learning rate, and "backbone".
    """
    trunks = list(model.trunks.parameters())
    inside = set(map(id, trunks))
    heads = [each for each in model.parameters() if id(each) not in inside]
    groups: list[dict[str, object]] = [
        {"params": trunks, "factor": 1.0, "backbone": True},
        {"params": heads, "factor": config.head_lr, "backbone": False},
    ]
    betas, decay = (config.beta1, config.beta2), config.weight_decay
    # fused on a CPU as well: one pass over the weights instead of a dozen
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, weight_decay=decay, fused=True)
    if config.optimizer == "adamw" and decay > 0:
        return torch.optim.AdamW(groups, betas=betas, weight_decay=decay, fused=True)
    return torch.optim.Adam(groups, betas=betas, weight_decay=decay, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


class WeightAverage:
    """An exponential moving average of a model's weights and BatchNorm statistics.

    Attributes:
        model: holds the average, in evaluation mode.
    """

    def __init__(self, model: MTML, *, decay: float) -> None:
        """Start from the weights that `model` has now; they soon weigh nothing.

        Args:
            model: of the run.
            decay: share of the average that stays at a step, below 1.
        """
        self.model = copy.deepcopy(model).requires_grad_(requires_grad=False).eval()
        self._decay = decay

    def update(self, model: MTML, *, done: int) -> None:
        """Take the weights after a step in; early on the average is short, (1 + n) / (10 + n).

        Args:
            model: of the run.
            done: n, steps of the run before this one.
        """
        decay = min(self._decay, (1 + done) / (10 + done))
        theirs = model.state_dict()
        pairs = []
        for name, own in self.model.state_dict().items():
            if own.is_floating_point():
                pairs.append((own, theirs[name]))
            else:
                own.copy_(theirs[name])  # how many batches BatchNorm saw
        get_ema_multi_avg_fn(decay)([own for own, _ in pairs], [new for _, new in pairs], 0)  # type: ignore[no-untyped-call]
