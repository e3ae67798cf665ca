"""A learnt pooling of a network's last map."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

_SMALLEST: Final = 1e-4
"""Below a feature's size, and above what half precision holds with all its digits (6.1e-5)."""


class PowerMean(nn.Module):
    """Generalised-mean pooling (Radenovic et al. 2019): (mean over the map of x^p)^(1/p).

    The power p is learnt. At 1 it is the average, towards infinity the maximum. Values below 1e-4
    count as 1e-4. Powers are taken of the map over its largest value, so that none of them leaves
    half precision.
    """

    def __init__(self, *, power: float = 3.0) -> None:
        """Start from one power for all channels."""
        super().__init__()
        self.power = nn.Parameter(torch.full((1,), power))

    def forward(self, maps: Tensor) -> Tensor:
        """Pooled maps.

        Args:
            maps: float [B, F, H, W].

        Returns:
            float [B, F, 1, 1].
        """
        wide = maps if maps.dtype == torch.float64 else maps.float()
        with torch.autocast(maps.device.type, enabled=False):
            raised = wide.clamp(min=_SMALLEST)
            largest = raised.amax(dim=(2, 3), keepdim=True)  # [B, F, 1, 1]
            mean = ((raised / largest) ** self.power).mean(dim=(2, 3), keepdim=True)
            pooled = largest * mean ** (1 / self.power)
        return pooled.to(maps.dtype)


def power_names(network: nn.Module) -> set[str]:
    """Names of the learnt powers among a network's tensors; no pretrained file has them."""
    return {
        f"{name}.power" for name, module in network.named_modules() if isinstance(module, PowerMean)
    }
