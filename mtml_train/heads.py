"""What can stand between a feature and its identity logits, beyond the paper's linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class CosineClassifier(nn.Module):
    """Scaled cosines of features and one direction per class; lengths do not count."""

    def __init__(self, width: int, classes: int, *, scale: float) -> None:
        """Random directions.

        Args:
            width: length of a feature.
            classes: number of directions.
            scale: what the cosines are multiplied by.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        self.scale = scale
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Logits float [B, C] of features [B, width], float32 or better."""
        if features.dtype != torch.float64:
            features = features.float()
        with torch.autocast(features.device.type, enabled=False):
            directions = functional.normalize(self.weight, dim=1)
            return self.scale * functional.linear(functional.normalize(features, dim=1), directions)


def neck_of(width: int) -> nn.BatchNorm1d:
    """BatchNorm without bias (Luo et al. 2019): classifiers then part features by direction."""
    neck = nn.BatchNorm1d(width)
    neck.register_parameter("bias", None)
    return neck
