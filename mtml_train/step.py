"""One optimiser step of one process: forward, losses, backward, update.

In: micro-batches. Out: changed weights, and losses that stay on the device until they are read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.errors import BackendError
from mtml_train.config import TrainConfig
from mtml_train.data.loader import TrainBatch
from mtml_train.distributed import Process
from mtml_train.divergence import require_finite_losses
from mtml_train.losses import mtml_loss
from mtml_train.metric_losses import Margin, Triplet
from mtml_train.micro_batch import synchronises
from mtml_train.model import MTML
from mtml_train.optimizers import WeightAverage, build_optimizer, set_rate

_ROWS = 1000  # tensors of losses that are kept apart
_LOWEST_RATE = 0.01  # of lr, where the warm-up starts and the cosine ends


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Learning rate of one optimiser step.

    Args:
        config: uses lr, schedule, warmup_epochs, warmup_steps, epochs.
        step: 0 or more, from the start of the run.
        steps_per_epoch: optimiser steps in an epoch.

    Returns:
        Linear from 1 % of lr during the warm-up, then constant, or half a cosine down to 1 %.
    """
    warmup = config.warmup_steps or config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.lr * (_LOWEST_RATE + (1 - _LOWEST_RATE) * step / warmup)
    if config.schedule == "constant":
        return config.lr
    done = (step - warmup) / max(1.0, config.epochs * steps_per_epoch - warmup)
    return config.lr * (_LOWEST_RATE + (1 - _LOWEST_RATE) * 0.5 * (1 + math.cos(math.pi * done)))


