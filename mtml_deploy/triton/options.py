"""How a Triton server runs a model: batches, queue, copies, versions.

In: values a user gave. Out: checked, frozen options that become a model's configuration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from mtml_deploy.defaults import BATCH_LIMIT, BATCH_SIZE

Kind = Literal["auto", "cpu", "gpu"]
"""Where copies of the model run; auto lets the server choose: a GPU where it has one."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_POLICY: Final = re.compile(r"all\Z|latest:[1-9]\d*\Z|specific:[1-9]\d*(,[1-9]\d*)*\Z")


@dataclass(frozen=True)
class ServingOptions:
    """What a model's configuration says beside what the model is.

    Attributes:
        name: of the model on the server, and of its folder.
        version: of this model on the server, 1 or more.
        max_batch: most images of one run.
        preferred_batches: images that a run is started with before the delay is over.
        queue_delay_us: microseconds that a request waits for others to run with.
        queue_size: most requests that wait; a further one is refused; 0 sets no limit.
        queue_timeout_ms: milliseconds after which a waiting request is refused; 0 sets no limit.
        instances: copies of the model on each device.
        kind: where they run.
        gpus: numbers of the GPUs; none means all of the server.
        version_policy: "latest:N", "all" or "specific:N,N": which versions are served.
        warm_up: run the smallest and the largest batch before the model is ready.
    """

    name: str = "mtml"
    version: int = 1
    max_batch: int = BATCH_SIZE
    preferred_batches: tuple[int, ...] = ()
    queue_delay_us: int = 1000
    queue_size: int = 256
    queue_timeout_ms: int = 0
    instances: int = 1
    kind: Kind = "auto"
    gpus: tuple[int, ...] = ()
    version_policy: str = "latest:1"
    warm_up: bool = True

    def __post_init__(self) -> None:
        """Refuse what no server takes.

        Raises:
            ValueError: a value outside its bounds, or two that do not go together.
        """
        if not _NAME.match(self.name):
            raise ValueError(
                f"the name is {self.name!r}, expected letters, digits, '_', '.' and '-', a letter "
                "or digit first"
            )
        if not 1 <= self.max_batch <= BATCH_LIMIT:
            raise ValueError(
                f"the largest batch is {self.max_batch}, expected 1 to {BATCH_LIMIT} images"
            )
        for size in self.preferred_batches:
            if not 1 <= size <= self.max_batch:
                raise ValueError(
                    f"a preferred batch is {size}, expected 1 to {self.max_batch}, the largest "
                    "batch"
                )
        if self.version < 1 or self.instances < 1:
            raise ValueError(
                f"version and instances are {self.version} and {self.instances}, expected 1 or more"
            )
        for what, value in (
            ("queue delay", self.queue_delay_us),
            ("queue size", self.queue_size),
            ("queue time-out", self.queue_timeout_ms),
            *(("number of a GPU", gpu) for gpu in self.gpus),
        ):
            if value < 0:
                raise ValueError(f"the {what} is {value}, expected 0 or more")
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind is {self.kind!r}, expected one of {', '.join(get_args(Kind))}")
        if self.gpus and self.kind != "gpu":
            raise ValueError(f"GPUs are named and the kind is {self.kind}, expected gpu")
        if not _POLICY.match(self.version_policy):
            raise ValueError(
                f"the version policy is {self.version_policy!r}, expected latest:N, all or "
                "specific:N,N"
            )
        if self.version_policy.startswith("specific:") and self.version not in self.served:
            raise ValueError(
                f"the version policy is {self.version_policy!r}, which leaves out version "
                f"{self.version}; name it there"
            )

    @property
    def served(self) -> tuple[int, ...]:
        """The versions that a policy "specific" names; none for the others."""
        return tuple(int(each) for each in re.findall(r"\d+", self.version_policy))
