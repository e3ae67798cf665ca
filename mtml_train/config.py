"""Every setting of a training run with its default and what it may be. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from mtml_train.image_size import ImageSize, sides, size_text

VARIANTS: Final[Mapping[str, tuple[str, ...]]] = {
    "MTML-S": ("identity", "scale"),
    "MTML-O": ("identity", "orientation"),
    "MTML-G": ("identity", "gray"),
    "MTML-SG": ("identity", "scale", "gray"),
    "MTML-OG": ("identity", "gray", "orientation"),
    "MTML-OSG": ("identity", "scale", "gray", "orientation"),
    "single": ("identity",),
}
"""Branches of each variant, in the order of the fused feature (paper, section 4.3).

"single" is no variant of the paper: one branch beside E, which the others are compared with.
"""

Amp = Literal["none", "fp16", "bf16"]
OptimizerName = Literal["adamw", "adam", "sgd"]
Neck = Literal["none", "bn"]
Pooling = Literal["average", "gem"]
MarginKind = Literal["cosface", "arcface", "circle"]
IdentityLoss = Literal["softmax", MarginKind]
TripletOn = Literal["fused", "branches", "both"]
TripletDistance = Literal["l2", "cosine"]
Sampler = Literal["shuffle", "pk", "pk-once"]
Schedule = Literal["constant", "cosine"]
Policy = Literal["autoaugment", "randaugment"]
AutoAugment = Literal["none", Policy]
EraseFill = Literal["mean", "random"]
SyncBn = Literal["auto", "on", "off"]
BestBy = Literal["mAP", "mAP_trapezoid", "mINP", "CMC@1", "CMC@5", "CMC@10"]


@dataclass(frozen=True)
class TrainConfig:
    """All settings of one run; the defaults are the recipe `paper`.

    Values marked (paper) are from section 3.2 or 4.2; the others are ours, see the README.
    """

    # what is trained on what
    data: tuple[str, ...] = ()  # sources such as "veri:DIR"; several are joined
    val: str = ""  # source with query and gallery, or "holdout:0.1" of the identities; "" = none
    val_gallery: str = ""  # gallery to validate on, where `val` names the queries alone
    variant: str = "MTML-OSG"  # which branches teach each other, see VARIANTS
    backbone: str = "resnet50"  # (paper) a torchvision ResNet, resnet50_ibn_a, timm:NAME
    weights: str = "imagenet"  # (paper) of the backbones: "imagenet", "none", a name or a file
    init: str = ""  # run or checkpoint of mtml-train to start from; `weights` is for new branches
    image_size: ImageSize = 224  # (paper) pixels; two numbers are height and width
    scale_size: ImageSize = 0  # input of the scale branch; 0 = 5/7 of image_size (paper: 160)
    consensus_dim: int = 1024  # (paper) width of the feature fusion layer
    last_stride: int = 2  # (paper) of a ResNet's last stage; 1 = maps of twice the side
    pooling: Pooling = "average"  # (paper) of a branch's last map; "gem" = learnt power mean
    neck: Neck = "none"  # "bn": BatchNorm between a feature, a branch's or E's, and its classifiers
    # optimisation
    epochs: int = 150  # (paper) 100 when two data sets are joined
    max_steps: int = -1  # stop after so many optimiser steps; 0 writes untrained weights; -1 = all
    batch_size: int = 8  # (paper) images per optimiser step, over all processes
    accumulate: int = 1  # micro-batches per optimiser step and process
    optimizer: OptimizerName = "adamw"  # (paper) without decay it is Adam; "sgd" has momentum
    lr: float = 1e-4  # (paper) Adam
    head_lr: float = 1.0  # factor of lr for all that is no backbone
    beta1: float = 0.9  # (paper)
    beta2: float = 0.999  # (paper)
    momentum: float = 0.9  # of "sgd"
    weight_decay: float = 0.0  # decoupled with "adamw", coupled (L2) with "adam" and "sgd"
    schedule: Schedule = "constant"  # learning rate after the warm-up
    warmup_epochs: float = 0.0  # linear from 1 % of lr
    warmup_steps: int = 0  # in place of warmup_epochs, in optimiser steps
    freeze_steps: int = 0  # backbones stay as they are for so many steps, BatchNorm too
    max_grad_norm: float = 0.0  # gradients of a step are shortened to this length; 0 = never
    ema: float = 0.0  # decay of the average of weights that is kept and validated; 0 = none
    # losses
    consensus_weight: float = 1.0  # factor of L_C, eq. 7
    temperature: float = 1.0  # softens both distributions of eq. 6
    detach_consensus: bool = False  # ablation: stop L_C at the consensus branch
    consensus_gradient: float = 1.0  # share of the gradient from branch E that reaches A-D, 0..1
    label_smoothing: float = 0.0  # of every identity cross entropy
    identity_loss: IdentityLoss = "softmax"  # (paper) else on cosines with a margin
    identity_scale: float = 64.0  # of the cosines; not used by "softmax"
    identity_margin: float = 0.35  # radians with "arcface"; not used by "softmax"
    triplet_weight: float = 0.0  # batch-hard triplet loss
    triplet_on: TripletOn = "fused"  # which features it compares
    triplet_margin: float | Literal["soft"] = 0.3  # of distances; "soft" = softplus
    triplet_distance: TripletDistance = "l2"  # "l2" or "cosine"
    # sampling and augmentation
    sampler: Sampler = "shuffle"  # "pk": `instances` images per vehicle; "pk-once": all in turn
    instances: int = 4  # K of the P x K sampler
    flip: float = 0.5  # probability; left and right orientation labels swap with it
    pad: float = 0.0  # random crop after padding by this fraction of the side
    auto_augment: AutoAugment = "none"  # torchvision's policy, on a share of the images
    auto_augment_share: float = 0.1  # probability; not used by "none"
    erase: float = 0.0  # probability of erasing one random rectangle
    erase_fill: EraseFill = "mean"  # what fills it: ImageNet's mean or random values
    jitter: float = 0.0  # strength of the colour jitter that keeps luma, 0..1
    # the machine
    seed: int = 0
    workers: int = 2  # data loading processes per training process
    threads: int = 0  # that decode the images of a validation; 0 = one per CPU
    amp: Amp = "none"  # mixed precision
    device: str = "auto"  # "cpu", "cuda" or "auto": cuda where there is one
    sync_bn: SyncBn = "auto"  # BatchNorm statistics over all processes: "auto" = on CUDA
    deterministic: bool = False  # on CUDA: deterministic kernels; a CPU always is
    # keeping and looking
    val_every: int = 5  # epochs
    val_protocol: str = "veri776"
    best_by: BestBy = "mAP"  # which measure of a validation chooses best.safetensors
    patience: int = 0  # end after so many validations without a better one; 0 = never
    save_every: int = 0  # steps between saves of last.safetensors; 0 = every epoch
    log_every: int = 20  # steps between log lines
    skip_bad: bool = False  # leave out unreadable images (reported) instead of stopping

    def __post_init__(self) -> None:
        """Refuse impossible settings.

        Raises:
            ValueError: a value outside its range; the text names it.
        """
        for name, value in vars(self).items():
            # every comparison below lets a NaN pass
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, found {value}")
        for name, minimum in _LEAST_SIDE.items():
            size = getattr(self, name)
            # of two numbers none can be left to choose
            least = minimum if isinstance(size, int) else max(minimum, 1)
            if min(sides(size)) < least:
                raise ValueError(f"{name} is {least} or more, found {size_text(size)}")
            if max(sides(size)) > _LARGEST_SIDE:
                raise ValueError(f"{name} is {_LARGEST_SIDE} or less, found {size_text(size)}")
        for name, minimum in _MINIMUM.items():
            if getattr(self, name) < minimum:
                raise ValueError(f"{name} is {minimum} or more, found {getattr(self, name)}")
        for name, maximum in _MAXIMUM.items():
            if getattr(self, name) > maximum:
                raise ValueError(f"{name} is {maximum} or less, found {getattr(self, name)}")
        for name in ("beta1", "beta2", "ema"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is 0 or more and below 1, found {getattr(self, name)}")
        for name in (
            "flip",
            "erase",
            "jitter",
            "pad",
            "label_smoothing",
            "consensus_gradient",
            "identity_margin",
            "auto_augment_share",
        ):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is 0..1, found {getattr(self, name)}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is one of {', '.join(choices)}; found {getattr(self, name)!r}"
                )
        if self.lr <= 0 or self.temperature <= 0:
            raise ValueError("lr and temperature are above 0")
        if not 0 < self.momentum < 1:
            raise ValueError(f"momentum is above 0 and below 1, found {self.momentum}")
        if self.warmup_steps and self.warmup_epochs:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} takes the place of warmup_epochs "
                f"{self.warmup_epochs:g}; set one of them to 0"
            )
        if self.identity_scale <= 0:
            raise ValueError(f"identity_scale is above 0, found {self.identity_scale}")
        if self.triplet_margin != "soft" and not (
            isinstance(self.triplet_margin, int | float) and self.triplet_margin >= 0
        ):
            raise ValueError(
                f'triplet_margin is 0 or more, or "soft"; found {self.triplet_margin!r}'
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of accumulate {self.accumulate}"
            )
        if self.triplet_weight > 0 and self.sampler == "shuffle":
            raise ValueError(
                'triplet_weight needs sampler "pk" or "pk-once": a batch must hold positives'
            )

    @property
    def image_sides(self) -> tuple[int, int]:
        """Height and width of the images, pixels."""
        return sides(self.image_size)

    @property
    def scale_sides(self) -> tuple[int, int]:
        """Height and width of the scale branch's view, pixels."""
        height, width = sides(self.image_size)
        return sides(self.scale_size or (round(height * 5 / 7), round(width * 5 / 7)))

    @property
    def branches(self) -> tuple[str, ...]:
        """Branches of the variant, in the order of the fused feature."""
        return VARIANTS[self.variant]