class TrainStep:
    """Holds optimiser, loss scaler and the losses since they were read.

    Attributes:
        optimizer: moves the weights.
        scaler: of the losses in fp16 training.
        average: of the weights, in the first process of a run that asks for it.
    """

    def __init__(
        self, model: MTML, config: TrainConfig, process: Process, *, done: int = 0
    ) -> None:
        """Prepare `model`, which is on the process's device, for training.

        Args:
            model: trained in place.
            config: uses the optimisation, loss and precision settings.
            process: who else computes gradients.
            done: steps of the run before the next one.

        Raises:
            BackendError: fp16 or synchronised BatchNorm on a device without them.
        """
        cuda = process.device.type == "cuda"
        if config.amp == "fp16" and not cuda:
            raise BackendError("--amp fp16 needs a CUDA GPU; on a CPU use --amp bf16 or none")
        synchronised = synchronises(config, process)
        self._config = config
        self._process = process
        self._bare = model
        self._done = done
        self.average = (
            WeightAverage(model, decay=config.ema) if config.ema > 0 and process.is_first else None
        )
        self._model: nn.Module = model
        if process.world > 1:
            if synchronised:
                self._model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
            self._model = DistributedDataParallel(
                self._model,
                device_ids=[process.device] if cuda else None,
                forward_sync_buffers=False,  # each process normalises by its own statistics
            )
        self.optimizer = build_optimizer(model, config)
        self.scaler = torch.amp.GradScaler(process.device.type, enabled=config.amp == "fp16")
        self._margin = (
            None
            if config.identity_loss == "softmax"
            else Margin(config.identity_loss, config.identity_scale, config.identity_margin)
        )
        self._triplet = (
            Triplet(
                config.triplet_weight,
                config.triplet_on,
                config.triplet_margin,
                config.triplet_distance,
            )
            if config.triplet_weight > 0
            else None
        )
        self._names: tuple[str, ...] = ()
        self._losses: list[Tensor] = []  # float [steps, parts] each, since the last reading
        self._steps = 0
        self.restart_clock()

    def __call__(self, micro_batches: Sequence[TrainBatch], rate: float) -> None:
        """Update the weights once.

        Args:
            micro_batches: `accumulate` batches of this process.
            rate: learning rate.
        """
        set_rate(self.optimizer, rate)
        frozen = self._freeze()
        self.optimizer.zero_grad(set_to_none=True)
        count = self._config.accumulate
        labelled = self._labelled(micro_batches)
        parts: list[Tensor] = []  # float [parts] of each micro-batch
        for number, batch in enumerate(micro_batches):
            # gradients are exchanged once, with the last micro-batch
            last = number == count - 1
            model = self._model
            exchange = (
                model.no_sync()
                if isinstance(model, DistributedDataParallel) and not last
                else nullcontext()
            )
            with exchange:
                parts.append(self._backward(batch.to(self._process.device), 1 / count, labelled))
        if frozen:
            for parameter in self._bare.trunks.parameters():
                parameter.grad = None
        if self._config.max_grad_norm > 0:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._bare.parameters(), self._config.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self._bare, done=self._done)
        self._done += 1
        self._steps += 1
        self._losses.append(torch.stack(parts).sum(dim=0, keepdim=True))
        if len(self._losses) > _ROWS:  # a run may be read rarely
            self._losses = [torch.cat(self._losses)]

    def _freeze(self) -> bool:
        """Whether backbones stay as they are in this step; puts them into the mode for it."""
        limit, trunks = self._config.freeze_steps, self._bare.trunks
        frozen = self._done < limit
        if frozen:
            trunks.eval()
        elif self._done == limit > 0:
            trunks.train()
        if limit and self._process.world == 1:  # several processes exchange a fixed list of them
            trunks.requires_grad_(requires_grad=not frozen)
        return frozen

    def _labelled(self, micro_batches: Sequence[TrainBatch]) -> Tensor | None:
        """Images of known orientation in the whole step, over the number of its micro-batches.

        N_S of eq. 4 belongs to the step. Counted within each micro-batch, a label would weigh more
        the fewer others happen to be beside it, and nothing where it is alone with none.
        """
        if "orientation" not in self._config.branches:
            return None
        known = sum(int((batch.orientations != UNKNOWN).sum()) for batch in micro_batches)
        # filled there: a copy would wait for the device
        step = torch.full((), known, dtype=torch.float64, device=self._process.device)
        if self._process.world > 1:
            distributed.all_reduce(step)
        return step.clamp(min=1) / (len(micro_batches) * self._process.world)  # float64 []

    def _backward(self, batch: TrainBatch, share: float, labelled: Tensor | None) -> Tensor:
        """Add `share` of the gradients of one micro-batch; that share of its losses [parts]."""
        config = self._config
        dtype = {"none": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[config.amp]
        with torch.autocast(self._process.device.type, dtype=dtype, enabled=config.amp != "none"):
            output = self._model(batch.images)
        losses = mtml_loss(
            output,
            batch.vehicles,
            batch.orientations,
            branches=config.branches,
            labelled=labelled,
            consensus_weight=config.consensus_weight,
            temperature=config.temperature,
            detach_consensus=config.detach_consensus,
            label_smoothing=config.label_smoothing,
            margin=self._margin,
            triplet=self._triplet,
            images=batch.numbers,
        )
        self.scaler.scale(losses.total * share).backward()  # type: ignore[no-untyped-call]
        self._names = ("total", *losses.parts)
        return torch.stack([losses.total, *losses.parts.values()]).detach() * share

    def read(self, *, step: int = 0) -> tuple[float, Mapping[str, float]]:
        """Speed and mean losses since the last reading; waits for the device.

        Args:
            step: steps of the whole run, to name the one that went wrong.

        Returns:
            Images per second over all processes, and name -> mean over steps and processes.

        Raises:
            DivergedError: a loss was not finite; in every process at once.
        """
        if not self._losses:
            return 0.0, {}
        table = torch.cat(self._losses)  # [steps, parts]
        if self._process.world > 1:
            distributed.all_reduce(table)
            table /= self._process.world
        table = table.cpu()
        seconds = time.perf_counter() - self._since
        speed = (self._steps - self._steps_at_clock) * self._config.batch_size / seconds
        self._losses, self._steps = [], 0
        self.restart_clock()
        require_finite_losses(table, self._names, first_step=step - len(table) + 1)
        return speed, dict(zip(self._names, table.mean(dim=0).tolist(), strict=True))

    def restart_clock(self) -> None:
        """Leave the time until now out of the speed (validation, saving)."""
        self._since = time.perf_counter()
        self._steps_at_clock = self._steps