_LEAST_SIDE: Final = {"image_size": 32, "scale_size": 0}
_LARGEST_SIDE: Final = 4096
_MINIMUM: Final = {
    "consensus_dim": 1, "epochs": 1, "max_steps": -1,
    "batch_size": 1, "accumulate": 1, "weight_decay": 0, "warmup_epochs": 0, "seed": 0,
    "head_lr": 0, "warmup_steps": 0, "freeze_steps": 0, "max_grad_norm": 0,
    "consensus_weight": 0, "triplet_weight": 0, "instances": 2,
    "last_stride": 1, "workers": 0, "threads": 0, "val_every": 1, "save_every": 0, "log_every": 1,
    "patience": 0,
}  # fmt: skip
_MAXIMUM: Final = {
    "consensus_dim": 2**15, "epochs": 2**31 - 1,
    "batch_size": 2**20, "last_stride": 2, "workers": 1024, "threads": 1024,
}  # fmt: skip
_CHOICES: Final = {
    "variant": tuple(VARIANTS),
    "amp": get_args(Amp),
    "optimizer": get_args(OptimizerName),
    "neck": get_args(Neck),
    "identity_loss": ("softmax", *get_args(MarginKind)),
    "triplet_on": get_args(TripletOn),
    "triplet_distance": get_args(TripletDistance),
    "pooling": get_args(Pooling),
    "sampler": get_args(Sampler),
    "schedule": get_args(Schedule),
    "auto_augment": ("none", *get_args(Policy)),
    "erase_fill": get_args(EraseFill),
    "sync_bn": get_args(SyncBn),
    "best_by": get_args(BestBy),
}
